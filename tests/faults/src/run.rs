//! One run: traffic, the fault, traffic again, and the judgement.

use std::time::Duration;

use anyhow::{Context, ensure};
use check::kv::{self, Answer, Store};
use check::linear::{self, Verdict};
use check::log::ChangeLog;
use check::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::{self, Cluster};
use crate::fault::Fault;
use crate::limits::{CALLS_MIN, CLIENTS, KEYS, POLL, STEPS, TRAFFIC, WATCHES};
use crate::watcher::{self, Plan, Told};
use crate::workload::{Client, Reads, Record};

/// What a run that passed says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Calls with an answer.
    pub answered: usize,
    /// Calls whose outcome is unknown.
    pub unknown: usize,
    /// Changes in the end.
    pub changes: usize,
    /// The longest time without an acknowledged change.
    pub gap: Duration,
}

/// Strikes a cluster under load, and judges what its clients saw.
pub async fn run(fault: Fault, seed: u64, reads: Reads) -> anyhow::Result<Report> {
    let mut cluster = Cluster::start(3).await?;
    let record = Record::default();
    let stop = CancellationToken::new();
    let mut clients = JoinSet::new();
    let begin = Instant::now();
    let addresses: Vec<_> = (0..cluster.len()).map(|at| cluster.client_address(at)).collect();
    for number in 0..CLIENTS {
        let member = cluster::channel(addresses[number % addresses.len()]);
        let client = Client::new(number as u64 + 1, member, begin, seed, reads);
        clients.spawn(client.run(record.clone(), stop.clone()));
    }
    let watches: Vec<(Plan, Told)> =
        watcher::plans().into_iter().map(|plan| (plan, Told::default())).collect();
    let stop_watches = CancellationToken::new();
    let mut watchers = JoinSet::new();
    for (at, (plan, told)) in watches.iter().enumerate() {
        let members = addresses.iter().map(|address| watcher::channel(*address)).collect();
        watchers.spawn(watcher::run(*plan, members, at, told.clone(), stop_watches.clone()));
    }
    traffic(&record, "before the fault").await?;
    fault.strike(&mut cluster).await.with_context(|| format!("{fault:?}"))?;
    traffic(&record, "after the fault").await?;
    stop.cancel();
    while let Some(ended) = clients.join_next().await {
        ended?;
    }
    let judged = judge(&cluster, &record, &watches).await;
    stop_watches.cancel();
    while let Some(ended) = watchers.join_next().await {
        ended?;
    }
    judged
}

/// Waits for enough answered calls to say something.
async fn traffic(record: &Record, when: &str) -> anyhow::Result<()> {
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

async fn judge(cluster: &Cluster, record: &Record, watches: &[(Plan, Told)]) -> anyhow::Result<Report> {
    let history = record.history();
    let acknowledged = history.iter().filter_map(|timed| match timed.call.answer {
        Some(Answer::Changed { revision } | Answer::Held { revision, .. }) => Some(revision),
        None => None,
    });
    let newest = acknowledged.max().context("nothing was answered")?;
    // From each member in turn: they must tell the same.
    let changes = watcher::whole(cluster.client_address(0), newest).await?;
    for at in 1..cluster.len() {
        let others = watcher::whole(cluster.client_address(at), newest).await?;
        let common = changes.len().min(others.len());
        ensure!(changes[..common] == others[..common], "members 0 and {at} tell different histories");
    }
    let log = ChangeLog::new(1, changes)?;
    log.holds_all(&history)?;
    cluster.agree(newest).await?;
    let unknown = history.iter().filter(|timed| timed.call.answer.is_none()).count();
    let report =
        Report { answered: history.len() - unknown, unknown, changes: log.len(), gap: gap(&history) };
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
