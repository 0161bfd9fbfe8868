//! What no store on this machine can undercut: making bytes durable, and answering a call with nothing.

use std::{
    io::{Seek as _, SeekFrom, Write as _},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::Context;
use proto::etcd::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, RangeStreamResponse, TxnRequest, TxnResponse,
    kv_server::{Kv, KvServer},
};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use crate::{
    limits::ANSWER_MAX,
    process,
    samples::{Samples, millis, number},
    table::Table,
    wire::Target,
};

/// The floors, and what is said of them.
pub struct Floor {
    /// Microseconds of CPU for a call that does nothing.
    pub no_op_us: f64,
    /// Median of such a call by the only client.
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
/// Clients of the no-op server.
const CLIENTS: usize = 100;

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
    let pid = server.id().context("the no-op server runs")?;
    let crowd = super::work::put(std::slice::from_ref(&target), &[pid], CLIENTS, limit).await?;
    let alone = super::work::put(&[target], &[pid], 1, limit).await?;
    server.kill().await?;
    for (clients, load) in [("1 client".to_owned(), &alone), (format!("{CLIENTS} clients"), &crowd)] {
        table.row([
            format!("put to a tonic server that does nothing, {clients}"),
            number(load.rate()),
            millis(load.latencies.quantile(0.5)),
            millis(load.latencies.quantile(0.99)),
            number(load.server_us()),
            number(load.generator_us()),
        ]);
    }
    let (no_op_us, alone) = (crowd.server_us(), alone.latencies.quantile(0.5));
    Ok(Floor { no_op_us, alone, sync: syncs.quantile(0.5), table })
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

/// Serves etcd's KV on a free port of loopback, doing nothing, and prints the address.
pub async fn serve_no_op() -> anyhow::Result<()> {
    let incoming =
        TcpIncoming::bind(([127, 0, 0, 1], 0).into()).context("listening")?.with_nodelay(Some(true));
    println!("{}", incoming.local_addr()?);
    Ok(tonic::transport::Server::builder()
        .add_service(KvServer::new(NoOp))
        .serve_with_incoming(incoming)
        .await?)
}

struct NoOp;

#[tonic::async_trait]
impl Kv for NoOp {
    async fn put(&self, _: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        Ok(Response::new(PutResponse::default()))
    }

    async fn range(&self, _: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        Ok(Response::new(RangeResponse::default()))
    }

    type RangeStreamStream = futures::stream::Empty<Result<RangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        _: Request<RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Ok(Response::new(futures::stream::empty()))
    }

    async fn delete_range(
        &self,
        _: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        Ok(Response::new(DeleteRangeResponse::default()))
    }

    async fn txn(&self, _: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        Ok(Response::new(TxnResponse::default()))
    }

    async fn compact(&self, _: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        Ok(Response::new(CompactionResponse::default()))
    }
}
