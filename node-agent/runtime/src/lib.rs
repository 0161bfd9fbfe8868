//! A CRI v1 container runtime on libcontainer with a shim process per pod.

pub mod error;
pub mod image;
pub mod limits;
pub mod options;
mod server;
pub mod shim;
mod spec;
pub mod streaming;
mod sys;

pub use error::{Error, Result};
pub use options::{Options, Registries};
pub use server::Server;
