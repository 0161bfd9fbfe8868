//! Holders of a lock: one at a time, each with a greater token than the one before (L3), and leases that are kept (L1).
//!
//! Two judgements. By time: what holders were sure of by their own clocks. By revision: which keys lived when, as a watch told
//! it, and what was written under their protection.

/// Somebody was sure to hold the lock, from the answer that gave it to the call that gave it back, or to the end of the
/// lease as the holder counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The fencing token: the revision that created the holder's key.
    pub token: i64,
    /// From when.
    pub from: u64,
    /// Until when.
    pub until: u64,
}

/// A key that stands in the queue for the lock: the oldest that lives holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The revision that created it.
    pub token: i64,
    /// The revision that deleted it, if one did.
    pub gone: Option<i64>,
}

/// A write that was to be made only while a key lived, and was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// The revision that created the key.
    pub token: i64,
    /// The revision of the write.
    pub revision: i64,
}

/// A lease as its holder knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Until when it lives at least: its time to live after the call of the last renewal that was answered.
    pub promised: u64,
    /// When the holder was told that it, or a key of it, was gone, if it was not the holder who ended it.
    pub lost: Option<u64>,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Two held it at once.
    #[error("{first:?} and {second:?} overlap")]
    Both {
        /// The earlier.
        first: Held,
        /// The later.
        second: Held,
    },
    /// A later holder has a token that is not greater.
    #[error("{second:?} comes after {first:?}")]
    Token {
        /// The earlier.
        first: Held,
        /// The later.
        second: Held,
    },
    /// A write was made although its key did not hold the lock.
    #[error("{write:?} was made while {holder:?} held the lock")]
    Unguarded {
        /// The write.
        write: Guarded,
        /// Who held the lock then, if anybody did.
        holder: Option<Place>,
    },
    /// A lease ended before its time.
    #[error("{lease:?} ended too early")]
    Early {
        /// The lease.
        lease: Lease,
    },
}

/// Checks all holders of one lock, in any order.
pub fn check(holders: &[Held]) -> Result<(), Fault> {
    let mut holders = holders.to_vec();
    holders.sort_unstable_by_key(|held| (held.from, held.until));
    for pair in holders.windows(2) {
        let (first, second) = (pair[0], pair[1]);
        if second.from < first.until {
            return Err(Fault::Both { first, second });
        }
        if second.token <= first.token {
            return Err(Fault::Token { first, second });
        }
    }
    Ok(())
}

/// Checks that each write was made by the one who held the lock at its revision.
pub fn check_writes(places: &[Place], writes: &[Guarded]) -> Result<(), Fault> {
    for write in writes {
        let lives = |place: &&Place| {
            place.token < write.revision && place.gone.is_none_or(|gone| gone > write.revision)
        };
        let holder = places.iter().filter(lives).min_by_key(|place| place.token).copied();
        if holder.is_none_or(|holder| holder.token != write.token) {
            return Err(Fault::Unguarded { write: *write, holder });
        }
    }
    Ok(())
}

/// Checks that no lease ended before its time.
pub fn check_leases(leases: &[Lease]) -> Result<(), Fault> {
    let early = |lease: &&Lease| lease.lost.is_some_and(|lost| lost < lease.promised);
    leases.iter().find(early).map_or(Ok(()), |lease| Err(Fault::Early { lease: *lease }))
}

/// Checks all there is to know of one lock.
pub fn check_all(known: &Known) -> Result<(), Fault> {
    check(&known.holders)?;
    check_writes(&known.places, &known.writes)?;
    check_leases(&known.leases)
}

/// All there is to know of one lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Who was sure to hold it, and when.
    pub holders: Vec<Held>,
    /// The keys in its queue.
    pub places: Vec<Place>,
    /// What was written under its protection.
    pub writes: Vec<Guarded>,
    /// The leases of those keys.
    pub leases: Vec<Lease>,
}
