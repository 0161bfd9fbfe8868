//! Changes as etcd's clients are told of them.

use prost::Message;
use proto::etcd::mvccpb;
use store_client::{Change, ChangeKind};

use super::super::convert;
use crate::limits::WATCH_RESPONSE_BYTES;

/// One change.
pub fn event(change: Change) -> mvccpb::Event {
    let r#type = match change.kind {
        ChangeKind::Put => mvccpb::event::EventType::Put,
        ChangeKind::Delete => mvccpb::event::EventType::Delete,
    };
    mvccpb::Event {
        r#type: r#type.into(),
        kv: Some(convert::key_value(change.kv)),
        prev_kv: change.prev_kv.map(convert::key_value),
    }
}

/// Cuts events into parts that fit a message; an event alone may exceed it.
pub fn fragments(events: Vec<mvccpb::Event>) -> Vec<Vec<mvccpb::Event>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for event in events {
        let length = event.encoded_len();
        if bytes > 0 && bytes + length > WATCH_RESPONSE_BYTES {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += length;
        parts.last_mut().expect("there is a first part").push(event);
    }
    parts
}
