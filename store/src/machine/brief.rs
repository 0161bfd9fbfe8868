//! Which commands take little time, whatever the state is: those that look at single keys or leases, and at few.

use bytes::Bytes;
use store_client::{KeyRange, LeaseId, Op, Txn};

use super::command::Command;
use crate::auth::Caller;
use crate::limits::LOOKS_AT_ONCE_MAX;

/// Whether a command takes little time for sure. One that cannot be read may say why elsewhere.
pub(super) fn is_brief(command: &Bytes) -> bool {
    match Command::decode_with_caller(command) {
        Ok((caller, Command::Txn(txn))) => {
            looks(&txn, &caller).is_some_and(|looks| looks <= LOOKS_AT_ONCE_MAX)
        }
        Ok((Caller::Trusted, Command::LeaseRenew(ids))) => ids.len() <= LOOKS_AT_ONCE_MAX,
        Ok((_, Command::LeaseGrant { .. })) => true,
        Ok(_) | Err(_) => false,
    }
}

/// At how many keys it looks at most; `None` when that depends on the state.
fn looks(txn: &Txn, caller: &Caller) -> Option<usize> {
    let single = |keys: &KeyRange| matches!(keys, KeyRange::Key(_)).then_some(1);
    let compared = txn.compare.iter().map(|compare| single(&compare.keys));
    let done = txn.success.iter().chain(&txn.failure).map(|op| match op {
        Op::Range(range) => single(&range.keys),
        Op::Delete { keys, .. } => single(keys),
        // Who attaches a key must be allowed to write all the others of the lease.
        Op::Put { lease, .. } if *lease != LeaseId(0) && !matches!(caller, Caller::Trusted) => None,
        Op::Put { .. } => Some(1),
        Op::Txn(nested) => looks(nested, caller),
    });
    compared.chain(done).sum()
}

#[cfg(test)]
mod tests {
    use store_client::{Compare, Order, Range, Revision, Target};

    use super::*;

    fn of(ops: Vec<Op>) -> Txn {
        Txn { success: ops, ..Txn::default() }
    }

    fn is_brief_for(caller: &Caller, command: Command) -> bool {
        is_brief(&command.encode_for(caller).unwrap())
    }

    #[test]
    fn what_looks_at_few_single_keys_is_brief() {
        let all = KeyRange::prefix(Bytes::from_static(b"k"));
        let user = Caller::user("somebody", 1);
        let leased = || {
            let (key, value, lease) = (Bytes::from_static(b"k"), Bytes::new(), LeaseId(7));
            Op::Put { key, value, lease, prev_kv: true, ignore_value: false, ignore_lease: false }
        };
        let ops = || vec![Op::put("k", "v"), Op::get("k"), Op::delete("k"), Op::Txn(of(vec![Op::get("k")]))];
        for (caller, ops, expected) in [
            (&user, ops(), true),
            (&Caller::Trusted, vec![Op::put("k", "v"); LOOKS_AT_ONCE_MAX], true),
            (&Caller::Trusted, vec![Op::put("k", "v"); LOOKS_AT_ONCE_MAX + 1], false),
            (&Caller::Trusted, vec![Op::Range(Range::new(all.clone()))], false),
            (&Caller::Trusted, vec![Op::Delete { keys: all.clone(), prev_kv: false }], false),
            (&Caller::Trusted, vec![Op::Txn(of(vec![Op::Range(Range::new(all.clone()))]))], false),
            (&Caller::Trusted, vec![leased()], true),
            (&user, vec![leased()], false),
        ] {
            assert_eq!(is_brief_for(caller, Command::Txn(of(ops.clone()))), expected, "{ops:?}");
        }
        let compared = |keys| Txn {
            compare: vec![Compare { keys, target: Target::Version(0), order: Order::Equal }],
            ..of(vec![Op::put("k", "v")])
        };
        assert!(is_brief_for(&user, Command::Txn(compared(KeyRange::Key("k".into())))));
        assert!(!is_brief_for(&user, Command::Txn(compared(all))));
    }

    #[test]
    fn of_other_commands_few_are_brief() {
        let renew = |count| Command::LeaseRenew(vec![LeaseId(1); count]);
        assert!(is_brief_for(&Caller::Trusted, renew(LOOKS_AT_ONCE_MAX)));
        assert!(!is_brief_for(&Caller::Trusted, renew(LOOKS_AT_ONCE_MAX + 1)));
        assert!(is_brief_for(&Caller::Trusted, Command::LeaseGrant { id: LeaseId(1), ttl_s: 1 }));
        assert!(!is_brief_for(&Caller::Trusted, Command::LeaseRevoke(LeaseId(1))));
        assert!(!is_brief_for(&Caller::Trusted, Command::Compact(Revision(1))));
        assert!(!is_brief(&Bytes::from_static(b"nonsense")));
    }
}
