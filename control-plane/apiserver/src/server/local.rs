//! The in-memory channel: the same HTTP/2 service as on the network, over a pipe, with an identity of its own.

use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};

use super::connection;
use crate::{
    authn::{Identity, Peer},
    gateway::Gateway,
    limits,
};

/// A channel that connects, when first used, to `gateway` as `who`.
pub fn channel(gateway: Arc<Gateway>, who: Identity) -> Channel {
    let connect = tower::service_fn(move |_| {
        let (gateway, peer) = (gateway.clone(), Peer::Fixed(who.clone()));
        let (ours, theirs) = tokio::io::duplex(limits::LOCAL_CHANNEL_BYTES);
        let tasks = gateway.tasks.clone();
        tasks.spawn(connection::serve(gateway, ours, peer, None));
        async move { Ok::<_, std::io::Error>(TokioIo::new(theirs)) }
    });
    Endpoint::from_static("http://local").http2_adaptive_window(true).connect_with_connector_lazy(connect)
}
