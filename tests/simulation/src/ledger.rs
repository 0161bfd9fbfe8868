//! Everything that is seen of a run, by the members' witnesses, by watches inside of them, by clients; held against the
//! invariants as it comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use check::log::Change;
use faults_tests::limits::KEYS;
use faults_tests::workload::{key_number, value_number};
use parking_lot::{Mutex, MutexGuard};
use raft::{LogIndex, Seen, Voted, Witness};
use store_client::ChangeKind;

use crate::coverage::Coverage;
use crate::invariants::committed::Committed;
use crate::invariants::hashes::Hashes;
use crate::invariants::leaders::Leaders;
use crate::invariants::logs::Logs;
use crate::invariants::majority::Majority;
use crate::invariants::revisions::Revisions;
use crate::invariants::votes::Silence;
use crate::trace::Trace;

/// What the keys of leases begin with.
pub const LEASED: &str = "l/";

/// Members that are to crash when they vote: what they promise must have been durable before anybody heard of it.
#[derive(Default)]
pub struct Armed {
    /// By number, and how many more times.
    members: BTreeMap<usize, u32>,
    voted: Vec<(usize, bool)>,
}

impl Armed {
    /// A member is to crash so many times.
    pub fn arm(&mut self, member: usize, times: u32) {
        self.members.insert(member, times);
    }

    /// None is any more.
    pub fn disarm(&mut self) {
        self.members.clear();
    }

    /// Who is to crash now, and whether it accepted a leader.
    pub fn take(&mut self) -> Vec<(usize, bool)> {
        std::mem::take(&mut self.voted)
    }

    fn voted(&mut self, member: usize, leads: bool) {
        if let Some(times) = self.members.get_mut(&member).filter(|times| **times > 0) {
            *times -= 1;
            self.voted.push((member, leads));
        }
    }
}

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Ledger {
    books: Arc<Mutex<Books>>,
}

/// What is in it.
pub struct Books {
    /// Simulated milliseconds since the start.
    pub now_ms: u64,
    /// What happened.
    pub trace: Trace,
    /// What really happened, in numbers.
    pub coverage: Coverage,
    /// The first invariant that was found broken.
    pub broken: Option<String>,
    /// All changes.
    pub revisions: Revisions,
    /// Who must keep still.
    pub silence: Silence,
    /// The states' hashes.
    pub hashes: Hashes,
    /// Who led.
    pub leaders: Leaders,
    /// What was committed.
    pub committed: Committed,
    logs: Logs,
    majority: Majority,
    /// Who crashes when it next votes.
    pub armed: Armed,
}

impl Books {
    /// Notes the outcome of a check; the first failure counts.
    pub fn hold<T: Default>(&mut self, invariant: &str, outcome: Result<T, String>) -> T {
        match outcome {
            Ok(value) => value,
            Err(detail) => {
                self.note(format_args!("BROKEN {invariant}: {detail}"));
                self.broken.get_or_insert_with(|| format!("{invariant}: {detail}"));
                T::default()
            }
        }
    }

    /// Notes an event.
    pub fn note(&mut self, event: std::fmt::Arguments<'_>) {
        let now = self.now_ms;
        self.trace.note(now, event);
    }

    /// A member's log may have lost its end, and its state goes back to what was durable.
    pub fn crashed(&mut self, member: usize) {
        self.logs.forgotten(member);
        self.committed.restarted(member);
    }

    fn voted(&mut self, member: usize, id: u64, vote: Voted) {
        self.note(format_args!("m{member} votes {vote:?}"));
        self.armed.voted(member, vote.leads);
        if vote.leads {
            let led = self.leaders.leads(vote.term.0, vote.candidate);
            self.hold("one leader per term", led);
        }
        let kept_still = self.silence.voted(member, id, vote);
        self.hold("a damaged member never votes", kept_still);
    }

    fn appended(&mut self, member: usize, entry: Seen) {
        self.note(format_args!("m{member} takes {}.{} {:08x}", entry.term.0, entry.index.0, entry.digest));
        self.majority.appended(member, entry);
        let matched = self.logs.appended(member, entry);
        self.hold("log matching", matched);
        let kept_still = self.silence.appended(member, entry.index.0);
        self.hold("a damaged member never votes", kept_still);
        self.coverage.hit("entries appended");
    }

    fn applied(&mut self, member: usize, command: Seen) {
        self.note(format_args!("m{member} applies {}.{}", command.term.0, command.index.0));
        let same = self.committed.applied(member, command);
        self.hold("what is committed stays", same);
        let taken = self.majority.applied(member, command);
        self.hold("a majority takes what is committed", taken);
    }
}

impl Ledger {
    /// An empty one, of a group that so many members found.
    pub fn new(founders: usize, loud: bool) -> Self {
        let books = Books {
            now_ms: 0,
            trace: Trace::new(loud),
            coverage: Coverage::default(),
            broken: None,
            revisions: Revisions::default(),
            silence: Silence::default(),
            hashes: Hashes::default(),
            leaders: Leaders::default(),
            committed: Committed::default(),
            logs: Logs::default(),
            majority: Majority::new(founders),
            armed: Armed::default(),
        };
        Self { books: Arc::new(Mutex::new(books)) }
    }

    /// To read or write.
    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock()
    }

    /// Simulated milliseconds since the start.
    pub fn now_ms(&self) -> u64 {
        self.books.lock().now_ms
    }

    /// Notes an event.
    pub fn note(&self, event: std::fmt::Arguments<'_>) {
        self.books.lock().note(event);
    }

    /// A watch inside a member tells a revision with its changes.
    pub fn told(&self, member: usize, revision: i64, changes: &[store_client::Change]) {
        let mut books = self.books.lock();
        let now = books.now_ms;
        let change = match changes {
            [change] => understood(change),
            _ => None,
        };
        let Some(change) = change else {
            let detail = format!("m{member} tells {} changes at revision {revision}", changes.len());
            return books.hold("one revision for each change", Err(detail));
        };
        let news = books.revisions.told(member, change, now);
        if books.hold("one revision for each change", news) {
            books.note(format_args!("m{member} tells {change:?}"));
            books.coverage.hit("changes");
        }
    }
}

/// A change in the words of the checkers.
fn understood(change: &store_client::Change) -> Option<Change> {
    let key = number(&change.kv.key)?;
    let value = match change.kind {
        ChangeKind::Put => Some(value_number(&change.kv.value)?),
        ChangeKind::Delete => None,
    };
    Some(Change { revision: change.kv.mod_revision.0, key, value, before: None })
}

/// The number of a key: those of the workload first, then those of leases.
pub fn number(key: &[u8]) -> Option<usize> {
    key_number(key).or_else(|| {
        let leased: usize = std::str::from_utf8(key).ok()?.strip_prefix(LEASED)?.parse().ok()?;
        Some(KEYS + leased)
    })
}

/// Sees what one member does in one life.
pub struct Eye {
    /// Where it is noted.
    pub ledger: Ledger,
    /// The member's number.
    pub member: usize,
    /// Its id in the group, once known.
    pub id: Arc<std::sync::atomic::AtomicU64>,
}

impl Witness for Eye {
    fn voted(&self, vote: Voted) {
        let id = self.id.load(std::sync::atomic::Ordering::Relaxed);
        self.ledger.books().voted(self.member, id, vote);
    }

    fn appended(&self, entry: Seen) {
        self.ledger.books().appended(self.member, entry);
    }

    fn truncated(&self, from: LogIndex) {
        let mut books = self.ledger.books();
        books.note(format_args!("m{} drops from {}", self.member, from.0));
        books.coverage.hit("logs truncated");
        books.logs.truncated(self.member, from.0);
        books.majority.truncated(self.member, from.0);
    }

    fn applied(&self, command: Seen) {
        self.ledger.books().applied(self.member, command);
    }
}
