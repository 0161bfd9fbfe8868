//! What every implementation of [`Kv`](crate::Kv) refuses before it looks at any key.
//!
//! These rules need only the request. The texts are etcd's, without its `etcdserver: ` prefix, because clients
//! of the etcd API compare them.

use std::collections::HashSet;

use bytes::Bytes;

use crate::limits::{KEY_BYTES_MAX, LEASE_TTL_S_MAX, TXN_BYTES_MAX, TXN_DEPTH_MAX, TXN_OPS_MAX};
use crate::{Error, KeyRange, LeaseId, Op, Range, Txn};

/// Text of a request without a key.
pub const EMPTY_KEY: &str = "key is not provided";
/// Text of a transaction that changes a key twice.
pub const DUPLICATE_KEY: &str = "duplicate key given in txn request";
/// Text of a transaction with too many operations.
pub const TOO_MANY_OPS: &str = "too many operations in txn request";
/// Text of a write that keeps the value or lease of a key that does not exist.
pub const KEY_NOT_FOUND: &str = "key not found";
/// Text of a write that both gives a value and asks to keep the current one.
pub const VALUE_PROVIDED: &str = "value is provided";
/// Text of a write that both gives a lease and asks to keep the current one.
pub const LEASE_PROVIDED: &str = "lease is provided";
/// Text of a lease that would live too long.
pub const LEASE_TTL_TOO_LARGE: &str = "too large lease TTL";

/// Checks a read.
pub fn range(range: &Range) -> Result<(), Error> {
    keys(&range.keys)
}

/// Checks a transaction: keys present, sizes, number of operations, and that no key is changed twice.
pub fn txn(txn: &Txn) -> Result<(), Error> {
    let mut size = Size::default();
    shape(txn, 0, &mut size)?;
    // One operation changes nothing twice.
    if size.ops > 1 {
        changed_once(&txn.success)?;
        changed_once(&txn.failure)?;
    }
    Ok(())
}

/// Checks a request for a lease.
pub fn lease_grant(ttl_s: i64) -> Result<(), Error> {
    if ttl_s > LEASE_TTL_S_MAX {
        return Err(invalid(LEASE_TTL_TOO_LARGE));
    }
    Ok(())
}

/// Checks which keys a request names.
pub fn keys(keys: &KeyRange) -> Result<(), Error> {
    match keys {
        KeyRange::Key(only) => key(only),
        KeyRange::Interval { start, end } => short(start).and_then(|()| short(end)),
        KeyRange::From(start) => short(start),
    }
}

fn key(key: &Bytes) -> Result<(), Error> {
    if key.is_empty() {
        return Err(invalid(EMPTY_KEY));
    }
    short(key)
}

fn short(key: &Bytes) -> Result<(), Error> {
    if key.len() > KEY_BYTES_MAX {
        return Err(Error::TooLarge(format!("a key has {} bytes, at most {KEY_BYTES_MAX} fit", key.len())));
    }
    Ok(())
}

fn invalid(text: &str) -> Error {
    Error::Invalid(text.to_owned())
}

#[derive(Default)]
struct Size {
    ops: usize,
    bytes: usize,
}

impl Size {
    fn add(&mut self, bytes: usize) -> Result<(), Error> {
        self.ops += 1;
        self.bytes += bytes;
        if self.ops > TXN_OPS_MAX {
            return Err(invalid(TOO_MANY_OPS));
        }
        if self.bytes > TXN_BYTES_MAX {
            return Err(Error::TooLarge(format!("a transaction carries at most {TXN_BYTES_MAX} bytes")));
        }
        Ok(())
    }
}

fn shape(txn: &Txn, depth: usize, size: &mut Size) -> Result<(), Error> {
    if depth >= TXN_DEPTH_MAX {
        return Err(invalid(TOO_MANY_OPS));
    }
    for compare in &txn.compare {
        keys(&compare.keys)?;
        let target = match &compare.target {
            crate::Target::Value(value) => value.len(),
            crate::Target::Version(_)
            | crate::Target::CreateRevision(_)
            | crate::Target::ModRevision(_)
            | crate::Target::Lease(_) => 0,
        };
        size.add(range_bytes(&compare.keys) + target)?;
    }
    for op in txn.success.iter().chain(&txn.failure) {
        op_shape(op, depth, size)?;
    }
    Ok(())
}

fn op_shape(op: &Op, depth: usize, size: &mut Size) -> Result<(), Error> {
    match op {
        Op::Range(range) => {
            keys(&range.keys)?;
            size.add(range_bytes(&range.keys))
        }
        Op::Put { key: name, value, lease, ignore_value, ignore_lease, .. } => {
            key(name)?;
            if *ignore_value && !value.is_empty() {
                return Err(invalid(VALUE_PROVIDED));
            }
            if *ignore_lease && *lease != LeaseId(0) {
                return Err(invalid(LEASE_PROVIDED));
            }
            size.add(name.len() + value.len())
        }
        Op::Delete { keys: range, .. } => {
            keys(range)?;
            size.add(range_bytes(range))
        }
        Op::Txn(nested) => {
            size.add(0)?;
            shape(nested, depth + 1, size)
        }
    }
}

fn range_bytes(keys: &KeyRange) -> usize {
    match keys {
        KeyRange::Key(key) | KeyRange::From(key) => key.len(),
        KeyRange::Interval { start, end } => start.len() + end.len(),
    }
}

/// Keys written and ranges deleted by a list of operations.
struct Touched<'a> {
    puts: HashSet<&'a [u8]>,
    deletes: Vec<&'a KeyRange>,
}

impl<'a> Touched<'a> {
    fn put(&mut self, key: &'a [u8]) -> Result<(), Error> {
        if self.deletes.iter().any(|range| range.contains(key)) || !self.puts.insert(key) {
            return Err(invalid(DUPLICATE_KEY));
        }
        Ok(())
    }
}

/// No key may be written twice, nor written and deleted, because all changes of a transaction have one
/// revision. The two branches of a nested transaction exclude each other, so both may write the same key.
fn changed_once(ops: &[Op]) -> Result<Touched<'_>, Error> {
    let deletes = ops.iter().filter_map(|op| match op {
        Op::Delete { keys, .. } => Some(keys),
        Op::Range(_) | Op::Put { .. } | Op::Txn(_) => None,
    });
    let mut touched = Touched { puts: HashSet::new(), deletes: deletes.collect() };
    for op in ops {
        let Op::Txn(nested) = op else { continue };
        let then = changed_once(&nested.success)?;
        let otherwise = changed_once(&nested.failure)?;
        for key in then.puts.union(&otherwise.puts) {
            touched.put(key)?;
        }
        touched.deletes.extend(then.deletes);
        touched.deletes.extend(otherwise.deletes);
    }
    for op in ops {
        if let Op::Put { key, .. } = op {
            touched.put(key)?;
        }
    }
    Ok(touched)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(success: Vec<Op>, expect: Option<&str>) {
        let got = txn(&Txn { success, ..Txn::default() });
        match (got, expect) {
            (Ok(()), None) => {}
            (Err(Error::Invalid(text)), Some(expected)) => assert_eq!(text, expected),
            (got, expect) => panic!("expected {expect:?}, got {got:?}"),
        }
    }

    #[test]
    fn a_key_is_changed_at_most_once() {
        check(vec![Op::put("a", "1"), Op::put("b", "1")], None);
        check(vec![Op::put("a", "1"), Op::put("a", "2")], Some(DUPLICATE_KEY));
        check(vec![Op::delete("a"), Op::put("a", "2")], Some(DUPLICATE_KEY));
        check(vec![Op::delete("a"), Op::delete("a")], None);
        let nested = |success, failure| Op::Txn(Txn { compare: Vec::new(), success, failure });
        check(vec![nested(vec![Op::put("a", "1")], vec![Op::put("a", "2")])], None);
        check(vec![nested(vec![Op::put("a", "1")], vec![]), Op::put("a", "2")], Some(DUPLICATE_KEY));
        check(vec![nested(vec![Op::put("a", "1")], vec![]), Op::delete("a")], Some(DUPLICATE_KEY));
        check(vec![nested(vec![Op::delete("a")], vec![]), Op::put("a", "2")], Some(DUPLICATE_KEY));
    }

    #[test]
    fn requests_without_key_or_with_contradictions_are_refused() {
        check(vec![Op::put("", "1")], Some(EMPTY_KEY));
        check(vec![Op::get("")], Some(EMPTY_KEY));
        let put = |value: &str, lease, ignore_value, ignore_lease| Op::Put {
            key: "a".into(),
            value: value.to_owned().into(),
            lease: LeaseId(lease),
            prev_kv: false,
            ignore_value,
            ignore_lease,
        };
        check(vec![put("v", 0, true, false)], Some(VALUE_PROVIDED));
        check(vec![put("v", 7, false, true)], Some(LEASE_PROVIDED));
        check(vec![put("", 7, true, false)], None);
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let many = (0..=TXN_OPS_MAX).map(|i| Op::put(format!("k{i}"), "")).collect();
        check(many, Some(TOO_MANY_OPS));
        let mut deep = Txn::default();
        for _ in 0..TXN_DEPTH_MAX {
            deep = Txn { success: vec![Op::Txn(deep)], ..Txn::default() };
        }
        assert!(txn(&deep).is_err());
        let big = Bytes::from(vec![0; TXN_BYTES_MAX]);
        assert!(matches!(
            txn(&Txn { success: vec![Op::put("a", big)], ..Txn::default() }),
            Err(Error::TooLarge(_))
        ));
    }
}
