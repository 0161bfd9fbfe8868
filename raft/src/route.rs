//! Gets a task to whoever leads: here, or another member.
//!
//! It tries again only what certainly was not done. It must not know what the tasks mean.

use std::pin::pin;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::adapter::group::Group;
use crate::adapter::task::{Outcome, Refusal, Task};
use crate::codec;
use crate::error::Error;
use crate::forward::Errands;
use crate::limits;
use crate::member::{Leadership, MemberId};
use crate::network::CallError;
use crate::record::{Answer, Failure};

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) group: Group,
    pub(crate) errands: Errands,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) stopped: CancellationToken,
}

/// Why an attempt came to nothing.
enum Setback {
    /// Certainly not done; another attempt may succeed.
    Again(Error),
    /// Not to be tried again.
    Final(Error),
}

impl From<Refusal> for Setback {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotLeader(_) => Self::Again(Error::NoLeader),
            Refusal::Failed(error) if error.is_retryable() => Self::Again(error),
            Refusal::Failed(error) => Self::Final(error),
        }
    }
}

impl Task {
    fn is_read(&self) -> bool {
        matches!(self, Self::ReadIndex)
    }

    /// The error when the outcome of an attempt was lost.
    fn lost(&self, detail: String) -> Error {
        match self {
            Self::ReadIndex => Error::ReadNotConfirmed { detail },
            Self::Propose(_) => Error::Unknown { action: "proposing a command", detail },
            Self::AddLearner(..)
            | Self::Promote(_)
            | Self::Remove(_)
            | Self::Update(..)
            | Self::TransferLeadership(_) => Error::Unknown { action: "changing the membership", detail },
        }
    }

    fn lost_setback(&self, detail: String) -> Setback {
        let error = self.lost(detail);
        if self.is_read() { Setback::Again(error) } else { Setback::Final(error) }
    }
}

impl Route {
    /// Has the leader do `task`. Looks for a leader until `leader_by`, waits for the outcome until `until`.
    pub(crate) async fn ask(&self, task: Task, leader_by: Instant, until: Instant) -> Result<Outcome, Error> {
        let mut leadership = self.leadership.clone();
        loop {
            if self.stopped.is_cancelled() {
                return Err(Error::Stopped);
            }
            let now = *leadership.borrow_and_update();
            let setback = match self.attempt(now, &task, until).await {
                Ok(outcome) => return Ok(outcome),
                Err(Setback::Final(error)) => return Err(error),
                Err(Setback::Again(error)) => error,
            };
            if Instant::now() >= leader_by {
                return Err(setback);
            }
            tokio::select! {
                _ = leadership.changed() => {}
                () = tokio::time::sleep(limits::RETRY_PAUSE) => {}
                () = self.stopped.cancelled() => {}
            }
        }
    }

    async fn attempt(&self, now: Leadership, task: &Task, until: Instant) -> Result<Outcome, Setback> {
        match now.leader {
            Some(_) if now.is_self => self.here(task, until).await,
            // On the heap: else every request carried the room for both ways.
            Some(leader) if leader != self.group.id() => Box::pin(self.there(leader, task, until)).await,
            Some(_) | None => Err(Setback::Again(Error::NoLeader)),
        }
    }

    async fn here(&self, task: &Task, until: Instant) -> Result<Outcome, Setback> {
        let performed = pin!(self.group.perform(task.clone()));
        match timeout_at(until, performed).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(task.lost_setback("it takes too long".into())),
        }
    }

    async fn there(&self, leader: MemberId, task: &Task, until: Instant) -> Result<Outcome, Setback> {
        match self.errands.ask(leader, task, until).await {
            Ok(payload) => self.understand(task, &payload),
            Err(CallError::NotSent(detail)) => Err(Setback::Again(Error::NotSent { to: leader, detail })),
            Err(CallError::Foreign(detail)) => Err(Setback::Final(Error::ForeignCluster { detail })),
            Err(CallError::Lost(detail)) => Err(task.lost_setback(detail)),
        }
    }

    fn understand(&self, task: &Task, payload: &bytes::Bytes) -> Result<Outcome, Setback> {
        let answer = codec::decode(payload).map_err(|error| task.lost_setback(error.to_string()))?;
        let error = match answer {
            Answer::Applied { id, response } => {
                return Ok(Outcome::Applied { id, response: payload.slice_ref(response) });
            }
            Answer::ReadIndex(index) => return Ok(Outcome::ReadIndex(index)),
            Answer::Done => return Ok(Outcome::Done),
            Answer::NotLeader(_) => return Err(Setback::Again(Error::NoLeader)),
            Answer::Failed(failure) => failure,
        };
        Err(match error {
            Failure::NoLeader => Setback::Again(Error::NoLeader),
            Failure::Overloaded => Setback::Again(Error::Overloaded { what: "proposals at the leader" }),
            Failure::ReadNotConfirmed(detail) => Setback::Again(Error::ReadNotConfirmed { detail }),
            Failure::Unknown(detail) | Failure::Storage(detail) => task.lost_setback(detail),
            Failure::Stopped => task.lost_setback("the leader has stopped".into()),
            Failure::Membership(detail) => Setback::Final(Error::Membership(detail)),
            Failure::NoSpace => Setback::Final(Error::NoSpace),
            Failure::TooLarge { size, limit } => {
                Setback::Final(Error::TooLarge { size: size as usize, limit: limit as usize })
            }
        })
    }
}
