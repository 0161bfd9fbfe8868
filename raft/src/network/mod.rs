//! Connections between members and the service they call, as bytes: frames in, frames out.
//!
//! It knows urls, keys, identities and deadlines. It must not know what the frames mean.

mod identity;
pub(crate) mod incarnations;
mod peers;
mod service;

pub(crate) use identity::Identity;
pub(crate) use incarnations::Incarnations;
pub(crate) use peers::{CallError, Lane, Peers};
pub use service::Service;
pub(crate) use service::{Frames, Inbound, Replies};

/// Keys for connections to peers, all PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerTls {
    /// Authorities that sign members' certificates.
    pub ca_pem: Vec<u8>,
    /// This member's certificate chain.
    pub cert_pem: Vec<u8>,
    /// Its private key.
    pub key_pem: Vec<u8>,
}

impl std::fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerTls")
    }
}
