//! Alarms that the cluster has agreed on.
//!
//! | entry | |
//! |---|---|
//! | tag | `w` |
//! | member u64 BE | whom it concerns |
//! | kind u8 | as etcd numbers them |
//! | by u8 | 0 the member itself, 1 a client |

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Error, layout};
use crate::engine::Reader;

/// An alarm that is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Raised {
    /// The member it concerns.
    pub member: u64,
    /// What it is, as etcd numbers them.
    pub kind: u8,
    /// Whether a client raised it, who must then also end it.
    pub by_hand: bool,
}

impl Raised {
    /// Where it is written that it is raised.
    pub fn key(&self) -> Bytes {
        let mut key = BytesMut::with_capacity(11);
        key.put_u8(layout::ALARMS);
        key.put_u64(self.member);
        key.put_u8(self.kind);
        key.put_u8(u8::from(self.by_hand));
        key.freeze()
    }

    fn of(entry: &[u8]) -> Result<Self, Error> {
        let corrupt = || Error::corrupt("alarm", format!("{entry:?}"));
        let [member @ .., kind, by] = entry.get(1..).ok_or_else(corrupt)? else { return Err(corrupt()) };
        let member = u64::from_be_bytes(member.try_into().map_err(|_| corrupt())?);
        Ok(Self { member, kind: *kind, by_hand: *by != 0 })
    }
}

/// All alarms of the state.
pub fn read_all(reader: &dyn Reader) -> Result<BTreeSet<Raised>, Error> {
    let (lower, upper) = layout::table(layout::ALARMS);
    let mut cursor = reader.cursor(&lower, &upper);
    cursor.seek(&lower)?;
    let mut alarms = BTreeSet::new();
    while let Some((entry, _)) = cursor.entry() {
        alarms.insert(Raised::of(entry)?);
        cursor.next()?;
    }
    Ok(alarms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        for raised in [
            Raised { member: 0, kind: 1, by_hand: false },
            Raised { member: u64::MAX, kind: 2, by_hand: true },
        ] {
            assert_eq!(Raised::of(&raised.key()).unwrap(), raised);
        }
        for wrong in [&b""[..], b"w", b"w1234567", b"w123456789012"] {
            assert!(Raised::of(wrong).is_err(), "{wrong:?}");
        }
    }
}
