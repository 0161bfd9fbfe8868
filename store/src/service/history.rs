//! The service kontiki.store.v1.History.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use proto::store as pb;
use store_client::KeyRange;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::door::Need;
use super::{Api, convert, error};
use crate::history::{Diff, Moment, Undelete};
use crate::mvcc::diff::Difference;

fn moment(moment: Option<pb::Moment>) -> Moment {
    use pb::moment::Moment as Asked;
    match moment.and_then(|moment| moment.moment) {
        None => Moment::Revision(0),
        Some(Asked::Revision(revision)) => Moment::Revision(revision.max(0)),
        Some(Asked::UnixMs(time)) => Moment::UnixMs(time),
    }
}

/// As in etcd's ranges, except that a range from the empty key on is everything.
fn keys(key: bytes::Bytes, range_end: bytes::Bytes) -> Result<KeyRange, Status> {
    if key.is_empty() && range_end.is_empty() {
        return Err(error::invalid(store_client::validate::EMPTY_KEY));
    }
    Ok(convert::keys(key, range_end))
}

fn difference(difference: Difference) -> pb::Difference {
    pb::Difference {
        before: difference.before.map(convert::key_value),
        after: difference.after.map(convert::key_value),
    }
}

#[tonic::async_trait]
impl pb::history_server::History for Api {
    async fn revision_at(
        &self,
        request: Request<pb::RevisionAtRequest>,
    ) -> Result<Response<pb::RevisionAtResponse>, Status> {
        let api = self.admit(&request, Need::Somebody).await?;
        let noted = api.handle.revision_at(request.into_inner().unix_ms).await.map_err(error::history)?;
        let response = pb::RevisionAtResponse { revision: noted.revision, noted_unix_ms: noted.unix_ms };
        Ok(Response::new(response))
    }

    type DiffStream = Pin<Box<dyn Stream<Item = Result<pb::DiffResponse, Status>> + Send>>;

    async fn diff(&self, request: Request<pb::DiffRequest>) -> Result<Response<Self::DiffStream>, Status> {
        let api = self.admit(&request, Need::Keys).await?;
        let asked = request.into_inner();
        let keys = keys(asked.key, asked.range_end)?;
        let diff = api.handle.diff(keys, moment(asked.from), moment(asked.to)).await;
        let Diff { from, to, pieces } = diff.map_err(error::history)?;
        let first = pb::DiffResponse { from_revision: from.0, to_revision: to.0, differences: Vec::new() };
        let pieces = ReceiverStream::new(pieces).map(move |piece| {
            let differences = piece.map_err(error::status)?.into_iter().map(difference).collect();
            Ok(pb::DiffResponse { from_revision: from.0, to_revision: to.0, differences })
        });
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(first)]).chain(pieces))))
    }

    async fn undelete(
        &self,
        request: Request<pb::UndeleteRequest>,
    ) -> Result<Response<pb::UndeleteResponse>, Status> {
        let api = self.admit(&request, Need::Keys).await?;
        let asked = request.into_inner();
        let ask = Undelete {
            keys: keys(asked.key, asked.range_end)?,
            at: asked.at.map(|at| moment(Some(at))),
            force: asked.force,
        };
        let done = api.handle.undelete(ask).await.map_err(error::history)?;
        Ok(Response::new(pb::UndeleteResponse {
            revision: done.revision.0,
            keys: done.keys,
            transactions: done.transactions,
        }))
    }
}
