//! The service kontiki.store.v1.Members: what members ask of each other.

use proto::store as pb;
use raft::MemberId;
use tonic::{Request, Response, Status};

use super::{Api, error};
use crate::mvcc::Facts;
use crate::server::Verdict;

impl Api {
    fn check_cluster(&self, cluster_id: u64) -> Result<(), Status> {
        if cluster_id == self.handle.cluster_id() {
            return Ok(());
        }
        Err(Status::failed_precondition(format!("kontiki: this is cluster {:x}", self.handle.cluster_id())))
    }
}

#[tonic::async_trait]
impl pb::members_server::Members for Api {
    async fn state_hash(
        &self,
        request: Request<pb::StateHashRequest>,
    ) -> Result<Response<pb::StateHashResponse>, Status> {
        let pb::StateHashRequest { cluster_id, compacted, revision } = request.into_inner();
        self.check_cluster(cluster_id)?;
        let facts = Facts { revision, compacted };
        let hash = self.handle.state_hash(facts).await.map_err(error::status)?;
        Ok(Response::new(pb::StateHashResponse { hash }))
    }

    async fn verdict(
        &self,
        request: Request<pb::VerdictRequest>,
    ) -> Result<Response<pb::VerdictResponse>, Status> {
        let told = request.into_inner();
        self.check_cluster(told.cluster_id)?;
        let verdict = Verdict {
            hash: told.agreed.then_some(told.hash),
            corrupt: told.corrupt.into_iter().map(MemberId).collect(),
        };
        let facts = Facts { revision: told.revision, compacted: told.compacted };
        self.handle.take_verdict(facts, &verdict);
        Ok(Response::new(pb::VerdictResponse {}))
    }
}
