//! A disk that does not read: who needs it waits, and nobody else.

use std::time::Instant;

use anyhow::{Context, ensure};
use bytes::Bytes;
use proto::etcd::etcdserverpb as pb;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Layout};
use crate::damage::{Target, find};
use crate::limits::{CALL, FLUSH_AFTER, HANGING_BYTES, HANGING_READS, HANGING_READS_MIN, POLL, READY};

fn key(number: usize) -> Bytes {
    format!("cold/{number}").into()
}

/// Reads keys of a member that has them on disk only, which hangs: it must go on saying how it is, and take writes.
pub async fn hold_up_nobody_else() -> anyhow::Result<()> {
    let mut cluster =
        Cluster::start(Layout { places: 1, founders: 1, flush_after: FLUSH_AFTER, ..Layout::default() })
            .await?;
    for number in 0..HANGING_READS {
        put(&cluster, key(number), HANGING_BYTES).await?;
    }
    for number in 0..2 * FLUSH_AFTER {
        put(&cluster, format!("warm/{number}").into(), 1).await?;
    }
    let deadline = Instant::now() + READY;
    while let Err(error) = find(&cluster, 0, Target::Table) {
        ensure!(Instant::now() < deadline, "nothing was flushed: {error}");
        tokio::time::sleep(POLL).await;
    }
    // What it has in memory after a start is what it wrote since.
    cluster.kill(0)?;
    cluster.spawn(0)?;
    cluster.ready(0).await?;

    cluster.disturb_disk(0, "reads hang")?;
    let mut reads = JoinSet::new();
    for number in 0..HANGING_READS {
        let mut kv = cluster.kv(0);
        let request = pb::RangeRequest { key: key(number), ..Default::default() };
        reads.spawn(async move { kv.range(request).await });
    }
    let deadline = Instant::now() + CALL;
    while cluster.reads_held(0) < HANGING_READS_MIN {
        let held = cluster.reads_held(0);
        ensure!(Instant::now() < deadline, "{held} reads hang, and no more come to the disk");
        tokio::time::sleep(POLL).await;
    }
    cluster.status(0).await.context("a member whose reads hang says nothing")?;
    put(&cluster, "new".into(), 1).await.context("a member whose reads hang takes no writes")?;

    cluster.disturb_disk(0, "")?;
    reads.abort_all();
    for number in 0..HANGING_READS {
        let request = pb::RangeRequest { key: key(number), ..Default::default() };
        let found = cluster.kv(0).range(request).await?.into_inner().kvs;
        ensure!(
            found.iter().all(|kv| kv.value.len() == HANGING_BYTES) && found.len() == 1,
            "{} is lost",
            number
        );
    }
    Ok(())
}

async fn put(cluster: &Cluster, key: Bytes, bytes: usize) -> anyhow::Result<()> {
    let value = (0..bytes).map(|_| rand::random::<u8>()).collect::<Vec<_>>();
    cluster.kv(0).put(pb::PutRequest { key, value: value.into(), ..Default::default() }).await?;
    Ok(())
}
