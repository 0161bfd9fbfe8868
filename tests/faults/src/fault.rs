//! The faults: how each is made, and how it is healed.

use std::time::Duration;

use anyhow::{Context, ensure};

use crate::cluster::Cluster;
use crate::limits::{POLL, READY};
use crate::network::Cut;

/// A class of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of the leader.
    KillLeader,
    /// kill -9 of a follower.
    KillFollower,
    /// kill -9 of two of three.
    KillMajority,
    /// kill -9 of all.
    KillAll,
    /// The leader stops in its tracks for half a second: shorter than any election.
    PauseLeaderShortly,
    /// The leader stops in its tracks for three seconds: it wakes up deposed.
    PauseLeader,
    /// The leader is cut off from the others, and not from its clients.
    CutLeader,
    /// A follower is cut off.
    CutFollower,
    /// The leader's packets to the others are lost, theirs to it arrive.
    MuteLeader,
    /// The others' packets to the leader are lost, its own arrive.
    DeafenLeader,
    /// The leader is cut off and back every 200 ms.
    FlapLeader,
    /// Each sync of the leader takes 100 ms longer.
    SlowDisk,
    /// Each sync of the leader fails: it must end, and be whole when it is started again.
    FailingDisk,
    /// A follower's syncs hang.
    HangingFollower,
}

/// All of them.
pub const ALL: &[Fault] = &[
    Fault::KillLeader,
    Fault::KillFollower,
    Fault::KillMajority,
    Fault::KillAll,
    Fault::PauseLeaderShortly,
    Fault::PauseLeader,
    Fault::CutLeader,
    Fault::CutFollower,
    Fault::MuteLeader,
    Fault::DeafenLeader,
    Fault::FlapLeader,
    Fault::SlowDisk,
    Fault::FailingDisk,
    Fault::HangingFollower,
];

/// How long a cut or a disturbance lasts: longer than an election.
const LASTING: Duration = Duration::from_secs(3);
/// How long a paused leader is away when no election is to come of it.
const SHORTLY: Duration = Duration::from_millis(500);
/// Half a period of a flapping link, and how often.
const FLAP: (Duration, u32) = (Duration::from_millis(200), 6);

impl Fault {
    /// Makes the fault, holds it, heals it, and waits until all members serve again.
    pub async fn strike(self, cluster: &mut Cluster) -> anyhow::Result<()> {
        let leader = cluster.leader().await?;
        let follower = (leader + 1) % cluster.len();
        match self {
            Self::KillLeader => kill(cluster, &[leader]).await?,
            Self::KillFollower => kill(cluster, &[follower]).await?,
            Self::KillMajority => kill(cluster, &[leader, follower]).await?,
            Self::KillAll => kill(cluster, &(0..cluster.len()).collect::<Vec<_>>()).await?,
            Self::PauseLeaderShortly => pause(cluster, leader, SHORTLY).await?,
            Self::PauseLeader => pause(cluster, leader, LASTING).await?,
            Self::CutLeader => cut(cluster, leader, Cut::Both).await?,
            Self::CutFollower => cut(cluster, follower, Cut::Both).await?,
            Self::MuteLeader => cut(cluster, leader, Cut::Outgoing).await?,
            Self::DeafenLeader => cut(cluster, leader, Cut::Incoming).await?,
            Self::FlapLeader => flap(cluster, leader).await?,
            Self::SlowDisk => disturb(cluster, leader, "slow 100").await?,
            Self::HangingFollower => disturb(cluster, follower, "hang").await?,
            Self::FailingDisk => fail_disk(cluster, leader).await?,
        }
        for at in 0..cluster.len() {
            cluster.ready(at).await?;
        }
        Ok(())
    }
}

async fn kill(cluster: &mut Cluster, members: &[usize]) -> anyhow::Result<()> {
    members.iter().try_for_each(|&at| cluster.kill(at))?;
    tokio::time::sleep(LASTING / 2).await;
    members.iter().try_for_each(|&at| cluster.spawn(at))
}

async fn pause(cluster: &Cluster, member: usize, lasting: Duration) -> anyhow::Result<()> {
    cluster.pause(member, true)?;
    tokio::time::sleep(lasting).await;
    cluster.pause(member, false)
}

async fn cut(cluster: &Cluster, member: usize, cut: Cut) -> anyhow::Result<()> {
    cluster.network.cut(member, cut)?;
    tokio::time::sleep(LASTING).await;
    cluster.network.heal(member)
}

async fn flap(cluster: &Cluster, member: usize) -> anyhow::Result<()> {
    for _ in 0..FLAP.1 {
        cluster.network.cut(member, Cut::Both)?;
        tokio::time::sleep(FLAP.0).await;
        cluster.network.heal(member)?;
        tokio::time::sleep(FLAP.0).await;
    }
    Ok(())
}

async fn disturb(cluster: &Cluster, member: usize, order: &str) -> anyhow::Result<()> {
    cluster.disturb_disk(member, order)?;
    tokio::time::sleep(LASTING).await;
    cluster.disturb_disk(member, "")
}

/// S7: a sync that fails is never tried again; the member ends.
async fn fail_disk(cluster: &mut Cluster, member: usize) -> anyhow::Result<()> {
    cluster.disturb_disk(member, "eio")?;
    let ended = async {
        while !cluster.has_ended(member)? {
            tokio::time::sleep(POLL).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(READY, ended).await.context("a member whose syncs fail goes on")??;
    cluster.disturb_disk(member, "")?;
    let words = cluster.last_words(member);
    ensure!(words.contains("rror"), "it says why it ended: {words}");
    cluster.spawn(member)
}
