//! What a watcher was told, against the log of all changes.

use crate::log::{Change, ChangeLog};

/// What a watch said, in the order it said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// It begins, or goes on elsewhere, from this revision on.
    Begins {
        /// The first revision it is to tell.
        from: i64,
    },
    /// One response with changes.
    Changes(Vec<Change>),
    /// Everything up to this revision was told.
    Progress {
        /// The revision.
        revision: i64,
    },
    /// It ended: everything before this revision is compacted.
    Compacted {
        /// The oldest revision that is left.
        oldest: i64,
    },
}

/// One watch.
#[derive(Clone, Debug)]
pub struct Watcher {
    /// The keys it watches; `None` for all.
    pub keys: Option<Vec<usize>>,
    /// Whether it was to be told of deletions only, writes only, or both.
    pub kinds: Kinds,
    /// What it was told.
    pub messages: Vec<Message>,
}

/// Which changes a watch is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    /// All.
    Both,
    /// Writes.
    Writes,
    /// Deletions.
    Deletions,
}

/// What a watch did wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A change came before an older one, or a second time.
    #[error("revision {revision} came after {after}")]
    Order {
        /// What was told before.
        after: i64,
        /// What came then.
        revision: i64,
    },
    /// A change came that is older than the start, or than a promise of progress.
    #[error("revision {revision} came although everything before {from} was settled")]
    Early {
        /// The first that might come.
        from: i64,
        /// What came.
        revision: i64,
    },
    /// The change never happened, or not so.
    #[error("{told:?} was told, the log has {truth:?}")]
    Untrue {
        /// What was told.
        told: Change,
        /// What happened.
        truth: Option<Change>,
    },
    /// A change that was not asked for.
    #[error("{told:?} was not asked for")]
    Unasked {
        /// What was told.
        told: Change,
    },
    /// A change was passed over.
    #[error("revision {revision} was passed over")]
    Missing {
        /// What was passed over.
        revision: i64,
    },
    /// It went on after it had ended, or began after a later place than where it was.
    #[error("it went on from {from}, it had been told everything before {reached}")]
    Resumed {
        /// Where it went on.
        from: i64,
        /// Where it was.
        reached: i64,
    },
    /// It said that the past was gone, and the past was not asked for.
    #[error("it ended because everything before {oldest} is gone, and it was at {next}")]
    NotGone {
        /// What it said.
        oldest: i64,
        /// Where it was.
        next: i64,
    },
}

impl Watcher {
    /// A watch of everything.
    pub fn of_all(messages: Vec<Message>) -> Self {
        Self { keys: None, kinds: Kinds::Both, messages }
    }

    fn wants(&self, change: &Change) -> bool {
        let key = self.keys.as_ref().is_none_or(|keys| keys.contains(&change.key));
        let kind = match self.kinds {
            Kinds::Both => true,
            Kinds::Writes => change.value.is_some(),
            Kinds::Deletions => change.value.is_none(),
        };
        key && kind
    }

    fn first_wanted(&self, log: &ChangeLog, from: i64, upto: i64) -> Option<i64> {
        log.between(from, upto).find(|change| self.wants(change)).map(|change| change.revision)
    }
}

/// Checks a watch. `complete` says that it was given time to reach the head: then nothing may be missing at its end
/// (W13).
pub fn check(watcher: &Watcher, log: &ChangeLog, complete: bool) -> Result<(), Fault> {
    // The first revision that may be told next; `None` before it begins and after it ended.
    let mut next = None;
    let mut reached = i64::MIN;
    for message in &watcher.messages {
        match message {
            Message::Begins { from } => {
                // Going on later than where it was would leave a gap, unless nothing was there to be told.
                if reached != i64::MIN
                    && (*from < reached || watcher.first_wanted(log, reached, from - 1).is_some())
                {
                    return Err(Fault::Resumed { from: *from, reached });
                }
                next = Some(*from);
            }
            Message::Changes(changes) => {
                for change in changes {
                    let from = next.ok_or(Fault::Resumed { from: change.revision, reached })?;
                    next = Some(told(watcher, log, from, reached, change)?);
                    reached = change.revision + 1;
                }
            }
            Message::Progress { revision } => {
                let from = next.ok_or(Fault::Resumed { from: *revision, reached })?;
                if let Some(revision) = watcher.first_wanted(log, from, *revision) {
                    return Err(Fault::Missing { revision });
                }
                next = Some(from.max(revision + 1));
                reached = reached.max(revision + 1);
            }
            Message::Compacted { oldest } => {
                let from = next.unwrap_or(reached);
                if from >= *oldest {
                    return Err(Fault::NotGone { oldest: *oldest, next: from });
                }
                // What is gone cannot be told: the next beginning may be anywhere from there on.
                (next, reached) = (None, i64::MIN);
            }
        }
    }
    match next {
        Some(from) if complete => match watcher.first_wanted(log, from, log.newest()) {
            Some(revision) => Err(Fault::Missing { revision }),
            None => Ok(()),
        },
        Some(_) | None => Ok(()),
    }
}

/// Checks one change, told when `from` was the first that might come; returns the next such.
fn told(watcher: &Watcher, log: &ChangeLog, from: i64, reached: i64, change: &Change) -> Result<i64, Fault> {
    let revision = change.revision;
    if revision < from {
        let order = revision < reached;
        return Err(match order {
            true => Fault::Order { after: reached - 1, revision },
            false => Fault::Early { from, revision },
        });
    }
    let truth = log.at(revision).copied();
    let same = truth.is_some_and(|truth| truth.key == change.key && truth.value == change.value);
    if !same {
        return Err(Fault::Untrue { told: *change, truth });
    }
    if let Some(before) = change.before
        && before != log.held(change.key, revision - 1).map(|cell| cell.value)
    {
        return Err(Fault::Untrue { told: *change, truth });
    }
    if !watcher.wants(change) {
        return Err(Fault::Unasked { told: *change });
    }
    match watcher.first_wanted(log, from, revision - 1) {
        Some(revision) => Err(Fault::Missing { revision }),
        None => Ok(revision + 1),
    }
}
