//! The checkers are checked: good histories pass, bad ones do not.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use check::kv::Store;
use check::linear::{self, Verdict};
use check::{lock, script, watch};

const STEPS_MAX: u64 = 100_000;

fn verdict(lines: &[&str]) -> Verdict {
    let history = script::history(lines).unwrap();
    linear::check(&Store { keys: 3, revision: 1 }, &history, STEPS_MAX)
}

#[test]
fn good_histories_are_accepted() {
    let cases = script::cases(include_str!("scripts/good-histories.txt"));
    assert!(cases.len() >= 30);
    for (title, lines) in cases {
        assert_eq!(verdict(&lines), Verdict::Linearizable, "{title}");
    }
}

#[test]
fn bad_histories_are_rejected() {
    let cases = script::cases(include_str!("scripts/bad-histories.txt"));
    assert!(cases.len() >= 30);
    for (title, lines) in cases {
        assert!(matches!(verdict(&lines), Verdict::Impossible { .. }), "{title}: {:?}", verdict(&lines));
    }
}

#[test]
fn good_watches_are_accepted() {
    let cases = script::cases(include_str!("scripts/good-watches.txt"));
    assert!(cases.len() >= 14);
    for (title, lines) in cases {
        let (log, watcher, complete) = script::watch(&lines).unwrap();
        assert_eq!(watch::check(&watcher, &log, complete), Ok(()), "{title}");
    }
}

#[test]
fn bad_watches_are_rejected_for_the_right_reason() {
    let cases = script::cases(include_str!("scripts/bad-watches.txt"));
    assert!(cases.len() >= 20);
    for (title, lines) in cases {
        let (log, watcher, complete) = script::watch(&lines).unwrap();
        let fault = watch::check(&watcher, &log, complete).expect_err(title);
        let (_, expected) = title.split_once(": ").unwrap();
        assert!(format!("{fault:?}").starts_with(expected), "{title}: {fault:?}");
    }
}

#[test]
fn good_locks_are_accepted() {
    let cases = script::cases(include_str!("scripts/good-locks.txt"));
    assert!(cases.len() >= 8);
    for (title, lines) in cases {
        assert_eq!(lock::check_all(&script::lock(&lines).unwrap()), Ok(()), "{title}");
    }
}

#[test]
fn bad_locks_are_rejected_for_the_right_reason() {
    let cases = script::cases(include_str!("scripts/bad-locks.txt"));
    assert!(cases.len() >= 13);
    for (title, lines) in cases {
        let fault = lock::check_all(&script::lock(&lines).unwrap()).expect_err(title);
        let (expected, _) = title.split_once(": ").unwrap();
        assert!(format!("{fault:?}").starts_with(expected), "{title}: {fault:?}");
    }
}
