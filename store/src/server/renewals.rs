//! Renewing leases, many with one command.
//!
//! While one command is on its way, renewals gather for the next: a thousand clients that keep their leases alive cost
//! about as many log entries as one.

use store_client::{Error, LeaseId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Handle;
use crate::limits::{LEASE_RENEWALS_WAITING_MAX, LEASES_PER_COMMAND_MAX};
use crate::machine::{command::Command, response::Response};

type Answer = Result<i64, Error>;
type Waiting = (LeaseId, oneshot::Sender<Answer>);

/// Where renewals are handed in.
pub struct Sender(mpsc::Sender<Waiting>);

/// Where they are taken from.
pub type Receiver = mpsc::Receiver<Waiting>;

/// Both ends.
pub fn channel() -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel(LEASE_RENEWALS_WAITING_MAX);
    (Sender(sender), receiver)
}

impl Sender {
    /// Renews a lease; returns its time to live in seconds.
    pub async fn renew(&self, id: LeaseId) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.0.try_send((id, answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Error::Unavailable("too many renewals are waiting".to_owned())
            }
            mpsc::error::TrySendError::Closed(_) => stopped(),
        })?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }
}

/// Proposes what has gathered, one command at a time, until `stop`.
pub async fn run(
    handle: Handle,
    mut receiver: Receiver,
    stop: CancellationToken,
) -> Result<(), super::Error> {
    let mut waiting = Vec::new();
    loop {
        let gathered = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            gathered = receiver.recv_many(&mut waiting, LEASES_PER_COMMAND_MAX) => gathered,
        };
        if gathered == 0 {
            return Ok(());
        }
        let mut ids: Vec<LeaseId> = waiting.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        let command = Command::LeaseRenew(ids.clone());
        let answer = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            answer = handle.propose(&command) => answer,
        };
        for (id, sender) in waiting.drain(..) {
            // A caller that no longer waits has lost interest in the answer.
            let _gone = sender.send(pick(&answer, &ids, id));
        }
    }
}

fn pick(answer: &Result<Response, Error>, ids: &[LeaseId], id: LeaseId) -> Answer {
    match answer {
        Ok(Response::Renewed(granted)) => {
            let at = ids.binary_search(&id).ok();
            at.and_then(|at| granted.get(at).copied().flatten()).ok_or(Error::LeaseNotFound)
        }
        Ok(other) => Err(Error::Internal(format!("renewals were answered with {other:?}"))),
        Err(error) => Err(error.clone()),
    }
}

fn stopped() -> Error {
    Error::Unavailable("the member has stopped".to_owned())
}
