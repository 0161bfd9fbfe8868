//! The harness is checked: known bugs, put back one at a time, are found.
//!
//! Each test begins at a seed that is known to find its bug, so that it is quick, and looks further when a change of code or plans has moved
//! that; then `cargo xtask simulate --bug M4` says which seed finds it first now.

use std::path::Path;

use simulation_tests::bugs::{Bug, hunt};

const SIMULATE: &str = env!("CARGO_BIN_EXE_kontiki-simulate");

/// Seeds tried from the one that is known on.
const NEAR: u64 = 4;

/// Seeds tried from 0 on after that; the rarest bug shows in one of fifty or so.
const ANYWHERE: u64 = 512;

fn check(bug: Bug, from: u64) {
    let seeds = (from..from + NEAR).chain(0..ANYWHERE);
    let found = hunt(Path::new(SIMULATE), bug, seeds).expect("they run");
    let (seed, failure) = found.unwrap_or_else(|| panic!("{bug:?} was not found by {ANYWHERE} seeds"));
    println!("{bug:?}: seed {seed}: {failure}");
}

macro_rules! bugs {
    ($($(#[$attribute:meta])* $name:ident: $bug:ident from $seed:literal,)*) => {
        $($(#[$attribute])* #[test] fn $name() { check(Bug::$bug, $seed) })*

        #[test]
        fn every_bug_is_looked_for() {
            let tried = [$(Bug::$bug),*];
            assert!(simulation_tests::bugs::ALL.iter()
                .all(|bug| tried.contains(bug)));
        }
    };
}

bugs! {
    a_quorum_is_counted_wrongly: M1 from 16,
    stale_acknowledgements_count: M2 from 5,
    entries_are_written_before_the_vote: M3 from 10,
    entries_are_told_durable_before_they_are: M4 from 4,
    the_applied_index_is_written_apart: M5 from 0,
    reads_are_not_confirmed: M6 from 0,
    reads_are_served_under_a_lease: M7 from 1,
    progress_runs_ahead: M8 from 4,
    watches_are_told_twice_after_an_image: M9 from 14,
    slow_watches_lose_changes: M10 from 1,
    deletions_at_the_compacted_revision_go: M11 from 0,
    the_revision_is_taken_from_the_keys: M12 from 0,
    watches_of_the_future_are_told_the_past: M13 from 0,
    reads_depend_on_what_was_removed_here: M14 from 0,
    old_leaders_end_leases: M15 from 46,
    wiped_members_vote: M16 from 5,
    failed_syncs_are_tried_again: M17 from 4,
    damaged_logs_pass_for_shorter_ones: M18 from 2,
}
