//! The way in to a member.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::adapter::task::{Outcome, Task};
use crate::error::Error;
use crate::limits;
use crate::member::{Leadership, Member, MemberId, Proposed, Status};
use crate::meters::Meters;
use crate::options::Options;
use crate::reads::Reads;
use crate::route::Route;
use crate::state_machine::{LogIndex, Term};

/// Cheap to clone; works on any member, leader or not.
#[derive(Clone)]
pub struct Handle {
    route: Route,
    reads: Reads,
    proposals: Arc<Semaphore>,
    short_of_space: watch::Sender<bool>,
    /// The last entry of the log when this member started.
    found: Option<u64>,
    limits: Limits,
    meters: Meters,
}

#[derive(Clone, Copy)]
struct Limits {
    command_bytes_max: usize,
    propose: Duration,
    read: Duration,
    leader_wait: Duration,
}

impl Handle {
    pub(crate) fn new(
        route: Route,
        reads: Reads,
        short_of_space: watch::Sender<bool>,
        found: Option<u64>,
        options: &Options,
        meters: Meters,
    ) -> Self {
        let limits = Limits {
            command_bytes_max: options.command_bytes_max,
            propose: Duration::from_millis(options.propose_timeout_ms),
            read: Duration::from_millis(options.read_timeout_ms),
            leader_wait: Duration::from_millis(options.leader_wait_ms),
        };
        let proposals = Arc::new(Semaphore::new(limits::PROPOSALS_MAX));
        Self { route, reads, proposals, short_of_space, found, limits, meters }
    }

    /// Gives the group its first members. Once per cluster, on one of them, which must be among `members`.
    /// Fails with [`Error::AlreadyInitialized`] on a member that has a log or voted.
    pub async fn initialize(&self, members: BTreeMap<MemberId, Member>) -> Result<(), Error> {
        self.route.group.initialize(members).await
    }

    /// Whether this member knows a membership: it was initialized, or was told by a leader.
    pub fn is_initialized(&self) -> bool {
        self.route.group.is_initialized()
    }

    /// Replicates a command and returns what the state machine of the leader answered. The command is shared, not copied.
    ///
    /// An error that [is retryable](Error::is_retryable) means that the command was not proposed;
    /// [`Error::Unknown`] that it may have been or may yet be applied. Dropping the future does not take the
    /// command back.
    pub async fn propose(&self, command: Bytes) -> Result<Proposed, Error> {
        let (size, limit) = (command.len(), self.limits.command_bytes_max);
        if size > limit {
            return Err(Error::TooLarge { size, limit });
        }
        let permit = self.proposals.try_acquire();
        let _permit = permit.map_err(|_| Error::Overloaded { what: "proposals" })?;
        let outcome = self.ask(Task::Propose(command), self.limits.propose).await;
        match outcome.inspect_err(|_| self.meters.proposal_failed())? {
            Outcome::Applied { id, response } => {
                Ok(Proposed { index: LogIndex(id.index), term: Term(id.term), response })
            }
            Outcome::ReadIndex(_) | Outcome::Done => Err(Error::Unknown {
                action: "proposing a command",
                detail: "the leader answered another question".into(),
            }),
        }
    }

    /// Returns once the local state machine holds every command that was acknowledged, by any member, before the
    /// call (S4). The leader is confirmed by a quorum each time, unless it is the quorum; clocks play no part. Cancel-safe.
    pub async fn read_index(&self) -> Result<LogIndex, Error> {
        if let Some(index) = self.route.group.applied_alone() {
            return Ok(LogIndex(index));
        }
        let until = Instant::now() + self.limits.read;
        let index = self.reads.index(until).await?;
        self.route.group.applied(index, until).await?;
        Ok(LogIndex(index))
    }

    /// Returns once the local state machine holds what the log of this member held when it started; or when `within` has passed or the
    /// member ends, for the log may have held what is never committed. Cancel-safe.
    pub async fn replayed(&self, within: Duration) {
        if let Some(last) = self.found {
            drop(self.route.group.applied(last, Instant::now() + within).await);
        }
    }

    /// What this member counts and times.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Commands that were proposed here and wait for their answer.
    pub fn proposals_pending(&self) -> usize {
        limits::PROPOSALS_MAX - self.proposals.available_permits()
    }

    /// Who leads, now and from now on.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.route.leadership.clone()
    }

    /// A moment in the life of this member.
    pub fn status(&self) -> Status {
        self.route.group.status()
    }

    /// Adds a member that receives the log and does not vote. Its id must never have been used before.
    /// Does nothing if it is there already.
    pub async fn add_learner(&self, id: MemberId, member: Member) -> Result<(), Error> {
        self.change(Task::AddLearner(id, member)).await
    }

    /// Makes a learner a voter, once it has caught up with the log. Does nothing if it is one.
    pub async fn promote(&self, id: MemberId) -> Result<(), Error> {
        self.change(Task::Promote(id)).await
    }

    /// Removes a member, voter or learner. Its id must not be used again. Does nothing if it is gone.
    pub async fn remove(&self, id: MemberId) -> Result<(), Error> {
        self.change(Task::Remove(id)).await
    }

    /// Changes how a member is called and reached.
    pub async fn update(&self, id: MemberId, member: Member) -> Result<(), Error> {
        self.change(Task::Update(id, member)).await
    }

    /// Hands the leadership to a voter and returns once it leads.
    pub async fn transfer_leadership(&self, to: MemberId) -> Result<(), Error> {
        self.change(Task::TransferLeadership(to)).await
    }

    /// Makes the state of this member durable and lets its log before it go.
    pub async fn snapshot(&self) -> Result<(), Error> {
        self.route.group.snapshot(self.limits.propose).await
    }

    /// Says whether the disk of this member is short of space. While it is, the log keeps little of what the state has: its newest segment,
    /// instead of what [`Options`] say. A member that is behind is more likely to be sent an image then. Saying so again has it try
    /// again to make the state durable.
    pub fn set_short_of_space(&self, short: bool) {
        self.short_of_space.send_replace(short);
    }

    async fn change(&self, task: Task) -> Result<(), Error> {
        self.ask(task, self.limits.propose + limits::PROMOTE_CATCH_UP_MAX).await.map(drop)
    }

    async fn ask(&self, task: Task, within: Duration) -> Result<Outcome, Error> {
        let now = Instant::now();
        self.route.ask(task, now + self.limits.leader_wait, now + within).await
    }
}
