//! What the log of changes says about calls and reads.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use check::kv::{self, Answer, Cell, Store};
use check::linear::{self, Verdict};
use check::log::{Change, ChangeLog, Fault};
use check::script;

fn log() -> ChangeLog {
    // 2: a=1, 3: b=2, 4: -a, 5: a=3
    script::watch(&["log a=1 b=2 -a a=3", "watch open"]).unwrap().0
}

fn holds(lines: &[&str]) -> bool {
    log().holds_all(&script::history(lines).unwrap()).is_ok()
}

#[test]
fn revisions_are_counted_one_by_one() {
    let change = |revision| Change { revision, key: 0, value: Some(1), before: None };
    assert!(ChangeLog::new(1, [change(2), change(3)]).is_ok());
    for bad in [[2, 4], [3, 4], [2, 2], [3, 2]] {
        assert!(matches!(ChangeLog::new(1, bad.map(change)), Err(Fault::Gap { .. })), "{bad:?}");
    }
}

#[test]
fn what_was_acknowledged_is_in_the_log() {
    assert!(holds(&["0..1 put a=1 -> r2", "0..1 del a -> r4", "0..1 swap a@0=3 -> r5", "0..? put b=9"]));
    for lost in [
        "0..1 put a=1 -> r3",
        "0..1 put a=9 -> r2",
        "0..1 put a=1 -> r6",
        "0..1 del b -> r4",
        "0..1 del a -> r5",
    ] {
        assert!(!holds(&[lost]), "{lost}");
    }
}

#[test]
fn a_read_without_agreement_sees_a_past_that_was() {
    let cell = |value, revision| Some(Cell { value, revision });
    let good = [
        (0, 1, None),
        (0, 2, cell(1, 2)),
        (0, 3, cell(1, 2)),
        (0, 4, None),
        (0, 5, cell(3, 5)),
        (1, 5, cell(2, 3)),
    ];
    for (key, revision, seen) in good {
        assert_eq!(log().is_past(key, revision, seen), Ok(()), "{key} at {revision}");
    }
    let bad = [(0, 2, None), (0, 4, cell(1, 2)), (0, 5, cell(1, 2)), (1, 2, cell(2, 3)), (0, 6, cell(3, 5))];
    for (key, revision, seen) in bad {
        assert!(log().is_past(key, revision, seen).is_err(), "{key} at {revision}");
    }
}

#[test]
fn a_seen_effect_settles_a_call_without_answer() {
    let lines = ["0..? put a=1", "0..? put a=9", "0..? get a", "0..? del a", "0..1 put b=2 -> r3"];
    let history = kv::tighten(script::history(&lines).unwrap(), &log());
    let answers: Vec<_> = history.iter().map(|timed| timed.call.answer).collect();
    let changed = |revision| Some(Answer::Changed { revision });
    assert_eq!(answers, [changed(2), None, changed(3)]);
    assert!(history[0].returned.is_none(), "it may still have happened late");
}

#[test]
fn a_long_history_is_judged_within_the_budget() {
    // Twenty clients at a time, half a thousand writes without answer among five thousand calls.
    let mut lines = Vec::new();
    for at in 0..5000_i64 {
        let (from, upto) = (at * 10, at * 10 + 199);
        match at % 10 {
            0 => lines.push(format!("{from}..? put a={at}")),
            _ => lines.push(format!("{from}..{upto} put b={at} -> r{}", at + 2)),
        }
    }
    let changes = (0..5000).map(|at| Change {
        revision: at + 2,
        key: usize::from(at % 10 != 0),
        value: Some(at.cast_unsigned()),
        before: None,
    });
    let log = ChangeLog::new(1, changes).unwrap();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let history = kv::tighten(script::history(&lines).unwrap(), &log);
    let store = Store { keys: 2, revision: 1 };
    assert_eq!(linear::check(&store, &history, 1_000_000), Verdict::Linearizable);
}
