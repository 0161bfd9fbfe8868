//! How long a pod takes from its creation until a watcher sees it running, its image being present.

use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use http::Method;
use serde_json::json;

use crate::{
    cluster::{self, Cluster, HELLO},
    machine, process,
    samples::{HEADINGS, Samples},
    table::Table,
    watch::{Change, Watch},
    wire::Connection,
};

/// Pod create to Running as a watcher sees it, image present, pods one after another
#[derive(Args)]
pub struct Options {
    /// Pods to measure [default: 50; 3 with --quick]
    #[arg(long)]
    pods: Option<usize>,
    /// Take seconds, not minutes; the figures mean little
    #[arg(long)]
    quick: bool,
}

const PODS: &str = "/api/v1/namespaces/default/pods";

/// When a watcher saw what, counted from before the request was sent.
struct Life {
    created: Duration,
    scheduled: Duration,
    running: Duration,
    gone: Duration,
}

/// One of the durations.
type Stage = fn(&Life) -> Duration;

/// Runs the program.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let kontiki = process::kontiki()?;
    machine::introduce("pod", &kontiki, false)?;
    if !process::is_root() {
        println!("not root: this machine cannot run containers for us, so nothing is measured");
        return Ok(());
    }
    let cluster = Cluster::new(&kontiki, false)?;
    let image = cluster.build_hello()?.display().to_string();
    cluster.up(&["--servers", "1", "--agents", "1", "--isolated", "--image", &image]).await?;
    let connection = Connection::open(&cluster.first_server().await?).await?;
    cluster::wait_for_default_account(&connection).await?;
    let mut watch = Watch::open(&connection, PODS).await?;
    // The first pays for what all later ones find warm.
    live(&connection, &mut watch, "bench-warm").await?;
    let pods = options.pods.unwrap_or(if options.quick { 3 } else { 50 });
    let mut lives = Vec::with_capacity(pods);
    for number in 0..pods {
        lives.push(live(&connection, &mut watch, &format!("bench-{number}")).await?);
    }
    show(&lives);
    Ok(())
}

async fn live(connection: &Connection, watch: &mut Watch, name: &str) -> anyhow::Result<Life> {
    let body = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "hello", "image": HELLO, "imagePullPolicy": "IfNotPresent"}],
        },
    });
    let body = Bytes::from(body.to_string());
    let of = |change: &Change| change.name() == name;
    let begin = Instant::now();
    connection.json(Method::POST, PODS, body).await?;
    let created = begin.elapsed();
    let is_bound = |change: &Change| of(change) && change.object["spec"]["nodeName"].is_string();
    watch.find(|change| is_bound(change).then_some(())).await?;
    let scheduled = begin.elapsed();
    let is_running = |change: &Change| of(change) && change.object["status"]["phase"] == "Running";
    watch.find(|change| is_running(change).then_some(())).await?;
    let running = begin.elapsed();
    let begin = Instant::now();
    connection.json(Method::DELETE, &format!("{PODS}/{name}"), Bytes::new()).await?;
    watch.find(|change| (of(change) && change.kind == "DELETED").then_some(())).await?;
    Ok(Life { created, scheduled, running, gone: begin.elapsed() })
}

fn show(lives: &[Life]) {
    let heading = format!("{} pods one after another, {HELLO}", lives.len());
    let mut table = Table::new([&heading[..]].into_iter().chain(HEADINGS));
    let rows: [(&str, Stage); 4] = [
        ("create to acknowledged", |life| life.created),
        ("create to bound, seen by a watcher", |life| life.scheduled),
        ("create to Running, seen by a watcher", |life| life.running),
        ("delete to gone (grace period 1 s)", |life| life.gone),
    ];
    for (name, of) in rows {
        let mut samples = Samples::default();
        lives.iter().for_each(|life| samples.push(of(life)));
        table.row([name.to_owned()].into_iter().chain(samples.cells()));
    }
    println!("{table}");
}
