//! The etcd v3 gRPC API, thin over [`Handle`].
//!
//! Each file translates one service: request to call, result to response. No decision about data is taken here. What
//! etcd's clients compare word by word, the error texts and codes, is one table in [`error`].
//!
//! Not served, and answered with UNIMPLEMENTED: downgrades.

mod auth;
mod cluster;
pub(crate) mod convert;
mod door;
mod election;
mod error;
mod gateway;
mod history;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod members;
mod observe;
mod place;
mod plain;
pub(crate) mod short_way;
mod watch;

use prost_reflect::DescriptorPool;
use proto::etcd::{etcdserverpb as pb, v3electionpb, v3lockpb};
use store_client::Revision;
use tonic::service::Routes;
use tower::Layer as _;

use crate::auth::Caller;
use crate::limits::GRPC_OVERHEAD_BYTES;
use crate::server::Handle;
pub use short_way::Ways;

/// The etcd release whose API this is: clients decide by it which calls they may use.
pub(crate) const ETCD_VERSION: &str = "3.6.0";

/// All services for clients, and what is asked over plain HTTP.
pub fn routes(handle: &Handle) -> Routes {
    let api = Api::of_clients(handle);
    let services = Routes::new(keys(&api))
        .add_service(pb::watch_server::WatchServer::new(api.clone()))
        .add_service(pb::lease_server::LeaseServer::new(api.clone()))
        .add_service(pb::maintenance_server::MaintenanceServer::new(api.clone()))
        .add_service(pb::auth_server::AuthServer::new(api.clone()))
        .add_service(proto::store::history_server::HistoryServer::new(api.clone()))
        .add_service(v3lockpb::lock_server::LockServer::new(api.clone()))
        .add_service(v3electionpb::election_server::ElectionServer::new(api.clone()))
        .add_service(pb::cluster_server::ClusterServer::new(api));
    let mut router = services.into_axum_router().layer(observe::Observer::new(handle));
    if handle.options().gateway {
        router = gateway::add(router, &protocol(), handle.options().request_bytes_max);
    }
    Routes::from(plain::add(router, handle))
}

/// The same with a shorter way to some of them.
pub fn ways(handle: &Handle, routes: Routes) -> Ways {
    Ways::new(routes).with_keys(observe::Observer::new(handle).layer(keys(&Api::of_clients(handle))))
}

fn keys(api: &Api) -> pb::kv_server::KvServer<Api> {
    let request_bytes = api.handle.options().request_bytes_max + GRPC_OVERHEAD_BYTES;
    pb::kv_server::KvServer::new(api.clone()).max_decoding_message_size(request_bytes)
}

/// What is asked over plain HTTP, alone.
pub fn plain_routes(handle: &Handle) -> Routes {
    Routes::from(plain::add(Routes::default().into_axum_router(), handle))
}

/// Descriptions of etcd's protocol.
pub(crate) fn protocol() -> DescriptorPool {
    DescriptorPool::decode(proto::etcd::DESCRIPTORS).expect("the build has made them")
}

/// The service by which members find each other; also served to peers.
pub fn cluster(handle: &Handle) -> pb::cluster_server::ClusterServer<Api> {
    pb::cluster_server::ClusterServer::new(Api::of_peers(handle))
}

/// What members ask of each other; served to peers alone.
pub fn members(handle: &Handle) -> proto::store::members_server::MembersServer<Api> {
    proto::store::members_server::MembersServer::new(Api::of_peers(handle))
}

/// Implements the services.
#[derive(Clone)]
pub struct Api {
    /// Acts for whoever sends the request; at the door, for nobody.
    handle: Handle,
    /// Clients must show certificates, whose common names stand for users.
    names_in_certificates: bool,
}

impl Api {
    /// Clients are nobody until they say who they are.
    fn of_clients(handle: &Handle) -> Self {
        Self {
            handle: handle.acting_for(Caller::Nobody),
            names_in_certificates: handle.options().names_in_certificates(),
        }
    }

    /// Trusted: members know each other by their certificates.
    fn of_peers(handle: &Handle) -> Self {
        Self { handle: handle.clone(), names_in_certificates: false }
    }

    /// The header of an answer at a revision.
    fn header(&self, revision: Revision) -> Option<pb::ResponseHeader> {
        Some(pb::ResponseHeader {
            cluster_id: self.handle.cluster_id(),
            member_id: self.handle.member_id().0,
            revision: revision.0,
            raft_term: self.handle.leadership_now().term.0,
        })
    }

    /// The header of an answer that has no revision of its own.
    fn header_now(&self) -> Option<pb::ResponseHeader> {
        self.header(self.handle.revision())
    }
}
