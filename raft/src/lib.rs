//! Replicates bytes with Raft; knows no keys.

mod adapter;
mod codec;
mod entry;
mod error;
mod fuse;
mod handle;
mod limits;
mod log;
mod member;
mod network;
mod node;
mod options;
mod reads;
mod record;
mod route;
mod snapshot;
mod state_machine;

pub use error::Error;
pub use handle::Handle;
pub use member::{Leadership, Member, MemberId, Proposed, Status};
pub use network::{PeerTls, Service};
pub use node::Node;
pub use options::Options;
pub use state_machine::{Batch, Committed, LogIndex, StateMachine, StateMachineError, Term};
