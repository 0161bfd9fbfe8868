//! One watch, from its start revision on.

use std::collections::VecDeque;
use std::sync::Arc;

use store_client::{Change, Error as Refusal, KeyRange, Revision, Watch, WatchMessage};

use super::{Bells, Past, Popped, Watcher};
use crate::mvcc::draft::Revised;
use crate::mvcc::history::Piece;

/// A watch under way. Dropping it ends it.
pub struct Subscription {
    past: Arc<dyn Past>,
    watcher: Arc<Watcher>,
    phase: Phase,
    /// Everything up to this revision has been delivered.
    delivered: i64,
}

/// What a look into the queue came to.
enum Live {
    Deliver(Delivery),
    /// Look again.
    Again,
    Quiet,
}

#[derive(Debug)]
enum Phase {
    /// Nothing was said yet; history ends at this revision.
    New { registered: i64 },
    /// Reading history; boxed, because most never do.
    History(Box<Reading>),
    /// Waiting for the queue.
    Live,
    /// An error was delivered.
    Ended,
}

#[derive(Debug)]
struct Reading {
    /// Read and not yet delivered.
    ready: VecDeque<Arc<Revised>>,
    /// The first revision that was not read.
    next: i64,
    end: i64,
}

impl Phase {
    fn history(next: i64, end: i64) -> Self {
        Self::History(Box::new(Reading { ready: VecDeque::new(), next, end }))
    }
}

/// Asks a subscription how far it is.
pub struct Asker(Arc<Watcher>);

impl Asker {
    /// Asks for one [`Delivery::Progress`] as soon as everything published by now has been delivered.
    pub fn ask(&self) {
        self.0.ask();
    }

    /// Which keys it watches.
    pub fn keys(&self) -> KeyRange {
        self.0.keys.range()
    }

    /// Whether it is this subscription that it asks.
    pub fn asks(&self, subscription: &Subscription) -> bool {
        Arc::ptr_eq(&self.0, &subscription.watcher)
    }
}

/// What a subscription comes to without waiting.
#[derive(Debug)]
pub enum Step {
    /// This is to be delivered.
    Deliver(Delivery),
    /// History is to be read, by [`Subscription::read`].
    Behind,
    /// Nothing, until its bell rings.
    Quiet,
    /// Nothing any more.
    Ended,
}

/// What a subscription delivers.
#[derive(Debug)]
pub enum Delivery {
    /// The watch stands.
    Created(Revision),
    /// One revision; only the changes whose key is in the range and that the watch asked for concern it.
    Revised(Arc<Revised>),
    /// Everything up to this revision has been delivered.
    Progress(Revision),
}

impl Subscription {
    /// Registers a watch.
    pub fn new(past: Arc<dyn Past>, watch: &Watch) -> Result<Self, Refusal> {
        let (watcher, registered) = past.hub().register(watch)?;
        let (start, phase) = (watcher.start, Phase::New { registered });
        let subscription = Self { past, watcher, phase, delivered: start - 1 };
        if start < subscription.past.compacted() {
            return Err(subscription.compacted());
        }
        Ok(subscription)
    }

    /// Which keys it watches.
    pub fn keys(&self) -> KeyRange {
        self.watcher.keys.range()
    }

    /// Whether a change is one this watch asked for.
    pub fn concerns(&self, change: &Change) -> bool {
        self.watcher.keys.contains(&change.kv.key)
    }

    /// A way to ask for progress while somebody waits for the next delivery.
    pub fn asker(&self) -> Asker {
        Asker(self.watcher.clone())
    }

    /// Rings a bell for all that comes, in place of waking who waits in [`next`](Self::next). What came before has not rung.
    pub fn ring(&self, bells: Arc<Bells>, name: i64) {
        self.watcher.set_bell(bells, name);
    }

    /// Whether changes come with the values before.
    pub fn wants_values_before(&self) -> bool {
        self.watcher.prev_kv
    }

    /// The next delivery; `None` after an error. May be cancelled: nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Delivery, Refusal>> {
        loop {
            match self.step() {
                Step::Deliver(delivery) => return Some(Ok(delivery)),
                Step::Behind => {
                    if let Err(refusal) = self.read().await {
                        return Some(Err(refusal));
                    }
                }
                Step::Quiet => match self.watcher.bell() {
                    Some(bells) => bells.rung().await,
                    // And another look: what came before now has not rung.
                    None => self.ring(Arc::default(), 0),
                },
                Step::Ended => return None,
            }
        }
    }

    /// What there is now. Never waits.
    pub fn step(&mut self) -> Step {
        loop {
            #[cfg(feature = "known-bugs")]
            if raft::bugs::is_on(raft::bugs::Bug::M8)
                && !matches!(self.phase, Phase::New { .. })
                && self.watcher.was_asked()
            {
                return Step::Deliver(Delivery::Progress(Revision(self.past.hub().published())));
            }
            match &mut self.phase {
                Phase::Ended => return Step::Ended,
                Phase::New { registered } => {
                    let registered = *registered;
                    self.phase = if self.watcher.start <= registered {
                        Phase::history(self.watcher.start, registered)
                    } else {
                        Phase::Live
                    };
                    return Step::Deliver(Delivery::Created(Revision(registered)));
                }
                Phase::History(reading) => {
                    if let Some(revised) = reading.ready.pop_front() {
                        return Step::Deliver(self.deliver(revised));
                    }
                    if reading.next <= reading.end {
                        return Step::Behind;
                    }
                    self.phase = Phase::Live;
                }
                Phase::Live => match self.live() {
                    Live::Deliver(delivery) => return Step::Deliver(delivery),
                    Live::Again => {}
                    Live::Quiet => return Step::Quiet,
                },
            }
        }
    }

    /// Reads a piece of history, if that is what comes next. After an error it has ended.
    pub async fn read(&mut self) -> Result<(), Refusal> {
        let Phase::History(reading) = &self.phase else { return Ok(()) };
        match self.piece(reading.next, reading.end).await {
            Ok(piece) => {
                if let Phase::History(reading) = &mut self.phase {
                    reading.ready.extend(piece.revised);
                    reading.next = piece.next;
                }
                Ok(())
            }
            Err(refusal) => {
                self.phase = Phase::Ended;
                Err(refusal)
            }
        }
    }

    async fn piece(&self, next: i64, end: i64) -> Result<Piece, Refusal> {
        let (past, keys) = (self.past.clone(), self.keys());
        let piece = self
            .past
            .work()
            .run(move || past.read(&keys, next, end))
            .await
            .map_err(|_| Refusal::Unavailable("shutting down".to_owned()))?
            .map_err(|error| Refusal::Internal(error.to_string()))?;
        // What was compacted while we read may be missing from what we read.
        if next < self.past.compacted() {
            return Err(self.compacted());
        }
        assert!(piece.next > next, "a piece of history moves on");
        Ok(piece)
    }

    /// Takes from the queue.
    fn live(&mut self) -> Live {
        // In this order: what is published after the look rings, and what was published by now is in the queue by now.
        self.watcher.look();
        let published = self.past.hub().published();
        match self.watcher.pop() {
            #[cfg(feature = "known-bugs")]
            Popped::Revised(revised) if raft::bugs::is_on(raft::bugs::Bug::M13) => {
                self.delivered = self.delivered.min(revised.revision.0 - 1);
                Live::Deliver(self.deliver(revised))
            }
            Popped::Revised(revised) if revised.revision.0 >= self.watcher.start => {
                Live::Deliver(self.deliver(revised))
            }
            Popped::Revised(_) => Live::Again,
            Popped::Lost(from) => {
                let end = self.past.hub().resume(&self.watcher);
                let next = from.max(self.watcher.start);
                #[cfg(feature = "known-bugs")]
                let next = match raft::bugs::is_on(raft::bugs::Bug::M9) {
                    true => {
                        let oldest = self.watcher.start.max(self.past.compacted());
                        self.delivered = oldest - 1;
                        oldest
                    }
                    false => next,
                };
                if next <= end {
                    self.phase = Phase::history(next, end);
                }
                Live::Again
            }
            Popped::Nothing => {
                // A watch that starts in the future is not told about what comes before.
                let started = published >= self.watcher.start - 1;
                let due = self.watcher.progress && published > self.delivered;
                if started && (due || self.watcher.was_asked()) {
                    // What was delivered may not be published yet, as others are still to be told of it.
                    self.delivered = self.delivered.max(published);
                    return Live::Deliver(Delivery::Progress(Revision(self.delivered)));
                }
                Live::Quiet
            }
        }
    }

    fn deliver(&mut self, revised: Arc<Revised>) -> Delivery {
        assert!(revised.revision.0 > self.delivered, "S3: every change once and in order");
        self.delivered = revised.revision.0;
        Delivery::Revised(revised)
    }

    fn compacted(&self) -> Refusal {
        Refusal::Compacted { oldest: Revision(self.past.compacted()) }
    }

    /// The changes of a revision that this watch asked for, without values before.
    pub fn select_now(&self, revised: &Revised) -> Vec<Change> {
        revised.changes.iter().filter(|change| self.concerns(change)).cloned().collect()
    }

    /// The changes of a revision that this watch asked for, with values before if it asked for those.
    pub async fn select(&self, revised: &Revised) -> Result<Vec<Change>, Refusal> {
        let mut changes = self.select_now(revised);
        if !self.wants_values_before() || changes.is_empty() {
            return Ok(changes);
        }
        let past = self.past.clone();
        let revision = revised.revision.0;
        let reading = self.past.work().run(move || {
            for change in &mut changes {
                let before = past.before(&change.kv.key, revision)?;
                // A value that has been compacted is left out rather than guessed.
                change.prev_kv = before.filter(|_| revision > past.compacted());
            }
            Ok(changes)
        });
        reading
            .await
            .map_err(|_| Refusal::Unavailable("shutting down".to_owned()))?
            .map_err(|error: crate::mvcc::Error| Refusal::Internal(error.to_string()))
    }

    /// The next message as callers of [`Kv`](store_client::Kv) see it.
    pub async fn message(&mut self) -> Option<Result<WatchMessage, Refusal>> {
        loop {
            let delivery = match self.next().await? {
                Ok(delivery) => delivery,
                Err(refusal) => return Some(Err(refusal)),
            };
            match delivery {
                Delivery::Created(revision) => return Some(Ok(WatchMessage::Created { revision })),
                Delivery::Progress(revision) => return Some(Ok(WatchMessage::Progress { revision })),
                Delivery::Revised(revised) => match self.select(&revised).await {
                    Ok(changes) if changes.is_empty() => {}
                    Ok(changes) => {
                        return Some(Ok(WatchMessage::Changes { revision: revised.revision, changes }));
                    }
                    Err(refusal) => return Some(Err(refusal)),
                },
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.past.hub().remove(&self.watcher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There may be a hundred thousand, each in the table of its stream.
    #[test]
    fn a_subscription_takes_48_bytes() {
        assert!(size_of::<Option<Subscription>>() <= 48, "{}", size_of::<Option<Subscription>>());
    }
}
