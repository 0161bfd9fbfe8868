//! Each class of fault once.

use faults_tests::{
    bank, cluster, contender::Guards, fault::Fault, full, locks, reads, run, workload::Reads,
};

fn check(fault: Fault) -> anyhow::Result<()> {
    if let Some(missing) = fault.lacks() {
        eprintln!("skipped: the machine lacks {missing}");
        return Ok(());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(run::run(fault, 1, Reads::Linearizable))?;
    println!("{fault:?}: {report:?}");
    Ok(())
}

/// The harness is checked too: reads that skip the agreement are stale while their member is cut off. In one run or another: its two clients
/// may both wait for the answer to a write.
#[test]
fn stale_reads_are_noticed() -> anyhow::Result<()> {
    if let Some(missing) = cluster::missing() {
        eprintln!("skipped: the machine lacks {missing}");
        return Ok(());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    for seed in 1..=5 {
        if let Err(error) = runtime.block_on(run::run(Fault::CutFollower, seed, Reads::Serializable)) {
            assert!(error.to_string().starts_with("S4"), "{error:#}");
            return Ok(());
        }
    }
    panic!("stale reads were taken for fresh ones")
}

/// No state is there that a human must repair: the disk is full of what nobody needs any more.
#[test]
fn a_compaction_frees_a_full_disk() -> anyhow::Result<()> {
    if let Some(missing) = cluster::missing() {
        eprintln!("skipped: the machine lacks {missing}");
        return Ok(());
    }
    tokio::runtime::Runtime::new()?.block_on(full::freed_by_compaction(1))
}

/// A disk that hangs is waited for by those who need it.
#[test]
fn reads_that_hang_hold_up_nobody_else() -> anyhow::Result<()> {
    if let Some(missing) = cluster::missing() {
        eprintln!("skipped: the machine lacks {missing}");
        return Ok(());
    }
    tokio::runtime::Runtime::new()?.block_on(reads::hold_up_nobody_else())
}

fn check_locks(fault: Fault, guards: Guards) -> anyhow::Result<()> {
    if let Some(missing) = cluster::missing() {
        eprintln!("skipped: the machine lacks {missing}");
        return Ok(());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let seen = runtime.block_on(locks::run(fault, 1, guards))?;
    println!("{fault:?}: {seen:?}");
    Ok(())
}

#[test]
#[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
fn locks_outlive_the_leader() -> anyhow::Result<()> {
    check_locks(Fault::KillLeader, Guards::Checked)
}

/// A leader that is away for longer than leases live must not end them when it comes back.
#[test]
fn locks_outlive_a_paused_leader() -> anyhow::Result<()> {
    check_locks(Fault::PauseLeader, Guards::Checked)
}

fn check_bank(fault: Fault) -> anyhow::Result<()> {
    if let Some(missing) = cluster::missing() {
        eprintln!("skipped: the machine lacks {missing}");
        return Ok(());
    }
    let seen = tokio::runtime::Runtime::new()?.block_on(bank::run(fault, 1))?;
    println!("{fault:?}: {seen:?}");
    Ok(())
}

#[test]
fn money_outlives_the_leader() -> anyhow::Result<()> {
    check_bank(Fault::KillLeader)
}

#[test]
#[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
fn money_outlives_a_cut() -> anyhow::Result<()> {
    check_bank(Fault::CutLeader)
}

/// The harness is checked too: silent holders that trust in their lease write when it is over.
#[test]
#[ignore = "the judges have their own tests; this one takes its time"]
fn writes_without_a_lock_are_noticed() -> anyhow::Result<()> {
    if let Some(missing) = cluster::missing() {
        eprintln!("skipped: the machine lacks {missing}");
        return Ok(());
    }
    let error = check_locks(Fault::KillFollower, Guards::Trusted).expect_err("a stranger's write was taken");
    assert!(format!("{error:#}").contains("was made while"), "{error:#}");
    Ok(())
}

macro_rules! faults {
    ($($(#[$attribute:meta])* $name:ident: $fault:ident,)*) => {
        $($(#[$attribute])* #[test] fn $name() -> anyhow::Result<()> { check(Fault::$fault) })*

        #[test]
        fn every_class_is_tried() {
            let tried = [$(Fault::$fault),*];
            assert!(faults_tests::fault::ALL.iter().all(|fault| tried.contains(fault)));
        }
    };
}

faults! {
    the_leader_is_killed: KillLeader,
    a_follower_is_killed: KillFollower,
    a_majority_is_killed: KillMajority,
    all_are_killed: KillAll,
    the_leader_stumbles: PauseLeaderShortly,
    the_leader_is_paused: PauseLeader,
    #[ignore = "takes ten election timeouts; `cargo xtask faults` strikes it too"]
    the_leader_is_paused_for_long: PauseLeaderLong,
    the_leader_is_cut_off: CutLeader,
    a_follower_is_cut_off: CutFollower,
    the_leader_is_not_heard: MuteLeader,
    the_leader_does_not_hear: DeafenLeader,
    the_leaders_link_flaps: FlapLeader,
    the_leaders_disk_is_slow: SlowDisk,
    the_leaders_disk_fails: FailingDisk,
    one_sync_of_the_leader_fails: FailingDiskOnce,
    the_leaders_disk_is_very_slow: VerySlowDisk,
    a_followers_disk_hangs: HangingFollower,
    the_leaders_disk_hangs: HangingLeader,
    the_leaders_clock_jumps: JumpingClock,
    #[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
    a_followers_disk_is_full: FullFollower,
    the_leaders_disk_is_full: FullLeader,
    #[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
    all_disks_are_full: FullDisks,
    #[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
    the_leaders_links_are_slow: DelayedLeader,
    #[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
    all_links_are_slow: DelayedLinks,
    #[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
    the_leaders_links_lose: LossyLeader,
    all_links_lose: LossyLinks,
    #[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
    the_leaders_links_are_narrow: NarrowLeader,
    the_leader_may_open_no_more_files: FewFiles,
    the_leader_gets_no_more_memory: LittleMemory,
    the_leaders_group_has_little_of_a_core: CpuQuota,
    the_leaders_group_gets_no_more_memory: MemoryQuota,
    #[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
    a_follower_is_replaced: ReplaceFollower,
    the_leader_is_replaced: ReplaceLeader,
    members_come_and_go: GrowAndShrink,
    #[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
    a_followers_log_is_flipped: FlipLogOfFollower,
    the_leaders_log_is_flipped: FlipLogOfLeader,
    #[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
    a_stopped_log_is_flipped: FlipLogOfStopped,
    #[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
    a_stopped_log_is_truncated: TruncateLogOfStopped,
    #[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
    a_stopped_log_lacks_a_segment: RemoveLogOfStopped,
    a_followers_table_is_flipped: FlipTableOfFollower,
    #[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
    the_leaders_table_is_flipped: FlipTableOfLeader,
    #[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
    a_stopped_table_is_truncated: TruncateTableOfStopped,
    #[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
    a_stopped_table_is_lost: RemoveTableOfStopped,
    #[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
    a_stopped_manifest_is_lost: RemoveManifestOfStopped,
    #[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
    a_stopped_current_is_lost: RemoveCurrentOfStopped,
    #[ignore = "one of its kind is enough here; `cargo xtask faults` strikes it too"]
    a_followers_manifest_is_lost: RemoveManifestOfFollower,
}
