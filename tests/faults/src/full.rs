//! Disks that fill up: first nearly, so that members refuse writes by themselves, then wholly.
//!
//! A member never ends because of it, answers reads all the time, and takes writes again by itself once there is
//! space. While only some disks are full, the others' clients hardly notice.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use proto::etcd::etcdserverpb as pb;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::cluster::{Cluster, Layout};
use crate::fault::Scene;
use crate::limits::{DISK_MIB, POLL, SPACE};
use crate::workload::is_out_of_space;

/// How long the disks stay wholly full: longer than an election, and some flushes of the state.
const LASTING: Duration = Duration::from_secs(3);

/// Fills the disks of some members, and gives the space back.
pub async fn strike(scene: &mut Scene, full: &[usize]) -> anyhow::Result<()> {
    for &at in full {
        scene.cluster.small_disk(at)?.nearly_fill()?;
    }
    for &at in full {
        refuses(&scene.cluster, at).await?;
    }
    let others = scene.cluster.members().iter().any(|at| !full.contains(at));
    let before = scene.record.answered();
    for &at in full {
        scene.cluster.small_disk(at)?.fill()?;
    }
    let begin = Instant::now();
    while begin.elapsed() < LASTING {
        for &at in full {
            scene.ensure_runs(at)?;
            reads(scene, at).await?;
        }
        tokio::time::sleep(POLL).await;
    }
    if others {
        scene.changes_go_on("while disks are full").await?;
    }
    scene.seen.add_surely("calls during a full disk", (scene.record.answered() - before) as u64)?;
    for &at in full {
        scene.cluster.small_disk(at)?.clear()?;
    }
    for &at in full {
        recovers(&scene.cluster, at).await?;
        scene.ensure_runs(at)?;
    }
    scene.seen.add("full disks", full.len() as u64);
    scene.seen.add_surely("refused writes", scene.record.refused().len() as u64)
}

/// A disk that the past of four keys fills up: a compaction frees it while writes are refused, and they are taken again.
pub async fn freed_by_compaction(seed: u64) -> anyhow::Result<()> {
    let layout = Layout { places: 1, founders: 1, small_disks: true, ..Layout::default() };
    let cluster = Cluster::start(layout).await?;
    let mut chance = StdRng::seed_from_u64(seed);
    let mut newest = None;
    for number in 0..DISK_MIB {
        let mut value = vec![0; 1 << 20];
        chance.fill(&mut value[..]);
        let key = format!("large/{}", number % 4);
        let request = pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
        match cluster.kv(0).put(request).await {
            Ok(answer) => newest = answer.into_inner().header,
            Err(status) if is_out_of_space(&status) => break,
            Err(status) => bail!("writing the past: {status}"),
        }
    }
    refuses(&cluster, 0).await?;
    let revision = newest.context("nothing was written")?.revision;
    cluster.kv(0).compact(pb::CompactionRequest { revision, physical: false }).await?;
    recovers(&cluster, 0).await
}

/// Waits until a member refuses writes in etcd's words, and has raised its alarm where that can be agreed on.
async fn refuses(cluster: &Cluster, at: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + SPACE;
    loop {
        match cluster.try_write(at, 0).await {
            Err(status) if is_out_of_space(&status) => break,
            Err(status) => {
                ensure!(Instant::now() < deadline, "member {at} refuses for another reason: {status}")
            }
            Ok(()) => ensure!(Instant::now() < deadline, "member {at} still takes writes on a full disk"),
        }
        tokio::time::sleep(POLL).await;
    }
    let id = cluster.id(at).await?;
    ensure!(cluster.short_of_space(at).await?.contains(&id), "member {at} has raised no alarm");
    Ok(())
}

/// Both kinds of reads are answered.
async fn reads(scene: &mut Scene, at: usize) -> anyhow::Result<()> {
    scene.cluster.read(at, true, 0).await.with_context(|| format!("reading what member {at} holds"))?;
    // A leader may be handing over: the read is tried again, not for long.
    let begin = Instant::now();
    while let Err(status) = scene.cluster.read(at, false, 0).await {
        ensure!(begin.elapsed() < SPACE, "member {at} with a full disk does not answer a read: {status}");
        tokio::time::sleep(POLL).await;
    }
    scene.seen.add("reads on full disks", 2);
    Ok(())
}

/// Waits until a member takes writes again, and its alarm is over everywhere.
async fn recovers(cluster: &Cluster, at: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + SPACE;
    while let Err(status) = cluster.try_write(at, 0).await {
        ensure!(Instant::now() < deadline, "member {at} still refuses writes: {status}");
        tokio::time::sleep(POLL).await;
    }
    let id = cluster.id(at).await?;
    for member in cluster.members() {
        while cluster.short_of_space(member).await?.contains(&id) {
            ensure!(Instant::now() < deadline, "member {member} still holds that {at} has no space");
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}
