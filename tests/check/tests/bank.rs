//! Good and bad histories of a bank, made by hand: three accounts with 100 each, opened at revision 2.

use check::bank::{Account, Action, Answer, Bank, Call, Fault, Ledger};
use check::linear::{self, Timed, Verdict};

fn bank() -> Bank {
    Bank::open(3, 100, 2)
}

/// `balance`, written by transfer `writer` at `revision`.
fn account(balance: i64, writer: u64, revision: i64) -> Account {
    Account { balance, writer, revision }
}

fn at(span: (u64, u64), action: Action, answer: Answer) -> Timed<Call> {
    Timed { invoked: span.0, returned: Some(span.1), call: Call { action, answer: Some(answer) } }
}

fn unknown(invoked: u64, action: Action) -> Timed<Call> {
    Timed { invoked, returned: None, call: Call { action, answer: None } }
}

/// Moves between accounts 0 and 1.
fn transfer(number: u64, expected: [i64; 2], balances: [i64; 2]) -> Action {
    Action::Transfer { accounts: [0, 1], expected, balances, number }
}

fn moved(revision: i64) -> Answer {
    Answer::Moved { revision }
}

fn seen(revision: i64, accounts: &[Account]) -> Answer {
    Answer::Seen { revision, accounts: accounts.to_vec() }
}

fn verdict(history: &[Timed<Call>]) -> Verdict {
    linear::check(&bank(), history, 10_000)
}

const OPENED: Account = Account { balance: 100, writer: 0, revision: 2 };

#[test]
fn good_histories_are_accepted() {
    let first = transfer(1, [2, 2], [90, 110]);
    let after = [account(90, 1, 3), account(110, 1, 3), OPENED];
    let good: [&[Timed<Call>]; 6] = [
        &[],
        &[at((0, 1), Action::Audit, seen(2, &[OPENED; 3]))],
        &[at((0, 1), first, moved(3)), at((2, 3), Action::Audit, seen(3, &after))],
        // Overlapping: before or after.
        &[at((0, 9), first, moved(3)), at((1, 2), Action::Audit, seen(2, &[OPENED; 3]))],
        // The loser reads what the winner has written.
        &[at((0, 9), first, moved(3)), at((0, 9), transfer(2, [2, 2], [95, 105]), seen(3, &after[..2]))],
        // Unknown, and happened late.
        &[
            unknown(0, first),
            at((1, 2), Action::Audit, seen(2, &[OPENED; 3])),
            at((3, 4), Action::Audit, seen(3, &after)),
        ],
    ];
    for history in good {
        assert_eq!(verdict(history), Verdict::Linearizable, "{history:?}");
    }
}

#[test]
fn bad_histories_are_rejected() {
    let first = transfer(1, [2, 2], [90, 110]);
    let (half, after) =
        ([account(90, 1, 3), OPENED, OPENED], [account(90, 1, 3), account(110, 1, 3), OPENED]);
    let bad: [(&str, &[Timed<Call>]); 8] = [
        (
            "half a transfer is seen",
            &[at((0, 9), first, moved(3)), at((1, 2), Action::Audit, seen(3, &half))],
        ),
        (
            "the other half",
            &[
                at((0, 9), first, moved(3)),
                at((1, 2), Action::Audit, seen(3, &[OPENED, account(110, 1, 3), OPENED])),
            ],
        ),
        ("a stale audit", &[at((0, 1), first, moved(3)), at((2, 3), Action::Audit, seen(2, &[OPENED; 3]))]),
        (
            "time goes back",
            &[
                at((0, 9), first, moved(3)),
                at((1, 2), Action::Audit, seen(3, &after)),
                at((3, 4), Action::Audit, seen(2, &[OPENED; 3])),
            ],
        ),
        (
            "both of two that expect the same",
            &[at((0, 9), first, moved(3)), at((0, 9), transfer(2, [2, 2], [95, 105]), moved(4))],
        ),
        ("refused without reason", &[at((0, 1), first, seen(2, &[OPENED; 2]))]),
        ("only one key was compared", &[at((0, 1), transfer(1, [2, 7], [90, 110]), moved(3))]),
        ("two revisions for one transfer", &[at((0, 1), first, moved(4))]),
    ];
    for (title, history) in bad {
        assert!(matches!(verdict(history), Verdict::Impossible { .. }), "{title}");
    }
}

/// Both halves of a transfer.
fn told(number: u64, revision: i64, balances: [i64; 2]) -> Vec<(usize, Account)> {
    (0..2).zip(balances).map(|(at, balance)| (at, account(balance, number, revision))).collect()
}

#[test]
fn a_ledger_keeps_transfers_whole_and_the_sum() {
    let good = Ledger::new(&bank(), [told(1, 3, [90, 110]), told(2, 4, [80, 120])]).unwrap();
    assert_eq!(good.len(), 2);
    let together = [told(1, 3, [90, 110]), told(2, 4, [80, 120])].concat();
    assert!(Ledger::new(&bank(), [together]).is_ok(), "a response may hold several revisions");
    let halves = told(1, 3, [90, 110]);
    let fault = |responses: Vec<Vec<(usize, Account)>>| Ledger::new(&bank(), responses).unwrap_err();
    let pieces = fault(halves.chunks(1).map(<[_]>::to_vec).collect());
    assert!(matches!(pieces, Fault::Torn { revision: 3, .. }), "{pieces:?}");
    let mixed = fault(vec![vec![halves[0], (1, account(110, 9, 3))]]);
    assert!(matches!(mixed, Fault::Torn { revision: 3, .. }), "{mixed:?}");
    let twice = fault(vec![told(1, 3, [90, 110]), told(1, 4, [90, 110])]);
    assert!(matches!(twice, Fault::Torn { revision: 4, .. }), "{twice:?}");
    assert_eq!(fault(vec![told(1, 4, [90, 110])]), Fault::Gap { after: 2, revision: 4 });
    assert_eq!(fault(vec![told(1, 3, [90, 111])]), Fault::Sum { revision: 3, sum: 301, before: 300 });
}

#[test]
fn what_was_acknowledged_and_seen_is_in_the_ledger() {
    let ledger = Ledger::new(&bank(), [told(1, 3, [90, 110])]).unwrap();
    let first = transfer(1, [2, 2], [90, 110]);
    let second = transfer(2, [3, 3], [80, 120]);
    assert_eq!(ledger.holds_all(&[at((0, 1), first, moved(3)), unknown(2, second)]), Ok(()));
    assert!(matches!(ledger.holds_all(&[at((0, 1), first, moved(4))]), Err(Fault::Lost { .. })));
    assert!(matches!(ledger.holds_all(&[at((0, 1), second, moved(4))]), Err(Fault::Lost { .. })));

    let after = [account(90, 1, 3), account(110, 1, 3), OPENED];
    assert_eq!(ledger.is_past(2, &[OPENED; 3]), Ok(()));
    assert_eq!(ledger.is_past(3, &after), Ok(()));
    assert!(ledger.is_past(3, &[OPENED; 3]).is_err(), "an old state under a new revision");
    assert!(ledger.is_past(2, &after).is_err(), "a new state under an old revision");
    assert!(ledger.is_past(3, &[after[0], OPENED, OPENED]).is_err(), "half a transfer");
    assert!(ledger.is_past(4, &after).is_err(), "what is yet to come");

    let settled = ledger.tighten(vec![unknown(0, first), unknown(1, second), unknown(2, Action::Audit)]);
    assert_eq!(settled.len(), 1);
    assert_eq!(settled[0].call.answer, Some(moved(3)));
    assert!(settled[0].returned.is_none(), "it may have happened late");
}
