//! The node itself: its Node object, its status, its Lease.
//!
//! | module | is |
//! |---|---|
//! | [`status`] | pure: what the Node says, from facts |
//! | [`register`] | creating the Node, writing its status |
//! | [`lease`] | the heartbeat |

pub mod lease;
pub mod register;
pub mod status;
