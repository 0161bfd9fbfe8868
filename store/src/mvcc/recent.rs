//! What keys are now that were written lately, without their values.
//!
//! Every write needs the version it follows. To look that up in the engine takes a tenth of the CPU of a put, and several times as much as
//! the rest of it where tables on the disk hold versions of the key; most keys that are written were written not long ago.
//! Bounded by bytes, in two generations: what is used moves into the younger one; when
//! that is full it becomes the older one, and what was the older one is forgotten. So no order is kept.
//!
//! What is known of a key is one allocation, so that many fit:
//!
//! | bytes | |
//! |---|---|
//! | u8 | bytes of the head, 0 for a key that does not exist |
//! | head: varints | revision, revision minus create revision, version, lease, bytes of the value |
//! | rest | key |

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use hashbrown::HashTable;
use store_client::{Change, ChangeKind, KeyValue, LeaseId, Revision};

use super::draft::{Current, bytes_of};
use super::layout::{put_varint, take_varint};

/// What a key takes besides its allocation: a slot of a map that is not full, and what surrounds the allocation.
const ENTRY_BYTES: usize = 36;
/// Bytes of a head, at most.
const HEAD_BYTES_MAX: usize = 5 * 10;

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

    fn encode(self, mut out: &mut [u8]) -> usize {
        let room = out.len();
        let Self { create_revision, mod_revision, version, lease, value_bytes } = self;
        let age = mod_revision.0 - create_revision.0;
        let fields = [mod_revision.0, age, version, lease.0, value_bytes.into()];
        fields.into_iter().for_each(|field| put_varint(field.cast_unsigned(), &mut out));
        room - out.len()
    }

    fn decode(mut bytes: &[u8]) -> Self {
        let mut field = || take_varint(&mut bytes).expect("it was encoded here").cast_signed();
        let (mod_revision, age, version) = (field(), field(), field());
        let (lease, value_bytes) = (field(), field());
        Self {
            create_revision: Revision(mod_revision - age),
            mod_revision: Revision(mod_revision),
            version,
            lease: LeaseId(lease),
            value_bytes: u32::try_from(value_bytes).expect("it was one"),
        }
    }
}

/// A key with what it is.
#[derive(Debug)]
struct Known(Box<[u8]>);

impl Known {
    fn new(key: &[u8], head: Option<Head>) -> Self {
        let (room, length) = Self::front(head);
        Self([&room[..length], key].concat().into())
    }

    /// What is before the key, and how many bytes that is.
    fn front(head: Option<Head>) -> ([u8; 1 + HEAD_BYTES_MAX], usize) {
        let mut room = [0; 1 + HEAD_BYTES_MAX];
        let length = head.map_or(0, |head| head.encode(&mut room[1..]));
        room[0] = u8::try_from(length).expect("HEAD_BYTES_MAX is less");
        (room, 1 + length)
    }

    fn set(&mut self, head: Option<Head>) {
        let (room, length) = Self::front(head);
        match self.0[0] == room[0] {
            true => self.0[..length].copy_from_slice(&room[..length]),
            false => *self = Self::new(self.key(), head),
        }
    }

    fn head(&self) -> Option<Head> {
        let head = &self.0[1..=usize::from(self.0[0])];
        (!head.is_empty()).then(|| Head::decode(head))
    }

    fn key(&self) -> &[u8] {
        &self.0[1 + usize::from(self.0[0])..]
    }

    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.0.len()
    }
}

/// What is known of keys. It is what the engine holds: changes are learned when they are written.
#[derive(Debug)]
pub struct Recent {
    young: HashTable<Known>,
    old: HashTable<Known>,
    young_bytes: usize,
    generation_bytes_max: usize,
    /// Clients choose the keys, so they must not know how they are hashed.
    hashes: RandomState,
}

impl Recent {
    /// Knows nothing yet, and never more than fits.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            young: HashTable::new(),
            old: HashTable::new(),
            young_bytes: 0,
            generation_bytes_max: bytes_max / 2,
            hashes: RandomState::new(),
        }
    }

    /// What a key is: nothing when that is not known, and nothing inside when there is no such key.
    pub fn get(&mut self, key: &Bytes) -> Option<Option<Current>> {
        let hash = self.hashes.hash_one(&key[..]);
        let head = match self.young.find(hash, |known| known.key() == key) {
            Some(known) => known.head(),
            None => {
                let (known, _) = self.old.find_entry(hash, |known| known.key() == key).ok()?.remove();
                let head = known.head();
                self.insert(hash, known);
                head
            }
        };
        Some(head.map(|head| head.current(key)))
    }

    /// Notes what the engine says of a key, of which something may be known.
    pub fn note(&mut self, key: &Bytes, now: Option<&Current>) {
        let head = now.map(|now| Head::of(&now.kv, now.value_bytes));
        let hash = self.hashes.hash_one(&key[..]);
        if self.set_young(hash, key, head) {
            return;
        }
        if let Ok(stale) = self.old.find_entry(hash, |stale| stale.key() == key) {
            stale.remove();
        }
        self.insert(hash, Known::new(key, head));
    }

    /// Says what a key is now, if it is in the younger generation; returns whether it is.
    fn set_young(&mut self, hash: u64, key: &[u8], head: Option<Head>) -> bool {
        let Some(known) = self.young.find_mut(hash, |known| known.key() == key) else { return false };
        self.young_bytes -= known.bytes();
        known.set(head);
        self.young_bytes += known.bytes();
        true
    }

    /// Of a key that is in neither generation.
    fn insert(&mut self, hash: u64, known: Known) {
        if self.young_bytes + known.bytes() > self.generation_bytes_max {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += known.bytes();
        self.young.insert_unique(hash, known, |known| self.hashes.hash_one(known.key()));
    }

    /// Learns of a change that the engine has now.
    pub fn learn(&mut self, change: &Change) {
        let key = &change.kv.key[..];
        let hash = self.hashes.hash_one(key);
        let head = match change.kind {
            ChangeKind::Put => Some(Head::of(&change.kv, bytes_of(change.kv.value.len()))),
            ChangeKind::Delete => None,
        };
        if self.set_young(hash, key, head) {
            return;
        }
        if let Some(known) = self.old.find_mut(hash, |known| known.key() == key) {
            known.set(head);
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
        let attached = Current { kv: KeyValue { lease: LeaseId(-7), ..written(1, 10).kv }, value_bytes: 3 };
        for known in [&attached, &written(1, i64::MAX)] {
            recent.note(&key(1), Some(known));
            assert_eq!(recent.get(&key(1)).as_ref(), Some(&Some(known.clone())));
        }
        recent.learn(&change(ChangeKind::Delete, written(1, 11)));
        assert_eq!(recent.get(&key(1)), Some(None), "what was noted twice is known once");
        recent.clear();
        assert_eq!(recent.get(&key(1)), None);
    }

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let entry = Known::new(&key(0), None).bytes();
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
