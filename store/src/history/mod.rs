//! The store as it was: at a revision or at a time, what differs between two moments, and taking back deletions.
//!
//! Every version stays readable until compaction makes it history that is gone, and the leader compacts what is older
//! than the window. Which revision was the newest at a time is replicated too (see [`times`](crate::mvcc::times)), so any member can answer
//! for any moment of the window, whoever led then and whatever was restarted since.
//!
//! The resolution of time is one note: the leader takes one each second while there are writes (less often with a very
//! long window), so "at a time" is a state the store had at that time or up to a second before. A clock that jumps ahead
//! by more than the window makes history be forgotten early; nothing else depends on clocks.

pub mod clock;
pub mod ctl;
mod error;
pub mod time;
mod undelete;

use std::ops::ControlFlow;
use std::sync::Arc;

use store_client::{Error as Refusal, KeyRange, Kv, Range, RangeResult, Revision, validate};
use tokio::sync::mpsc;

use crate::Handle;
use crate::auth::check::Access;
use crate::limits::{DIFF_BYTES_PER_PIECE, DIFF_PIECES_IN_FLIGHT, DIFFS_MAX};
use crate::mvcc::diff::Difference;
use crate::mvcc::draft::Failure;
use crate::mvcc::times::Noted;
pub use clock::Clock;
pub use error::Error;
pub use time::Moment;
pub use undelete::{Undelete, Undeleted};

/// What differs between two revisions, as it is found.
#[derive(Debug)]
pub struct Diff {
    /// The revision on the one side.
    pub from: Revision,
    /// The revision on the other.
    pub to: Revision,
    /// Differences in key order; ends after an error.
    pub pieces: mpsc::Receiver<Result<Vec<Difference>, Refusal>>,
}

impl Handle {
    /// The newest revision at a time, in milliseconds since 1970 UTC, and when it was noted.
    pub async fn revision_at(&self, unix_ms: u64) -> Result<Noted, Error> {
        self.confirm().await?;
        let now = self.unix_ms();
        if unix_ms >= now {
            return Ok(Noted { unix_ms: now, revision: self.revision().0 });
        }
        let machine = self.machine().clone();
        let found = self.blocking(move || Ok(machine.noted_at(unix_ms)?)).await?;
        found.map_err(|oldest| Error::Before { asked_unix_ms: unix_ms, oldest })
    }

    /// The revision of a moment. Whether it is readable is found out by reading.
    pub async fn resolve(&self, moment: Moment) -> Result<Revision, Error> {
        match moment {
            Moment::Revision(0) => Ok(self.read_revision().await?),
            Moment::Revision(revision) => Ok(Revision(revision)),
            Moment::UnixMs(time) => Ok(Revision(self.revision_at(time).await?.revision)),
        }
    }

    /// Reads a range as it was at a moment.
    pub async fn range_at(&self, range: Range, moment: Moment) -> Result<RangeResult, Error> {
        let revision = self.resolve(moment).await?;
        Ok(self.range(Range { revision, ..range }).await?)
    }

    /// Compares a range at two moments. The differences are found as they are read; dropping them ends the work.
    pub async fn diff(&self, keys: KeyRange, from: Moment, to: Moment) -> Result<Diff, Error> {
        validate::keys(&keys)?;
        let (from, to) = (self.resolve(from).await?, self.resolve(to).await?);
        self.confirm().await?;
        let permit = self
            .permit_diff()
            .ok_or_else(|| Refusal::Unavailable(format!("{DIFFS_MAX} comparisons are under way already")))?;
        let machine = self.machine().clone();
        self.check_keys(&keys, Access::Read).await?;
        // Refuses before the first piece, so that the caller sees it at once.
        machine.check_readable(from)?;
        machine.check_readable(to)?;
        let (sender, pieces) = mpsc::channel(DIFF_PIECES_IN_FLIGHT);
        let member = self.clone();
        tokio::task::spawn_blocking(move || {
            let _while_it_lasts = permit;
            let mut gather =
                Gather { member: &member, keys: &keys, sender: &sender, piece: Vec::new(), bytes: 0 };
            let result = machine.diff(&keys, from, to, &mut |difference| gather.push(difference));
            let result = result.map_err(|failure| match failure {
                Failure::Refused(refusal) => refusal,
                Failure::Broken(error) => member.broken(error),
            });
            match result {
                Ok(()) => drop(gather.flush()),
                // Whoever reads learns it; if nobody does, nobody needs to.
                Err(error) => drop(sender.blocking_send(Err(error))),
            }
        });
        Ok(Diff { from, to, pieces })
    }
}

/// Differences on their way out, in pieces of bounded size.
struct Gather<'a> {
    member: &'a Handle,
    keys: &'a KeyRange,
    sender: &'a mpsc::Sender<Result<Vec<Difference>, Refusal>>,
    piece: Vec<Difference>,
    bytes: usize,
}

impl Gather<'_> {
    fn push(&mut self, difference: Difference) -> ControlFlow<()> {
        let sides = [&difference.before, &difference.after];
        self.bytes += sides.into_iter().flatten().map(|kv| kv.key.len() + kv.value.len() + 64).sum::<usize>();
        self.piece.push(difference);
        if self.bytes < DIFF_BYTES_PER_PIECE { ControlFlow::Continue(()) } else { self.flush() }
    }

    fn flush(&mut self) -> ControlFlow<()> {
        self.bytes = 0;
        let piece = std::mem::take(&mut self.piece);
        // What was read is shown only if the caller may still read it now that it was.
        if let Err(denied) = self.member.check_keys_now(self.keys, Access::Read) {
            // If nobody reads any more, nobody needs to know.
            drop(self.sender.blocking_send(Err(denied)));
            return ControlFlow::Break(());
        }
        if piece.is_empty() || self.sender.blocking_send(Ok(piece)).is_ok() {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(())
    }
}

/// What is shared by all comparisons of a member.
pub(crate) fn permits() -> Arc<tokio::sync::Semaphore> {
    Arc::new(tokio::sync::Semaphore::new(DIFFS_MAX))
}
