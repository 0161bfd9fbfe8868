//! Transport between members.

use std::pin::Pin;

use futures::Stream;
use proto::raft::{ForwardRequest, ForwardResponse, Frame, SnapshotChunk, peer_server::Peer};
use tonic::{Request, Response, Status, Streaming};

/// Keys for connections to peers, all PEM.
#[derive(Clone)]
pub struct PeerTls {
    /// Authorities that sign members' certificates.
    pub ca_pem: Vec<u8>,
    /// This member's certificate chain.
    pub cert_pem: Vec<u8>,
    /// Its private key.
    pub key_pem: Vec<u8>,
}

/// Answers the other members.
#[derive(Clone)]
pub struct Service {}

#[tonic::async_trait]
impl Peer for Service {
    type AppendStream = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

    async fn append(&self, _: Request<Streaming<Frame>>) -> Result<Response<Self::AppendStream>, Status> {
        Err(Status::unavailable("starting"))
    }
    async fn vote(&self, _: Request<Frame>) -> Result<Response<Frame>, Status> {
        Err(Status::unavailable("starting"))
    }
    async fn pre_vote(&self, _: Request<Frame>) -> Result<Response<Frame>, Status> {
        Err(Status::unavailable("starting"))
    }
    async fn transfer_leader(&self, _: Request<Frame>) -> Result<Response<Frame>, Status> {
        Err(Status::unavailable("starting"))
    }
    async fn snapshot(&self, _: Request<Streaming<SnapshotChunk>>) -> Result<Response<Frame>, Status> {
        Err(Status::unavailable("starting"))
    }
    async fn forward(&self, _: Request<ForwardRequest>) -> Result<Response<ForwardResponse>, Status> {
        Err(Status::unavailable("starting"))
    }
}
