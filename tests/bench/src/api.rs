//! What the API server costs: Pod creates, GETs and LISTs over TLS with a client certificate.
//!
//! The server is one process, so its CPU time is that of API and store together. The pods name a scheduler that does
//! not exist, so that nobody else works on them meanwhile.

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use http::Method;
use serde_json::json;
use std::time::Duration;

use crate::{
    cluster::{self, Cluster, HELLO},
    load::{self, Load, Until},
    machine, process,
    samples::{millis, number},
    table::Table,
    wire::{Connection, Target},
};

/// Pod creates per second and server CPU per create, per GET and per LIST
#[derive(Args)]
pub struct Options {
    /// Pods to create; LIST returns them all [default: 10000; 500 with --quick]
    #[arg(long)]
    pods: Option<u64>,
    /// Connections
    #[arg(long, default_value_t = 10)]
    connections: usize,
    /// Requests under way on each connection
    #[arg(long, default_value_t = 10)]
    streams: usize,
    /// Let servers and generator share all cores
    #[arg(long)]
    no_pin: bool,
    /// Take seconds, not minutes; the figures mean little
    #[arg(long)]
    quick: bool,
}

const PODS: &str = "/api/v1/namespaces/default/pods";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// Lists to measure: enough that 10 ms of CPU, the kernel's resolution, are a few percent of them at most.
const LISTS: u64 = 20;

struct Bench {
    target: Target,
    servers: Vec<u32>,
    connections: Vec<Connection>,
    clients: usize,
    pods: u64,
}

/// Runs the program.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let kontiki = process::kontiki()?;
    let pinned = !options.no_pin && process::can_pin();
    machine::introduce("api", &kontiki, pinned)?;
    let cluster = Cluster::new(&kontiki, pinned)?;
    cluster.up(&["--servers", "1", "--agents", "0", "--isolated"]).await?;
    if pinned {
        process::pin_generator()?;
    }
    let bench = Bench::new(&cluster, &options).await?;
    let gets = Duration::from_secs(if options.quick { 1 } else { 10 });
    let streams = format!("{} x {}", options.connections, options.streams);
    let mut table = Table::new(HEADINGS);
    table.row(row("create Pod", &streams, &bench.create().await?, None));
    table.row(row("GET Pod", &streams, &bench.get(gets).await?, None));
    for (name, accept) in [("JSON", JSON), ("protobuf", PROTOBUF)] {
        let name = format!("LIST {} Pods, {name}", bench.pods);
        match bench.list(accept, LISTS).await? {
            Some((load, bytes)) => table.row(row(&name, "1 x 1", &load, Some(bytes))),
            None => table.row([name, "not served".to_owned()]),
        }
    }
    println!("{table}");
    println!(
        "CPU: user and system time of the server process (API and store) and of this one, per operation"
    );
    Ok(())
}

const HEADINGS: [&str; 8] =
    ["one server, TLS, RBAC", "streams", "ops/s", "p50 ms", "p99 ms", "server CPU us", "client CPU us", "MB"];

fn row(name: &str, streams: &str, load: &Load, bytes: Option<usize>) -> [String; 8] {
    [
        name.to_owned(),
        streams.to_owned(),
        number(load.rate()),
        millis(load.latencies.quantile(0.5)),
        millis(load.latencies.quantile(0.99)),
        number(load.server_us()),
        number(load.generator_us()),
        bytes.map(|bytes| number(bytes as f64 / 1e6)).unwrap_or_default(),
    ]
}

impl Bench {
    async fn new(cluster: &Cluster, options: &Options) -> anyhow::Result<Self> {
        let status = cluster.status().await?;
        let server = status.servers.first().context("a server")?;
        let target = server.api.clone();
        let mut connections = Vec::new();
        for _ in 0..options.connections.max(1) {
            connections.push(Connection::open(&target).await?);
        }
        cluster::wait_for_default_account(&connections[0]).await?;
        Ok(Self {
            target,
            servers: vec![server.pid.context("the server runs")?],
            clients: connections.len() * options.streams.max(1),
            connections,
            pods: options.pods.unwrap_or(if options.quick { 500 } else { 10_000 }),
        })
    }

    async fn create(&self) -> anyhow::Result<Load> {
        let bodies: Vec<Bytes> = (0..self.pods).map(pod).collect();
        let create = |client: usize, number: u64| {
            let connection = &self.connections[client % self.connections.len()];
            let body = bodies[number as usize].clone();
            async move { connection.json(Method::POST, PODS, body).await.map(drop) }
        };
        load::run(&self.servers, self.clients, Until::Count(self.pods), create).await
    }

    async fn get(&self, limit: Duration) -> anyhow::Result<Load> {
        let paths: Vec<String> = (0..self.pods).map(|number| format!("{PODS}/{}", name(number))).collect();
        let get = |client: usize, number: u64| {
            let connection = &self.connections[client % self.connections.len()];
            let path = &paths[(number % self.pods) as usize];
            async move { connection.json(Method::GET, path, Bytes::new()).await.map(drop) }
        };
        load::run(&self.servers, self.clients, Until::Elapsed(limit), get).await
    }

    /// Lists everything several times; also how large a list is. Nothing if the server does not speak the media type.
    async fn list(&self, accept: &str, lists: u64) -> anyhow::Result<Option<(Load, usize)>> {
        let connection = &Connection::open(&self.target).await?;
        if !connection.serves(accept, PODS).await? {
            return Ok(None);
        }
        let bytes = connection.accepting(accept, Method::GET, PODS, Bytes::new()).await?.len();
        let list = |_, _| async move {
            connection.accepting(accept, Method::GET, PODS, Bytes::new()).await.map(drop)
        };
        Ok(Some((load::run(&self.servers, 1, Until::Count(lists), list).await?, bytes)))
    }
}

fn name(number: u64) -> String {
    format!("bench-{number:06}")
}

fn pod(number: u64) -> Bytes {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name(number), "labels": {"app": "bench"}},
        "spec": {
            "schedulerName": "nobody",
            "containers": [{
                "name": "hello", "image": HELLO,
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
            }],
        },
    });
    Bytes::from(pod.to_string())
}
