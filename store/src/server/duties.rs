//! What a member does on its own: ends leases, forgets old history, removes what is forgotten, minds the disk.

use std::collections::VecDeque;
use std::time::Duration;

use raft::{Member, MemberId};
use store_client::Revision;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Error, Handle, Options, blocking};
use crate::limits::{
    HISTORY_SAMPLES, LEASE_TICK_MS, LEASES_PER_COMMAND_MAX, PROMOTE_PATIENCE, RETRY_INTERVAL,
    SPACE_CHECK_INTERVAL,
};
use crate::machine::command::Command;

/// Starts all duties; they end with `stop`.
pub fn spawn(
    tasks: &mut JoinSet<Result<(), Error>>,
    handle: &Handle,
    options: &Options,
    promotions: mpsc::Receiver<MemberId>,
    stop: &CancellationToken,
) {
    let until = |duty: std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>| {
        let stop = stop.clone();
        async move {
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                result = duty => result,
            }
        }
    };
    tasks.spawn(until(Box::pin(end_leases(handle.clone()))));
    tasks.spawn(until(Box::pin(scrub(handle.clone()))));
    tasks.spawn(until(Box::pin(mind_space(handle.clone(), options.clone()))));
    tasks.spawn(until(Box::pin(promote(handle.clone(), promotions))));
    tasks.spawn(until(Box::pin(announce(handle.clone(), options.clone()))));
    if options.history_window_s > 0 {
        let window = Duration::from_secs(options.history_window_s);
        tasks.spawn(until(Box::pin(forget_history(handle.clone(), window))));
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// As the leader, proposes the end of leases whose time is up.
async fn end_leases(handle: Handle) -> Result<(), Error> {
    let leadership = handle.leadership();
    let mut led = None;
    let mut ticks = ticks(Duration::from_millis(LEASE_TICK_MS));
    loop {
        ticks.tick().await;
        let now = *leadership.borrow();
        if !now.is_self {
            led = None;
            continue;
        }
        let deadlines = handle.machine().deadlines();
        if led.replace(now.term) != Some(now.term) {
            deadlines.extend_all(Instant::now());
        }
        let leases = deadlines.due(Instant::now(), LEASES_PER_COMMAND_MAX);
        if leases.is_empty() {
            continue;
        }
        let count = leases.len();
        let expire = Command::LeaseExpire { term: now.term.0, leases };
        match handle.propose(&expire).await {
            Ok(_) => tracing::debug!(count, "leases have ended"),
            // They stay due, and the next tick tries again.
            Err(error) => tracing::info!(count, %error, "leases could not be ended yet"),
        }
    }
}

/// Makes new learners voters as they catch up.
async fn promote(handle: Handle, mut promotions: mpsc::Receiver<MemberId>) -> Result<(), Error> {
    while let Some(id) = promotions.recv().await {
        let until = Instant::now() + PROMOTE_PATIENCE;
        while Instant::now() < until {
            match handle.raft().promote(id).await {
                Ok(()) => break,
                Err(error) => tracing::debug!(member = %id, %error, "a learner is not ready to vote yet"),
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }
    std::future::pending().await
}

/// Tells the cluster under which name and client URLs this member is known, which the founders could not know of
/// each other.
async fn announce(handle: Handle, options: Options) -> Result<(), Error> {
    let id = handle.member_id();
    loop {
        let known = handle.raft().status().members.get(&id).map(|(member, _)| member.clone());
        if let Some(known) = known {
            let wanted = Member {
                name: options.name.clone(),
                client_urls: options.client_urls.clone(),
                peer_url: known.peer_url.clone(),
            };
            if known == wanted {
                return std::future::pending().await;
            }
            match handle.raft().update(id, wanted).await {
                Ok(()) => continue,
                Err(error) => tracing::debug!(%error, "this member could not be announced yet"),
            }
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Removes compacted versions from this member's disk.
async fn scrub(handle: Handle) -> Result<(), Error> {
    loop {
        loop {
            let machine = handle.machine().clone();
            if !blocking(move || machine.scrub_step()).await? {
                break;
            }
        }
        handle.machine().compacted().await;
    }
}

/// As the leader, proposes to forget history that is older than the window.
async fn forget_history(handle: Handle, window: Duration) -> Result<(), Error> {
    let leadership = handle.leadership();
    let mut samples = Samples::new(window);
    let mut ticks = ticks((window / HISTORY_SAMPLES).max(Duration::from_secs(1)));
    loop {
        ticks.tick().await;
        let old = samples.sample(Instant::now(), handle.revision());
        let Some(old) = old.filter(|_| leadership.borrow().is_self) else { continue };
        if old.0 <= handle.machine().facts().compacted {
            continue;
        }
        match handle.propose(&Command::Compact(old)).await {
            Ok(_) => tracing::debug!(revision = old.0, "history was compacted"),
            Err(store_client::Error::Compacted { .. }) => {}
            Err(error) => tracing::info!(revision = old.0, %error, "history could not be compacted yet"),
        }
    }
}

/// Which revision was the newest at some moments in the past.
struct Samples {
    window: Duration,
    taken: VecDeque<(Instant, Revision)>,
}

impl Samples {
    fn new(window: Duration) -> Self {
        Self { window, taken: VecDeque::new() }
    }

    /// Takes a sample; returns the newest one that is older than the window and drops those before.
    fn sample(&mut self, now: Instant, revision: Revision) -> Option<Revision> {
        self.taken.push_back((now, revision));
        let old = |(at, _): &(Instant, Revision)| now.duration_since(*at) >= self.window;
        while self.taken.get(1).is_some_and(old) {
            self.taken.pop_front();
        }
        self.taken.front().filter(|sample| old(sample)).map(|(_, revision)| *revision)
    }
}

/// Refuses writes while the disk is nearly full, and takes them again when it is not.
async fn mind_space(handle: Handle, options: Options) -> Result<(), Error> {
    let mut ticks = ticks(SPACE_CHECK_INTERVAL);
    loop {
        ticks.tick().await;
        let directory = options.data_dir.clone();
        let free = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&directory)).await;
        let Ok(Ok(disk)) = free else { continue };
        let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
        let full = free_bytes < options.free_bytes_min;
        if handle.set_no_space(full) != full {
            if full {
                tracing::error!(
                    free_bytes,
                    needed = options.free_bytes_min,
                    "the disk is nearly full: writes are refused"
                );
            } else {
                tracing::info!(free_bytes, "there is space again: writes are accepted");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_kept_for_the_whole_window() {
        let start = Instant::now();
        let mut samples = Samples::new(Duration::from_secs(10));
        let mut at =
            |seconds, revision| samples.sample(start + Duration::from_secs(seconds), Revision(revision));
        assert_eq!(at(0, 5), None);
        assert_eq!(at(6, 7), None);
        assert_eq!(at(10, 8), Some(Revision(5)));
        assert_eq!(at(15, 9), Some(Revision(5)), "what was written at 6 may still be read");
        assert_eq!(at(16, 9), Some(Revision(7)));
    }
}
