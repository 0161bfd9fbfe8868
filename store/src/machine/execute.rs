//! What each command does to the state.

use bytes::Bytes;
use raft::Committed;
use store_client::{Error as Refusal, LeaseId, Revision};

use super::Broken;
use super::command::Command;
use super::response::Response;
use crate::auth::{self, draft::Place};
use crate::lease;
use crate::metrics::Commands;
use crate::mvcc::Draft;
use crate::mvcc::draft::Failure;
use crate::mvcc::layout::LeaseRecord;

/// Runs one command on the draft and encodes the answer; a refusal leaves no trace but its answer.
pub(super) fn run(
    draft: &mut Draft<'_>,
    auth: &mut auth::Draft,
    committed: &Committed,
    events: &mut Vec<lease::Event>,
    count: &mut Commands,
) -> Result<Bytes, Broken> {
    let (caller, command) = Command::decode_with_caller(&committed.command)?;
    count.count(&command);
    let mut own_events = Vec::new();
    let answer = draft.command(|draft| {
        auth.state().check(&caller, &command, &mut |lease| draft.attached(lease))?;
        let response = execute(draft, auth, command, committed, &mut own_events)?;
        response.encode().map_err(|error| Refusal::TooLarge(error.to_string()).into())
    });
    match answer {
        Ok(response) => {
            events.append(&mut own_events);
            Ok(response)
        }
        Err(Failure::Refused(refusal)) => Ok(Response::Refused(refusal).encode()?),
        Err(Failure::Broken(error)) => Err(error.into()),
    }
}

fn execute(
    draft: &mut Draft<'_>,
    auth: &mut auth::Draft,
    command: Command,
    committed: &Committed,
    events: &mut Vec<lease::Event>,
) -> Result<Response, Failure> {
    match command {
        Command::Txn(txn) => Ok(Response::Txn(draft.txn(&txn)?)),
        Command::Compact(revision) => {
            draft.compact(revision)?;
            Ok(done(draft))
        }
        Command::Note { unix_ms } => {
            draft.note(unix_ms)?;
            Ok(done(draft))
        }
        Command::Alarm { raised, on } => {
            draft.alarm(raised, on);
            Ok(done(draft))
        }
        Command::LeaseGrant { id, ttl_s } => {
            if ttl_s < 0 {
                return Err(Refusal::Invalid("a lease cannot end before it begins".to_owned()).into());
            }
            if draft.lease(id)?.is_some() {
                return Err(Refusal::LeaseExists.into());
            }
            renew(draft, id, ttl_s, committed.index.0, events);
            Ok(done(draft))
        }
        Command::LeaseRevoke(id) => {
            draft.lease(id)?.ok_or(Refusal::LeaseNotFound)?;
            end(draft, id, events)?;
            Ok(done(draft))
        }
        Command::LeaseRenew(ids) => {
            let mut granted = Vec::with_capacity(ids.len());
            for id in ids {
                let lease = draft.lease(id)?.map(|lease| lease.granted_ttl_s);
                if let Some(ttl_s) = lease {
                    renew(draft, id, ttl_s, committed.index.0, events);
                }
                granted.push(lease);
            }
            Ok(Response::Renewed(granted))
        }
        Command::LeaseExpire { term, leases } => {
            let old_leaders_too = old_leaders_end_leases();
            if term == committed.term.0 || old_leaders_too {
                for (id, renewed) in leases {
                    if draft.lease(id)?.is_some_and(|lease| lease.renewed == renewed || old_leaders_too) {
                        end(draft, id, events)?;
                    }
                }
            }
            Ok(done(draft))
        }
        Command::Auth(change) => {
            auth.apply(&change, Place { index: committed.index.0, term: committed.term.0 })?;
            Ok(done(draft))
        }
    }
}

/// Bug M15, where it is switched on.
fn old_leaders_end_leases() -> bool {
    #[cfg(feature = "known-bugs")]
    return raft::bugs::is_on(raft::bugs::Bug::M15);
    #[cfg(not(feature = "known-bugs"))]
    false
}

fn done(draft: &Draft<'_>) -> Response {
    Response::Done(Revision(draft.newest()))
}

fn renew(draft: &mut Draft<'_>, id: LeaseId, ttl_s: i64, index: u64, events: &mut Vec<lease::Event>) {
    let record = LeaseRecord { granted_ttl_s: ttl_s, renewed: index };
    draft.put_lease(id, record);
    events.push(lease::Event::Renewed(id, record));
}

fn end(draft: &mut Draft<'_>, id: LeaseId, events: &mut Vec<lease::Event>) -> Result<(), Failure> {
    draft.end_lease(id)?;
    events.push(lease::Event::Ended(id));
    Ok(())
}
