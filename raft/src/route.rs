//! Gets a task to whoever leads: here, or another member.
//!
//! It tries again only what certainly was not done. It must not know what the tasks mean.

use proto::raft::ForwardRequest;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::adapter::group::{Group, Outcome, Refusal, Task};
use crate::codec;
use crate::error::Error;
use crate::limits;
use crate::member::{Leadership, MemberId};
use crate::network::{CallError, Lane, Peers};
use crate::record::{Answer, Failure};

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) group: Group,
    pub(crate) peers: Peers,
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
        // On the heap: else every request carried the room for both ways, and the compiler could not see to the end of them.
        match now.leader {
            Some(_) if now.is_self => Box::pin(self.here(task, until)).await,
            Some(leader) if leader != self.peers.identity().member => {
                Box::pin(self.there(leader, task, until)).await
            }
            Some(_) | None => Err(Setback::Again(Error::NoLeader)),
        }
    }

    async fn here(&self, task: &Task, until: Instant) -> Result<Outcome, Setback> {
        match timeout_at(until, self.group.perform(task.clone())).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(task.lost_setback("it takes too long".into())),
        }
    }

    async fn there(&self, leader: MemberId, task: &Task, until: Instant) -> Result<Outcome, Setback> {
        let not_sent =
            |error: CallError| Setback::Again(Error::NotSent { to: leader, detail: error.to_string() });
        let mut client = self.peers.client(leader, Lane::Forward).map_err(not_sent)?;
        let payload = codec::encode(&task.as_record()).into();
        let cluster_id = self.peers.identity().cluster;
        let request = self.peers.sign(leader, ForwardRequest { cluster_id, payload });
        let answer = tokio::select! {
            biased;
            answer = timeout_at(until, client.forward(request)) => answer,
            // A leader that is paused or cut off keeps its connections: nothing but its successor tells of it.
            () = self.succeeded(leader) => return Err(task.lost_setback(format!("member {leader} leads no more"))),
        };
        let answer = match answer {
            Ok(answer) => answer.map_err(CallError::from),
            Err(_) => return Err(task.lost_setback(format!("member {leader} takes too long"))),
        };
        match answer {
            Ok(answer) => self.understand(task, &answer.into_inner().payload),
            Err(error @ CallError::NotSent(_)) => Err(not_sent(error)),
            Err(CallError::Foreign(detail)) => Err(Setback::Final(Error::ForeignCluster { detail })),
            Err(CallError::Lost(detail)) => Err(task.lost_setback(detail)),
        }
    }

    /// Returns when another member leads, and the former leader had time to answer what it was asked.
    async fn succeeded(&self, leader: MemberId) {
        let mut leadership = self.leadership.clone();
        let other = |now: &Leadership| now.leader.is_some_and(|now| now != leader);
        if leadership.wait_for(other).await.is_err() {
            // The group has ended; the call has its own end.
            return std::future::pending().await;
        }
        tokio::time::sleep(limits::LAST_ANSWER_MAX).await;
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
