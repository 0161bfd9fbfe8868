//! The store as it was: at a revision or at a time, what differs between two moments, and taking back deletions.
//!
//! Every version stays readable until compaction makes it history that is gone, and the leader compacts what is older
//! than the window. Which revision was the newest at a time is replicated too (see [`times`](crate::mvcc::times)), so any
//! member can answer for any moment of the window, whoever led then.
//!
//! The resolution of time is one note: the leader takes one each second while there are writes (less often with a very
//! long window), so "at a time" is a state the store had at that time or up to a second before.

pub mod clock;
pub mod time;

pub use clock::Clock;
pub use time::Moment;
