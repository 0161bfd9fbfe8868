//! Each class of fault once.

use faults_tests::{cluster, fault::Fault, run, workload::Reads};

fn check(fault: Fault) -> anyhow::Result<()> {
    if let Some(missing) = cluster::missing() {
        eprintln!("skipped: the machine lacks {missing}");
        return Ok(());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let report = runtime.block_on(run::run(fault, 1, Reads::Linearizable))?;
    println!("{fault:?}: {report:?}");
    Ok(())
}

/// The harness is checked too: reads that skip the agreement are stale while their member is cut off.
#[test]
fn stale_reads_are_noticed() -> anyhow::Result<()> {
    if let Some(missing) = cluster::missing() {
        eprintln!("skipped: the machine lacks {missing}");
        return Ok(());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let judged = runtime.block_on(run::run(Fault::CutFollower, 1, Reads::Serializable));
    let error = judged.expect_err("stale reads were taken for fresh ones");
    assert!(error.to_string().starts_with("S4"), "{error:#}");
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
}
