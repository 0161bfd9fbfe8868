//! Members that come and go under load.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, ensure};
use proto::etcd::etcdserverpb as pb;

use crate::cluster::Cluster;
use crate::fault::Scene;
use crate::limits::{MEMBERSHIP, POLL};

/// A member's machine is lost with everything on it: it is removed, and another takes its place under a new id.
pub async fn replace(scene: &mut Scene, at: usize) -> anyhow::Result<()> {
    let old = scene.cluster.id(at).await?;
    scene.cluster.kill(at)?;
    replace_lost(scene, at, old).await
}

/// As [`replace`], of a member that does not run any more.
pub async fn replace_lost(scene: &mut Scene, at: usize, old: u64) -> anyhow::Result<()> {
    scene.changes_go_on("while a member is gone").await?;
    scene.cluster.wipe(at)?;
    leave(&mut scene.cluster, at, old).await?;
    let new = enter(&mut scene.cluster, at).await?;
    ensure!(new != old, "the id {old:x} was given away a second time");
    scene.seen.add("members replaced", 1);
    Ok(())
}

/// 1 -> 3 -> 5 -> 3 -> 1; the leader leaves first, each time.
pub async fn grow_and_shrink(scene: &mut Scene) -> anyhow::Result<()> {
    let mut ids = BTreeSet::new();
    for at in scene.cluster.places().skip(1) {
        let id = enter(&mut scene.cluster, at).await?;
        ensure!(ids.insert(id), "the id {id:x} was given away twice");
        scene.changes_go_on("after a member has come").await?;
        scene.seen.add("members added", 1);
    }
    while scene.cluster.members().len() > 1 {
        let leader = scene.cluster.leader().await?;
        let id = scene.cluster.id(leader).await?;
        leave(&mut scene.cluster, leader, id).await?;
        scene.cluster.kill(leader)?;
        scene.changes_go_on("after the leader has left").await?;
        scene.seen.add("leaders removed", 1);
    }
    Ok(())
}

/// Adds a member as a learner, starts it, and makes it a voter. Returns its id.
async fn enter(cluster: &mut Cluster, at: usize) -> anyhow::Result<u64> {
    let request = pb::MemberAddRequest { peer_ur_ls: vec![cluster.peer_url(at)], is_learner: true };
    let id = patiently(cluster, at, "adding a member", async |cluster, ask| {
        let added = cluster.members_service(ask).member_add(request.clone()).await;
        if let Err(refusal) = &added {
            // An attempt whose answer was lost may have added it.
            return listed(cluster, ask, at).await.ok_or_else(|| refusal.clone());
        }
        let added = added?.into_inner().member.map(|member| member.id);
        added.ok_or_else(|| tonic::Status::internal("an answer without a member"))
    })
    .await?;
    cluster.set_joined(at, true);
    cluster.spawn(at)?;
    patiently(cluster, at, "promoting a member", async |cluster, ask| {
        let promoted = cluster.members_service(ask).member_promote(pb::MemberPromoteRequest { id }).await;
        match promoted {
            Err(refusal) if refusal.message().contains("can only promote a learner") => Ok(()),
            other => other.map(drop),
        }
    })
    .await?;
    cluster.ready(at).await?;
    let says = cluster.id(at).await?;
    ensure!(says == id, "member {at} was added as {id:x} and calls itself {says:x}");
    Ok(id)
}

/// Removes a member; its process is the caller's.
async fn leave(cluster: &mut Cluster, at: usize, id: u64) -> anyhow::Result<()> {
    patiently(cluster, at, "removing a member", async |cluster, ask| {
        match cluster.members_service(ask).member_remove(pb::MemberRemoveRequest { id }).await {
            Err(refusal) if refusal.code() == tonic::Code::NotFound => Ok(()),
            other => other.map(drop),
        }
    })
    .await?;
    cluster.set_joined(at, false);
    Ok(())
}

/// The id of a place's member, if it is listed.
async fn listed(cluster: &Cluster, ask: usize, at: usize) -> Option<u64> {
    let request = pb::MemberListRequest { linearizable: true };
    let members = cluster.members_service(ask).member_list(request).await.ok()?.into_inner().members;
    let found = members.iter().find(|member| member.peer_ur_ls.contains(&cluster.peer_url(at)));
    found.map(|member| member.id)
}

/// Asks the members besides one in turn until one agrees.
async fn patiently<T>(
    cluster: &Cluster,
    besides: usize,
    what: &str,
    attempt: impl AsyncFn(&Cluster, usize) -> Result<T, tonic::Status>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + MEMBERSHIP;
    let others: Vec<usize> = cluster.members().into_iter().filter(|at| *at != besides).collect();
    for ask in others.iter().cycle() {
        match attempt(cluster, *ask).await {
            Ok(done) => return Ok(done),
            Err(refusal) => ensure!(Instant::now() < deadline, "{what}: {refusal}"),
        }
        tokio::time::sleep(POLL).await;
    }
    None.with_context(|| format!("{what}: nobody else is left"))
}
