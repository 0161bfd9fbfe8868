//! Known bugs of this field, put back one at a time to show that the tests find them.
//!
//! Only compiled with the feature `known-bugs`, which nothing but those tests asks for, and inactive until one is switched on. The
//! numbers are those of the table in `docs/testing.md`.

use std::sync::atomic::{AtomicU8, Ordering};

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// In a group of four or more, what one member acknowledged counts for the others.
    M1 = 1,
    /// What a member acknowledges whose log went back counts for everything it was sent.
    M2 = 2,
    /// A vote is told before it is durable, and entries of its term are written before it.
    M3 = 3,
    /// Entries are told durable before they are synced.
    M4 = 4,
    /// How far the log was applied is written apart from what applying it did.
    M5 = 5,
    /// A linearizable read is served before a quorum has confirmed the leader.
    M6 = 6,
    /// A leader serves reads for as long as it was promised to lead, even when it hands over.
    M7 = 7,
    /// Progress is told before the changes it speaks of.
    M8 = 8,
    /// A watch that was carried over an image tells its past again.
    M9 = 9,
    /// A watch that is behind loses what does not fit.
    M10 = 10,
    /// A deletion at the compacted revision is removed.
    M11 = 11,
    /// The revision is taken from the keys that are left.
    M12 = 12,
    /// A watch of the future is told what comes before.
    M13 = 13,
    /// A read in a transaction is refused by what this member has removed, not by what was compacted.
    M14 = 14,
    /// A leader of the past ends leases.
    M15 = 15,
    /// A member that lost its disks takes part under its old id.
    M16 = 16,
    /// A failed sync is tried again.
    M17 = 17,
    /// A damaged log is taken for a shorter one.
    M18 = 18,
}

static ACTIVE: AtomicU8 = AtomicU8::new(0);

/// Switches one on, or all off.
pub fn switch(bug: Option<Bug>) {
    ACTIVE.store(bug.map_or(0, |bug| bug as u8), Ordering::SeqCst);
}

/// Whether it is on.
pub fn is_on(bug: Bug) -> bool {
    ACTIVE.load(Ordering::Relaxed) == bug as u8
}
