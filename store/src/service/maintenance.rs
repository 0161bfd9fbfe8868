//! etcd's Maintenance service.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use proto::etcd::etcdserverpb as pb;
use raft::MemberId;
use store_client::Revision;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::door::Need;
use super::{Api, ETCD_VERSION, error};

impl Api {
    fn alarms(&self) -> Vec<pb::AlarmMember> {
        let member_id = self.handle.member_id().0;
        let no_space = self.handle.no_space();
        let alarm = pb::AlarmMember { member_id, alarm: pb::AlarmType::Nospace.into() };
        let mut alarms = if no_space { vec![alarm] } else { Vec::new() };
        let corrupt = self.handle.corrupt_members();
        let corrupt = corrupt.into_iter().map(|id| (id.0, pb::AlarmType::Corrupt.into()));
        alarms.extend(corrupt.map(|(member_id, alarm)| pb::AlarmMember { member_id, alarm }));
        alarms
    }
}

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for Api {
    /// Tells whether this member is out of space. The alarm ends when there is space again; to switch it off by hand
    /// has no effect.
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        self.admit(&request, Need::Root).await?;
        use pb::alarm_request::AlarmAction;
        match AlarmAction::try_from(request.into_inner().action) {
            Ok(AlarmAction::Get | AlarmAction::Deactivate) => {
                Ok(Response::new(pb::AlarmResponse { header: self.header_now(), alarms: self.alarms() }))
            }
            Ok(AlarmAction::Activate) | Err(_) => {
                Err(Status::unimplemented("etcdserver: alarms are raised by the members alone"))
            }
        }
    }

    async fn status(
        &self,
        request: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusResponse>, Status> {
        self.admit(&request, Need::Somebody).await?;
        let status = self.handle.raft().status();
        let size = i64::try_from(self.handle.machine().size_bytes()).unwrap_or(i64::MAX);
        let mut errors = Vec::new();
        if status.leader.is_none() {
            errors.push("etcdserver: no leader".to_owned());
        }
        if self.handle.no_space() {
            errors.push(format!("memberID:{} alarm:NOSPACE ", status.id.0));
        }
        Ok(Response::new(pb::StatusResponse {
            header: self.header_now(),
            version: ETCD_VERSION.to_owned(),
            db_size: size,
            leader: status.leader.map_or(0, |leader| leader.0),
            raft_index: status.committed.0,
            raft_term: status.term.0,
            raft_applied_index: status.applied.0,
            errors,
            db_size_in_use: size,
            is_learner: status.members.get(&status.id).is_some_and(|(_, voter)| !voter),
            storage_version: ETCD_VERSION.to_owned(),
            db_size_quota: 0,
            downgrade_info: None,
        }))
    }

    /// Nothing to do: compaction gives space back by itself.
    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.admit(&request, Need::Root).await?;
        Ok(Response::new(pb::DefragmentResponse { header: self.header_now() }))
    }

    async fn hash(&self, request: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        self.admit(&request, Need::Root).await?;
        let (hash, _, revision) = self.handle.hash(Revision(0)).await.map_err(error::status)?;
        Ok(Response::new(pb::HashResponse { header: self.header(revision), hash }))
    }

    async fn hash_kv(
        &self,
        request: Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        self.admit(&request, Need::Root).await?;
        let asked = Revision(request.into_inner().revision);
        let (hash, compacted, revision) = self.handle.hash(asked).await.map_err(error::status)?;
        Ok(Response::new(pb::HashKvResponse {
            header: self.header_now(),
            hash,
            compact_revision: compacted.0,
            hash_revision: revision.0,
        }))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotResponse, Status>> + Send>>;

    /// An image of this member in the format of [`backup::image`](crate::backup::image), not a bolt file.
    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.admit(&request, Need::Root).await?;
        let api = self.clone();
        let pieces = ReceiverStream::new(self.handle.image().map_err(error::status)?);
        let responses = pieces.map(move |piece| {
            let (blob, remaining_bytes) = piece.map_err(error::status)?;
            let version = ETCD_VERSION.to_owned();
            Ok(pb::SnapshotResponse { header: api.header_now(), remaining_bytes, blob, version })
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.admit(&request, Need::Root).await?;
        let target = MemberId(request.into_inner().target_id);
        if !self.handle.raft().status().members.get(&target).is_some_and(|(_, voter)| *voter) {
            return Err(Status::failed_precondition("etcdserver: bad leader transferee"));
        }
        self.handle.raft().transfer_leadership(target).await.map_err(error::membership)?;
        Ok(Response::new(pb::MoveLeaderResponse { header: self.header_now() }))
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        self.admit(&request, Need::Root).await?;
        Err(Status::unimplemented("etcdserver: there is no version to downgrade to"))
    }
}
