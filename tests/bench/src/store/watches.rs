//! S8 and S9: what a delivered event costs, how late it is, and what a watcher that waits takes.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use proto::etcd::etcdserverpb::{
    PutRequest, WatchCreateRequest, WatchRequest, WatchResponse, watch_client::WatchClient,
    watch_request::RequestUnion,
};
use tokio::{sync::mpsc, task::LocalSet, time::MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::{
    figures::{Figure, Figures},
    members::{Members, Program},
    work,
};
use crate::{
    grpc,
    limits::{ANSWER_MAX, SETTLE, STORE_CONNECTIONS_MAX},
    process,
    samples::Samples,
    wire::Target,
};

/// Watchers of the one key that is written, as many as the target says.
const WATCHERS: usize = 100;
/// Time between two puts: 200 a second.
const PUT_EVERY: Duration = Duration::from_millis(5);

/// One stream with its watchers; ends when dropped.
struct Watched {
    // Keeps the stream open.
    _requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
}

/// Measures both targets on fresh members.
pub async fn measure(
    program: &Program,
    at: usize,
    pinned: bool,
    limit: Duration,
    sizes: [usize; 2],
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let cluster = Members::start(program, 1, pinned).await?;
    let events =
        deliveries(&cluster.targets[0], &cluster.pids(), limit).await.context("delivering events")?;
    figures.note(Figure::WatchCpu, at, events.cpu_us);
    figures.note(Figure::WatchDelay, at, events.delays.quantile(0.99).as_secs_f64() * 1e3);
    cluster.stop().await?;
    let cluster = Members::start(program, 1, pinned).await?;
    memory(&cluster, at, sizes, figures).await.context("many watchers")?;
    cluster.stop().await
}

/// Delivered events.
pub struct Events {
    /// Microseconds of the servers' CPU for each; NaN when too little was used to tell.
    pub cpu_us: f64,
    /// From the put to the delivery.
    pub delays: Samples,
}

/// Puts a key that many watch.
pub async fn deliveries(target: &Target, servers: &[u32], limit: Duration) -> anyhow::Result<Events> {
    let sent = Rc::new(RefCell::new(Vec::new()));
    // What the puts cost alone is not the watchers' fault.
    let quiet = puts_at_a_rate(target, servers, limit, &sent).await?;
    sent.borrow_mut().clear();
    let channel = channel(target).await?;
    let delays = Rc::new(RefCell::new(Samples::default()));
    let local = LocalSet::new();
    let work = async {
        for _ in 0..WATCHERS {
            let mut watched = open(&channel, &[Bytes::from_static(b"watched")]).await?;
            let (sent, delays) = (sent.clone(), delays.clone());
            tokio::task::spawn_local(async move {
                while let Ok(Some(response)) = watched.responses.message().await {
                    note(&response, &sent.borrow(), &mut delays.borrow_mut());
                }
            });
        }
        let busy = puts_at_a_rate(target, servers, limit, &sent).await?;
        let expected = sent.borrow().len() * WATCHERS;
        let deadline = Instant::now() + ANSWER_MAX;
        while delays.borrow().len() < expected {
            anyhow::ensure!(
                Instant::now() < deadline,
                "events are missing: {} of {expected}",
                delays.borrow().len()
            );
            tokio::time::sleep(PUT_EVERY).await;
        }
        Ok(busy)
    };
    let busy = local.run_until(work).await?;
    let delays = delays.take();
    let cpu = busy.saturating_sub(quiet);
    // Less than the clock can tell is not nothing.
    let cpu_us =
        if cpu < process::CPU_MIN { f64::NAN } else { cpu.as_secs_f64() * 1e6 / delays.len() as f64 };
    Ok(Events { cpu_us, delays })
}

/// Every value begins with the number of its put.
fn note(response: &WatchResponse, sent: &[Instant], delays: &mut Samples) {
    for event in &response.events {
        let number = event.kv.as_ref().and_then(|kv| kv.value.first_chunk::<8>());
        let number = number.map(|bytes| u64::from_be_bytes(*bytes) as usize);
        if let Some(sent) = number.and_then(|number| sent.get(number)) {
            delays.push(sent.elapsed());
        }
    }
}

/// Puts the watched key in an open loop; returns the CPU of the servers.
async fn puts_at_a_rate(
    target: &Target,
    servers: &[u32],
    limit: Duration,
    sent: &RefCell<Vec<Instant>>,
) -> anyhow::Result<Duration> {
    let connections = work::connect(std::slice::from_ref(target), 1).await?;
    let connection = &connections[0];
    let before = process::cpu_of(servers)?;
    let (begin, mut ticks) = (Instant::now(), tokio::time::interval(PUT_EVERY));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = FuturesUnordered::new();
    while begin.elapsed() < limit {
        tokio::select! {
            _ = ticks.tick() => {
                let number = sent.borrow().len() as u64;
                let rest = work::value(number, work::VALUE_BYTES - size_of::<u64>());
                let value = [&number.to_be_bytes()[..], &rest].concat();
                let request =
                    PutRequest { key: "watched".into(), value: value.into(), ..PutRequest::default() };
                sent.borrow_mut().push(Instant::now());
                running.push(grpc::call(connection, grpc::PUT, grpc::frame(&request)));
            }
            Some(done) = running.next() => drop(done?),
        }
    }
    while let Some(done) = running.next().await {
        done?;
    }
    Ok(process::cpu_of(servers)?.saturating_sub(before))
}

async fn memory(
    cluster: &Members,
    at: usize,
    sizes: [usize; 2],
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let pid = cluster.pids()[0];
    let mut channels = Vec::new();
    for _ in 0..STORE_CONNECTIONS_MAX {
        channels.push(channel(&cluster.targets[0]).await?);
    }
    let mut streams = Vec::new();
    let mut resident = [0; 2];
    let mut watchers = 0;
    for (size, resident) in sizes.into_iter().zip(&mut resident) {
        let each = (size - watchers) / STORE_CONNECTIONS_MAX;
        for channel in &channels {
            let keys: Vec<Bytes> =
                (0..each).map(|number| Bytes::from(format!("watch/{}", watchers + number))).collect();
            streams.push(open(channel, &keys).await?);
            watchers += each;
        }
        tokio::time::sleep(SETTLE).await;
        *resident = process::memory(pid)?.resident;
    }
    let slope = (resident[1] as f64 - resident[0] as f64) / (sizes[1] - sizes[0]) as f64;
    figures.note(Figure::WatcherBytes, at, slope);
    Ok(())
}

async fn channel(target: &Target) -> anyhow::Result<Channel> {
    Ok(Channel::from_shared(format!("http://{}", target.address))?.tcp_nodelay(true).connect().await?)
}

/// Opens a stream and waits until all its watches stand.
async fn open(channel: &Channel, keys: &[Bytes]) -> anyhow::Result<Watched> {
    let (requests, outgoing) = mpsc::channel(keys.len().max(1));
    for key in keys {
        let create = WatchCreateRequest { key: key.clone(), ..WatchCreateRequest::default() };
        requests.try_send(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) })?;
    }
    let mut client = WatchClient::new(channel.clone());
    let mut responses = client.watch(ReceiverStream::new(outgoing)).await?.into_inner();
    for _ in keys {
        let answer = tokio::time::timeout(ANSWER_MAX, responses.message()).await.context("no answer")??;
        anyhow::ensure!(
            answer.is_some_and(|answer| answer.created && !answer.canceled),
            "a watch was refused"
        );
    }
    Ok(Watched { _requests: requests, responses })
}
