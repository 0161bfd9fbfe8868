//! Who may connect: a number of connections, and among them none that says nothing for long.
//!
//! As long as there are places, everybody gets one. When there are none, the oldest of those that have not asked for anything
//! yet leaves for whoever comes; if all have, the newcomer is sent away.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::limits::PLACE_PATIENCE;

/// The places of one kind of listener.
pub struct Crowd {
    places: Arc<Semaphore>,
    max: usize,
    /// In order of arrival; some have spoken meanwhile.
    silent: Mutex<VecDeque<Guest>>,
}

struct Guest {
    spoke: Arc<AtomicBool>,
    leave: CancellationToken,
}

/// A connection's right to be there.
pub struct Place {
    _permit: OwnedSemaphorePermit,
    spoke: Arc<AtomicBool>,
    /// Cancelled when the connection must end.
    pub leave: CancellationToken,
}

impl Place {
    /// From now on the connection is not sent away for others.
    pub fn speak(&self) {
        self.spoke.store(true, Ordering::Relaxed);
    }
}

impl Crowd {
    /// So many places.
    pub fn new(max: usize) -> Self {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(max)), max, silent: Mutex::default() }
    }

    /// A place for a newcomer, which leaves with `stop` at the latest; `None` when there is none.
    pub async fn enter(&self, stop: &CancellationToken) -> Option<Place> {
        let permit = match self.places.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_full) => {
                self.send_away()?;
                let freed = tokio::time::timeout(PLACE_PATIENCE, self.places.clone().acquire_owned());
                freed.await.ok()?.ok()?
            }
        };
        let (spoke, leave) = (Arc::new(AtomicBool::new(false)), stop.child_token());
        let mut silent = self.silent.lock();
        while silent.front().is_some_and(Guest::needs_no_watching) {
            silent.pop_front();
        }
        if silent.len() > 2 * self.max {
            silent.retain(|guest| !guest.needs_no_watching());
        }
        silent.push_back(Guest { spoke: spoke.clone(), leave: leave.clone() });
        Some(Place { _permit: permit, spoke, leave })
    }

    /// Sends away the oldest that has not spoken.
    fn send_away(&self) -> Option<()> {
        let mut silent = self.silent.lock();
        loop {
            let guest = silent.pop_front()?;
            if !guest.needs_no_watching() {
                guest.leave.cancel();
                return Some(());
            }
        }
    }
}

impl Guest {
    /// It has spoken, or is gone.
    fn needs_no_watching(&self) -> bool {
        self.spoke.load(Ordering::Relaxed) || Arc::strong_count(&self.spoke) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_silent_one_leaves_for_a_newcomer() {
        let (crowd, stop) = (Crowd::new(3), CancellationToken::new());
        let spoken = crowd.enter(&stop).await.unwrap();
        spoken.speak();
        let oldest = crowd.enter(&stop).await.unwrap();
        let newer = crowd.enter(&stop).await.unwrap();
        let leave = oldest.leave.clone();
        let leaving = async move {
            leave.cancelled().await;
            drop(oldest);
        };
        let (newest, ()) = tokio::join!(crowd.enter(&stop), leaving);
        newest.as_ref().unwrap().speak();
        newer.speak();
        assert!(crowd.enter(&stop).await.is_none(), "all have something to say");
        assert!(!spoken.leave.is_cancelled() && !newer.leave.is_cancelled());
        drop(newer);
        assert!(crowd.enter(&stop).await.is_some());
    }
}
