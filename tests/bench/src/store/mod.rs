//! What the store costs: the targets S1 to S17, ours beside etcd where it is installed, and beside the floors of the
//! machine.
//!
//! ```text
//!   figures: what is compared, goals, the table
//!   work, watches, leases, data, in_process: how each is measured
//!   members: the processes           floor, nothing: what is below all of it
//! ```

mod data;
mod figures;
mod floor;
mod in_process;
mod leases;
mod members;
mod nothing;
mod watches;
mod work;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context;
use clap::Args;

use crate::{
    limits::{ANSWER_MAX, FLOOR_DRIFT_MAX},
    machine, process,
    samples::number,
};
use figures::{Figure, Figures, Floors};
pub use in_process::serve as serve_in_process;
use members::{Members, Program};
pub use nothing::serve as serve_no_op;

/// The targets S1 to S17 of the store: ours, etcd's, floors and ratios
#[derive(Args)]
pub struct Options {
    /// Times that everything is measured, ours and the peer in turns [default: 3; 7 with --full; 1 with --quick]
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds for each figure [default: 3; 10; 0.2]
    #[arg(long)]
    seconds: Option<f64>,
    /// Targets to measure, as in `S1,S8` [default: all; without S13 unless --full]
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Keys of the data set, of 1 KiB each [default: 100000; 1000000; 2000]
    #[arg(long)]
    keys: Option<u64>,
    /// GiB of the large data set of S13
    #[arg(long, default_value_t = 16.0)]
    data_gib: f64,
    /// The peer's program [default: etcd on PATH]
    #[arg(long, env = "ETCD")]
    peer: Option<PathBuf>,
    /// etcd's own load tool, for S3 [default: etcd-benchmark on PATH]
    #[arg(long, env = "ETCD_BENCHMARK")]
    peer_tool: Option<PathBuf>,
    /// Measure ours alone
    #[arg(long)]
    no_peer: bool,
    /// Let servers and generator share all cores
    #[arg(long)]
    no_pin: bool,
    /// Take seconds, not minutes; the figures mean little
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Sizes and times of the targets: an hour and more, and 40 GB of disk
    #[arg(long)]
    full: bool,
}

/// Sizes and times of a run.
struct Plan {
    rounds: usize,
    limit: Duration,
    /// How long the data set is overwritten.
    overwrite: Duration,
    keys: u64,
    watchers: [usize; 2],
    leases: u64,
    /// Clients of a crowd.
    crowd: usize,
    data_gib: Option<f64>,
    only: Vec<String>,
    pinned: bool,
    tool: Option<PathBuf>,
}

impl Plan {
    fn new(options: &Options, pinned: bool) -> Self {
        let pick = |full, normal, quick| match (options.full, options.quick) {
            (true, _) => full,
            (_, true) => quick,
            _ => normal,
        };
        let named = |target: &str| options.only.iter().any(|only| only == target);
        let rounds = options.rounds.unwrap_or(pick(7, 3, 1)).max(1);
        let seconds = options.seconds.unwrap_or(if options.full { 10.0 } else { 3.0 });
        let seconds = if options.quick { options.seconds.unwrap_or(0.2) } else { seconds };
        Self {
            rounds,
            limit: Duration::from_secs_f64(seconds),
            overwrite: Duration::from_secs_f64(seconds) * pick(60, 10, 1) as u32,
            keys: options.keys.unwrap_or(pick(10, 1, 0) as u64 * 100_000).max(2000),
            watchers: if options.quick { [100, 300] } else { [1000, pick(100, 10, 1) * 1000] },
            leases: pick(100_000, 4000, 200) as u64,
            crowd: pick(16_000, 16_000, 2000),
            data_gib: (options.full || named("S13")).then_some(options.data_gib),
            only: options.only.clone(),
            pinned,
            tool: options.peer_tool.clone().or_else(|| process::find("etcd-benchmark")),
        }
    }

    /// Whether any of these targets is to be measured.
    fn wants(&self, targets: &[&str]) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| targets.contains(&only.as_str()))
    }
}

/// Clients of most rows.
const CLIENTS: usize = 1000;
/// Clients of reads.
const READ_CLIENTS: usize = 100;
/// A file system in memory, where a sync costs nothing.
const IN_MEMORY: &str = "/dev/shm";

/// Runs the program.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let kontiki = process::store()?;
    let pinned = !options.no_pin && process::can_pin();
    machine::introduce("store", &kontiki, pinned)?;
    let busy = machine::load() > machine::LOAD_MAX;
    let mut programs = vec![Program::kontiki(kontiki)];
    match options.peer.clone().or_else(|| process::find("etcd")).filter(|_| !options.no_peer) {
        Some(etcd) => programs.push(Program::etcd(etcd)?),
        None => println!("peer: absent (no etcd on PATH nor in the variable ETCD), so there are no ratios\n"),
    }
    if pinned {
        process::pin_generator()?;
    }
    let plan = Plan::new(&options, pinned);
    let floor = floor::measure(plan.limit, pinned).await?;
    println!("{}", floor.table);
    let mut figures = Figures::default();
    for round in 0..plan.rounds {
        // In turns, and the peer first in every other round: neither always finds the disk as the other left it.
        for turn in 0..programs.len() {
            let at = (turn + round) % programs.len();
            let name = programs[at].name;
            one_round(&programs[at], at, &plan, &mut figures)
                .await
                .with_context(|| format!("measuring {name}"))?;
        }
        eprintln!("round {} of {} is done", round + 1, plan.rounds);
    }
    let again = floor::measure(plan.limit, pinned).await?;
    let alone_ms = (floor.alone + floor.sync).as_secs_f64() * 1e3;
    let floors = Floors {
        call_us: floor.call_us,
        read_us: floor.read_us,
        keep_alive_us: floor.keep_alive_us,
        event_us: floor.event_us,
        alone_ms,
    };
    println!("{}", figures.table(programs.get(1).map(|peer| peer.name), floors));
    for (target, reason) in figures.absent() {
        println!("  {target} is incomplete: {reason}");
    }
    judge(busy, &floor, &again);
    Ok(())
}

/// Says how far the figures are to be believed.
fn judge(busy: bool, before: &floor::Floor, after: &floor::Floor) {
    let of = |floor: &floor::Floor| {
        let (alone, sync) = (floor.alone.as_secs_f64(), floor.sync.as_secs_f64());
        [floor.call_us, floor.read_us, floor.keep_alive_us, alone, sync]
    };
    let (before, after) = (of(before), of(after));
    // That of an event is the difference of two figures, and moves as both do.
    let moved: [f64; 5] = std::array::from_fn(|at| after[at] / before[at] - 1.0);
    let [call, read, message, alone, sync] = moved;
    println!("\n  medians of the rounds; the ratio is the median of the rounds' ratios, with its ends");
    println!(
        "  CPU: user and system time of the server per operation; /floor: by the same on a server that does nothing, for S4 by that and a sync"
    );
    println!(
        "  the floors moved from the begin to the end by {:+.0} % (call), {:+.0} % (read), {:+.0} % (message of a stream), {:+.0} % (lone call) and {:+.0} % (sync)",
        call * 100.0,
        read * 100.0,
        message * 100.0,
        alone * 100.0,
        sync * 100.0
    );
    let steady = moved.iter().all(|moved| moved.abs() <= FLOOR_DRIFT_MAX);
    if busy || !steady {
        println!(
            "  <- discard: the machine was busy, or a floor moved by more than {:.0} %",
            FLOOR_DRIFT_MAX * 100.0
        );
    }
}

/// Everything once, each part on fresh members.
async fn one_round(program: &Program, at: usize, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    if plan.wants(&["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S12", "S17"]) {
        calls(program, at, plan, figures).await.context("calls")?;
    }
    if at == 0 && plan.wants(&["S7"]) {
        let us = in_process::measure(plan.limit, plan.pinned).await.context("the handle in a process")?;
        figures.note(Figure::InProcessTxnCpu, at, us);
    } else if let Some(over_grpc) = figures.last(Figure::TxnCpu, at) {
        // The peer has no such way in.
        figures.note(Figure::InProcessTxnCpu, at, over_grpc);
    }
    if plan.wants(&["S5"]) {
        durability(program, at, plan, figures).await.context("durability")?;
    }
    if plan.wants(&["S8", "S9"]) {
        watches::measure(program, at, plan.pinned, plan.limit, plan.watchers, figures)
            .await
            .context("watches")?;
    }
    if plan.wants(&["S10", "S11", "S14", "S15"]) {
        data::measure(program, at, plan.pinned, plan.keys, plan.overwrite, figures)
            .await
            .context("data set")?;
    }
    if plan.wants(&["S13"]) {
        match plan.data_gib {
            Some(gib) => data::large(program, at, plan.pinned, gib, plan.limit * 30, figures).await?,
            None => figures.skip("S13", "it takes long; ask for it with --full or --only S13"),
        }
    }
    if plan.wants(&["S16"]) {
        let cluster = Members::start(program, 3, plan.pinned).await?;
        let load =
            work::put(&cluster.targets, &cluster.pids(), CLIENTS, plan.limit).await.context("3 members")?;
        figures.note(Figure::ThreePutRate, at, load.rate());
        figures.note(Figure::ThreePutCpu, at, load.server_us());
        cluster.stop().await?;
    }
    Ok(())
}

/// Short calls on one member.
async fn calls(program: &Program, at: usize, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let cluster = Members::start(program, 1, plan.pinned).await?;
    let (targets, pids, limit) = (&cluster.targets, cluster.pids(), plan.limit);
    let thousand = work::put(targets, &pids, CLIENTS, limit).await?;
    figures.note(Figure::PutCpu, at, thousand.server_us());
    figures.note(Figure::PutRate, at, thousand.rate());
    let alone = work::put(targets, &pids, 1, limit).await?;
    figures.note(Figure::PutAlone, at, alone.latencies.quantile(0.5).as_secs_f64() * 1e3);
    if plan.wants(&["S3"]) {
        foreign_tool(&cluster, at, plan, figures).await.context("etcd's own tool")?;
    }
    if plan.wants(&["S5"]) {
        syncs(&cluster, at, limit, figures).await.context("counting syncs")?;
    }
    if plan.wants(&["S6"]) {
        let linearizable = work::range(targets, &pids, READ_CLIENTS, false, limit).await?;
        let serializable = work::range(targets, &pids, READ_CLIENTS, true, limit).await?;
        figures.note(Figure::LinearizableCpu, at, linearizable.server_us());
        figures.note(Figure::SerializableCpu, at, serializable.server_us());
        figures.note(Figure::ReadParity, at, linearizable.rate() / serializable.rate());
    }
    if plan.wants(&["S7"]) {
        figures.note(Figure::TxnCpu, at, work::txn(targets, &pids, CLIENTS, limit).await?.server_us());
    }
    if plan.wants(&["S12"]) {
        let kept = leases::keep_alive(&targets[0], &pids, limit).await.context("keep-alives")?;
        figures.note(Figure::KeepAliveCpu, at, kept.server_us());
        leases::expiry(&cluster, at, plan.leases, limit, figures).await.context("expiry")?;
    }
    if plan.wants(&["S17"]) {
        // Once more, for the store was empty before, and holds now what all that came between has put there.
        let thousand = work::put(targets, &pids, CLIENTS, limit * 2).await?;
        // A store may refuse a crowd, and others for some time after it; that is an answer, and no reason to end the run.
        match work::put(targets, &pids, plan.crowd, limit * 2).await {
            Ok(crowd) => figures.note(Figure::Crowd, at, crowd.rate() / thousand.rate()),
            Err(error) => {
                let refused = format!("{} refused {} clients: {error:#}", program.name, plan.crowd);
                figures.note(Figure::Crowd, at, f64::NAN);
                figures.skip("S17", refused);
            }
        }
    }
    cluster.stop().await
}

/// S5: the same puts where a sync costs nothing. Both stores still ask for their syncs there.
async fn durability(program: &Program, at: usize, plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let parent = Path::new(IN_MEMORY);
    if !parent.is_dir() {
        figures.skip("S5", format!("durability needs a file system in memory at {IN_MEMORY}"));
        return Ok(());
    }
    let mut rates = [0.0; 2];
    for (parent, rate) in [std::env::temp_dir().as_path(), parent].into_iter().zip(&mut rates) {
        let cluster = Members::start_in(parent, program, 1, plan.pinned).await?;
        *rate = work::put(&cluster.targets, &cluster.pids(), CLIENTS, plan.limit).await?.rate();
        cluster.stop().await?;
    }
    figures.note(Figure::Durability, at, rates[0] / rates[1]);
    Ok(())
}

/// S5: syncs are counted in a pass of their own, because counting slows the server down.
async fn syncs(cluster: &Members, at: usize, limit: Duration, figures: &mut Figures) -> anyhow::Result<()> {
    let Some(strace) = process::find("strace") else {
        figures.skip("S5", "syncs are counted by strace, which is not installed");
        return Ok(());
    };
    let pid = cluster.pids()[0];
    let summary = tempfile::NamedTempFile::new()?;
    let mut command = tokio::process::Command::new(strace);
    command
        .args(["-f", "-c", "-q", "-e", "trace=fdatasync,fsync,sync_file_range,msync", "-o"])
        .arg(summary.path());
    command.args(["-p", &pid.to_string()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut tracer = command.kill_on_drop(true).spawn()?;
    let load = work::put(&cluster.targets, &[pid], CLIENTS, limit).await?;
    process::interrupt(tracer.id().context("strace has ended: may it trace?")?)?;
    tokio::time::timeout(ANSWER_MAX, tracer.wait()).await.context("strace does not end")??;
    let calls = sync_calls(&std::fs::read_to_string(summary.path())?);
    if calls == 0 {
        figures.skip("S5", "strace saw no sync; it may not be allowed to trace");
        return Ok(());
    }
    figures.note(Figure::Syncs, at, calls as f64 * 1000.0 / load.latencies.len() as f64);
    Ok(())
}

/// Calls that make a file durable, in the summary of strace.
fn sync_calls(summary: &str) -> u64 {
    let durable = |line: &&str| ["fdatasync", "fsync", "msync"].iter().any(|call| line.ends_with(call));
    let calls = |line: &str| line.split_ascii_whitespace().nth(3)?.parse::<u64>().ok();
    summary.lines().map(str::trim_end).filter(durable).filter_map(calls).sum()
}

/// S3: the peer's own tool against both.
async fn foreign_tool(
    cluster: &Members,
    at: usize,
    plan: &Plan,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let Some(tool) = &plan.tool else {
        figures.skip("S3", "etcd's own tool is absent (no etcd-benchmark on PATH nor in ETCD_BENCHMARK)");
        return Ok(());
    };
    let mut command = tokio::process::Command::new(tool);
    command.arg(format!("--endpoints={}", cluster.targets[0].address));
    command.args([
        "--conns=100",
        "--clients=1000",
        "put",
        "--key-size=8",
        "--val-size=256",
        "--total=100000",
    ]);
    command.args(["--key-space-size=100000"]).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    let rate = rate.and_then(|rate| rate.trim().parse().ok());
    let rate: f64 = rate.with_context(|| format!("no rate in what it printed: {text}"))?;
    println!("  {}: {} puts/s by etcd's own tool", if at == 0 { "kontiki" } else { "peer" }, number(rate));
    figures.note(Figure::ForeignPutRate, at, rate);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_found_in_a_summary_with_and_without_errors() {
        let summary = "% time     seconds  usecs/call     calls    errors syscall\n\
                       ------ ----------- ----------- --------- --------- ----------------\n\
                        99.00    0.048000          48      1000           fdatasync\n\
                         1.00    0.000500          50        10         2 fsync\n\
                         0.00    0.000000           0         7           sync_file_range\n\
                       ------ ----------- ----------- --------- --------- ----------------\n\
                       100.00    0.048500          48      1017         2 total\n";
        assert_eq!(sync_calls(summary), 1010);
    }
}
