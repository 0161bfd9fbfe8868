//! One run: boot, calls while faults strike, healing, convergence, and the judgement.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc};

use raft::bugs::Bug;
use rand_of_mad_turmoil::SeedableRng;
use rand_of_mad_turmoil::rngs::StdRng;
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, Fate};
use crate::coverage::Coverage;
use crate::invariants::{convergence, leases, linearizable, reads, watches};
use crate::limits::{BOOT_MS, CALLS_MIN, CONVERGE_MS, SAMPLE_MS, STEP_MAX};
use crate::plan::Plan;

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What happened, as one number, and how many events that was.
    pub digest: (u64, u64),
    /// How much simulated time it took.
    pub simulated_ms: u64,
    /// What really happened.
    pub coverage: Coverage,
    /// Whether there was enough traffic to say anything.
    pub valid: bool,
}

/// An invariant was found broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was found.
    pub broken: String,
    /// When, in simulated milliseconds.
    pub at_ms: u64,
    /// What happened last.
    pub tail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at {} ms)", self.broken, self.at_ms)
    }
}

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Whether every event is printed.
    pub loud: bool,
    /// Which known bug is switched on.
    pub bug: Option<Bug>,
}

/// The first panic of this process. Whatever a member does in a task panics where nobody sees it.
static PANIC: OnceLock<String> = OnceLock::new();

/// How far the simulation of this process has come, in simulated milliseconds.
static REACHED_MS: AtomicU64 = AtomicU64::new(0);

/// Runs a plan, which a process does once: what libraries count or keep for a whole process (tokio counts runtimes, and chooses by that number
/// between what is ready) would be another in a second run. [`apart`](crate::apart) runs in a process of its own.
///
/// # Panics
///
/// The second time.
pub fn run(plan: &Plan, manner: Manner) -> Result<Report, Failure> {
    raft::bugs::switch(manner.bug);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Only the first counts.
        drop(PANIC.set(panic.to_string()));
        usual(panic);
    }));
    mad_turmoil::rand::set_rng(StdRng::seed_from_u64(plan.seed));
    let plan = plan.clone();
    // On a thread of its own: what libraries keep for each thread must not come from the time before the randomness was seeded.
    let thread = std::thread::Builder::new().name("simulation".into()).stack_size(16 << 20);
    let (teller, told) = mpsc::sync_channel(2);
    let warner = teller.clone();
    let simulate = move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| run_here(&plan, manner)));
        let outcome = outcome.unwrap_or_else(|_| Err(reached("the driver panicked")));
        drop(teller.send(outcome));
    };
    thread.spawn(simulate).expect("a thread starts");
    // What waits for ever in one step waits for what only another step brings: nobody but another thread can tell.
    std::thread::spawn(move || {
        stand_still(&REACHED_MS, || std::thread::sleep(STEP_MAX));
        drop(warner.send(Err(reached("liveness: it stands still"))));
    });
    told.recv().expect("one of them tells")
}

fn reached(broken: &str) -> Failure {
    let at_ms = REACHED_MS.load(Ordering::Relaxed);
    Failure { broken: broken.to_owned(), at_ms, tail: String::new() }
}

/// Returns once a counter did not move in a pause.
fn stand_still(counter: &AtomicU64, mut pause: impl FnMut()) {
    let mut before = None;
    loop {
        let now = counter.load(Ordering::Relaxed);
        if before == Some(now) {
            return;
        }
        before = Some(now);
        pause();
    }
}

fn run_here(plan: &Plan, manner: Manner) -> Result<Report, Failure> {
    let failure = |broken: String| Failure { broken, at_ms: 0, tail: String::new() };
    let cluster = Cluster::new(plan, manner.loud);
    let mut cluster = cluster.map_err(|error| failure(format!("setting up: {error:#}")))?;
    // A panic inside of a member is a broken invariant like any other.
    let played = catch_unwind(AssertUnwindSafe(|| play(&mut cluster, plan)));
    let played = played.unwrap_or_else(|panic| Err(format!("it panicked: {}", message(&*panic))));
    let at_ms = cluster.now_ms();
    let outcome = {
        let books = cluster.ledger.books();
        let broken = books.broken.clone().or_else(|| played.as_ref().err().cloned());
        match broken {
            Some(broken) => Err(Failure { broken, at_ms, tail: books.trace.tail() }),
            None => {
                let mut coverage = books.coverage.clone();
                coverage.add("commands applied", books.committed.count());
                coverage.add("terms with a leader", books.leaders.terms());
                let valid = cluster.desk.record.answered() >= CALLS_MIN;
                coverage.add("calls answered", cluster.desk.record.answered() as u64);
                Ok(Report { digest: books.trace.digest(), simulated_ms: at_ms, coverage, valid })
            }
        }
    };
    if played.is_err() {
        // What panicked may not stand being taken apart.
        std::mem::forget(cluster);
    }
    outcome
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

fn play(cluster: &mut Cluster, plan: &Plan) -> Result<(), String> {
    until(cluster, BOOT_MS, "the cluster answers", |cluster| Ok(cluster.desk.record.answered() > 0))?;
    let begin = cluster.now_ms();
    let mut strikes = plan.strikes.iter().peekable();
    while cluster.now_ms() < begin + plan.load_ms {
        while let Some((_, fault)) = strikes.next_if(|(at, _)| begin + at <= cluster.now_ms()) {
            cluster.strike(*fault).map_err(|error| format!("striking: {error:#}"))?;
        }
        step(cluster)?;
    }
    cluster.ledger.note(format_args!("HEAL"));
    cluster.heal();
    let answered = cluster.desk.record.answered();
    until(cluster, CONVERGE_MS, "the healed cluster answers", |cluster| {
        Ok(cluster.desk.record.answered() > answered + 20)
    })?;
    cluster.desk.stop.cancel();
    until(cluster, CONVERGE_MS, "all calls end", |cluster| Ok(cluster.desk.quiet.is_cancelled()))?;
    until(cluster, CONVERGE_MS, "orders are carried out", |cluster| {
        let expected = cluster.fates.contains(&Fate::Expected);
        Ok(cluster.desk.orders.lock().is_empty() && !expected)
    })?;
    until(cluster, CONVERGE_MS, "members agree", |cluster| {
        let Some(stands) = cluster.stands() else { return Ok(false) };
        let ended = stands.iter().all(|stand| stand.leases.is_empty());
        convergence::agreed(&stands).map(|agreed| agreed && ended)
    })?;
    judge(cluster)
}

/// Steps until something is so.
fn until(
    cluster: &mut Cluster,
    within_ms: u64,
    what: &str,
    mut so: impl FnMut(&mut Cluster) -> Result<bool, String>,
) -> Result<(), String> {
    let deadline = cluster.now_ms() + within_ms;
    loop {
        for _ in 0..20 {
            step(cluster)?;
        }
        if so(cluster).map_err(|broken| format!("{what}: {broken}"))? {
            return Ok(());
        }
        if cluster.now_ms() > deadline {
            return Err(format!("liveness: not within {within_ms} ms: {what}; {}", standing(cluster)));
        }
    }
}

fn standing(cluster: &Cluster) -> String {
    let member = |at: usize| {
        let status = cluster.sites[at].handle().map(|handle| handle.raft().status());
        let status = status.map(|status| {
            let leader = status.leader.map(|id| id.to_string()).unwrap_or_default();
            (
                status.term.0,
                leader,
                status.last_index.0,
                status.committed.0,
                status.applied.0,
                status.members.len(),
            )
        });
        format!("m{} {:?} {status:?}", at + 1, cluster.fates[at])
    };
    (0..cluster.sites.len()).map(member).collect::<Vec<_>>().join("; ")
}

fn step(cluster: &mut Cluster) -> Result<(), String> {
    cluster.step()?;
    REACHED_MS.store(cluster.now_ms(), Ordering::Relaxed);
    if cluster.now_ms().is_multiple_of(SAMPLE_MS) {
        cluster.sample();
    }
    if let Some(panic) = PANIC.get() {
        return Err(format!("a member panicked: {panic}"));
    }
    match &cluster.ledger.books().broken {
        Some(broken) => Err(broken.clone()),
        None => Ok(()),
    }
}

/// What can only be said of the whole.
fn judge(cluster: &mut Cluster) -> Result<(), String> {
    cluster.sample();
    let desk = cluster.desk.clone();
    let log = cluster.ledger.books().revisions.log().map_err(|fault| format!("S1: {fault}"))?;
    let history = desk.record.history();
    {
        let books = cluster.ledger.books();
        linearizable::check(&history, &log, &books.revisions)?;
        reads::check(&desk.reads.lock(), &history, &log)?;
        leases::check(&desk.leases.lock(), &log, &books.revisions)?;
    }
    for (plan, told) in desk.watches.iter() {
        until(cluster, CONVERGE_MS, "watches reach the head", |_| watches::check(*plan, told, &log, true))?;
    }
    for (plan, told) in desk.late.lock().iter() {
        watches::check(*plan, told, &log, false)?;
    }
    cluster.ledger.note(format_args!("history {}", history.len()));
    for timed in &history {
        cluster.ledger.note(format_args!("{timed:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_still_is_told_and_what_moves_is_not() {
        let (counter, mut steps) = (AtomicU64::new(0), 1..4);
        stand_still(&counter, || counter.store(steps.next().unwrap_or(3), Ordering::Relaxed));
        assert_eq!(counter.load(Ordering::Relaxed), 3);
    }
}
