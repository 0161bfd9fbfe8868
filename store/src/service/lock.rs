//! etcd's Lock service.

use bytes::Bytes;
use proto::etcd::v3lockpb as pb;
use store_client::{Kv, LeaseId, Op, Txn};
use tonic::{Request, Response, Status};

use super::door::Need;
use super::place::Place;
use super::{Api, error};

#[tonic::async_trait]
impl pb::lock_server::Lock for Api {
    /// Answers when the lock is held. It is held until the key is deleted, by an unlock or by the end of its lease.
    async fn lock(&self, request: Request<pb::LockRequest>) -> Result<Response<pb::LockResponse>, Status> {
        let api = self.admit(&request, Need::Keys).await?;
        let request = request.into_inner();
        let lease = LeaseId(request.lease);
        let place =
            Place::take(&api.handle, &request.name, lease, Bytes::new()).await.map_err(error::status)?;
        let revision = place.wait(&api.handle, &request.name).await?;
        Ok(Response::new(pb::LockResponse { header: self.header(revision), key: place.key }))
    }

    async fn unlock(
        &self,
        request: Request<pb::UnlockRequest>,
    ) -> Result<Response<pb::UnlockResponse>, Status> {
        let api = self.admit(&request, Need::Keys).await?;
        let delete = Op::delete(request.into_inner().key);
        let txn = Txn { success: vec![delete], ..Txn::default() };
        let result = api.handle.txn(txn).await.map_err(error::status)?;
        Ok(Response::new(pb::UnlockResponse { header: self.header(result.revision) }))
    }
}
