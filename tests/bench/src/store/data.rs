//! S10, S11, S13, S14 and S15: memory, start, size on the disk and reads of everything, with a data set.

use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use proto::etcd::etcdserverpb::{
    CompactionRequest, CompactionResponse, RangeRequest, RangeResponse, kv_client::KvClient,
};
use tonic::{Code, transport::Channel};

use super::{
    figures::{Figure, Figures},
    members::{Members, Program},
    work,
};
use crate::{
    grpc,
    limits::{ANSWER_BYTES_MAX, SETTLE},
    load::Until,
    process,
    wire::Target,
};

/// Bytes of a value of the data set.
const VALUE_BYTES: usize = 1024;
/// Bytes of a value of the large data set, so that it is written in reasonable time.
const LARGE_VALUE_BYTES: usize = work::VALUE_BYTES_MAX;
/// Clients that write the data set.
const CLIENTS: usize = 1000;
/// Clients that overwrite the large one: fewer than it takes to fill the store's queues.
const OVERWRITE_CLIENTS: usize = 32;
/// Keys of the range of everything, as the target says.
const RANGE_KEYS: i64 = 100_000;
/// Time between two compactions while a large data set is overwritten.
const COMPACT_EVERY: Duration = Duration::from_secs(60);

/// Bytes of a megabyte, the unit of memory in the table.
const MB: f64 = 1e6;

/// Everything that needs the data set, on fresh members.
pub async fn measure(
    program: &Program,
    at: usize,
    pinned: bool,
    keys: u64,
    overwrite: Duration,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let mut cluster = Members::start(program, 1, pinned).await?;
    figures.note(Figure::FirstRead, at, cluster.first_read.as_secs_f64() * 1e3);
    tokio::time::sleep(SETTLE).await;
    let pid = cluster.pids()[0];
    figures.note(Figure::IdleMemory, at, process::memory(pid)?.resident as f64 / MB);

    let whole = |number: u64| Bytes::copy_from_slice(&number.to_be_bytes());
    let until = Until::Count(keys);
    work::fill(&cluster.targets, &[pid], CLIENTS, until, VALUE_BYTES, whole).await.context("loading")?;
    compact(&cluster.targets[0]).await?;
    tokio::time::sleep(SETTLE).await;
    figures.note(Figure::DataMemory, at, process::memory(pid)?.resident as f64 / MB);

    let grown = range_everything(&cluster.targets[0], pid).await.context("reading everything")?;
    figures.note(Figure::RangeMemory, at, grown as f64 / MB);

    let written = process::written(pid)?;
    let anywhere = |number: u64| whole(number.wrapping_mul(2_654_435_761) % keys);
    let until = Until::Elapsed(overwrite);
    let load = work::fill(&cluster.targets, &[pid], CLIENTS, until, VALUE_BYTES, anywhere).await;
    let load = load.context("overwriting")?;
    let user = load.latencies.len() as f64 * (VALUE_BYTES + size_of::<u64>()) as f64;
    figures.note(Figure::WriteAmplification, at, (process::written(pid)? - written) as f64 / user);

    cluster.restart(program, 0).await?;
    figures.note(Figure::Restart, at, cluster.first_read.as_secs_f64() * 1e3);
    cluster.stop().await
}

/// Forgets all history up to now.
async fn compact(target: &Target) -> anyhow::Result<()> {
    let connections = work::connect(std::slice::from_ref(target), 1).await?;
    let request = RangeRequest { key: "now".into(), ..RangeRequest::default() };
    let now: RangeResponse = grpc::unary(&connections[0], grpc::RANGE, &request).await?;
    let revision = now.header.context("an answer without a header")?.revision;
    let request = CompactionRequest { revision, physical: true };
    let _done: CompactionResponse = grpc::unary(&connections[0], grpc::COMPACT, &request).await?;
    Ok(())
}

/// Reads everything, streamed where the store can, and returns by how much the peak of its memory exceeds what it had.
async fn range_everything(target: &Target, pid: u32) -> anyhow::Result<u64> {
    let channel = Channel::from_shared(format!("http://{}", target.address))?.connect().await?;
    let mut client = KvClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    let request = RangeRequest {
        key: Bytes::from_static(&[0]),
        range_end: Bytes::from_static(&[0]),
        limit: RANGE_KEYS,
        ..RangeRequest::default()
    };
    process::forget_peak(pid)?;
    let before = process::memory(pid)?.resident;
    match client.range_stream(request.clone()).await {
        Ok(pages) => {
            let mut pages = pages.into_inner();
            let mut keys = 0;
            while let Some(page) = pages.message().await? {
                keys += page.range_response.map_or(0, |page| page.kvs.len());
            }
            anyhow::ensure!(keys > 0, "the stream was empty");
        }
        Err(status) if status.code() == Code::Unimplemented => {
            let answer = client.range(request).await?.into_inner();
            anyhow::ensure!(!answer.kvs.is_empty(), "the answer was empty");
        }
        Err(status) => return Err(status.into()),
    }
    Ok(process::memory(pid)?.peak.saturating_sub(before))
}

/// S13: p99 of overwriting a large data set, with compactions, by that of one of a sixteenth of it.
pub async fn large(
    program: &Program,
    at: usize,
    pinned: bool,
    gib: f64,
    limit: Duration,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let mut p99 = [0.0; 2];
    for (gib, p99) in [gib / 16.0, gib].into_iter().zip(&mut p99) {
        let keys = (gib * f64::from(1 << 30)) as u64 / LARGE_VALUE_BYTES as u64 + 1;
        let cluster = Members::start(program, 1, pinned).await?;
        *p99 = overwrite(&cluster, keys, limit).await?;
        cluster.stop().await?;
    }
    figures.note(Figure::LargeData, at, p99[1] / p99[0]);
    Ok(())
}

async fn overwrite(cluster: &Members, keys: u64, limit: Duration) -> anyhow::Result<f64> {
    let (targets, servers) = (&cluster.targets, cluster.pids());
    let whole = |number: u64| Bytes::copy_from_slice(&number.to_be_bytes());
    work::fill(targets, &servers, CLIENTS, Until::Count(keys), LARGE_VALUE_BYTES, whole).await?;
    let anywhere = |number: u64| whole(number.wrapping_mul(2_654_435_761) % keys);
    let until = Until::Elapsed(limit);
    let begin = Instant::now();
    let compactions = async {
        loop {
            tokio::time::sleep(COMPACT_EVERY.min(limit / 2)).await;
            if begin.elapsed() > limit {
                std::future::pending::<()>().await;
            }
            compact(&targets[0]).await?;
        }
    };
    tokio::select! {
        load = work::fill(targets, &servers, OVERWRITE_CLIENTS, until, LARGE_VALUE_BYTES, anywhere) => {
            Ok(load?.latencies.quantile(0.99).as_secs_f64())
        }
        failed = compactions => failed,
    }
}
