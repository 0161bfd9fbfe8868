//! The front door of Kontiki: a Kubernetes-compatible control plane, or a whole cluster, as a library call.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let server = kontiki::ControlPlane::start(kontiki::Options::in_dir("/tmp/cluster")).await?;
//! server.ready().await?;
//! println!("{}", server.kubeconfig()?);
//! # Ok(()) }
//! ```
//!
//! ```text
//!   ControlPlane  = store member + registry + API server + scheduler + controllers    (`kontiki server`)
//!   agent::Agent  = CRI runtime + node agent + service proxy + cluster DNS + routes   (`kontiki agent`)
//!   local         = several of both as processes of one machine                       (`kontiki up`, `down`, `status`)
//! ```
//!
//! The parts meet here and nowhere else. Scheduler and controllers reach the API server over an in-memory channel with
//! identities of their own; they are authenticated, authorized and audited as if they came by network (C1), and
//! every write they make carries the fence of their election (C4).

pub mod agent;
pub mod control_plane;
mod http;
pub mod local;
pub mod pki;
mod presence;
pub mod program;
pub mod roles;

pub use agent::Agent;
pub use control_plane::{ControlPlane, Error, Options, Peer};

/// Chooses the process's cryptography. TLS stacks that find no choice, or two, panic at first use; so this is the first
/// thing every entry point does. Doing it twice is harmless.
pub fn install_crypto() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
