//! What is known of the log without asking the disk: its ends, the vote, and the newest entries.

use std::collections::VecDeque;

use crate::entry::Entry;
use crate::record::{LogId, Vote};

/// The part of the log that is in memory. The newest entries, always contiguous up to `last`.
#[derive(Default)]
pub(super) struct Memory {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
    /// Entries below this index are on disk, so they may leave the memory.
    written: u64,
    /// Index of the very first entry: zero, but for tests that begin elsewhere.
    origin: u64,
    /// How often the log was cut at its end: readers that straddle a cut start over.
    pub(super) cuts: u64,
    pub(super) last: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
}

impl Memory {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// The first index the log may hold.
    pub(super) fn first_index(&self) -> u64 {
        self.purged.map_or(self.origin, |id| id.index + 1)
    }

    /// The index after the last entry.
    pub(super) fn next_index(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }

    /// The first index in memory; [`next_index`](Self::next_index) when there is none.
    pub(super) fn cached_from(&self) -> u64 {
        self.entries.front().map_or_else(|| self.next_index(), |entry| entry.id.index)
    }

    /// Whether an entry at `index` would continue the log.
    pub(super) fn continues_with(&self, index: u64) -> bool {
        match self.last.or(self.purged) {
            Some(last) => index == last.index + 1,
            None => true,
        }
    }

    /// Adds the next entry.
    pub(super) fn push(&mut self, entry: Entry) {
        debug_assert!(self.continues_with(entry.id.index), "the log has no holes (S6)");
        if self.last.or(self.purged).is_none() {
            self.origin = entry.id.index;
        }
        self.last = Some(entry.id);
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
    }

    /// Notes what is on disk, and lets go of what exceeds the bound.
    pub(super) fn written_below(&mut self, next: u64) {
        self.written = next.min(self.next_index());
        self.evict();
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max {
            match self.entries.front() {
                Some(entry) if entry.id.index < self.written => self.pop_front(),
                _ => break,
            }
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.bytes();
        }
    }

    /// Cuts the log after `last`. Returns false when there is nothing to cut.
    pub(super) fn truncate(&mut self, last: Option<LogId>) -> bool {
        let next = last.map_or(0, |id| id.index + 1);
        if next >= self.next_index() {
            return false;
        }
        self.cuts += 1;
        while let Some(entry) = self.entries.pop_back_if(|entry| entry.id.index >= next) {
            self.bytes -= entry.bytes();
        }
        self.last = last;
        self.written = self.written.min(next);
        true
    }

    /// Forgets everything up to `upto`. A log that ends before it continues after it.
    pub(super) fn purge(&mut self, upto: LogId) {
        while self.entries.front().is_some_and(|entry| entry.id.index <= upto.index) {
            self.pop_front();
        }
        self.purged = self.purged.max(Some(upto));
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.last = Some(upto);
        }
    }

    /// Entries from `from` to before `to`, all in memory, up to `bytes_max` but at least one.
    pub(super) fn read(&self, from: u64, to: u64, bytes_max: usize, out: &mut Vec<Entry>) {
        let Some(start) = from.checked_sub(self.cached_from()) else { return };
        let mut bytes: usize = out.iter().map(Entry::bytes).sum();
        for entry in self.entries.iter().skip(start as usize).take(to.saturating_sub(from) as usize) {
            bytes += entry.bytes();
            if bytes > bytes_max && !out.is_empty() {
                return;
            }
            out.push(entry.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Payload;
    use bytes::Bytes;

    fn log(bytes_max: usize, indexes: std::ops::Range<u64>) -> Memory {
        let mut memory = Memory::new(bytes_max);
        for index in indexes {
            let payload = Payload::Command(Bytes::from(vec![0; 100]));
            memory.push(Entry { id: LogId { term: 1, index }, payload });
        }
        memory
    }

    fn read(memory: &Memory, from: u64, to: u64, bytes_max: usize) -> Vec<u64> {
        let mut out = Vec::new();
        memory.read(from, to, bytes_max, &mut out);
        out.iter().map(|entry| entry.id.index).collect()
    }

    #[test]
    fn only_what_is_on_disk_leaves_the_memory() {
        let mut memory = log(0, 0..5);
        assert_eq!(memory.cached_from(), 0);
        memory.written_below(3);
        assert_eq!(memory.cached_from(), 3);
        memory.written_below(5);
        assert_eq!(memory.cached_from(), 5);
        assert_eq!(memory.next_index(), 5);
    }

    #[test]
    fn a_read_returns_at_least_one_entry_and_stays_within_its_bytes() {
        let memory = log(1 << 20, 0..5);
        assert_eq!(read(&memory, 1, 4, 1 << 20), [1, 2, 3]);
        assert_eq!(read(&memory, 1, 4, 1), [1]);
        assert_eq!(read(&memory, 1, 4, 400), [1, 2]);
        assert!(read(&memory, 9, 12, 400).is_empty());
    }

    #[test]
    fn truncation_and_purge_keep_the_ends_right() {
        let mut memory = log(1 << 20, 0..5);
        assert!(!memory.truncate(Some(LogId { term: 1, index: 4 })));
        assert!(memory.truncate(Some(LogId { term: 1, index: 2 })));
        assert_eq!((memory.next_index(), memory.cuts), (3, 1));
        memory.purge(LogId { term: 1, index: 1 });
        assert_eq!((memory.first_index(), memory.cached_from()), (2, 2));
        memory.purge(LogId { term: 4, index: 9 });
        assert_eq!((memory.first_index(), memory.next_index()), (10, 10));
        assert!(memory.continues_with(10));
        assert!(!memory.continues_with(11));
    }
}
