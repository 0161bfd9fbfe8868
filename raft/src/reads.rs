//! Read rounds: readers that arrive while a round is under way share the next one.
//!
//! A round asks the leader for its commit index, confirmed by a quorum after the round began. Nothing of a round
//! is used for another: a reader never gets an index that was asked for before it came (S4).

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::adapter::task::{Outcome, Task};
use crate::error::Error;
use crate::limits;
use crate::meters::Meters;
use crate::route::Route;

type Reader = oneshot::Sender<Result<u64, Error>>;

/// The way to the rounds. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reads {
    waiting: mpsc::Sender<Reader>,
}

/// Runs the rounds.
pub(crate) struct Rounds {
    waiting: mpsc::Receiver<Reader>,
    route: Route,
    leader_wait: Duration,
    timeout: Duration,
    meters: Meters,
}

/// Creates both ends.
pub(crate) fn rounds(
    route: Route,
    leader_wait: Duration,
    timeout: Duration,
    meters: Meters,
) -> (Reads, Rounds) {
    let (sender, waiting) = mpsc::channel(limits::READERS_MAX);
    (Reads { waiting: sender }, Rounds { waiting, route, leader_wait, timeout, meters })
}

impl Reads {
    /// An index no older than any write acknowledged before the call.
    pub(crate) async fn index(&self) -> Result<u64, Error> {
        let (tell, told) = oneshot::channel();
        self.waiting.send(tell).await.map_err(|_| Error::Stopped)?;
        told.await.unwrap_or(Err(Error::Stopped))
    }
}

impl Rounds {
    /// Runs rounds for as long as there may be readers.
    pub(crate) async fn run(mut self) {
        let mut readers = Vec::new();
        while self.waiting.recv_many(&mut readers, limits::READERS_MAX).await > 0 {
            let result = self.round().await;
            if result.is_err() {
                self.meters.read_failed();
            }
            for reader in readers.drain(..) {
                // A reader that gave up is fine.
                drop(reader.send(result.clone()));
            }
        }
    }

    async fn round(&self) -> Result<u64, Error> {
        let now = Instant::now();
        match self.route.ask(Task::ReadIndex, now + self.leader_wait, now + self.timeout).await? {
            Outcome::ReadIndex(index) => Ok(index),
            Outcome::Applied { .. } | Outcome::Done => {
                Err(Error::ReadNotConfirmed { detail: "the leader answered another question".into() })
            }
        }
    }
}
