//! The node agent: runs the pods bound to its node, as a kubelet does.

pub mod agent;
pub mod cri;
pub mod env;
pub mod error;
pub mod gc;
pub mod limits;
pub mod node;
pub mod options;
pub mod pod;
pub mod probe;
pub mod references;
pub mod server;
pub mod shared;
pub mod sys;
pub mod volume;

pub use agent::{Agent, Handle};
pub use error::Error;
pub use options::{Options, ServerTls};
