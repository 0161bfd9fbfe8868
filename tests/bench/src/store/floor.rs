//! What is below all that a store does: making bytes durable, which none can undercut, and answering calls with nothing by tonic alone, which a
//! server undercuts only by a transport of its own.

use std::{
    io::{Seek as _, SeekFrom, Write as _},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{CLIENTS, READ_CLIENTS, leases, watches, work};
use crate::{
    limits::ANSWER_MAX,
    load::Load,
    process,
    samples::{Samples, millis, number},
    table::Table,
    wire::Target,
};

/// The floors, and what is said of them.
pub struct Floor {
    /// Microseconds of CPU for a call that does nothing, by many clients.
    pub call_us: f64,
    /// The same for a read of a value that is at hand.
    pub read_us: f64,
    /// Microseconds of CPU for a message that is sent back.
    pub keep_alive_us: f64,
    /// Microseconds of CPU for an event that was made before and is sent to all who watch.
    pub event_us: f64,
    /// Median of a call by the only client.
    pub alone: Duration,
    /// Median of a sync.
    pub sync: Duration,
    /// To print.
    pub table: Table,
}

/// Bytes of the file that is written over and over: as large as a segment of a log.
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes between two fdatasyncs.
const BLOCK_BYTES: usize = 4096;

/// Measures them, each for this long.
pub async fn measure(limit: Duration, pinned: bool) -> anyhow::Result<Floor> {
    let mut table = Table::new(["floor", "ops/s", "p50 ms", "p99 ms", "CPU us", "generator us"]);
    let (syncs, elapsed) = sync(limit)?;
    table.row([
        format!("fdatasync of {BLOCK_BYTES} B in a zero-filled file of 64 MiB"),
        number(syncs.len() as f64 / elapsed.as_secs_f64()),
        millis(syncs.quantile(0.5)),
        millis(syncs.quantile(0.99)),
    ]);
    let (mut server, target) = start_no_op(pinned).await?;
    let pids = [server.id().context("the no-op server runs")?];
    let targets = std::slice::from_ref(&target);
    let crowd = work::put(targets, &pids, CLIENTS, limit).await?;
    let readers = work::range(targets, &pids, READ_CLIENTS, true, limit).await?;
    let alone = work::put(targets, &pids, 1, limit).await?;
    let keep_alives = leases::keep_alive(&target, &pids, limit).await?;
    let events = watches::deliveries(&target, &pids, limit).await?;
    server.kill().await?;
    let mut row = |what: String, load: &Load| {
        table.row([
            format!("{what}, of a tonic server that does nothing"),
            number(load.rate()),
            millis(load.latencies.quantile(0.5)),
            millis(load.latencies.quantile(0.99)),
            number(load.server_us()),
            number(load.generator_us()),
        ]);
    };
    row("a call, 1 client".to_owned(), &alone);
    row(format!("a read, {READ_CLIENTS} clients"), &readers);
    row(format!("a call, {CLIENTS} clients"), &crowd);
    row("a message of a stream sent back".to_owned(), &keep_alives);
    table.row([
        "an event to all who watch, of a tonic server that does nothing".to_owned(),
        String::from("-"),
        millis(events.delays.quantile(0.5)),
        millis(events.delays.quantile(0.99)),
        number(events.cpu_us),
    ]);
    Ok(Floor {
        call_us: crowd.server_us(),
        read_us: readers.server_us(),
        keep_alive_us: keep_alives.server_us(),
        event_us: events.cpu_us,
        alone: alone.latencies.quantile(0.5),
        sync: syncs.quantile(0.5),
        table,
    })
}

fn sync(limit: Duration) -> anyhow::Result<(Samples, Duration)> {
    let mut file = tempfile::tempfile()?;
    let zeros = vec![0; 1024 * 1024];
    for _ in 0..FILE_BYTES / zeros.len() as u64 {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    let block = [1; BLOCK_BYTES];
    let (mut samples, mut offset, begin) = (Samples::default(), 0, Instant::now());
    while begin.elapsed() < limit {
        let start = Instant::now();
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(&block)?;
        file.sync_data()?;
        samples.push(start.elapsed());
        offset = (offset + BLOCK_BYTES as u64) % FILE_BYTES;
    }
    Ok((samples, begin.elapsed()))
}

/// Starts this program again, as the no-op server; it prints its address.
async fn start_no_op(pinned: bool) -> anyhow::Result<(tokio::process::Child, Target)> {
    let mut command = process::command(&std::env::current_exe()?, pinned);
    command.arg("no-op-server").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut server = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(server.stdout.take().context("a pipe")?).lines();
    let line =
        tokio::time::timeout(ANSWER_MAX, lines.next_line()).await.context("the no-op server is silent")??;
    let address = line.context("the no-op server ended")?.parse()?;
    Ok((server, Target { address, tls: None }))
}
