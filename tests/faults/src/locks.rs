//! A run with locks instead of keys: contenders, the fault, contenders again, and the judgement.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, ensure};
use bytes::Bytes;
use check::lock::{self, Guarded, Known, Place};
use proto::etcd::etcdserverpb as pb;
use proto::etcd::mvccpb;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::calls;
use crate::cluster::Cluster;
use crate::contender::{Contender, GUARDED, Guards, LOCK, Notes};
use crate::coverage::Coverage;
use crate::fault::{Fault, Scene};
use crate::limits::{CONTENDERS, LOCKS_MIN, LOCKS_TRAFFIC, POLL};
use crate::run::{end, strike};
use crate::watcher;
use crate::workload::Record;

/// The last write of a run; all others are before it.
const END: &str = "lock~end";

/// Strikes a cluster whose clients contend for a lock, and judges what they saw.
pub async fn run(fault: Fault, seed: u64, guards: Guards) -> anyhow::Result<Coverage> {
    let cluster = Cluster::start(fault.layout()).await?;
    let mut scene = Scene { cluster, record: Record::default(), seen: Coverage::default() };
    let (notes, stop, begin) = (Notes::default(), CancellationToken::new(), tokio::time::Instant::now());
    let addresses: Vec<_> = scene.cluster.places().map(|at| scene.cluster.client_address(at)).collect();
    let mut contenders = JoinSet::new();
    for number in 1..=CONTENDERS {
        let quick = addresses.iter().map(|address| calls::channel(*address)).collect();
        let patient = addresses.iter().map(|address| watcher::channel(*address)).collect();
        let told = (notes.clone(), scene.record.clone());
        let contender = Contender::new(number, (quick, patient), (begin, seed, guards), told);
        contenders.spawn(contender.run(stop.clone()));
    }
    traffic(&notes, "before the fault").await?;
    strike(fault, &mut scene).await?;
    traffic(&notes, "after the fault").await?;
    stop.cancel();
    end(contenders).await?;
    judge(&mut scene, &notes).await?;
    Ok(scene.seen)
}

/// Waits until the lock has changed hands often enough to say something.
async fn traffic(notes: &Notes, when: &str) -> anyhow::Result<()> {
    let (before, deadline) = (notes.taken(), Instant::now() + LOCKS_TRAFFIC);
    while notes.taken() < before + LOCKS_MIN {
        let taken = notes.taken() - before;
        ensure!(Instant::now() < deadline, "invalid run: {taken} locks taken {when}, {LOCKS_MIN} are needed");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn judge(scene: &mut Scene, notes: &Notes) -> anyhow::Result<()> {
    let member = *scene.cluster.members().first().context("there are no members")?;
    let (last, events) = events(&scene.cluster, member).await?;
    scene.cluster.agree(last).await?;
    let notes = notes.all();
    let (places, writes) = history(&events)?;
    scene.seen.add_surely("locks taken", notes.holders.len() as u64)?;
    scene.seen.add_surely("guarded writes", writes.len() as u64)?;
    scene.seen.add_surely("leases renewed", notes.renewed)?;
    scene.seen.add("holders gone silent", notes.silent);
    scene.seen.add("writes fenced off", notes.fenced);
    let known = Known { holders: notes.holders, places, writes, leases: notes.leases };
    lock::check_all(&known).map_err(|fault| anyhow::Error::from(fault).context("L1, L3"))
}

/// The lives of the keys in the queue, and what was written by those who thought they held the lock.
fn history(events: &[mvccpb::Event]) -> anyhow::Result<(Vec<Place>, Vec<Guarded>)> {
    let (mut places, mut open, mut writes) = (Vec::new(), BTreeMap::<Bytes, i64>::new(), Vec::new());
    for event in events {
        let kv = event.kv.as_ref().context("an event without a key")?;
        let deleted = event.r#type == i32::from(mvccpb::event::EventType::Delete);
        if kv.key == GUARDED {
            let token = std::str::from_utf8(&kv.value)?.parse()?;
            writes.push(Guarded { token, revision: kv.mod_revision });
        } else if deleted {
            let token = open.remove(&kv.key).context("a key was deleted that never was")?;
            places.push(Place { token, gone: Some(kv.mod_revision) });
        } else if kv.create_revision == kv.mod_revision && kv.key != END {
            open.insert(kv.key.clone(), kv.create_revision);
        }
    }
    places.extend(open.into_values().map(|token| Place { token, gone: None }));
    Ok((places, writes))
}

/// All events below the lock's name, and the revision of a last one that this makes.
async fn events(cluster: &Cluster, member: usize) -> anyhow::Result<(i64, Vec<mvccpb::Event>)> {
    let last = cluster.put(member, END).await?;
    let create = pb::WatchCreateRequest {
        key: LOCK.into(),
        range_end: "lock\u{7f}".into(),
        start_revision: 1,
        ..Default::default()
    };
    let responses = watcher::responses(cluster.client_address(member), create, last).await?;
    Ok((last, responses.concat()))
}
