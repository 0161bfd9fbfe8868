//! S12: what a keep-alive costs, and what the end of many leases at once does to others.

use std::time::{Duration, Instant};

use anyhow::Context;
use proto::etcd::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    lease_client::LeaseClient,
};
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::{
    figures::{Figure, Figures},
    members::Members,
    work,
};
use crate::{
    grpc,
    limits::ANSWER_MAX,
    load::{self, Load, Until},
    wire::Target,
};

/// Clients that keep a lease each alive.
const CLIENTS: usize = 100;
/// Seconds for which the leases live that are kept alive: longer than the program.
const LONG_TTL_S: i64 = 3600;
/// Clients of the puts while leases expire.
const PUT_CLIENTS: usize = 100;

struct Stream {
    requests: mpsc::Sender<LeaseKeepAliveRequest>,
    responses: Streaming<LeaseKeepAliveResponse>,
    lease: i64,
}

/// Keeps leases alive.
pub async fn keep_alive(target: &Target, servers: &[u32], limit: Duration) -> anyhow::Result<Load> {
    let mut streams = Vec::new();
    for _ in 0..CLIENTS {
        streams.push(Mutex::new(open(target).await.context("opening a stream of keep-alives")?));
    }
    let streams = &streams;
    let renew = |client: usize, _| async move {
        let mut stream = streams[client].lock().await;
        let id = stream.lease;
        stream.requests.send(LeaseKeepAliveRequest { id }).await?;
        let answer = tokio::time::timeout(ANSWER_MAX, stream.responses.message()).await??;
        anyhow::ensure!(answer.is_some_and(|answer| answer.ttl > 0), "the lease has ended");
        Ok(())
    };
    load::run(servers, CLIENTS, Until::Elapsed(limit), renew).await
}

async fn open(target: &Target) -> anyhow::Result<Stream> {
    let channel = Channel::from_shared(format!("http://{}", target.address))?.tcp_nodelay(true);
    let mut client = LeaseClient::new(channel.connect().await?);
    let granted = client.lease_grant(LeaseGrantRequest { ttl: LONG_TTL_S, id: 0 }).await?.into_inner();
    let (requests, outgoing) = mpsc::channel(1);
    requests.send(LeaseKeepAliveRequest { id: granted.id }).await?;
    let mut responses = client.lease_keep_alive(ReceiverStream::new(outgoing)).await?.into_inner();
    responses.message().await?.context("no answer to the first keep-alive")?;
    Ok(Stream { requests, responses, lease: granted.id })
}

/// Puts before and while this many leases end.
pub async fn expiry(
    cluster: &Members,
    at: usize,
    leases: u64,
    limit: Duration,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let before = work::put(&cluster.targets, &cluster.pids(), PUT_CLIENTS, limit).await?;
    // All are granted well before the first ends: at 2,000 a second and more.
    let ttl_s = 3 + i64::try_from(leases / 2000)?;
    let begin = Instant::now();
    let connections = &work::connect(&cluster.targets, CLIENTS).await?;
    let grant = |client: usize, _| async move {
        let request = LeaseGrantRequest { ttl: ttl_s, id: 0 };
        let connection = &connections[client % connections.len()];
        let granted: LeaseGrantResponse = grpc::unary(connection, grpc::LEASE_GRANT, &request).await?;
        anyhow::ensure!(granted.error.is_empty(), "{}", granted.error);
        Ok(())
    };
    load::run(&cluster.pids(), CLIENTS, Until::Count(leases), grant).await?;
    let spread = begin.elapsed();
    let first_end = Duration::from_secs(ttl_s.unsigned_abs());
    tokio::time::sleep(first_end.saturating_sub(spread)).await;
    let during = work::put(&cluster.targets, &cluster.pids(), PUT_CLIENTS, spread + limit).await?;
    let p99 = |load: &Load| load.latencies.quantile(0.99).as_secs_f64();
    figures.note(Figure::Expiry, at, p99(&during) / p99(&before));
    Ok(())
}
