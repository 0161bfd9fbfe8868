//! Our log as openraft's log storage.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use openraft::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{OptionalSend, RaftTypeConfig};

use super::{Types, convert};
use crate::error::Error;
use crate::fuse::Fuse;
use crate::limits;
use crate::log::Log;

/// The log as openraft uses it. Any failure blows the fuse: openraft stops, and so does the member.
#[derive(Clone)]
pub(crate) struct LogStore {
    log: Log,
    fuse: Fuse,
}

impl LogStore {
    pub(crate) fn new(log: Log, fuse: Fuse) -> Self {
        Self { log, fuse }
    }

    fn damaged(&self, detail: String) -> io::Error {
        let error = Error::damaged("reading the log", detail);
        self.fuse.blow(&error);
        io::Error::other(error)
    }

    async fn entries(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<EntryOf<Types>>> {
        let entries = self.log.read(from, to, bytes_max).await.map_err(io::Error::other)?;
        let entries = entries.into_iter().map(convert::entry).collect::<Result<_, _>>();
        entries.map_err(|detail| self.damaged(detail))
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<EntryOf<Types>>> {
        let (from, to) = half_open(&range);
        self.entries(from, to, limits::READ_UNBOUNDED).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Types>>> {
        Ok(self.log.vote().map(convert::vote))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<EntryOf<Types>>> {
        self.entries(start, end, limits::APPEND_BYTES_MAX).await
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let ends = self.log.ends();
        Ok(LogState {
            last_purged_log_id: convert::log_id_option(ends.purged),
            last_log_id: convert::log_id_option(ends.last),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> io::Result<()> {
        self.log.save_vote(convert::vote_record(vote)).await.map_err(io::Error::other)
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<Types>>) -> io::Result<()> {
        self.log.save_committed(convert::log_id_option_record(&committed));
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogIdOf<Types>>> {
        Ok(convert::log_id_option(self.log.committed()))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = <Types as RaftTypeConfig>::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(convert::entry_back).collect();
        let done = Box::new(move |result: Result<(), Error>| {
            callback.io_completed(result.map_err(io::Error::other))
        });
        self.log.append(entries, done).await.map_err(io::Error::other)
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> io::Result<()> {
        self.log.truncate(convert::log_id_option_record(&last)).await.map_err(io::Error::other)
    }

    async fn purge(&mut self, upto: LogIdOf<Types>) -> io::Result<()> {
        self.log.purge(convert::log_id_record(&upto));
        Ok(())
    }
}
