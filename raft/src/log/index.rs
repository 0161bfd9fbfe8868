//! Where entries stand on disk, sparsely: every so many entries the place of one, from which a reader goes on.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::disk::File;

/// Entries between two anchors. A reader passes at most so many it does not want; an anchor takes 24 bytes.
const ENTRIES_PER_ANCHOR: u64 = 64;

/// The place of an entry. Those after it follow in the same segment, up to the next anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) index: u64,
    pub(super) number: u64,
    pub(super) offset: u64,
}

/// A segment that still counts.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) file: Arc<dyn File>,
}

/// A run of entries as they stand on disk.
pub(super) struct Run {
    pub(super) anchor: Anchor,
    pub(super) file: Arc<dyn File>,
    /// The index the run does not reach.
    pub(super) end: u64,
}

/// The segments, and where in them entries are.
#[derive(Default)]
pub(super) struct Index {
    segments: VecDeque<Segment>,
    anchors: VecDeque<Anchor>,
    /// The next entry does not stand behind the one before it.
    apart: bool,
}

impl Index {
    /// Adds the newest segment.
    pub(super) fn add(&mut self, segment: Segment) {
        self.segments.push_back(segment);
        self.apart = true;
    }

    /// Notes where the next entry stands, in the newest segment.
    pub(super) fn note(&mut self, index: u64, offset: u64) {
        let near = self.anchors.back().is_some_and(|anchor| index < anchor.index + ENTRIES_PER_ANCHOR);
        let Some(segment) = self.segments.back() else { return };
        if self.apart || !near {
            self.anchors.push_back(Anchor { index, number: segment.number, offset });
            self.apart = false;
        }
    }

    /// Forgets the entries from `next` on.
    pub(super) fn truncate(&mut self, next: u64) {
        while self.anchors.pop_back_if(|anchor| anchor.index >= next).is_some() {}
        self.apart = true;
    }

    /// Forgets the entries before `first`; `next` is the one after the last.
    pub(super) fn purge(&mut self, first: u64, next: u64) {
        if first >= next {
            self.anchors.clear();
            self.apart = true;
        }
        while self.anchors.get(1).is_some_and(|second| second.index <= first) {
            self.anchors.pop_front();
        }
    }

    /// Takes the oldest segment if no entry from `first` to before `next` is in it. Never takes the newest.
    pub(super) fn take_obsolete(&mut self, first: u64, next: u64) -> Option<Segment> {
        let needed = match self.anchors.front() {
            Some(anchor) if first < next => anchor.number,
            Some(_) | None => self.segments.back()?.number,
        };
        self.segments.pop_front_if(|segment| segment.number < needed)
    }

    /// The first entry in the newest `segments`; `None` when there are no older ones.
    pub(super) fn first_of_newest(&self, segments: usize) -> Option<u64> {
        let oldest = self.segments.len().checked_sub(segments).filter(|older| *older > 0)?;
        let number = self.segments.get(oldest)?.number;
        let at = self.anchors.partition_point(|anchor| anchor.number < number);
        self.anchors.get(at).map(|anchor| anchor.index)
    }

    /// The run that holds an entry.
    pub(super) fn find(&self, index: u64) -> Option<Run> {
        let after = self.anchors.partition_point(|anchor| anchor.index <= index);
        let anchor = *self.anchors.get(after.checked_sub(1)?)?;
        let file = Arc::clone(&self.segments.iter().find(|segment| segment.number == anchor.number)?.file);
        let end = self.anchors.get(after).map_or(u64::MAX, |next| next.index);
        Some(Run { anchor, file, end })
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::{Disk, SimDisk};

    fn index(segments: u64) -> Index {
        let disk = SimDisk::default();
        disk.create_dir(Path::new("/")).unwrap();
        let mut index = Index::default();
        for number in 1..=segments {
            index.add(Segment { number, file: disk.create(Path::new("/f")).unwrap() });
            for entry in 0..100 {
                let entry = (number - 1) * 100 + entry;
                index.note(entry, entry * 10);
            }
        }
        index
    }

    fn place(index: &Index, entry: u64) -> Option<(u64, u64, u64)> {
        index.find(entry).map(|run| (run.anchor.index, run.anchor.number, run.end))
    }

    #[test]
    fn an_entry_is_found_from_the_anchor_before_it() {
        let index = index(3);
        assert_eq!(place(&index, 0), Some((0, 1, 64)));
        assert_eq!(place(&index, 99), Some((64, 1, 100)));
        assert_eq!(place(&index, 100), Some((100, 2, 164)));
        assert_eq!(place(&index, 299), Some((264, 3, u64::MAX)));
        assert_eq!(place(&Index::default(), 0), None);
    }

    #[test]
    fn after_a_truncation_entries_stand_elsewhere() {
        let mut index = index(1);
        index.truncate(70);
        index.note(70, 9999);
        assert_eq!(place(&index, 69), Some((64, 1, 70)));
        assert_eq!(index.find(71).unwrap().anchor.offset, 9999);
    }

    #[test]
    fn the_newest_segments_begin_with_an_entry() {
        let mut index = index(3);
        assert_eq!(index.first_of_newest(1), Some(200));
        assert_eq!(index.first_of_newest(2), Some(100));
        assert_eq!(index.first_of_newest(3), None, "there are no older ones");
        assert_eq!(index.first_of_newest(4), None);
        index.purge(200, 300);
        assert_eq!(index.first_of_newest(2), Some(200), "nothing that counts is in the second");
        assert_eq!(Index::default().first_of_newest(1), None);
    }

    #[test]
    fn segments_without_an_entry_that_counts_are_given_up() {
        let mut index = index(3);
        index.purge(120, 300);
        assert_eq!(place(&index, 120), Some((100, 2, 164)));
        assert_eq!(index.take_obsolete(120, 300).map(|segment| segment.number), Some(1));
        assert!(index.take_obsolete(120, 300).is_none());
        index.purge(300, 300);
        assert_eq!(index.take_obsolete(300, 300).map(|segment| segment.number), Some(2));
        assert!(index.take_obsolete(300, 300).is_none(), "the newest stays");
        assert_eq!(index.segments(), 1);
    }
}
