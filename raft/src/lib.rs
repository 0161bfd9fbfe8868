//! Replicates bytes with Raft; knows no keys.

mod error;
mod handle;
mod limits;
mod member;
mod network;
mod node;
mod options;
mod state_machine;

pub use error::Error;
pub use handle::Handle;
pub use member::{Leadership, Member, MemberId, Proposed, Status};
pub use network::{PeerTls, Service};
pub use node::Node;
pub use options::Options;
pub use state_machine::{Batch, Committed, LogIndex, StateMachine, StateMachineError, Term};
