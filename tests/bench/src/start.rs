//! How long a cluster takes from nothing to ready, and what it needs when nothing happens.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use http::Method;
use serde_json::Value;

use crate::{
    cluster::{self, Cluster},
    limits::{CLUSTER_MAX, READY_POLL},
    machine, process,
    samples::{HEADINGS, Samples, number},
    table::Table,
    watch::Watch,
    wire::{Connection, Target},
};

/// Start of an empty data directory to /readyz and to Node Ready; idle memory and CPU; size of the program
#[derive(Args)]
pub struct Options {
    /// Starts to measure [default: 7; 1 with --quick]
    #[arg(long)]
    runs: Option<usize>,
    /// Seconds of rest before memory is read, so that what the start needed is given back [default: 20; 2]
    #[arg(long)]
    settle: Option<u64>,
    /// Take seconds, not minutes; the figures mean little
    #[arg(long)]
    quick: bool,
}

/// How long the CPU of an idle cluster is watched.
const IDLE: Duration = Duration::from_secs(10);
const IDLE_QUICK: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Figures {
    readyz: Samples,
    node: Samples,
    up: Samples,
}

/// Runs the program.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let kontiki = process::kontiki()?;
    machine::introduce("start", &kontiki, false)?;
    let agents = match process::is_root() {
        true => "1",
        false => "0",
    };
    if agents == "0" {
        println!("not root: no node is started, so there is no Node Ready\n");
    }
    let runs = options.runs.unwrap_or(if options.quick { 1 } else { 7 }).max(1);
    let mut figures = Figures::default();
    let mut last = None;
    for _ in 0..runs {
        // The one before is gone before the next begins.
        drop(last.take());
        last = Some(start(&kontiki, agents, &mut figures).await?);
    }
    show_starts(&figures, runs);
    let cluster = last.context("at least one start")?;
    let settle = options.settle.unwrap_or(if options.quick { 2 } else { 20 });
    tokio::time::sleep(Duration::from_secs(settle)).await;
    show_idle(&cluster, settle, if options.quick { IDLE_QUICK } else { IDLE }).await?;
    let size = std::fs::metadata(&kontiki)?.len();
    println!("binary: {:.1} MB ({size} bytes)", size as f64 / 1e6);
    Ok(())
}

async fn start(kontiki: &Path, agents: &str, figures: &mut Figures) -> anyhow::Result<Cluster> {
    let cluster = Cluster::new(kontiki, false)?;
    let begin = Instant::now();
    let up = cluster.spawn_up(&["--servers", "1", "--agents", agents, "--isolated"])?;
    let watched = async {
        let server = cluster.first_server().await?;
        let connection = ready(&server).await?;
        let readyz = begin.elapsed();
        if agents == "0" {
            return anyhow::Ok((readyz, None));
        }
        let mut nodes = Watch::open(&connection, "/api/v1/nodes").await?;
        nodes.find(|change| is_ready(&change.object).then_some(())).await?;
        Ok((readyz, Some(begin.elapsed())))
    };
    // Together, so that a start that fails ends the wait for what it would have brought.
    let returned = async {
        cluster::finish(up).await?;
        anyhow::Ok(begin.elapsed())
    };
    let ((readyz, node), up) = tokio::try_join!(watched, returned)?;
    figures.readyz.push(readyz);
    node.into_iter().for_each(|node| figures.node.push(node));
    figures.up.push(up);
    Ok(cluster)
}

/// Asks until the server says that it is ready.
async fn ready(server: &Target) -> anyhow::Result<Connection> {
    let deadline = Instant::now() + CLUSTER_MAX;
    loop {
        let asked = async {
            let connection = Connection::open(server).await?;
            connection.json(Method::GET, "/readyz", Bytes::new()).await?;
            anyhow::Ok(connection)
        };
        match asked.await {
            Ok(connection) => return Ok(connection),
            Err(error) if Instant::now() > deadline => return Err(error.context("the server is never ready")),
            Err(_) => tokio::time::sleep(READY_POLL).await,
        }
    }
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn show_starts(figures: &Figures, runs: usize) {
    let mut table =
        Table::new([&format!("from an empty directory, {runs} runs")[..]].into_iter().chain(HEADINGS));
    let rows = [
        ("kontiki up to /readyz", &figures.readyz),
        ("kontiki up to Node Ready", &figures.node),
        ("kontiki up returns", &figures.up),
    ];
    for (name, samples) in rows.into_iter().filter(|(_, samples)| !samples.is_empty()) {
        table.row([name.to_owned()].into_iter().chain(samples.cells()));
    }
    println!("{table}");
}

async fn show_idle(cluster: &Cluster, settle: u64, idle: Duration) -> anyhow::Result<()> {
    let status = cluster.status().await?;
    let servers = status.servers.iter().filter_map(|server| Some((server.name.clone(), server.pid?)));
    let processes: Vec<(String, u32)> = servers.chain(status.agents.clone()).collect();
    let before: Vec<Duration> =
        processes.iter().map(|(_, pid)| process::cpu(*pid)).collect::<Result<_, _>>()?;
    let begin = Instant::now();
    tokio::time::sleep(idle).await;
    let elapsed = begin.elapsed();
    let heading = format!("idle, {settle} s after the start");
    let mut table = Table::new([&heading[..], "VmRSS MB", "VmHWM MB", "CPU %"]);
    let mut total = (0.0, 0.0, 0.0);
    for ((name, pid), before) in processes.iter().zip(before) {
        let memory = process::memory(*pid)?;
        let cpu = process::cpu(*pid)?.saturating_sub(before).as_secs_f64() / elapsed.as_secs_f64() * 100.0;
        let (resident, peak) = (memory.resident as f64 / 1e6, memory.peak as f64 / 1e6);
        total = (total.0 + resident, total.1 + peak, total.2 + cpu);
        table.row([name.clone(), number(resident), number(peak), number(cpu)]);
    }
    table.row(["all processes".to_owned(), number(total.0), number(total.1), number(total.2)]);
    println!("{table}");
    println!("CPU: of one core, over {:.0} s", elapsed.as_secs_f64());
    Ok(())
}
