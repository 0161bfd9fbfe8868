//! Read rounds: readers that arrive while a round is under way share the next one.
//!
//! A round asks the leader for its commit index, confirmed by a quorum after the round began. Nothing of a round
//! is used for another: a reader never gets an index that was asked for before it came (S4).

use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::adapter::task::{Outcome, Task};
use crate::error::Error;
use crate::limits;
use crate::meters::Meters;
use crate::route::Route;

struct Reader {
    tell: oneshot::Sender<Result<u64, Error>>,
    until: Instant,
}

fn late() -> Error {
    Error::ReadNotConfirmed { detail: "it takes too long".into() }
}

fn tell(readers: impl Iterator<Item = Reader>, result: &Result<u64, Error>) {
    for reader in readers {
        // A reader that gave up is fine.
        drop(reader.tell.send(result.clone()));
    }
}

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
    pub(crate) async fn index(&self, until: Instant) -> Result<u64, Error> {
        let (tell, told) = oneshot::channel();
        match self.waiting.try_send(Reader { tell, until }) {
            Ok(()) => {}
            Err(TrySendError::Full(reader)) => {
                let sent = timeout_at(until, self.waiting.send(reader)).await;
                sent.map_err(|_| late())?.map_err(|_| Error::Stopped)?;
            }
            Err(TrySendError::Closed(_)) => return Err(Error::Stopped),
        }
        // Rounds look after the time: one timer for all of their readers.
        told.await.unwrap_or(Err(Error::Stopped))
    }
}

impl Rounds {
    /// Runs rounds for as long as there may be readers.
    pub(crate) async fn run(mut self) {
        let mut readers = Vec::new();
        while self.waiting.recv_many(&mut readers, limits::READERS_MAX).await > 0 {
            if answer(self.round(), &mut readers).await.is_err() {
                self.meters.read_failed();
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

/// Tells readers how their round ends, and those who give up before at that time.
async fn answer(
    round: impl Future<Output = Result<u64, Error>>,
    readers: &mut Vec<Reader>,
) -> Result<u64, Error> {
    let mut round = pin!(round);
    while let Some(first) = readers.iter().map(|reader| reader.until).min() {
        tokio::select! {
            biased;
            result = &mut round => {
                tell(readers.drain(..), &result);
                return result;
            }
            () = sleep_until(first) => {
                tell(readers.extract_if(.., |reader| reader.until <= first), &Err(late()));
            }
        }
    }
    Err(late())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readers(limits_s: &[u64]) -> (Vec<Reader>, Vec<oneshot::Receiver<Result<u64, Error>>>) {
        let reader = |limit_s: &u64| {
            let (tell, told) = oneshot::channel();
            (Reader { tell, until: Instant::now() + Duration::from_secs(*limit_s) }, told)
        };
        limits_s.iter().map(reader).unzip()
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_without_an_end_is_left_by_each_reader_in_time() {
        let (mut readers, told) = readers(&[2, 1, 3]);
        let begin = Instant::now();
        let waiting = told.into_iter().map(|told| async move {
            assert!(told.await.unwrap().is_err());
            begin.elapsed().as_secs()
        });
        let round = answer(std::future::pending(), &mut readers);
        let (ended, gave_up) = tokio::join!(round, futures::future::join_all(waiting));
        assert_eq!(gave_up, [2, 1, 3]);
        assert!(ended.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_ends_answers_who_still_waits() {
        let (mut readers, told) = readers(&[1, 3]);
        let round = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok(7)
        };
        assert_eq!(answer(round, &mut readers).await.unwrap(), 7);
        assert!(readers.is_empty());
        let told = futures::future::join_all(told).await;
        let told: Vec<_> = told.into_iter().map(|told| told.unwrap().ok()).collect();
        assert_eq!(told, [None, Some(7)]);
    }
}
