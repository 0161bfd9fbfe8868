//! What is asked of a leader elsewhere, on its way there.
//!
//! Commands that are ready at the same time share a message, so that a member that does not lead costs its callers one more call
//! for many of them, not for each. Like the proposals of a leader they wait for nothing but their turn. Whatever else is asked travels alone:
//! a read must not wait for the commands beside it.

use std::collections::VecDeque;

use bytes::Bytes;
use proto::raft::ForwardRequest;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::adapter::task::Task;
use crate::codec;
use crate::limits;
use crate::member::{Leadership, MemberId};
use crate::network::{CallError, Lane, Peers};

type Answer = Result<Bytes, CallError>;

const MEMBER_ENDS: &str = "this member ends";

/// The way to the [`Courier`]. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Errands {
    waiting: mpsc::Sender<Errand>,
}

/// A request for a leader.
struct Errand {
    leader: MemberId,
    request: Bytes,
    /// Whether others may go in the same message.
    shares: bool,
    until: Instant,
    teller: oneshot::Sender<Answer>,
}

/// Carries requests to leaders, and answers back.
pub(crate) struct Courier {
    waiting: mpsc::Receiver<Errand>,
    carrier: Carrier,
}

/// Creates both ends.
pub(crate) fn errands(peers: Peers, leadership: watch::Receiver<Leadership>) -> (Errands, Courier) {
    let (sender, waiting) = mpsc::channel(limits::API_QUEUE_MAX as usize);
    (Errands { waiting: sender }, Courier { waiting, carrier: Carrier { peers, leadership } })
}

impl Errands {
    /// Asks `leader`, and returns its answer.
    pub(crate) async fn ask(&self, leader: MemberId, task: &Task, until: Instant) -> Answer {
        let (teller, told) = oneshot::channel();
        let errand = Errand {
            leader,
            request: codec::encode(&task.as_record()).into(),
            shares: matches!(task, Task::Propose(_)),
            until,
            teller,
        };
        match timeout_at(until, self.waiting.send(errand)).await {
            Ok(Ok(())) => {}
            Ok(Err(_closed)) => return Err(CallError::NotSent(MEMBER_ENDS.into())),
            Err(_) => return Err(CallError::NotSent("too much is on its way".into())),
        }
        match timeout_at(until, told).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_dropped)) => Err(CallError::Lost(MEMBER_ENDS.into())),
            Err(_) => Err(CallError::Lost(format!("member {leader} takes too long"))),
        }
    }
}

impl Courier {
    /// Works until `stopped`; then waits for the answers that are under way.
    pub(crate) async fn run(mut self, stopped: CancellationToken) {
        let mut messages = JoinSet::new();
        loop {
            let first = tokio::select! {
                biased;
                () = stopped.cancelled() => None,
                first = self.waiting.recv() => first,
            };
            let Some(first) = first else { break };
            let mut message = Message::of(first);
            // Behind everybody who can run now: they may have errands, too.
            tokio::task::yield_now().await;
            while let Ok(next) = self.waiting.try_recv() {
                if let Err(next) = message.add(next) {
                    let full = std::mem::replace(&mut message, Message::of(next));
                    messages.spawn(self.carrier.clone().carry(full));
                }
            }
            messages.spawn(self.carrier.clone().carry(message));
            while messages.try_join_next().is_some() {}
        }
        self.waiting.close();
        while let Some(errand) = self.waiting.recv().await {
            errand.tell(Err(CallError::NotSent(MEMBER_ENDS.into())));
        }
        while messages.join_next().await.is_some() {}
    }
}

impl Errand {
    fn tell(self, answer: Answer) {
        // Who gave up is fine.
        drop(self.teller.send(answer));
    }
}

/// Errands that go together.
struct Message {
    leader: MemberId,
    shares: bool,
    bytes: usize,
    until: Instant,
    errands: VecDeque<Errand>,
}

impl Message {
    fn of(errand: Errand) -> Self {
        let Errand { leader, shares, until, .. } = errand;
        Self { leader, shares, bytes: errand.request.len(), until, errands: VecDeque::from([errand]) }
    }

    /// Takes one more, or gives it back.
    fn add(&mut self, errand: Errand) -> Result<(), Errand> {
        let bytes = self.bytes + errand.request.len();
        let fits = bytes <= limits::FORWARD_BYTES_MAX && self.errands.len() < limits::FORWARD_REQUESTS_MAX;
        if !(fits && self.shares && errand.shares && self.leader == errand.leader) {
            return Err(errand);
        }
        self.bytes = bytes;
        self.until = self.until.max(errand.until);
        self.errands.push_back(errand);
        Ok(())
    }
}

/// Cheap to clone.
#[derive(Clone)]
struct Carrier {
    peers: Peers,
    leadership: watch::Receiver<Leadership>,
}

impl Carrier {
    /// Tells everybody of a message what came of it.
    async fn carry(self, message: Message) {
        let Message { leader, until, mut errands, .. } = message;
        let failed = tokio::select! {
            biased;
            ended = timeout_at(until, self.exchange(leader, &mut errands)) => match ended {
                Ok(Ok(())) => CallError::Lost("the leader did not answer everything".into()),
                Ok(Err(failed)) => failed,
                Err(_) => CallError::Lost(format!("member {leader} takes too long")),
            },
            // A leader that is paused or cut off keeps its connections: nothing but its successor tells of it.
            () = self.succeeded(leader) => CallError::Lost(format!("member {leader} leads no more")),
        };
        for errand in errands {
            errand.tell(Err(failed.clone()));
        }
    }

    /// Sends a message, and takes the answered ones out of `errands`.
    async fn exchange(&self, leader: MemberId, errands: &mut VecDeque<Errand>) -> Result<(), CallError> {
        let mut client = self.peers.client(leader, Lane::Forward)?;
        let cluster_id = self.peers.identity().cluster;
        let payloads = errands.iter().map(|errand| errand.request.clone()).collect();
        let request = self.peers.sign(leader, ForwardRequest { cluster_id, payloads });
        let mut answers = client.forward(request).await?.into_inner();
        // From here on it was sent.
        let lost = |status: Status| CallError::Lost(format!("{}: {}", status.code(), status.message()));
        while let Some(message) = answers.message().await.map_err(lost)? {
            for payload in message.payloads {
                let errand = errands.pop_front();
                let errand = errand.ok_or_else(|| CallError::Lost("more answers than questions".into()))?;
                errand.tell(Ok(payload));
            }
        }
        Ok(())
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errand(leader: u64, bytes: usize, shares: bool) -> Errand {
        let (teller, _told) = oneshot::channel();
        let request = Bytes::from(vec![0; bytes]);
        Errand { leader: MemberId(leader), request, shares, until: Instant::now(), teller }
    }

    #[test]
    fn only_commands_for_one_leader_share_a_message() {
        let mut message = Message::of(errand(1, 9, true));
        assert!(message.add(errand(1, 9, true)).is_ok());
        assert!(message.add(errand(2, 9, true)).is_err(), "another leader");
        assert!(message.add(errand(1, 9, false)).is_err(), "a read");
        assert_eq!((message.errands.len(), message.bytes), (2, 18));
        let mut read = Message::of(errand(1, 9, false));
        assert!(read.add(errand(1, 9, true)).is_err());
    }

    #[test]
    fn a_message_is_bounded_by_bytes_and_requests_but_takes_the_largest_command() {
        let mut message = Message::of(errand(1, limits::FORWARD_BYTES_MAX, true));
        assert!(message.add(errand(1, 1, true)).is_err());
        let mut message = Message::of(errand(1, 0, true));
        let taken =
            std::iter::repeat_with(|| message.add(errand(1, 0, true))).take_while(Result::is_ok).count();
        assert_eq!(taken + 1, limits::FORWARD_REQUESTS_MAX);
    }
}
