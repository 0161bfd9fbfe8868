//! What clients saw could have happened one call at a time (S4), and nothing acknowledged is lost (S2).
//!
//! The log of changes settles what has no answer: a write happened if its value is in the log. A deletion in the log that
//! nobody was told of was made by the end of a lease, or by one of the calls without an answer.

use check::kv::{self, Action, Answer, Call, Store};
use check::linear::{self, Timed, Verdict};
use check::log::ChangeLog;
use faults_tests::limits::KEYS;

use super::revisions::Revisions;
use crate::limits::{LESSEES, STEPS};

/// A tick of the clock of members against that of clients, in nanoseconds.
const SLACK_NS: u64 = 5_000_000;

/// Checks the history of all clients.
pub fn check(history: &[Timed<Call>], log: &ChangeLog, revisions: &Revisions) -> Result<(), String> {
    log.holds_all(history).map_err(|fault| format!("S2: {fault}"))?;
    let mut settled = kv::tighten(history.to_vec(), log);
    settled.retain(|timed| timed.call.answer.is_some());
    settled.extend(unexplained(history, log, revisions)?);
    let store = Store { keys: KEYS + LESSEES, revision: 1 };
    match linear::check(&store, &settled, STEPS) {
        Verdict::Linearizable => Ok(()),
        verdict => Err(format!("S4: {verdict:?} of {} calls", settled.len())),
    }
}

/// Changes of the log that no answer explains, as calls of nobody.
fn unexplained(
    history: &[Timed<Call>],
    log: &ChangeLog,
    revisions: &Revisions,
) -> Result<Vec<Timed<Call>>, String> {
    let answered: std::collections::HashSet<i64> = history
        .iter()
        .filter_map(|timed| match timed.call.answer {
            Some(Answer::Changed { revision }) => Some(revision),
            Some(Answer::Held { .. }) | None => None,
        })
        .collect();
    let mut found = Vec::new();
    for change in log.between(0, log.newest()) {
        if answered.contains(&change.revision) {
            continue;
        }
        let told = revisions.told_at(change.revision).unwrap_or(0) * 1_000_000 + SLACK_NS;
        let asked = |timed: &&Timed<Call>| timed.call.answer.is_none() && wanted(&timed.call.action, change);
        let invoked = history.iter().filter(asked).map(|timed| timed.invoked).min();
        let by_lease = change.key >= KEYS && change.value.is_none();
        let invoked = match invoked {
            Some(invoked) if invoked <= told => invoked,
            _ if by_lease => 0,
            _ => return Err(format!("nobody asked for {change:?}")),
        };
        if change.value.is_some() {
            // Settled already, at any time after it was asked for.
            continue;
        }
        let call = Call {
            action: Action::Delete { key: change.key },
            answer: Some(Answer::Changed { revision: change.revision }),
        };
        found.push(Timed { invoked, returned: Some(told), call });
    }
    Ok(found)
}

fn wanted(action: &Action, change: &check::log::Change) -> bool {
    match *action {
        Action::Put { key, value } | Action::Swap { key, value, .. } => {
            key == change.key && change.value == Some(value)
        }
        Action::Delete { key } => key == change.key && change.value.is_none(),
        Action::Get { .. } => false,
    }
}
