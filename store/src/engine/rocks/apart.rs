//! Long values, kept apart from their keys.
//!
//! Values are most of what is written, and each merge of tables writes again what they hold. So what is long of a version's value goes into a column
//! family of its own, in the order in which it comes: tables of it do not overlap, and move down the levels as they are. A look at many
//! versions passes their fronts only, not the values of those that were superseded. A value costs one more look-up when it is read.
//!
//! | family | key | value |
//! |---|---|---|
//! | keys | that of the version | its value, if that is short |
//! | | the same | `fe`, bytes of the rest u32 LE, CRC-32C of the whole u32 LE, its first [`FRONT_BYTES`] |
//! | | the same, as the first version wrote it | `ff`, bytes of the rest u32 LE, its first [`FRONT_BYTES`] |
//! | apart | when it was written (the inverted end of the key), the rest of the key | what is behind the front |
//!
//! Both are written, flushed and removed together, and read as of the same moment. The sum tells what a value is without a look at it, and whether both
//! parts are what was written.

use bytes::Bytes;

use super::super::{FRONT_BYTES, SEQUENCE_BYTES, VERSIONS};
use crate::limits::ENGINE_APART_BYTES_MIN;

/// The family's name.
pub(super) const FAMILY: &str = "apart";

/// Begins what stands in place of a value; also of one that begins so itself.
const MARK: u8 = 0xfe;
/// The same without a sum.
const MARK_WITHOUT_SUM: u8 = 0xff;
const NUMBER_BYTES: usize = size_of::<u32>();
/// Bytes before the front.
pub(super) const PLACE_BYTES: usize = 1 + 2 * NUMBER_BYTES;

/// Why a value is not whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// Its rest is not there, or has another length.
    #[error("the rest of a long value is missing")]
    Rest,
    /// Together they are not what was written.
    #[error("a long value is not what was written")]
    Value,
}

/// What a value is stored as.
pub(super) enum Stored<'a> {
    /// As it is.
    Whole(&'a [u8]),
    /// In two parts.
    Split {
        /// With its key.
        place: Vec<u8>,
        /// Apart, unless there is none.
        rest: &'a [u8],
    },
}

impl<'a> Stored<'a> {
    pub(super) fn of(key: &[u8], value: &'a [u8]) -> Self {
        let long = value.len() >= ENGINE_APART_BYTES_MIN;
        let marked = matches!(value.first(), Some(&(MARK | MARK_WITHOUT_SUM)));
        if !is_version(key) || !(long || marked) {
            return Self::Whole(value);
        }
        let (front, rest) = value.split_at(if long { FRONT_BYTES } else { value.len() });
        let length = u32::try_from(rest.len()).expect("values are below 4 GiB").to_le_bytes();
        let sum = crc32c::crc32c(value).to_le_bytes();
        Self::Split { place: [&[MARK], &length[..], &sum[..], front].concat(), rest }
    }
}

/// What is found with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    /// The front of the value, or all of it.
    pub(super) front: &'a [u8],
    /// Bytes of the value that are apart.
    pub(super) rest_len: usize,
    /// CRC-32C of the value, if it was written down.
    pub(super) sum: Option<u32>,
}

impl<'a> Found<'a> {
    pub(super) fn of(key: &[u8], stored: &'a [u8]) -> Self {
        let whole = Self { front: stored, rest_len: 0, sum: None };
        let summed = match stored.first() {
            Some(&MARK) => true,
            Some(&MARK_WITHOUT_SUM) => false,
            Some(_) | None => return whole,
        };
        let Some((length, mut front)) = number(&stored[1..]).filter(|_| is_version(key)) else {
            return whole;
        };
        let mut sum = None;
        if summed {
            let Some((found, behind)) = number(front) else { return whole };
            (sum, front) = (Some(found), behind);
        }
        Self { front, rest_len: usize::try_from(length).expect("usize has 32 bits or more"), sum }
    }

    /// The value from a byte on that is in its front, given what is apart.
    pub(super) fn join(self, start: usize, rest: &[u8]) -> Result<Bytes, Lost> {
        if rest.len() != self.rest_len {
            return Err(Lost::Rest);
        }
        if self.sum.is_some_and(|sum| sum != crc32c::crc32c_append(crc32c::crc32c(self.front), rest)) {
            return Err(Lost::Value);
        }
        Ok(match rest.is_empty() {
            true => Bytes::copy_from_slice(&self.front[start..]),
            false => [&self.front[start..], rest].concat().into(),
        })
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, behind) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), behind))
}

fn is_version(key: &[u8]) -> bool {
    key.first() == Some(&VERSIONS) && key.len() > SEQUENCE_BYTES
}

/// Whether something of a value with at most so many bytes may be apart.
pub(super) fn may_be(key: &[u8], value_bytes_max: usize) -> bool {
    value_bytes_max >= ENGINE_APART_BYTES_MIN && is_version(key)
}

/// Where the rest of a version's value is.
pub(super) fn key_of(version: &[u8]) -> Vec<u8> {
    let (group, sequence) = version.split_at(version.len() - SEQUENCE_BYTES);
    let mut key = Vec::with_capacity(version.len());
    key.extend(sequence.iter().map(|byte| !byte));
    key.extend_from_slice(group);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(sequence: u64) -> Vec<u8> {
        [&[VERSIONS][..], b"name\0\x01", &(!sequence).to_be_bytes()].concat()
    }

    #[test]
    fn values_come_back_whole_whatever_they_begin_with() {
        let lengths = [0, 1, FRONT_BYTES, ENGINE_APART_BYTES_MIN - 1, ENGINE_APART_BYTES_MIN, 5000];
        let firsts = [1, MARK, MARK_WITHOUT_SUM];
        for (length, first) in lengths.into_iter().flat_map(|length| firsts.map(|first| (length, first))) {
            let mut value = vec![7; length];
            value.iter_mut().take(1).for_each(|byte| *byte = first);
            let key = version(9);
            let (with_key, apart) = match Stored::of(&key, &value) {
                Stored::Whole(value) => (value.to_vec(), &b""[..]),
                Stored::Split { place, rest } => (place, rest),
            };
            assert_eq!(apart.is_empty(), length < ENGINE_APART_BYTES_MIN, "{length}");
            let found = Found::of(&key, &with_key);
            assert!(found.front.len() >= FRONT_BYTES.min(length));
            assert_eq!(found.front.len() + found.rest_len, length);
            assert_eq!(found.join(0, apart).unwrap(), value);
            let start = length.min(5);
            assert_eq!(found.join(start, apart).unwrap(), value[start..]);
            assert!(matches!(found.join(0, &[apart, b"x"].concat()), Err(Lost::Rest)));
            if let [before @ .., last] = apart {
                assert!(matches!(found.join(0, &[before, &[last ^ 1]].concat()), Err(Lost::Value)));
                assert_eq!(found.sum, Some(crc32c::crc32c(&value)));
            }
        }
    }

    #[test]
    fn a_place_without_a_sum_is_understood() {
        let (front, rest) = ([7; FRONT_BYTES], [7; 1000]);
        let place = [&[MARK_WITHOUT_SUM], &1000_u32.to_le_bytes()[..], &front].concat();
        let found = Found::of(&version(9), &place);
        assert_eq!(found, Found { front: &front, rest_len: 1000, sum: None });
        assert_eq!(found.join(0, &rest).unwrap(), [7; FRONT_BYTES + 1000].as_slice());
    }

    #[test]
    fn only_versions_are_split_and_their_rests_are_in_the_order_they_came() {
        let value = vec![7; 5000];
        assert!(matches!(Stored::of(b"r12345678", &value), Stored::Whole(_)));
        assert!(matches!(Stored::of(b"k\0\x01", &value), Stored::Whole(_)), "it has no sequence");
        assert_eq!(
            Found::of(b"r12345678", &[MARK; 40]),
            Found { front: &[MARK; 40], rest_len: 0, sum: None }
        );
        assert!(key_of(&version(2)) < key_of(&version(3)) && key_of(&version(3)) < key_of(&version(256)));
        assert!(may_be(&version(2), usize::MAX) && !may_be(&version(2), 40) && !may_be(b"m", usize::MAX));
    }
}
