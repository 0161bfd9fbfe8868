//! What a client asks on a watch stream.

use bytes::Bytes;
use proto::etcd::etcdserverpb as pb;
use store_client::{Error, KeyRange, Revision, Watch};
use tonic::Streaming;

use super::super::{Api, convert, error};
use crate::auth::{Caller, Credentials};
use crate::watch::Subscription;

/// The client's side of a stream.
pub struct Line {
    pub requests: Streaming<pb::WatchRequest>,
    pub api: Api,
    pub credentials: Credentials,
}

/// What came.
pub enum Heard {
    /// A request; there may be more.
    Asked(Box<Line>, Ask),
    /// The client will ask for nothing more.
    Closed,
    /// The connection broke.
    Broken,
}

/// A request.
pub enum Ask {
    Create(Box<pb::WatchCreateRequest>, Result<Admitted, Refused>),
    Cancel(i64),
    Progress,
    /// Empty, or of a kind that is not known.
    Nothing,
}

/// A watch that may begin.
pub struct Admitted {
    pub caller: Caller,
    pub subscription: Subscription,
}

/// A watch that may not.
pub enum Refused {
    /// It never was one.
    Reason(String),
    /// It ends where it begins.
    Ended(Error),
}

impl Line {
    /// Waits for a request, and until it is known whether it is admitted.
    pub async fn hear(mut self: Box<Self>) -> Heard {
        use pb::watch_request::RequestUnion;
        let request = match self.requests.message().await {
            Ok(Some(request)) => request.request_union,
            Ok(None) => return Heard::Closed,
            Err(_) => return Heard::Broken,
        };
        let ask = match request {
            Some(RequestUnion::CreateRequest(create)) => {
                let admitted = self.admit(&create).await;
                Ask::Create(Box::new(create), admitted)
            }
            Some(RequestUnion::CancelRequest(cancel)) => Ask::Cancel(cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => Ask::Progress,
            None => Ask::Nothing,
        };
        Heard::Asked(self, ask)
    }

    async fn admit(&self, create: &pb::WatchCreateRequest) -> Result<Admitted, Refused> {
        let refused = |reason: &str| Refused::Reason(reason.to_owned());
        let keys = watched_keys(create.key.clone(), create.range_end.clone()).map_err(refused)?;
        let api = self.api.admit_again(&self.credentials).await;
        let api = api.map_err(|status| Refused::Reason(error::go_error(&status)))?;
        let watch = Watch {
            keys,
            start: Revision(create.start_revision.max(0)),
            prev_kv: create.prev_kv,
            progress: false,
        };
        let subscription = api.handle.subscribe(watch).await.map_err(|error| match error {
            Error::Denied(denial) => Refused::Reason(error::watch_reason(denial.into())),
            error => Refused::Ended(error),
        })?;
        Ok(Admitted { caller: api.handle.caller().clone(), subscription })
    }
}

fn watched_keys(key: Bytes, range_end: Bytes) -> Result<KeyRange, &'static str> {
    // No key at all means from the first one.
    let key = if key.is_empty() { Bytes::from_static(&[0]) } else { key };
    match convert::keys(key, range_end) {
        KeyRange::Interval { start, end } if start >= end => Err("mvcc: watcher range is empty"),
        keys => Ok(keys),
    }
}
