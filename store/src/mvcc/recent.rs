//! What keys are now that were written lately, without their values.
//!
//! Every write needs the version it follows. To look that up in the engine takes a tenth of the CPU of a put, and most keys that
//! are written were written not long ago. Bounded by bytes, in two generations: what is used moves into the younger one; when
//! that is full it becomes the older one, and what was the older one is forgotten. So no order is kept.

use std::collections::HashMap;

use bytes::Bytes;
use store_client::{Change, ChangeKind, KeyValue, LeaseId, Revision};

use super::draft::Current;

/// What a key takes besides its own bytes: a slot of a map that is not full, and what surrounds an allocation.
const ENTRY_BYTES: usize = 112;

/// A key that exists.
#[derive(Clone, Copy, Debug)]
struct Head {
    create_revision: Revision,
    mod_revision: Revision,
    version: i64,
    lease: LeaseId,
    value_bytes: u32,
}

impl Head {
    fn of(kv: &KeyValue, value_bytes: u32) -> Self {
        let KeyValue { create_revision, mod_revision, version, lease, .. } = *kv;
        Self { create_revision, mod_revision, version, lease, value_bytes }
    }

    fn current(self, key: &Bytes) -> Current {
        let Self { create_revision, mod_revision, version, lease, value_bytes } = self;
        let key = key.clone();
        let kv = KeyValue { key, value: Bytes::new(), create_revision, mod_revision, version, lease };
        Current { kv, value_bytes }
    }
}

/// Keys with what they are; `None` for one that does not exist.
type Heads = HashMap<Box<[u8]>, Option<Head>>;

/// What is known of keys. It is what the engine holds: changes are learned when they are written.
#[derive(Debug)]
pub struct Recent {
    young: Heads,
    old: Heads,
    young_bytes: usize,
    generation_bytes_max: usize,
}

impl Recent {
    /// Knows nothing yet, and never more than fits.
    pub fn new(bytes_max: usize) -> Self {
        Self { young: Heads::new(), old: Heads::new(), young_bytes: 0, generation_bytes_max: bytes_max / 2 }
    }

    /// What a key is: nothing when that is not known, and nothing inside when there is no such key.
    pub fn get(&mut self, key: &Bytes) -> Option<Option<Current>> {
        let head = match self.young.get(&key[..]) {
            Some(head) => *head,
            None => {
                let (key, head) = self.old.remove_entry(&key[..])?;
                self.insert(key, head);
                head
            }
        };
        Some(head.map(|head| head.current(key)))
    }

    /// Notes what the engine says of a key.
    pub fn note(&mut self, key: &Bytes, now: Option<&Current>) {
        self.old.remove(&key[..]);
        self.insert(key[..].into(), now.map(|now| Head::of(&now.kv, now.value_bytes)));
    }

    fn insert(&mut self, key: Box<[u8]>, head: Option<Head>) {
        let bytes = key.len() + ENTRY_BYTES;
        if self.young_bytes + bytes > self.generation_bytes_max {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(key, head).is_none() {
            self.young_bytes += bytes;
        }
    }

    /// Learns of a change that the engine has now.
    pub fn learn(&mut self, change: &Change) {
        let key = &change.kv.key[..];
        let known = match self.young.get_mut(key) {
            Some(head) => Some(head),
            None => self.old.get_mut(key),
        };
        if let Some(head) = known {
            *head = match change.kind {
                ChangeKind::Put => Some(Head::of(&change.kv, Current::bytes_of(&change.kv.value))),
                ChangeKind::Delete => None,
            };
        }
    }

    /// Forgets everything: the state is another one.
    pub fn clear(&mut self) {
        *self = Self::new(2 * self.generation_bytes_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Bytes {
        Bytes::copy_from_slice(&number.to_be_bytes())
    }

    fn written(number: u32, revision: i64) -> Current {
        let revision = Revision(revision);
        let kv = KeyValue { key: key(number), mod_revision: revision, version: 1, ..KeyValue::default() };
        Current { kv, value_bytes: 3 }
    }

    fn change(kind: ChangeKind, now: Current) -> Change {
        let value = Bytes::from_static(b"abc");
        Change { kind, kv: KeyValue { value, ..now.kv }, prev_kv: None }
    }

    #[test]
    fn what_is_known_follows_what_is_written() {
        let mut recent = Recent::new(1 << 20);
        assert_eq!(recent.get(&key(1)), None);
        recent.note(&key(1), None);
        assert_eq!(recent.get(&key(1)), Some(None));
        recent.learn(&change(ChangeKind::Put, written(1, 7)));
        assert_eq!(recent.get(&key(1)), Some(Some(written(1, 7))));
        recent.learn(&change(ChangeKind::Delete, written(1, 8)));
        assert_eq!(recent.get(&key(1)), Some(None));
        recent.learn(&change(ChangeKind::Put, written(2, 9)));
        assert_eq!(recent.get(&key(2)), None, "it says nothing of keys that nobody looked at");
        recent.clear();
        assert_eq!(recent.get(&key(1)), None);
    }

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let entry = ENTRY_BYTES + key(0).len();
        let mut recent = Recent::new(20 * entry);
        recent.note(&key(0), Some(&written(0, 1)));
        for number in 1..1000 {
            recent.note(&key(number), None);
            // A change of an old one is not lost when it moves.
            let now = written(0, i64::from(number));
            recent.learn(&change(ChangeKind::Put, now.clone()));
            assert_eq!(recent.get(&key(0)), Some(Some(now)), "{number}");
            assert!(recent.young.len() + recent.old.len() <= 20);
        }
        assert_eq!(recent.get(&key(1)), None);
        assert_eq!(recent.get(&key(999)), Some(None));
    }
}
