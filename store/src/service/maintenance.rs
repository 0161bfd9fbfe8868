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
use crate::server::alarms;

fn alarm_member((member_id, alarm): (u64, u8)) -> pb::AlarmMember {
    pb::AlarmMember { member_id, alarm: alarm.into() }
}

#[tonic::async_trait]
impl pb::maintenance_server::Maintenance for Api {
    /// As etcd's, but that alarms end by themselves with their cause, and come back if it is still there.
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        use pb::alarm_request::AlarmAction;
        let api = self.admit(&request, Need::Root).await?;
        let pb::AlarmRequest { action, member_id, alarm } = request.into_inner();
        let kind = u8::try_from(alarm).unwrap_or(u8::MAX);
        let known = [alarms::NO_SPACE, alarms::CORRUPT].contains(&kind);
        let concerned = match AlarmAction::try_from(action) {
            Ok(AlarmAction::Get) => {
                api.handle.alarms().into_iter().filter(|(_, raised)| kind == 0 || *raised == kind).collect()
            }
            Ok(AlarmAction::Activate) if known => {
                api.handle.raise(member_id, kind).await.map_err(error::status)?;
                vec![(member_id, kind)]
            }
            Ok(AlarmAction::Deactivate) if known => {
                let ended = api.handle.end_alarm(member_id, kind).await.map_err(error::status)?;
                if ended { vec![(member_id, kind)] } else { Vec::new() }
            }
            // etcd does nothing about what it does not know.
            Ok(AlarmAction::Activate | AlarmAction::Deactivate) | Err(_) => Vec::new(),
        };
        let alarms = concerned.into_iter().map(alarm_member).collect();
        Ok(Response::new(pb::AlarmResponse { header: self.header_now(), alarms }))
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
        errors.extend(self.handle.alarms().into_iter().map(|(member, kind)| {
            let kind = pb::AlarmType::try_from(i32::from(kind)).unwrap_or_default();
            format!("memberID:{member} alarm:{} ", kind.as_str_name())
        }));
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
