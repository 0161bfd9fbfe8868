//! Which keys a watcher watches, in as little memory as that takes.

use bytes::Bytes;
use store_client::KeyRange;

/// A range of keys in memory of its own: what came is part of a message, and would keep all of it. There may be a hundred thousand.
#[derive(Debug)]
pub(super) struct Keys {
    /// The first key, and after it the first one behind the range, if there is one.
    bytes: Box<[u8]>,
    /// How many of them are the first key.
    start: u32,
    shape: Shape,
}

/// How a range is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Key,
    /// All keys that begin so.
    Prefix,
    Interval,
    From,
}

impl Keys {
    pub fn new(keys: &KeyRange) -> Self {
        let (start, end, shape) = match keys {
            KeyRange::Key(key) => (key, &[][..], Shape::Key),
            KeyRange::From(start) if start.is_empty() => (start, &[][..], Shape::Prefix),
            KeyRange::From(start) => (start, &[][..], Shape::From),
            KeyRange::Interval { start, .. } if *keys == KeyRange::prefix(start.clone()) => {
                (start, &[][..], Shape::Prefix)
            }
            KeyRange::Interval { start, end } => (start, &end[..], Shape::Interval),
        };
        let (start, bytes) = (start.len(), [start, end].concat());
        let start = u32::try_from(start).expect("no request is so large");
        Self { bytes: bytes.into(), start, shape }
    }

    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The first key.
    pub fn start(&self) -> &[u8] {
        &self.bytes[..self.start as usize]
    }

    fn end(&self) -> &[u8] {
        &self.bytes[self.start as usize..]
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        match self.shape {
            Shape::Key => key == self.start(),
            Shape::Prefix => key.starts_with(self.start()),
            Shape::Interval => self.start() <= key && key < self.end(),
            Shape::From => self.start() <= key,
        }
    }

    /// The same for those who read them.
    pub fn range(&self) -> KeyRange {
        let start = Bytes::copy_from_slice(self.start());
        match self.shape {
            Shape::Key => KeyRange::Key(start),
            Shape::Prefix if start.is_empty() => KeyRange::From(start),
            Shape::Prefix => KeyRange::prefix(start),
            Shape::Interval => KeyRange::Interval { start, end: Bytes::copy_from_slice(self.end()) },
            Shape::From => KeyRange::From(start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_the_same_keys_and_is_read_back() {
        let ranges = [
            KeyRange::Key("a/b".into()),
            KeyRange::Key("".into()),
            KeyRange::prefix("a/"),
            KeyRange::prefix(vec![0xff]),
            KeyRange::prefix(vec![b'a', 0xff]),
            KeyRange::From("".into()),
            KeyRange::From("b".into()),
            KeyRange::Interval { start: "a/a".into(), end: "a/c".into() },
            KeyRange::Interval { start: "".into(), end: "b".into() },
        ];
        let of_bytes: [&[u8]; 9] =
            [b"", b"a", b"a/", b"a/b", b"a/bc", b"a\xff", b"a\xffb", b"b", b"\xff\xff"];
        for range in ranges {
            let keys = Keys::new(&range);
            assert_eq!(keys.range(), range);
            for key in of_bytes {
                assert_eq!(keys.contains(key), range.contains(key), "{key:?} in {range:?}");
            }
        }
    }

    #[test]
    fn keys_do_not_hold_on_to_the_message_they_came_in() {
        let message = Bytes::from(vec![b'k'; 1 << 20]);
        let keys = Keys::new(&KeyRange::Key(message.slice(..3)));
        assert!(message.is_unique() && keys.start() == &message[..3]);
    }
}
