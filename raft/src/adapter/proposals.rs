//! Proposals on their way to openraft, so that many of them share one append, one sync and one message to each peer.
//!
//! openraft's core takes all that waits for it into one append, but it is woken by the first proposal, and a woken task runs next: with a
//! thousand callers ready to run, it would append, and the log sync, for every few of them. The task between waits for its turn behind
//! everything that can run, which is a thousand proposals on a busy member and its own turn on an idle one. It
//! waits for no clock.

use openraft::Raft;
use openraft::alias::WriteResponderOf;
use openraft::errors::{ClientWriteError, Fatal, RaftError};
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResponse;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::machine::Machine;
use super::{Command, Types};
use crate::limits;

/// What comes of a proposal.
pub(super) type Written = Result<ClientWriteResponse<Types>, RaftError<Types, ClientWriteError<Types>>>;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Proposals {
    queue: mpsc::Sender<Proposal>,
}

struct Proposal {
    command: Command,
    responder: WriteResponderOf<Types>,
}

impl Proposals {
    /// Passes proposals on until `ending`, or until openraft has ended.
    pub(super) fn start(raft: Raft<Types, Machine>, ending: CancellationToken) -> Self {
        let (queue, waiting) = mpsc::channel(limits::API_QUEUE_MAX as usize);
        tokio::spawn(async move {
            tokio::select! {
                () = pass_on(&raft, waiting) => {}
                () = ending.cancelled() => {}
            }
        });
        Self { queue }
    }

    /// Returns when the command is applied. Waits while too many wait. When cancelled, the command may be applied or not.
    pub(super) async fn propose(&self, command: Command) -> Written {
        let (responder, answer) = ProgressResponder::complete_only();
        if self.queue.send(Proposal { command, responder }).await.is_err() {
            return Err(RaftError::Fatal(Fatal::Stopped));
        }
        match answer.await {
            Ok(result) => result.map_err(RaftError::APIError),
            Err(_dropped) => Err(RaftError::Fatal(Fatal::Stopped)),
        }
    }
}

async fn pass_on(raft: &Raft<Types, Machine>, mut waiting: mpsc::Receiver<Proposal>) {
    let mut batch = Vec::new();
    while let Some(first) = waiting.recv().await {
        batch.push(first);
        tokio::task::yield_now().await;
        while batch.len() < limits::API_BATCH_MAX as usize
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        for Proposal { command, responder } in batch.drain(..) {
            // Wakes the core with the first; it runs when all are there, or its queue is full.
            if raft.client_write_ff(command, Some(responder)).await.is_err() {
                return;
            }
        }
    }
}
