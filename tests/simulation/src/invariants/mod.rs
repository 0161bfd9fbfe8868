//! What must hold, one file each. Most are checked with every event; those that need the whole run, at its end.

pub mod committed;
pub mod convergence;
pub mod hashes;
pub mod leaders;
pub mod leases;
pub mod linearizable;
pub mod logs;
pub mod majority;
pub mod reads;
pub mod revisions;
pub mod votes;
pub mod watches;
