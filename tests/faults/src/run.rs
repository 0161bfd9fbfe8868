//! One run: traffic, the fault, traffic again, and the judgement.

use std::time::Duration;

use anyhow::{Context, ensure};
use check::kv::{self, Answer, Store};
use check::linear::{self, Verdict};
use check::log::{Change, ChangeLog};
use check::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::calls;
use crate::cluster::Cluster;
use crate::coverage::Coverage;
use crate::fault::{Fault, Scene};
use crate::limits::{CALLS_MIN, CLIENTS, KEYS, POLL, STEPS, TRAFFIC, WATCHES};
use crate::watcher::{self, Plan, Told};
use crate::workload::{Client, Reads, Record};

/// What a run that passed says of itself.
#[derive(Clone, Debug)]
pub struct Report {
    /// Calls with an answer.
    pub answered: usize,
    /// Calls whose outcome is unknown.
    pub unknown: usize,
    /// Changes in the end.
    pub changes: usize,
    /// The longest time without an acknowledged change.
    pub gap: Duration,
    /// What really happened.
    pub seen: Coverage,
}

/// Strikes a cluster under load, and judges what its clients saw.
pub async fn run(fault: Fault, seed: u64, reads: Reads) -> anyhow::Result<Report> {
    let cluster = Cluster::start(fault.layout()).await?;
    let mut scene = Scene { cluster, record: Record::default(), seen: Coverage::default() };
    let stop = CancellationToken::new();
    let mut clients = JoinSet::new();
    let begin = Instant::now();
    let addresses: Vec<_> = scene.cluster.places().map(|at| scene.cluster.client_address(at)).collect();
    let channels: Vec<_> = addresses.iter().map(|address| calls::channel(*address)).collect();
    for number in 1..=CLIENTS as u64 {
        let client = Client::new(number, &channels, begin, seed, reads);
        clients.spawn(client.run(scene.record.clone(), stop.clone()));
    }
    let watches: Vec<(Plan, Told)> =
        watcher::plans().into_iter().map(|plan| (plan, Told::default())).collect();
    let stop_watches = CancellationToken::new();
    let mut watchers = JoinSet::new();
    for (at, (plan, told)) in watches.iter().enumerate() {
        let members = addresses.iter().map(|address| watcher::channel(*address)).collect();
        watchers.spawn(watcher::run(*plan, members, at, told.clone(), stop_watches.clone()));
    }
    traffic(&scene.record, "before the fault").await?;
    strike(fault, &mut scene).await?;
    traffic(&scene.record, "after the fault").await?;
    stop.cancel();
    end(clients).await?;
    let judged = judge(&scene, &watches).await;
    stop_watches.cancel();
    end(watchers).await?;
    judged
}

/// Strikes, and adds to a failure what members that ended had to say.
pub(crate) async fn strike(fault: Fault, scene: &mut Scene) -> anyhow::Result<()> {
    match fault.strike(scene).await {
        Ok(()) => Ok(()),
        Err(error) => Err(error.context(format!("{fault:?}: {}", scene.cluster.obituaries()?))),
    }
}

/// Waits for clients to end.
pub(crate) async fn end(mut clients: JoinSet<()>) -> anyhow::Result<()> {
    while let Some(ended) = clients.join_next().await {
        ended?;
    }
    Ok(())
}

/// Waits for enough answered calls to say something.
pub(crate) async fn traffic(record: &Record, when: &str) -> anyhow::Result<()> {
    let (before, deadline) = (record.answered(), Instant::now() + TRAFFIC);
    while record.answered() < before + CALLS_MIN {
        ensure!(
            Instant::now() < deadline,
            "invalid run: {} calls answered {when}, {CALLS_MIN} are needed",
            record.answered() - before
        );
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn judge(scene: &Scene, watches: &[(Plan, Told)]) -> anyhow::Result<Report> {
    let Scene { cluster, record, seen } = scene;
    let history = record.history();
    let acknowledged = history.iter().filter_map(|timed| match timed.call.answer {
        Some(Answer::Changed { revision } | Answer::Held { revision, .. }) => Some(revision),
        None => None,
    });
    let newest = acknowledged.max().context("nothing was answered")?;
    // From each member in turn: they must tell the same.
    let mut told = Vec::new();
    for at in cluster.members() {
        told.push(watcher::whole(cluster.client_address(at), newest).await?);
    }
    let differ = |pair: &[Vec<Change>]| pair[0].iter().zip(&pair[1]).any(|(one, other)| one != other);
    ensure!(!told.windows(2).any(differ), "members tell different histories");
    let changes = told.pop().context("there are no members")?;
    let log = ChangeLog::new(1, changes)?;
    log.holds_all(&history)?;
    for refused in record.refused() {
        let happened = refused.value().is_some_and(|value| log.written_at(value).is_some());
        ensure!(!happened, "{refused:?} was refused for want of space, and happened");
    }
    cluster.agree(newest).await?;
    let unknown = history.iter().filter(|timed| timed.call.answer.is_none()).count();
    let report = Report {
        answered: history.len() - unknown,
        unknown,
        changes: log.len(),
        gap: gap(&history),
        seen: seen.clone(),
    };
    let store = Store { keys: KEYS, revision: 1 };
    let verdict = linear::check(&store, &kv::tighten(history, &log), STEPS);
    ensure!(verdict == Verdict::Linearizable, "S4: {verdict:?}");
    for (plan, told) in watches {
        judge_watch(*plan, told, &log).await?;
    }
    Ok(report)
}

/// Waits for a watch to reach the head, and checks it (S3).
async fn judge_watch(plan: Plan, told: &Told, log: &ChangeLog) -> anyhow::Result<()> {
    let deadline = Instant::now() + WATCHES;
    loop {
        let judged = watch::check(&told.watcher(plan), log, plan.from <= log.newest());
        match judged {
            Ok(()) => return Ok(()),
            // It may be on its way; anything else does not get better.
            Err(watch::Fault::Missing { .. })
                if Instant::now() < deadline && told.reached() < log.newest() =>
            {
                tokio::time::sleep(POLL).await;
            }
            // The load ended with calls of unknown outcome: changes beyond what we asked for may still come.
            Err(watch::Fault::Untrue { told, truth: None }) if told.revision > log.newest() => return Ok(()),
            Err(fault) => return Err(anyhow::Error::from(fault).context(format!("{plan:?}"))),
        }
    }
}

/// The longest time between two acknowledged changes.
fn gap(history: &[linear::Timed<kv::Call>]) -> Duration {
    let changed = |timed: &linear::Timed<kv::Call>| {
        timed.returned.filter(|_| matches!(timed.call.answer, Some(Answer::Changed { .. })))
    };
    let mut times: Vec<u64> = history.iter().filter_map(changed).collect();
    times.sort_unstable();
    Duration::from_nanos(times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0))
}
