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
        let pages = stream::try_unfold(Some((api, range, None)), |state| async move {
            let Some((api, range, pinned)) = state else { return Ok(None) };
            api.page(range, pinned).await.map(Some)
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

type Page = (pb::RangeStreamResponse, Option<(Api, Range, Option<Revision>)>);

impl Api {
    /// One page of a range; all pages are read at the revision of the first.
    async fn page(self, range: Range, pinned: Option<Revision>) -> Result<Page, Status> {
        let limit = if range.limit == 0 { RANGE_STREAM_KEYS } else { range.limit.min(RANGE_STREAM_KEYS) };
        let page = Range {
            limit: if range.count_only { 0 } else { limit },
            revision: pinned.unwrap_or(range.revision),
            // The first page made sure that this member is not behind.
            serializable: range.serializable || pinned.is_some(),
            ..range.clone()
        };
        let result = self.handle.range(page).await.map_err(error::status)?;
        let pinned = pinned.or(Some(if range.revision.0 > 0 { range.revision } else { result.revision }));
        let left = if range.limit == 0 { None } else { Some(range.limit.saturating_sub(result.kvs.len())) };
        let last = result.kvs.last().map(|kv| kv.key.clone());
        let more = result.more && left != Some(0);
        let response = pb::RangeStreamResponse {
            range_response: Some(convert::range_response(self.header(result.revision), result)),
        };
        let next = last.filter(|_| more).map(|last| {
            let keys = after(&range.keys, &last);
            (self, Range { keys, limit: left.unwrap_or(0), ..range }, pinned)
        });
        Ok((response, next))
    }
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
