//! Everything the agent takes from the machine: the clock, mounts, facts about the node. Each is behind a
//! trait or a value with a fake, so that decisions are tested without root.

pub mod clock;
pub mod facts;
pub mod kernel;

pub use clock::Clock;
pub use facts::Facts;
pub use kernel::{Kernel, Linux};
