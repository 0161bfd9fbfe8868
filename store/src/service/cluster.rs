//! etcd's Cluster service.

use proto::etcd::etcdserverpb as pb;
use raft::{Member, MemberId};
use tonic::{Request, Response, Status};

use super::door::Need;
use super::{Api, error};

fn member_response(id: MemberId, member: &Member, voter: bool) -> pb::Member {
    pb::Member {
        id: id.0,
        name: member.name.clone(),
        peer_ur_ls: vec![member.peer_url.clone()],
        client_ur_ls: member.client_urls.clone(),
        is_learner: !voter,
    }
}

/// The one peer URL of a request.
fn peer_url(mut urls: Vec<String>) -> Result<String, Status> {
    match (urls.pop(), urls.is_empty()) {
        (Some(url), true) if url.starts_with("http://") || url.starts_with("https://") => Ok(url),
        _ => Err(error::invalid("a member has exactly one peer URL, http:// or https://")),
    }
}

impl Api {
    fn members(&self) -> Vec<pb::Member> {
        let members = self.handle.raft().status().members;
        members.iter().map(|(id, (member, voter))| member_response(*id, member, *voter)).collect()
    }

    fn member(&self, id: u64) -> Result<(Member, bool), Status> {
        self.handle.raft().status().members.remove(&MemberId(id)).ok_or_else(error::member_not_found)
    }

    fn check_new_url(&self, url: &str) -> Result<(), Status> {
        let taken = |member: &Member| member.peer_url == url;
        if self.handle.raft().status().members.values().any(|(member, _)| taken(member)) {
            return Err(Status::failed_precondition("etcdserver: Peer URLs already exists"));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl pb::cluster_server::Cluster for Api {
    /// Adds a learner; unless it was asked to stay one, it becomes a voter as soon as it has caught up. A voter
    /// that is not there yet would weaken the quorum, so there is no other way.
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        self.admit(&request, Need::Root).await?;
        let request = request.into_inner();
        let url = peer_url(request.peer_ur_ls)?;
        self.handle.confirm().await.map_err(error::status)?;
        self.check_new_url(&url)?;
        // Never used before: a member that lost its disk and comes back under its URL is another one.
        let id = MemberId(rand::random_range(1..u64::MAX));
        let member = Member { name: String::new(), peer_url: url, client_urls: Vec::new() };
        self.handle.raft().add_learner(id, member.clone()).await.map_err(error::membership)?;
        if !request.is_learner {
            self.handle.promote_later(id);
        }
        Ok(Response::new(pb::MemberAddResponse {
            header: self.header_now(),
            member: Some(member_response(id, &member, false)),
            members: self.members(),
        }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        self.admit(&request, Need::Root).await?;
        let id = request.into_inner().id;
        self.handle.confirm().await.map_err(error::status)?;
        self.member(id)?;
        self.handle.raft().remove(MemberId(id)).await.map_err(error::membership)?;
        Ok(Response::new(pb::MemberRemoveResponse { header: self.header_now(), members: self.members() }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        self.admit(&request, Need::Root).await?;
        let request = request.into_inner();
        let peer_url = peer_url(request.peer_ur_ls)?;
        self.handle.confirm().await.map_err(error::status)?;
        let (member, _) = self.member(request.id)?;
        if member.peer_url != peer_url {
            self.check_new_url(&peer_url)?;
        }
        let changed = Member { peer_url, ..member };
        self.handle.raft().update(MemberId(request.id), changed).await.map_err(error::membership)?;
        Ok(Response::new(pb::MemberUpdateResponse { header: self.header_now(), members: self.members() }))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        self.admit(&request, Need::Root).await?;
        if request.into_inner().linearizable {
            // Clients take from here whom they may ask: who answers is one of them.
            self.handle.announced().await;
            self.handle.confirm().await.map_err(error::status)?;
        }
        Ok(Response::new(pb::MemberListResponse { header: self.header_now(), members: self.members() }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        self.admit(&request, Need::Root).await?;
        let id = request.into_inner().id;
        self.handle.confirm().await.map_err(error::status)?;
        let (_, voter) = self.member(id)?;
        if voter {
            return Err(Status::failed_precondition("etcdserver: can only promote a learner member"));
        }
        self.handle.raft().promote(MemberId(id)).await.map_err(error::membership)?;
        Ok(Response::new(pb::MemberPromoteResponse { header: self.header_now(), members: self.members() }))
    }
}
