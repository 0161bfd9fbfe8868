//! What the store costs: puts and ranges with 1, 100 and 1,000 clients on one member and on three, beside the floors
//! of the machine and, where it is installed, beside etcd.

mod floor;
mod members;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use proto::etcd::etcdserverpb::{PutRequest, RangeRequest};

use crate::{
    grpc,
    limits::STORE_CONNECTIONS_MAX,
    load::{self, Load, Until},
    machine, process,
    samples::{median, millis, number},
    table::Table,
    wire::{Connection, Target},
};
pub use floor::serve_no_op;
use members::{Members, Program};

/// Store puts per second and server CPU per put, with 1, 100 and 1,000 clients, one member and three
#[derive(Args)]
pub struct Options {
    /// Times that everything is measured, each with fresh members; the median is shown [default: 3; 1 with --quick]
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds for each figure [default: 5; 0.3]
    #[arg(long)]
    seconds: Option<f64>,
    /// Numbers of members to measure
    #[arg(long, value_delimiter = ',', default_values_t = [1, 3])]
    members: Vec<usize>,
    /// Numbers of clients to measure
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 1000])]
    clients: Vec<usize>,
    /// The peer's program [default: etcd on PATH]
    #[arg(long, env = "ETCD")]
    peer: Option<PathBuf>,
    /// Let servers and generator share all cores
    #[arg(long)]
    no_pin: bool,
    /// Take seconds, not minutes; the figures mean little
    #[arg(long)]
    quick: bool,
}

/// Distinct keys that are written, of 8 bytes each.
const KEYS: u64 = 100_000;
/// Bytes of a value.
const VALUE_BYTES: usize = 256;
/// Clients for the ranges.
const RANGE_CLIENTS: usize = 100;

/// One row of the table: what is done, on how many members, by how many clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    members: usize,
    work: Work,
    clients: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    Put,
    LinearizableRange,
    SerializableRange,
}

impl Work {
    const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::LinearizableRange => "range, linearizable",
            Self::SerializableRange => "range, serializable",
        }
    }
}

/// Loads by case and program (ours first), one for each round.
type Figures = BTreeMap<Case, Vec<Vec<Load>>>;

/// Runs the program.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let kontiki = process::kontiki()?;
    let pinned = !options.no_pin && process::can_pin();
    machine::introduce("store", &kontiki, pinned)?;
    let mut programs = vec![Program::kontiki(kontiki)];
    match options.peer.clone().or_else(|| process::find("etcd")) {
        Some(etcd) => programs.push(Program::etcd(etcd)?),
        None => println!("peer: absent (no etcd on PATH nor in the variable ETCD), so there are no ratios\n"),
    }
    if pinned {
        process::pin_generator()?;
    }
    let limit = Duration::from_secs_f64(options.seconds.unwrap_or(if options.quick { 0.3 } else { 5.0 }));
    let floor = floor::measure(limit, pinned).await?;
    println!("{}", floor.table);
    let mut figures = Figures::new();
    for _ in 0..options.rounds.unwrap_or(if options.quick { 1 } else { 3 }).max(1) {
        for &members in &options.members {
            for (at, program) in programs.iter().enumerate() {
                let loads = measure(program, members, pinned, &options.clients, limit).await?;
                for (case, load) in loads {
                    let of_programs = figures.entry(case).or_insert_with(|| vec![Vec::new(); programs.len()]);
                    of_programs[at].push(load);
                }
            }
        }
    }
    println!("{}", table(&programs, &figures, floor.no_op_us));
    println!(
        "8 B keys ({KEYS} of them), {VALUE_BYTES} B values, at most {STORE_CONNECTIONS_MAX} connections without TLS;"
    );
    println!(
        "medians of the rounds. CPU: user and system time per operation, of all members together and of this"
    );
    println!(
        "generator; /floor: the members' against a no-op call; /peer: median of the rounds' ratios (CPU, ops/s)"
    );
    Ok(())
}

/// Everything on fresh members of one program.
async fn measure(
    program: &Program,
    members: usize,
    pinned: bool,
    clients: &[usize],
    limit: Duration,
) -> anyhow::Result<Vec<(Case, Load)>> {
    let what = || format!("{} with {members} members", program.name);
    let cluster = Members::start(program, members, pinned).await.with_context(what)?;
    let mut loads = Vec::new();
    for &clients in clients {
        let load = put(&cluster.targets, &cluster.pids(), clients, limit).await.with_context(what)?;
        loads.push((Case { members, work: Work::Put, clients }, load));
    }
    for (work, serializable) in [(Work::LinearizableRange, false), (Work::SerializableRange, true)] {
        let load = range(&cluster, serializable, limit).await.with_context(what)?;
        loads.push((Case { members, work, clients: RANGE_CLIENTS }, load));
    }
    cluster.stop().await?;
    Ok(loads)
}

/// Puts from this many clients, spread over all members.
async fn put(targets: &[Target], servers: &[u32], clients: usize, limit: Duration) -> anyhow::Result<Load> {
    let connections = &connect(targets, clients).await?;
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    let put = |client: usize, number: u64| {
        let request = PutRequest { key: key(number), value: value.clone(), ..PutRequest::default() };
        let frame = grpc::frame(&request);
        async move { grpc::call(&connections[client % connections.len()], grpc::PUT, frame).await.map(drop) }
    };
    load::run(servers, clients, Until::Elapsed(limit), put).await
}

/// Reads of one key each, spread over all members.
async fn range(cluster: &Members, serializable: bool, limit: Duration) -> anyhow::Result<Load> {
    let connections = &connect(&cluster.targets, RANGE_CLIENTS).await?;
    let range = |client: usize, number: u64| {
        let request = RangeRequest { key: key(number), serializable, ..RangeRequest::default() };
        let frame = grpc::frame(&request);
        async move { grpc::call(&connections[client % connections.len()], grpc::RANGE, frame).await.map(drop) }
    };
    load::run(&cluster.pids(), RANGE_CLIENTS, Until::Elapsed(limit), range).await
}

async fn connect(targets: &[Target], clients: usize) -> anyhow::Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for target in targets.iter().cycle().take(clients.min(STORE_CONNECTIONS_MAX)) {
        connections.push(Connection::open(target).await?);
    }
    Ok(connections)
}

/// A key of 8 bytes; neighbours in time are far apart in the key space.
fn key(number: u64) -> Bytes {
    // Knuth's multiplicative hash visits the key space without a pattern that a store could profit from.
    let spread = number.wrapping_mul(2_654_435_761) % KEYS;
    Bytes::copy_from_slice(&spread.to_be_bytes())
}

fn table(programs: &[Program], figures: &Figures, no_op_us: f64) -> Table {
    let peer = programs.get(1).map(|peer| format!("/{}: CPU, ops/s", peer.name));
    let headings = [
        "what",
        "members",
        "clients",
        "program",
        "ops/s",
        "p50 ms",
        "p99 ms",
        "CPU us",
        "generator us",
        "/floor",
    ];
    let mut table = Table::new(headings.into_iter().chain(peer.as_deref()));
    for (case, of_programs) in figures {
        for (program, loads) in programs.iter().zip(of_programs) {
            let of = |figure: fn(&Load) -> f64| median(&loads.iter().map(figure).collect::<Vec<_>>());
            let quantile =
                |part: f64| loads.iter().map(|load| load.latencies.quantile(part)).collect::<Vec<_>>();
            let middle = |mut all: Vec<Duration>| {
                all.sort_unstable();
                millis(all.get(all.len() / 2).copied().unwrap_or_default())
            };
            let cpu = of(Load::server_us);
            let mut row = vec![
                case.work.name().to_owned(),
                case.members.to_string(),
                case.clients.to_string(),
                program.name.to_owned(),
                number(of(Load::rate)),
                middle(quantile(0.5)),
                middle(quantile(0.99)),
                number(cpu),
                number(of(Load::generator_us)),
                number(cpu / no_op_us),
            ];
            if let ([ours, theirs], true) = (&of_programs[..], program.name == programs[0].name) {
                row.push(ratios(ours, theirs));
            }
            table.row(row);
        }
    }
    table
}

/// Ratios of rounds of two programs, by CPU and by operations per second: the median, and the ends.
fn ratios(ours: &[Load], theirs: &[Load]) -> String {
    let of = |figure: fn(&Load) -> f64| {
        let mut all: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| figure(a) / figure(b)).collect();
        all.sort_unstable_by(f64::total_cmp);
        let ends = (all.first().copied().unwrap_or(f64::NAN), all.last().copied().unwrap_or(f64::NAN));
        format!("{:.2} ({:.2}-{:.2})", median(&all), ends.0, ends.1)
    };
    format!("{}, {}", of(Load::server_us), of(Load::rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_eight_bytes_and_repeat_after_the_whole_space() {
        let all: std::collections::BTreeSet<Bytes> = (0..KEYS).map(key).collect();
        assert_eq!(all.len() as u64, KEYS);
        assert!(all.iter().all(|key| key.len() == 8));
    }
}
