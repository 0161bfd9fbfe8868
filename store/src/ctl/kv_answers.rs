//! What is printed of keys: found, written, deleted, all of that in a transaction, or watched.

use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::response_op::Response;
use proto::etcd::mvccpb;
use serde_json::{Value, json};

use super::fields::Fields;
use super::output::{Answer, header, key_value};
use super::quote::escaped;

/// How keys and values are printed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// As hexadecimal escapes.
    pub hex: bool,
    /// Only values, in the simple form.
    pub values_only: bool,
    /// Only the number of keys, in the simple form.
    pub count_only: bool,
}

impl Style {
    fn lines(self, kv: &mvccpb::KeyValue) -> Vec<u8> {
        let shown = |bytes: &[u8]| if self.hex { escaped(bytes).into_bytes() } else { bytes.to_vec() };
        let mut lines = Vec::new();
        if !self.values_only {
            lines.extend(shown(&kv.key));
            lines.push(b'\n');
        }
        lines.extend(shown(&kv.value));
        lines.push(b'\n');
        lines
    }
}

/// Of a range.
pub fn get(answer: &pb::RangeResponse, style: Style) -> Answer {
    let mut message = json!({ "header": header(answer.header.as_ref()) });
    if !answer.kvs.is_empty() {
        message["kvs"] = answer.kvs.iter().map(key_value).collect();
    }
    if answer.more {
        message["more"] = true.into();
    }
    if answer.count != 0 {
        message["count"] = answer.count.into();
    }
    let mut fields = Fields::of(answer.header.as_ref(), style.hex);
    answer.kvs.iter().for_each(|kv| fields.key_value("", kv));
    fields.value("More", answer.more);
    fields.value("Count", answer.count);
    let simple = match style.count_only {
        true => format!("{}\n", answer.count).into_bytes(),
        false => answer.kvs.iter().flat_map(|kv| style.lines(kv)).collect(),
    };
    Answer::new(simple, message, fields).sent(answer)
}

/// Of a write.
pub fn put(answer: &pb::PutResponse, style: Style) -> Answer {
    let mut message = json!({ "header": header(answer.header.as_ref()) });
    let mut simple = b"OK\n".to_vec();
    let mut fields = Fields::of(answer.header.as_ref(), style.hex);
    if let Some(before) = &answer.prev_kv {
        message["prev_kv"] = key_value(before);
        simple.extend(style.lines(before));
        fields.key_value("Prev", before);
    }
    Answer::new(simple, message, fields).sent(answer)
}

/// Of a deletion.
pub fn delete(answer: &pb::DeleteRangeResponse, style: Style) -> Answer {
    let mut message = json!({ "header": header(answer.header.as_ref()) });
    if answer.deleted != 0 {
        message["deleted"] = answer.deleted.into();
    }
    let mut simple = format!("{}\n", answer.deleted).into_bytes();
    let mut fields = Fields::of(answer.header.as_ref(), style.hex);
    fields.value("Deleted", answer.deleted);
    if !answer.prev_kvs.is_empty() {
        message["prev_kvs"] = answer.prev_kvs.iter().map(key_value).collect::<Value>();
        simple.extend(answer.prev_kvs.iter().flat_map(|kv| style.lines(kv)));
        answer.prev_kvs.iter().for_each(|kv| fields.key_value("Prev", kv));
    }
    Answer::new(simple, message, fields).sent(answer)
}

/// Of a transaction: each of its answers as it would be by itself, behind an empty line.
pub fn txn(answer: &pb::TxnResponse, style: Style) -> Answer {
    let mut message = json!({ "header": header(answer.header.as_ref()) });
    let mut simple = if answer.succeeded { b"SUCCESS\n".to_vec() } else { b"FAILURE\n".to_vec() };
    let mut fields = Fields::of(answer.header.as_ref(), style.hex);
    fields.value("Succeeded", answer.succeeded);
    if answer.succeeded {
        message["succeeded"] = true.into();
    }
    let mut responses = Vec::new();
    for response in &answer.responses {
        let (name, one) = match &response.response {
            Some(Response::ResponseRange(range)) => ("response_range", get(range, style)),
            Some(Response::ResponsePut(written)) => ("response_put", put(written, style)),
            Some(Response::ResponseDeleteRange(deleted)) => ("response_delete_range", delete(deleted, style)),
            Some(Response::ResponseTxn(nested)) => ("response_txn", txn(nested, style)),
            None => continue,
        };
        let (lines, answered, more) = one.parts();
        simple.push(b'\n');
        simple.extend(lines);
        fields.append(&more);
        responses.push(json!({ "Response": { name: answered } }));
    }
    if !responses.is_empty() {
        message["responses"] = responses.into();
    }
    Answer::new(simple, message, fields).sent(answer)
}

/// Whether a change is a deletion, and its name.
pub fn kind(event: &mvccpb::Event) -> (bool, &'static str) {
    let deleted = event.r#type == i32::from(mvccpb::event::EventType::Delete);
    (deleted, if deleted { "DELETE" } else { "PUT" })
}

/// Of a watch.
pub fn watch(answer: &pb::WatchResponse, style: Style) -> Answer {
    let mut simple = Vec::new();
    let mut events = Vec::new();
    let mut fields = Fields::of(answer.header.as_ref(), style.hex);
    for event in &answer.events {
        let (deleted, kind) = kind(event);
        simple.extend(format!("{kind}\n").bytes());
        fields.value("Type", kind);
        let mut message = json!({});
        if deleted {
            message["type"] = 1.into();
        }
        if let Some(before) = &event.prev_kv {
            simple.extend(style.lines(before));
            fields.key_value("Prev", before);
            message["prev_kv"] = key_value(before);
        }
        if let Some(kv) = &event.kv {
            simple.extend(style.lines(kv));
            fields.key_value("", kv);
            message["kv"] = key_value(kv);
        }
        events.push(message);
    }
    let message = json!({
        "Header": header(answer.header.as_ref()),
        "Events": events,
        "CompactRevision": answer.compact_revision,
        "Canceled": answer.canceled,
        "Created": answer.created,
    });
    // Which of the watches on a stream it is, is no business of who reads.
    let answer = &pb::WatchResponse { watch_id: 0, ..answer.clone() };
    Answer::new(simple, message, fields).sent(answer)
}
