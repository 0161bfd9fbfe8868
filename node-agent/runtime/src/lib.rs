//! A CRI v1 container runtime on libcontainer with a shim process per pod.
//!
//! # The problem
//!
//! The node agent speaks CRI to whatever runs containers. On a machine that has nothing else, this is it: no containerd,
//! no runc, no pause image, no network plugins.
//!
//! # The promise
//!
//! Neither the death of this runtime nor of the agent around it stops a container (N1): `kill -9` either, start it
//! again on the same directories, and every container runs on with the same process, its log without a gap.
//!
//! ```text
//! agent, crictl ──CRI, unix socket──▶ Server ──┬─▶ shim of pod A ──▶ containers of A
//!                                      │       └─▶ shim of pod B ──▶ containers of B
//!                                      ├─ image::Store   layers for overlayfs
//!                                      ├─ network::pod   addresses, bridge, routes
//! kubectl exec ──HTTP upgrade──▶ streaming
//! ```
//!
//! # The life of a pod
//!
//! `RunPodSandbox`: records, cgroup, namespaces (pinned by bind mounts: no process holds them), network, shim.
//! `CreateContainer`: the specification is decided (in `spec`, pure) and written down; the shim mounts the root file
//! system and has libcontainer make the process. `StartContainer`: the shim lets it go. Its exit is seen by
//! the shim, written to `state.json`, and told to the runtime, if there is one. `StopPodSandbox` takes everything out
//! of the kernel and ends the shim; `RemovePodSandbox` forgets it.
//!
//! # Using it
//!
//! ```no_run
//! # async fn example() -> kontiki_runtime::Result<()> {
//! use kontiki_runtime::{Options, Server};
//! // The program must call `shim::main` when it is started with these first arguments, before any thread runs.
//! let command = vec!["/usr/bin/kontiki".into(), "shim".into()];
//! let options = Options::in_dir("/var/lib/kontiki".as_ref(), "node-1", command);
//! let server = Server::start(options).await?;
//! let network = server.pod_network(); // for routes to other nodes: set_peers
//! let images = server.images(); // for `kontiki image import`: image::archive::import
//! server.serve(Default::default()).await
//! # }
//! ```
//!
//! All processes of one node must see the same mount namespace: start an agent in another network namespace with
//! `setns` or `nsenter --net`, not with `ip netns exec`, which makes a new mount namespace each time.
//!
//! # Limits and what is deliberately not done
//!
//! [`limits`] has every bound. Not done: seccomp, SELinux and AppArmor profiles (accepted, not enforced), user
//! namespaces, checkpoints, images as volumes.

pub mod error;
pub mod image;
pub mod limits;
pub mod options;
pub mod remove;
mod server;
pub mod shim;
mod spec;
pub mod streaming;
mod sys;

pub use error::{Error, Result};
pub use options::{Options, Registries};
pub use server::Server;
