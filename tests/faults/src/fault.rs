//! The faults: how each is made, and how it is healed.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::cluster::Cluster;
use crate::limits::{LEASE, POLL, READY, SUCCESSION};
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
    /// The leader stops in its tracks for ten times an election timeout.
    PauseLeaderLong,
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
    /// One sync of the leader fails, and the next would succeed: it must end all the same (S7).
    FailingDiskOnce,
    /// Each sync of the leader takes a second longer.
    VerySlowDisk,
    /// A follower's syncs hang.
    HangingFollower,
    /// The leader's syncs hang: another must lead soon.
    HangingLeader,
    /// The leader's time of day jumps an hour ahead, then an hour back: no election, and leases live on.
    JumpingClock,
}

/// All of them.
pub const ALL: &[Fault] = &[
    Fault::KillLeader,
    Fault::KillFollower,
    Fault::KillMajority,
    Fault::KillAll,
    Fault::PauseLeaderShortly,
    Fault::PauseLeader,
    Fault::PauseLeaderLong,
    Fault::CutLeader,
    Fault::CutFollower,
    Fault::MuteLeader,
    Fault::DeafenLeader,
    Fault::FlapLeader,
    Fault::SlowDisk,
    Fault::FailingDisk,
    Fault::FailingDiskOnce,
    Fault::VerySlowDisk,
    Fault::HangingFollower,
    Fault::HangingLeader,
    Fault::JumpingClock,
];

/// How long a cut or a disturbance lasts: longer than an election.
const LASTING: Duration = Duration::from_secs(3);
/// How long a paused leader is away when no election is to come of it.
const SHORTLY: Duration = Duration::from_millis(500);
/// How long a leader is away that all have forgotten: ten election timeouts.
const LONG: Duration = Duration::from_secs(10);
/// Seconds that a clock jumps.
const JUMPS: [i64; 3] = [3600, -3600, 0];
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
            Self::PauseLeaderLong => pause(cluster, leader, LONG).await?,
            Self::CutLeader => cut(cluster, leader, Cut::Both).await?,
            Self::CutFollower => cut(cluster, follower, Cut::Both).await?,
            Self::MuteLeader => cut(cluster, leader, Cut::Outgoing).await?,
            Self::DeafenLeader => cut(cluster, leader, Cut::Incoming).await?,
            Self::FlapLeader => flap(cluster, leader).await?,
            Self::SlowDisk => disturb(cluster, leader, "slow 100").await?,
            Self::HangingFollower => disturb(cluster, follower, "hang").await?,
            Self::VerySlowDisk => disturb(cluster, leader, "slow 1000").await?,
            Self::HangingLeader => hang_leader(cluster, leader).await?,
            Self::FailingDisk => fail_disk(cluster, leader, "eio").await?,
            Self::FailingDiskOnce => fail_disk(cluster, leader, "eio once").await?,
            Self::JumpingClock => jump_clock(cluster, leader).await?,
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
async fn fail_disk(cluster: &mut Cluster, member: usize, order: &str) -> anyhow::Result<()> {
    cluster.disturb_disk(member, order)?;
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

/// A leader whose disk hangs sends signs of life for ever, unless it steps down.
async fn hang_leader(cluster: &Cluster, leader: usize) -> anyhow::Result<()> {
    let term = cluster.status(leader).await?.raft_term;
    let begin = Instant::now();
    cluster.disturb_disk(leader, "hang")?;
    let judged = loop {
        if cluster.leads_since(term, leader).await {
            break Ok(());
        }
        if begin.elapsed() > SUCCESSION {
            break Err(anyhow::anyhow!("a leader whose disk hangs is still there after {SUCCESSION:?}"));
        }
        tokio::time::sleep(POLL).await;
    };
    tokio::time::sleep(LASTING.saturating_sub(begin.elapsed())).await;
    cluster.disturb_disk(leader, "")?;
    judged
}

/// L1: what a lease promises is measured by clocks that do not jump.
async fn jump_clock(cluster: &Cluster, leader: usize) -> anyhow::Result<()> {
    let term = cluster.status(leader).await?.raft_term;
    let begin = Instant::now();
    let lease = cluster.grant(leader, LEASE).await?;
    for seconds in JUMPS {
        cluster.set_clock(leader, seconds)?;
        tokio::time::sleep(LASTING / 3).await;
        let left = cluster.time_to_live(leader, lease).await?;
        let passed = begin.elapsed().as_secs();
        ensure!(
            left + 2 + passed.cast_signed() >= LEASE,
            "L1: {left} of {LEASE} s are left after {passed} s"
        );
        ensure!(left <= LEASE, "a lease of {LEASE} s has {left} s left");
    }
    let now = cluster.status(leader).await?.raft_term;
    ensure!(now == term, "a jump of the clock made an election: term {term} became {now}");
    Ok(())
}
