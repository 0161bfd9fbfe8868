//! The node agent: runs the pods bound to its node, as a kubelet does.

pub mod cri;
pub mod env;
pub mod error;
pub mod limits;
pub mod options;
pub mod pod;
pub mod probe;
pub mod references;
pub mod shared;
pub mod sys;
pub mod volume;

pub use error::Error;
pub use options::{Options, ServerTls};
