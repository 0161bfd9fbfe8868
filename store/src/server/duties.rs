//! What a member does on its own: ends leases, forgets old history, removes what is forgotten, minds the disk.

use std::sync::Arc;
use std::time::Duration;

use raft::{Dial, Member, MemberId};
use store_client::Revision;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Error, Handle, Keys, Options, agreement, backups, blocking, damage, space, tokens};
use crate::limits::{
    ANNOUNCE_INTERVAL, HISTORY_SAMPLES, KEYS_WATCH_INTERVAL, LEASE_TICK_MS, LEASES_PER_COMMAND_MAX,
    NOTE_INTERVAL_MIN, NOTE_INTERVAL_UNBOUNDED, NOTES_PER_WINDOW, PROMOTE_PATIENCE, REPLAY_MAX,
    RETRY_INTERVAL,
};
use crate::machine::command::Command;

/// Starts all duties; they end with `stop`.
pub fn spawn(
    tasks: &mut JoinSet<Result<(), Error>>,
    handle: &Handle,
    options: &Options,
    promotions: mpsc::Receiver<MemberId>,
    dial: Dial,
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
    let ttl = Duration::from_secs(options.auth_token_ttl_s);
    tasks.spawn(until(Box::pin(tokens::keep(handle.clone(), ttl))));
    tasks.spawn(until(Box::pin(tidy(handle.clone()))));
    tasks.spawn(until(Box::pin(space::mind(handle.clone(), options.clone()))));
    tasks.spawn(until(Box::pin(promote(handle.clone(), promotions))));
    tasks.spawn(until(Box::pin(announce(handle.clone(), options.clone()))));
    let window = (options.history_window_s > 0).then(|| Duration::from_secs(options.history_window_s));
    tasks.spawn(until(Box::pin(keep_history(handle.clone(), window))));
    tasks.spawn(until(Box::pin(stop_when_broken(handle.clone()))));
    if let Some(directory) = options.backup_dir.clone() {
        tasks.spawn(until(Box::pin(backups::run(handle.clone(), options.clone(), directory))));
    }
    if options.hash_check_interval_s > 0 {
        tasks.spawn(until(Box::pin(agreement::compare(handle.clone(), options.clone(), dial))));
    }
}

/// Looks after keys that are kept in files.
pub fn keep_keys(tasks: &mut JoinSet<Result<(), Error>>, keys: Arc<Keys>, stop: &CancellationToken) {
    let stop = stop.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = keys.watch(KEYS_WATCH_INTERVAL) => {}
        }
        Ok(())
    });
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
    let mut leadership = handle.leadership();
    loop {
        let known = handle.raft().status().members.get(&id).map(|(member, _)| member.clone());
        if let Some(known) = known {
            let wanted = Member {
                name: options.name.clone(),
                client_urls: options.client_urls.clone(),
                peer_url: known.peer_url.clone(),
            };
            if known == wanted {
                handle.set_announced();
                return std::future::pending().await;
            }
            let announced = async {
                // A leader refuses changes of members until the first ones are committed, and openraft logs an error; a read
                // waits for that.
                handle.raft().read_index().await?;
                handle.raft().update(id, wanted).await
            };
            match announced.await {
                Ok(()) => continue,
                Err(error) => tracing::debug!(%error, "this member could not be announced yet"),
            }
        }
        // A member that has just started hears of its leader before the interval is over.
        if let Ok(Err(_stopped)) = tokio::time::timeout(ANNOUNCE_INTERVAL, leadership.changed()).await {
            return std::future::pending().await;
        }
    }
}

/// Tidies this member's disk: merges tables, and removes compacted versions. Not before the log is replayed: until then nobody is answered, and
/// tidying would take time from that.
async fn tidy(handle: Handle) -> Result<(), Error> {
    handle.raft().replayed(REPLAY_MAX).await;
    let machine = handle.machine().clone();
    blocking(machine.work(), move || machine.settle()).await?;
    loop {
        loop {
            let machine = handle.machine().clone();
            if !blocking(machine.work(), move || machine.scrub_step()).await? {
                break;
            }
        }
        handle.machine().compacted().await;
    }
}

/// Ends the member once its state turns out unreadable, and for good if that is the medium's fault.
async fn stop_when_broken(handle: Handle) -> Result<(), Error> {
    let error = handle.found_broken().await;
    let directory = &handle.options().data_dir;
    match damage::remember(directory, &error) {
        Ok(Some(mark)) => tracing::error!(mark = %mark.display(), "this member must be replaced"),
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "that this member is damaged could not be written down"),
    }
    Err(error.into())
}

/// As the leader, notes which revision is the newest, and proposes to forget history that is older than the window.
async fn keep_history(handle: Handle, window: Option<Duration>) -> Result<(), Error> {
    let leadership = handle.leadership();
    let mut ticks = ticks(note_interval(window));
    let mut forget_at = Instant::now();
    loop {
        ticks.tick().await;
        if !leadership.borrow().is_self {
            continue;
        }
        note(&handle).await?;
        let Some(window) = window.filter(|_| Instant::now() >= forget_at) else { continue };
        forget_at = Instant::now() + (window / HISTORY_SAMPLES).max(NOTE_INTERVAL_MIN);
        forget(&handle, window).await?;
    }
}

fn note_interval(window: Option<Duration>) -> Duration {
    window.map_or(NOTE_INTERVAL_UNBOUNDED, |window| (window / NOTES_PER_WINDOW).max(NOTE_INTERVAL_MIN))
}

/// Notes the newest revision, unless that is known.
async fn note(handle: &Handle) -> Result<(), Error> {
    let (unix_ms, newest, machine) = (handle.unix_ms(), handle.revision(), handle.machine().clone());
    let last = blocking(machine.work(), move || machine.last_noted(unix_ms)).await?;
    if last.is_some_and(|noted| noted.revision == newest.0) {
        return Ok(());
    }
    if let Err(error) = handle.propose(&Command::Note { unix_ms }).await {
        tracing::debug!(%error, "the time could not be noted yet");
    }
    Ok(())
}

async fn forget(handle: &Handle, window: Duration) -> Result<(), Error> {
    let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    let (until, machine) = (handle.unix_ms().saturating_sub(window_ms), handle.machine().clone());
    let compacted = machine.facts().compacted;
    let old = blocking(machine.work(), move || machine.last_noted(until)).await?;
    let Some(old) = old.map(|noted| Revision(noted.revision)).filter(|old| old.0 > compacted) else {
        return Ok(());
    };
    match handle.propose(&Command::Compact(old)).await {
        Ok(_) => tracing::debug!(revision = old.0, "history was compacted"),
        Err(store_client::Error::Compacted { .. }) => {}
        Err(error) => tracing::info!(revision = old.0, %error, "history could not be compacted yet"),
    }
    Ok(())
}
