//! Holders of a lock: one at a time, each with a greater token than the one before (L3).

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

#[cfg(test)]
mod tests {
    use super::*;

    fn held(token: i64, from: u64, until: u64) -> Held {
        Held { token, from, until }
    }

    #[test]
    fn one_holder_at_a_time_with_growing_tokens() {
        let good: [&[Held]; 4] = [
            &[],
            &[held(5, 0, 3)],
            &[held(5, 0, 3), held(6, 3, 4), held(9, 10, 11)],
            &[held(6, 3, 4), held(5, 0, 3)],
        ];
        for holders in good {
            assert_eq!(check(holders), Ok(()), "{holders:?}");
        }
        let overlap = [held(5, 0, 3), held(6, 2, 4)];
        assert_eq!(check(&overlap), Err(Fault::Both { first: overlap[0], second: overlap[1] }));
        let within = [held(5, 0, 9), held(6, 2, 4)];
        assert_eq!(check(&within), Err(Fault::Both { first: within[0], second: within[1] }));
        let shrinking = [held(5, 0, 3), held(4, 3, 4)];
        assert_eq!(check(&shrinking), Err(Fault::Token { first: shrinking[0], second: shrinking[1] }));
        let same = [held(5, 0, 3), held(5, 3, 4)];
        assert_eq!(check(&same), Err(Fault::Token { first: same[0], second: same[1] }));
    }
}
