//! etcd's Lease service.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use proto::etcd::etcdserverpb as pb;
use store_client::{Error, Kv, LeaseId};
use tonic::{Request, Response, Status, Streaming};

use super::door::Need;
use super::{Api, error};
use crate::limits::KEEP_ALIVES_PER_STREAM;

impl Api {
    async fn renew(&self, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
        let ttl = match self.handle.lease_keep_alive(LeaseId(id)).await {
            Ok(lease) => lease.ttl_s,
            // How etcd tells that a lease is gone.
            Err(Error::LeaseNotFound) => 0,
            Err(error) => return Err(error::status(error)),
        };
        Ok(pb::LeaseKeepAliveResponse { header: self.header_now(), id, ttl })
    }
}

#[tonic::async_trait]
impl pb::lease_server::Lease for Api {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let api = self.admit(&request, Need::Somebody).await?;
        let request = request.into_inner();
        let lease = api.handle.lease_grant(LeaseId(request.id), request.ttl).await.map_err(error::status)?;
        Ok(Response::new(pb::LeaseGrantResponse {
            header: self.header_now(),
            id: lease.id.0,
            ttl: lease.ttl_s,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let api = self.admit(&request, Need::Keys).await?;
        let id = LeaseId(request.into_inner().id);
        let revision = api.handle.lease_revoke(id).await.map_err(error::status)?;
        Ok(Response::new(pb::LeaseRevokeResponse { header: self.header(revision) }))
    }

    type LeaseKeepAliveStream =
        Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (api, credentials) = (self.clone(), self.credentials(&request));
        let answers = request
            .into_inner()
            .map(move |request| {
                let (api, credentials) = (api.clone(), credentials.clone());
                async move { api.admit_again(&credentials).await?.renew(request?.id).await }
            })
            .buffered(KEEP_ALIVES_PER_STREAM);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let api = self.admit(&request, Need::Somebody).await?;
        let request = request.into_inner();
        let lease =
            api.handle.lease_time_to_live(LeaseId(request.id), request.keys).await.map_err(error::status)?;
        Ok(Response::new(pb::LeaseTimeToLiveResponse {
            header: self.header_now(),
            id: request.id,
            ttl: lease.ttl_s,
            granted_ttl: lease.granted_ttl_s,
            keys: lease.keys,
        }))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let api = self.admit(&request, Need::Keys).await?;
        let leases = api.handle.leases().await.map_err(error::status)?;
        Ok(Response::new(pb::LeaseLeasesResponse {
            header: self.header_now(),
            leases: leases.into_iter().map(|id| pb::LeaseStatus { id: id.0 }).collect(),
        }))
    }
}
