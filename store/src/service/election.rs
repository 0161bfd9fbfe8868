//! etcd's Election service.

use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use proto::etcd::v3electionpb as pb;
use store_client::{Error, KeyRange, Kv, LeaseId, Op, Revision, Txn, Watch, WatchMessage};
use tonic::{Request, Response, Status};

use super::door::Need;
use super::place::{self, Place};
use super::{Api, convert, error};

/// Where the leader that was told last had been created and changed.
type Seen = Option<(Revision, Revision)>;

fn place_of(leader: Option<pb::LeaderKey>) -> Result<Place, Status> {
    let leader = leader.ok_or_else(error::missing_leader_key)?;
    Ok(Place { key: leader.key, created: Revision(leader.rev), lease: LeaseId(leader.lease) })
}

impl Api {
    async fn proclaim_value(&self, place: &Place, value: bytes::Bytes) -> Result<Revision, Status> {
        let put = Op::Put {
            key: place.key.clone(),
            value,
            lease: place.lease,
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        };
        let txn = Txn { compare: vec![place.is_held()], success: vec![put], failure: vec![] };
        let result = self.handle.txn(txn).await.map_err(error::status)?;
        if !result.succeeded {
            return Err(error::not_leader());
        }
        Ok(result.revision)
    }

    /// The next news of an election: another leader than the one seen last, or another value of the same.
    async fn next_leader(self, name: bytes::Bytes, seen: Seen) -> Result<(pb::LeaderResponse, Seen), Error> {
        loop {
            let (revision, first) = place::first(&self.handle, &name).await?;
            let now = first.as_ref().map(|kv| (kv.create_revision, kv.mod_revision));
            if let Some(kv) = first
                && now != seen
            {
                let kv = Some(convert::key_value(kv));
                return Ok((pb::LeaderResponse { header: self.header(revision), kv }, now));
            }
            let keys = KeyRange::prefix(place::prefix(&name));
            let watch = Watch { keys, start: Revision(revision.0 + 1), prev_kv: false, progress: false };
            let mut changes = self.handle.watch(watch).await?;
            while let Some(message) = changes.next().await {
                match message {
                    Ok(WatchMessage::Changes { .. }) | Err(Error::Compacted { .. } | Error::Slow) => break,
                    Ok(WatchMessage::Created { .. } | WatchMessage::Progress { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

#[tonic::async_trait]
impl pb::election_server::Election for Api {
    /// Answers when the caller leads. Whoever stands already, under the same lease, changes the value.
    async fn campaign(
        &self,
        request: Request<pb::CampaignRequest>,
    ) -> Result<Response<pb::CampaignResponse>, Status> {
        let api = self.admit(&request, Need::Keys).await?;
        let pb::CampaignRequest { name, lease, value } = request.into_inner();
        let place =
            Place::take(&api.handle, &name, LeaseId(lease), value.clone()).await.map_err(error::status)?;
        let held = api.handle.range(store_client::Range::new(KeyRange::Key(place.key.clone())));
        let held = held.await.map_err(error::status)?;
        if held.kvs.first().is_some_and(|kv| kv.value != value) {
            api.proclaim_value(&place, value).await?;
        }
        let revision = place.wait(&api.handle, &name).await?;
        let leader = pb::LeaderKey { name, key: place.key, rev: place.created.0, lease: place.lease.0 };
        Ok(Response::new(pb::CampaignResponse { header: self.header(revision), leader: Some(leader) }))
    }

    async fn proclaim(
        &self,
        request: Request<pb::ProclaimRequest>,
    ) -> Result<Response<pb::ProclaimResponse>, Status> {
        let api = self.admit(&request, Need::Keys).await?;
        let request = request.into_inner();
        let revision = api.proclaim_value(&place_of(request.leader)?, request.value).await?;
        Ok(Response::new(pb::ProclaimResponse { header: self.header(revision) }))
    }

    async fn leader(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<pb::LeaderResponse>, Status> {
        let api = self.admit(&request, Need::Keys).await?;
        let name = request.into_inner().name;
        let (revision, first) = place::first(&api.handle, &name).await.map_err(error::status)?;
        let kv = first.ok_or_else(error::no_elected_leader)?;
        let kv = Some(convert::key_value(kv));
        Ok(Response::new(pb::LeaderResponse { header: self.header(revision), kv }))
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<pb::LeaderResponse, Status>> + Send>>;

    /// Tells every leader and every value, from the present one on. A value that is overtaken by the next one at once may
    /// be left out, as in etcd.
    async fn observe(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let api = self.admit(&request, Need::Keys).await?.into_owned();
        let name = request.into_inner().name;
        let news = stream::try_unfold(None, move |seen| {
            let (api, name) = (api.clone(), name.clone());
            async move { api.next_leader(name, seen).await.map(Some).map_err(error::status) }
        });
        Ok(Response::new(Box::pin(news)))
    }

    async fn resign(
        &self,
        request: Request<pb::ResignRequest>,
    ) -> Result<Response<pb::ResignResponse>, Status> {
        let api = self.admit(&request, Need::Keys).await?;
        let place = place_of(request.into_inner().leader)?;
        let revision = place.leave(&api.handle).await.map_err(error::status)?;
        Ok(Response::new(pb::ResignResponse { header: self.header(revision) }))
    }
}
