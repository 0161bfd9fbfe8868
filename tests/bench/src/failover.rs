//! How long nothing can be written after the leader was killed, and whether anything acknowledged is lost.
//!
//! Two open-loop writers, one through the Kubernetes API and one through the etcd API of a surviving server, start a
//! write every few milliseconds. Then the leader gets SIGKILL. The gap is the time from there to the first
//! acknowledgement of a write that was started after it.

use std::{
    cell::Cell,
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Args;
use futures::{StreamExt as _, stream::FuturesUnordered};
use http::Method;
use proto::etcd::etcdserverpb::{PutRequest, PutResponse, RangeRequest, RangeResponse};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, Server},
    grpc,
    limits::{ANSWER_MAX, CLUSTER_MAX, WRITE_EVERY, WRITE_MAX, WRITES_IN_FLIGHT_MAX},
    machine, process,
    samples::{HEADINGS, Samples},
    table::Table,
    wire::Connection,
};

/// Write gap after kill -9 of the leader of three servers, and whether anything acknowledged is lost
#[derive(Args)]
pub struct Options {
    /// Leaders to kill [default: 20; 2 with --quick]
    #[arg(long)]
    kills: Option<usize>,
    /// Take seconds, not minutes; the figures mean little
    #[arg(long)]
    quick: bool,
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PREFIX: &str = "/bench/failover/";
/// First byte string after all that begin with `PREFIX`.
const PREFIX_END: &str = "/bench/failover0";
/// How long is written before the kill.
const BEFORE: Duration = Duration::from_millis(300);
/// How long is written after the first success.
const AFTER: Duration = Duration::from_millis(200);

/// What one kind of writer saw over all kills.
#[derive(Default)]
struct Seen {
    gaps: Samples,
    acknowledged: BTreeSet<String>,
}

/// Runs the program.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let kontiki = process::kontiki()?;
    machine::introduce("failover", &kontiki, false)?;
    let cluster = Cluster::new(&kontiki, false)?;
    cluster.up(&["--servers", "3", "--agents", "0", "--isolated"]).await?;
    let kills = options.kills.unwrap_or(if options.quick { 2 } else { 20 });
    let (mut api, mut store, mut back) = (Seen::default(), Seen::default(), Samples::default());
    for round in 0..kills {
        kill_leader(&cluster, round, &mut api, &mut store).await?;
        let begin = Instant::now();
        cluster.up(&[]).await?;
        back.push(begin.elapsed());
    }
    let heading = format!("3 servers, {kills} kills of the leader");
    let mut table = Table::new([&heading[..]].into_iter().chain(HEADINGS));
    for (name, samples) in [
        ("kill to next write, Kubernetes API", &api.gaps),
        ("kill to next write, etcd API", &store.gaps),
        ("kontiki up brings it back", &back),
    ] {
        table.row([name.to_owned()].into_iter().chain(samples.cells()));
    }
    println!("{table}");
    check(&cluster, &api, &store).await
}

async fn kill_leader(
    cluster: &Cluster,
    round: usize,
    api: &mut Seen,
    store: &mut Seen,
) -> anyhow::Result<()> {
    let servers = settled(cluster).await?;
    let leader = servers.iter().find(|server| server.leader).context("a leader")?;
    let survivors: Vec<&Server> = servers.iter().filter(|server| !server.leader).collect();
    let survivor = survivors[round % survivors.len()];
    let through_api = Connection::open(&survivor.api).await?;
    let through_store = Connection::open(&survivor.etcd).await?;
    let killed = &Cell::new(None);
    let kill = async {
        tokio::time::sleep(BEFORE).await;
        killed.set(Some(Instant::now()));
        process::kill(leader.pid.context("the leader runs")?)
    };
    let prefix = format!("round-{round}");
    let ((), (), ()) = tokio::try_join!(
        kill,
        write_on(killed, api, |number| create(&through_api, format!("{prefix}-{number}"))),
        write_on(killed, store, |number| put(&through_store, format!("{PREFIX}{prefix}-{number}"))),
    )
    .with_context(|| format!("killing {} and writing through {}", leader.name, survivor.name))?;
    Ok(())
}

/// Waits until all three run and one of them leads.
async fn settled(cluster: &Cluster) -> anyhow::Result<Vec<Server>> {
    let deadline = Instant::now() + CLUSTER_MAX;
    loop {
        let servers = cluster.status().await?.servers;
        let complete = servers.len() == 3 && servers.iter().all(|server| server.pid.is_some());
        if complete && servers.iter().filter(|server| server.leader).count() == 1 {
            return Ok(servers);
        }
        ensure!(Instant::now() < deadline, "the servers never agree on a leader");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Starts a write every few milliseconds until some time after the first that was started after the kill succeeds.
async fn write_on<F, O>(killed: &Cell<Option<Instant>>, seen: &mut Seen, write: F) -> anyhow::Result<()>
where
    F: Fn(u64) -> O,
    O: Future<Output = anyhow::Result<String>>,
{
    let mut ticks = tokio::time::interval(WRITE_EVERY);
    let mut under_way = FuturesUnordered::new();
    let (mut number, mut last_error) = (0, None);
    let mut end = Instant::now() + BEFORE + ANSWER_MAX;
    let mut gap = None;
    while Instant::now() < end {
        tokio::select! {
            _ = ticks.tick(), if under_way.len() < WRITES_IN_FLIGHT_MAX => {
                let (start, write) = (Instant::now(), write(number));
                number += 1;
                under_way.push(async move { (start, tokio::time::timeout(WRITE_MAX, write).await) });
            }
            Some((start, written)) = under_way.next() => match written {
                Ok(Ok(key)) => {
                    seen.acknowledged.insert(key);
                    if let Some(killed) = killed.get().filter(|killed| gap.is_none() && start >= *killed) {
                        gap = Some(killed.elapsed());
                        end = Instant::now() + AFTER;
                    }
                }
                Ok(Err(error)) => last_error = Some(error),
                Err(_) => last_error = Some(anyhow::anyhow!("a write took longer than {WRITE_MAX:?}")),
            },
        }
    }
    match (gap, last_error) {
        (Some(gap), _) => seen.gaps.push(gap),
        (None, Some(error)) => return Err(error.context(format!("no write succeeded within {ANSWER_MAX:?}"))),
        (None, None) => anyhow::bail!("no write was answered within {ANSWER_MAX:?}"),
    }
    Ok(())
}

async fn create(connection: &Connection, name: String) -> anyhow::Result<String> {
    let body = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"bench": "failover"}},
        "data": {"name": name},
    });
    connection.json(Method::POST, CONFIG_MAPS, Bytes::from(body.to_string())).await?;
    Ok(name)
}

async fn put(connection: &Connection, key: String) -> anyhow::Result<String> {
    let bytes = Bytes::from(key.clone());
    let request = PutRequest { key: bytes.clone(), value: bytes, ..PutRequest::default() };
    grpc::unary::<PutResponse>(connection, grpc::PUT, &request).await?;
    Ok(key)
}

/// Reads everything that was acknowledged back, from every server.
async fn check(cluster: &Cluster, api: &Seen, store: &Seen) -> anyhow::Result<()> {
    let mut lost = Vec::new();
    for server in settled(cluster).await? {
        let names = stored_names(&Connection::open(&server.api).await?).await?;
        let keys = stored_keys(&Connection::open(&server.etcd).await?).await?;
        let missing = api.acknowledged.difference(&names).chain(store.acknowledged.difference(&keys));
        lost.extend(missing.map(|key| format!("{key} at {}", server.name)));
    }
    let acknowledged = (api.acknowledged.len(), store.acknowledged.len());
    ensure!(lost.is_empty(), "LOST although acknowledged: {}", lost.join(", "));
    println!(
        "acknowledged: {} by the Kubernetes API and {} by the etcd API; all of them read back from all servers",
        acknowledged.0, acknowledged.1
    );
    Ok(())
}

async fn stored_names(connection: &Connection) -> anyhow::Result<BTreeSet<String>> {
    let path = format!("{CONFIG_MAPS}?labelSelector=bench%3Dfailover");
    let list = connection.json(Method::GET, &path, Bytes::new()).await?;
    let list: Value = serde_json::from_slice(&list)?;
    let items = list["items"].as_array().context("a list has items")?;
    let intact = items.iter().filter(|item| item["data"]["name"] == item["metadata"]["name"]);
    Ok(intact.filter_map(|item| item["data"]["name"].as_str().map(str::to_owned)).collect())
}

async fn stored_keys(connection: &Connection) -> anyhow::Result<BTreeSet<String>> {
    let request =
        RangeRequest { key: PREFIX.into(), range_end: PREFIX_END.into(), ..RangeRequest::default() };
    let range: RangeResponse = grpc::unary(connection, grpc::RANGE, &request).await?;
    let intact = range.kvs.into_iter().filter(|kv| kv.key == kv.value);
    Ok(intact.filter_map(|kv| String::from_utf8(kv.key.to_vec()).ok()).collect())
}
