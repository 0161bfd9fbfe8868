//! The faults: how each is made, and how it is healed.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::cluster::{self, Cluster, Layout};
use crate::coverage::Coverage;
use crate::damage::{self, Blow, Target, When};
use crate::limits::{CALLS_DURING_MIN, FLUSH_AFTER, LEASE, POLL, READY, SUCCESSION, TRAFFIC};
use crate::network::Cut;
use crate::quota::{self, Quota};
use crate::scarcity::Scarce;
use crate::weather::Weather;
use crate::workload::Record;
use crate::{full, membership, scarcity};

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
    /// A follower's disk fills up.
    FullFollower,
    /// The leader's disk fills up: it must hand over.
    FullLeader,
    /// All disks fill up.
    FullDisks,
    /// The leader's links take 75 ms, give or take 50.
    DelayedLeader,
    /// All links take 75 ms, give or take 50.
    DelayedLinks,
    /// One piece in ten on the leader's links is lost, and held up what follows; one in a hundred ends its connection.
    LossyLeader,
    /// The same on all links.
    LossyLinks,
    /// The leader's links carry 8 KB in a second.
    NarrowLeader,
    /// The leader may open no more files, and take no more connections.
    FewFiles,
    /// The leader gets no more memory.
    LittleMemory,
    /// The leader's control group has a fiftieth of a core.
    CpuQuota,
    /// The leader's control group gets no more memory.
    MemoryQuota,
    /// A follower's machine is lost; it is replaced by a new member.
    ReplaceFollower,
    /// The leader's machine is lost; it is replaced by a new member.
    ReplaceLeader,
    /// One member becomes three, five, three, one; the leader leaves first each time.
    GrowAndShrink,
    /// A bit is flipped in a full segment of a follower's log while the follower runs.
    FlipLogOfFollower,
    /// A bit is flipped in a full segment of the leader's log while it runs.
    FlipLogOfLeader,
    /// A bit is flipped in a full segment of the log of a follower that does not run.
    FlipLogOfStopped,
    /// A full segment of a follower's log loses its second half while the follower does not run.
    TruncateLogOfStopped,
    /// A segment of a follower's log is lost while the follower does not run.
    RemoveLogOfStopped,
    /// A bit is flipped in a table of a follower's state while the follower runs.
    FlipTableOfFollower,
    /// A bit is flipped in a table of the leader's state while it runs.
    FlipTableOfLeader,
    /// A table of a follower's state loses its second half while the follower does not run.
    TruncateTableOfStopped,
    /// A table of a follower's state is lost while the follower does not run.
    RemoveTableOfStopped,
    /// The list of tables of a follower's state is lost while the follower does not run.
    RemoveManifestOfStopped,
    /// The name of the list of tables of a follower's state is lost while the follower does not run.
    RemoveCurrentOfStopped,
    /// The list of tables of a follower's state is lost while the follower runs.
    RemoveManifestOfFollower,
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
    Fault::FullFollower,
    Fault::FullLeader,
    Fault::FullDisks,
    Fault::DelayedLeader,
    Fault::DelayedLinks,
    Fault::LossyLeader,
    Fault::LossyLinks,
    Fault::NarrowLeader,
    Fault::FewFiles,
    Fault::LittleMemory,
    Fault::CpuQuota,
    Fault::MemoryQuota,
    Fault::ReplaceFollower,
    Fault::ReplaceLeader,
    Fault::GrowAndShrink,
    Fault::FlipLogOfFollower,
    Fault::FlipLogOfLeader,
    Fault::FlipLogOfStopped,
    Fault::TruncateLogOfStopped,
    Fault::RemoveLogOfStopped,
    Fault::FlipTableOfFollower,
    Fault::FlipTableOfLeader,
    Fault::TruncateTableOfStopped,
    Fault::RemoveTableOfStopped,
    Fault::RemoveManifestOfStopped,
    Fault::RemoveCurrentOfStopped,
    Fault::RemoveManifestOfFollower,
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

/// Weather on links: delay, loss, little room.
const DELAY: Weather =
    Weather { delay: Duration::from_millis(75), jitter: Duration::from_millis(50), ..Weather::FAIR };
const LOSS: Weather = Weather { loss: 0.1, reset: 0.01, ..Weather::FAIR };
const NARROW: Weather = Weather { rate: 8_000, ..Weather::FAIR };

/// Where a fault strikes.
pub struct Scene {
    /// The members.
    pub cluster: Cluster,
    /// What the clients write down.
    pub record: Record,
    /// What really happened.
    pub seen: Coverage,
}

impl Scene {
    /// Waits until clients have seen some changes from now on.
    pub async fn changes_go_on(&self, when: &str) -> anyhow::Result<()> {
        let (before, deadline) = (self.record.changed(), Instant::now() + TRAFFIC);
        while self.record.changed() < before + CALLS_DURING_MIN {
            let changes = self.record.changed() - before;
            if Instant::now() > deadline {
                ensure!(changes > 0, "no changes within {TRAFFIC:?} {when}");
                bail!(
                    "invalid run: {changes} changes within {TRAFFIC:?} {when}, {CALLS_DURING_MIN} are needed"
                );
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// A member must not have ended.
    pub fn ensure_runs(&mut self, at: usize) -> anyhow::Result<()> {
        if self.cluster.has_ended(at)? {
            bail!("member {at} has ended: {}", self.cluster.last_words(at));
        }
        Ok(())
    }
}

impl Fault {
    /// What the cluster must be like for this fault.
    pub fn layout(self) -> Layout {
        let usual = Layout::default();
        match self {
            Self::FullFollower | Self::FullLeader | Self::FullDisks => {
                Layout { small_disks: true, flush_after: FLUSH_AFTER, ..usual }
            }
            Self::DelayedLeader
            | Self::DelayedLinks
            | Self::LossyLeader
            | Self::LossyLinks
            | Self::NarrowLeader => Layout { proxied: true, ..usual },
            Self::GrowAndShrink => Layout { places: 5, founders: 1, ..usual },
            Self::FewFiles
            | Self::LittleMemory
            | Self::MemoryQuota
            | Self::FlipTableOfFollower
            | Self::FlipTableOfLeader
            | Self::TruncateTableOfStopped
            | Self::RemoveTableOfStopped
            | Self::RemoveManifestOfStopped
            | Self::RemoveManifestOfFollower
            | Self::RemoveCurrentOfStopped => Layout { flush_after: FLUSH_AFTER, ..usual },
            Self::KillLeader
            | Self::KillFollower
            | Self::KillMajority
            | Self::KillAll
            | Self::PauseLeaderShortly
            | Self::PauseLeader
            | Self::PauseLeaderLong
            | Self::CutLeader
            | Self::CutFollower
            | Self::MuteLeader
            | Self::DeafenLeader
            | Self::FlapLeader
            | Self::SlowDisk
            | Self::FailingDisk
            | Self::FailingDiskOnce
            | Self::VerySlowDisk
            | Self::HangingFollower
            | Self::HangingLeader
            | Self::JumpingClock
            | Self::CpuQuota
            | Self::ReplaceFollower
            | Self::ReplaceLeader
            | Self::FlipLogOfFollower
            | Self::FlipLogOfLeader
            | Self::FlipLogOfStopped
            | Self::TruncateLogOfStopped
            | Self::RemoveLogOfStopped => usual,
        }
    }

    /// What the machine lacks to make this fault, if anything.
    pub fn lacks(self) -> Option<&'static str> {
        let quotas = [(Self::CpuQuota, Quota::Cpu), (Self::MemoryQuota, Quota::Memory)];
        let quota = quotas.into_iter().find(|(fault, _)| *fault == self);
        cluster::missing().or_else(|| quota.and_then(|(_, quota)| quota::missing(quota)))
    }

    /// Whether it makes sense for clients with locks and accounts: refusals for want of space are not among what they expect.
    pub fn suits_all(self) -> bool {
        !self.layout().small_disks
    }

    /// Makes the fault, holds it, heals it, and waits until all members serve again.
    pub async fn strike(self, scene: &mut Scene) -> anyhow::Result<()> {
        let leader = scene.cluster.leader().await?;
        let follower = scene.cluster.other(leader).unwrap_or(leader);
        self.make(scene, leader, follower).await?;
        for at in scene.cluster.members() {
            scene.cluster.ready(at).await?;
        }
        Ok(())
    }

    async fn make(self, scene: &mut Scene, leader: usize, follower: usize) -> anyhow::Result<()> {
        use Blow::{Flip, Remove, Truncate};
        use Target::{Current, Log, Manifest, Table};
        use When::{Running, Stopped};
        let all = scene.cluster.members();
        let cluster = &mut scene.cluster;
        match self {
            Self::KillLeader => kill(cluster, &[leader]).await,
            Self::KillFollower => kill(cluster, &[follower]).await,
            Self::KillMajority => kill(cluster, &[leader, follower]).await,
            Self::KillAll => kill(cluster, &all).await,
            Self::PauseLeaderShortly => pause(cluster, leader, SHORTLY).await,
            Self::PauseLeader => pause(cluster, leader, LASTING).await,
            Self::PauseLeaderLong => pause(cluster, leader, LONG).await,
            Self::CutLeader => cut(cluster, leader, Cut::Both).await,
            Self::CutFollower => cut(cluster, follower, Cut::Both).await,
            Self::MuteLeader => cut(cluster, leader, Cut::Outgoing).await,
            Self::DeafenLeader => cut(cluster, leader, Cut::Incoming).await,
            Self::FlapLeader => flap(cluster, leader).await,
            Self::SlowDisk => disturb(cluster, leader, "slow 100").await,
            Self::HangingFollower => disturb(cluster, follower, "hang").await,
            Self::VerySlowDisk => disturb(cluster, leader, "slow 1000").await,
            Self::HangingLeader => hang_leader(cluster, leader).await,
            Self::FailingDisk => fail_disk(cluster, leader, "eio").await,
            Self::FailingDiskOnce => fail_disk(cluster, leader, "eio once").await,
            Self::JumpingClock => jump_clock(cluster, leader).await,
            Self::FullFollower => full::strike(scene, &[follower]).await,
            Self::FullLeader => full::strike(scene, &[leader]).await,
            Self::FullDisks => full::strike(scene, &all).await,
            Self::DelayedLeader => storm(scene, Some(leader), DELAY).await,
            Self::DelayedLinks => storm(scene, None, DELAY).await,
            Self::LossyLeader => storm(scene, Some(leader), LOSS).await,
            Self::LossyLinks => storm(scene, None, LOSS).await,
            Self::NarrowLeader => storm(scene, Some(leader), NARROW).await,
            Self::FewFiles => scarcity::strike(scene, leader, Scarce::Files).await,
            Self::LittleMemory => scarcity::strike(scene, leader, Scarce::Memory).await,
            Self::CpuQuota => quota::strike(scene, leader, Quota::Cpu).await,
            Self::MemoryQuota => quota::strike(scene, leader, Quota::Memory).await,
            Self::ReplaceFollower => membership::replace(scene, follower).await,
            Self::ReplaceLeader => membership::replace(scene, leader).await,
            Self::GrowAndShrink => membership::grow_and_shrink(scene).await,
            Self::FlipLogOfFollower => damage::strike(scene, follower, (Log, Flip, Running)).await,
            Self::FlipLogOfLeader => damage::strike(scene, leader, (Log, Flip, Running)).await,
            Self::FlipLogOfStopped => damage::strike(scene, follower, (Log, Flip, Stopped)).await,
            Self::TruncateLogOfStopped => damage::strike(scene, follower, (Log, Truncate, Stopped)).await,
            Self::RemoveLogOfStopped => damage::strike(scene, follower, (Log, Remove, Stopped)).await,
            Self::FlipTableOfFollower => damage::strike(scene, follower, (Table, Flip, Running)).await,
            Self::FlipTableOfLeader => damage::strike(scene, leader, (Table, Flip, Running)).await,
            Self::TruncateTableOfStopped => damage::strike(scene, follower, (Table, Truncate, Stopped)).await,
            Self::RemoveTableOfStopped => damage::strike(scene, follower, (Table, Remove, Stopped)).await,
            Self::RemoveManifestOfStopped => {
                damage::strike(scene, follower, (Manifest, Remove, Stopped)).await
            }
            Self::RemoveManifestOfFollower => {
                damage::strike(scene, follower, (Manifest, Remove, Running)).await
            }
            Self::RemoveCurrentOfStopped => damage::strike(scene, follower, (Current, Remove, Stopped)).await,
        }
    }
}

/// The cluster goes on in bad weather, slowly.
async fn storm(scene: &mut Scene, member: Option<usize>, weather: Weather) -> anyhow::Result<()> {
    let proxies = scene.cluster.proxies.as_ref().context("there are no proxies")?;
    let before = proxies.counts();
    proxies.set(member, weather);
    tokio::time::sleep(LASTING).await;
    scene.changes_go_on("in bad weather").await?;
    proxies.set(None, Weather::FAIR);
    let counts = proxies.counts();
    scene.seen.add_surely("pieces late", counts.late - before.late)?;
    if weather.loss > 0.0 {
        scene.seen.add_surely("pieces lost", counts.lost - before.lost)?;
        scene.seen.add("connections reset", counts.reset - before.reset);
    }
    Ok(())
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
