//! etcd's KV service.

use std::pin::Pin;

use bytes::{BufMut, BytesMut};
use futures::{Stream, stream};
use prost::Message;
use proto::etcd::etcdserverpb as pb;
use store_client::{Error, KeyRange, Kv, Op, OpResult, Range, Revision, Txn, TxnResult};
use tonic::{Request, Response, Status};

use super::door::Need;
use super::{Api, convert, error};
use crate::limits::RANGE_STREAM_KEYS;

impl Api {
    fn check_size(&self, request: &impl Message) -> Result<(), Status> {
        if request.encoded_len() > self.handle.options().request_bytes_max {
            return Err(error::request_too_large());
        }
        Ok(())
    }

    async fn one(&self, op: Op) -> Result<TxnResult, Status> {
        self.handle.txn(Txn { success: vec![op], ..Txn::default() }).await.map_err(error::status)
    }
}

/// The only result of a transaction of one operation.
fn only(result: TxnResult) -> (Revision, Option<OpResult>) {
    (result.revision, result.results.into_iter().next())
}

fn mismatch() -> Status {
    error::status(Error::Internal("a transaction was answered with the result of another".to_owned()))
}

#[tonic::async_trait]
impl pb::kv_server::Kv for Api {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let api = self.admit(&request, Need::Keys).await?;
        let (range, shaping) = convert::range(request.into_inner())?;
        let mut result = api.handle.range(range).await.map_err(error::status)?;
        if let Some(shaping) = shaping {
            result = shaping.apply(result);
        }
        Ok(Response::new(convert::range_response(self.header(result.revision), result)))
    }

    type RangeStreamStream = Pin<Box<dyn Stream<Item = Result<pb::RangeStreamResponse, Status>> + Send>>;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let api = self.admit(&request, Need::Keys).await?.into_owned();
        let (range, shaping) = convert::range(request.into_inner())?;
        if shaping.is_some() {
            return Err(Status::unimplemented("etcdserver: a sorted or filtered range cannot be streamed"));
        }
        let rest = Rest { api, range, pinned: None, count: 0 };
        let pages = stream::try_unfold(Some(rest), |rest| async move {
            let Some(rest) = rest else { return Ok(None) };
            rest.page().await.map(Some)
        });
        Ok(Response::new(Box::pin(pages)))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        let api = self.admit(&request, Need::Keys).await?;
        let request = request.into_inner();
        api.check_size(&request)?;
        match only(api.one(convert::put(request)?).await?) {
            (revision, Some(OpResult::Put { prev_kv })) => Ok(Response::new(pb::PutResponse {
                header: self.header(revision),
                prev_kv: prev_kv.map(convert::key_value),
            })),
            _ => Err(mismatch()),
        }
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let api = self.admit(&request, Need::Keys).await?;
        match only(api.one(convert::delete(request.into_inner())?).await?) {
            (revision, Some(OpResult::Delete { deleted, prev_kvs })) => {
                Ok(Response::new(pb::DeleteRangeResponse {
                    header: self.header(revision),
                    deleted,
                    prev_kvs: prev_kvs.into_iter().map(convert::key_value).collect(),
                }))
            }
            _ => Err(mismatch()),
        }
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        let api = self.admit(&request, Need::Keys).await?;
        let request = request.into_inner();
        self.check_size(&request)?;
        let (txn, shaping) = convert::txn(request, self.handle.options().txn_ops_max, 0)?;
        let result = api.handle.txn(txn).await.map_err(error::status)?;
        Ok(Response::new(convert::txn_response(self.header(result.revision), result, &shaping)))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        let api = self.admit(&request, Need::Root).await?;
        let revision = Revision(request.into_inner().revision);
        api.handle.compact(revision).await.map_err(error::status)?;
        Ok(Response::new(pb::CompactionResponse { header: self.header_now() }))
    }
}

/// What is left to be streamed of a range. All messages together, merged, are the answer to the range: so only the last one
/// has a header, and counts.
struct Rest {
    api: Api,
    range: Range,
    /// The revision that all is read at, and the one that the answer names.
    pinned: Option<(Revision, Revision)>,
    count: i64,
}

impl Rest {
    async fn page(mut self) -> Result<(pb::RangeStreamResponse, Option<Self>), Status> {
        let left = if self.range.limit == 0 { usize::MAX } else { self.range.limit };
        let asked = Range {
            limit: left.min(RANGE_STREAM_KEYS),
            // The first page made sure that this member is not behind.
            serializable: self.range.serializable || self.pinned.is_some(),
            revision: self.pinned.map_or(self.range.revision, |(at, _)| at),
            ..self.range.clone()
        };
        if self.range.count_only {
            let result = self.api.handle.range(Range { limit: 0, ..asked }).await.map_err(error::status)?;
            return Ok((streamed(convert::range_response(self.api.header(result.revision), result)), None));
        }
        let mut result = self.api.handle.page(asked.clone()).await.map_err(error::status)?;
        let named = Some(self.range.revision).filter(|named| named.0 > 0);
        let (at, now) = *self.pinned.get_or_insert((named.unwrap_or(result.revision), result.revision));
        self.count += result.count;
        if let Some(last) = result.kvs.last() {
            self.range.keys = after(&self.range.keys, &last.key);
        }
        if result.more && result.kvs.len() < left {
            if self.range.limit > 0 {
                self.range.limit -= result.kvs.len();
            }
            let kvs = result.kvs.into_iter().map(convert::key_value).collect();
            let page = pb::RangeResponse { kvs, ..Default::default() };
            return Ok((streamed(page), Some(self)));
        }
        if result.more {
            let uncounted = Range {
                keys: self.range.keys.clone(),
                revision: at,
                count_only: true,
                limit: 0,
                serializable: true,
                ..asked
            };
            self.count += self.api.handle.range(uncounted).await.map_err(error::status)?.count;
        }
        result.count = self.count;
        Ok((streamed(convert::range_response(self.api.header(now), result)), None))
    }
}

fn streamed(page: pb::RangeResponse) -> pb::RangeStreamResponse {
    pb::RangeStreamResponse { range_response: Some(page) }
}

/// The part of a range that comes after a key in it.
fn after(keys: &KeyRange, key: &[u8]) -> KeyRange {
    let mut start = BytesMut::with_capacity(key.len() + 1);
    start.put_slice(key);
    start.put_u8(0);
    let start = start.freeze();
    match keys {
        KeyRange::Key(_) => KeyRange::Interval { end: start.clone(), start },
        KeyRange::Interval { end, .. } => KeyRange::Interval { start, end: end.clone() },
        KeyRange::From(_) => KeyRange::From(start),
    }
}
