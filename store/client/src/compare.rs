//! When a condition of a transaction holds.

use std::cmp::Ordering;

use crate::{Compare, KeyValue, LeaseId, Order, Revision, Target};

impl Compare {
    /// Whether the condition holds for what was found in its range. An empty range compares as one key whose
    /// fields are all zero, except that a value that is not there never satisfies a comparison.
    pub fn holds<'a>(&self, found: impl IntoIterator<Item = &'a KeyValue>) -> bool {
        let mut found = found.into_iter().peekable();
        if found.peek().is_none() {
            return !matches!(self.target, Target::Value(_)) && self.holds_for(&KeyValue::default());
        }
        found.all(|kv| self.holds_for(kv))
    }

    fn holds_for(&self, kv: &KeyValue) -> bool {
        let ordering = match &self.target {
            Target::Version(version) => kv.version.cmp(version),
            Target::CreateRevision(Revision(revision)) => kv.create_revision.0.cmp(revision),
            Target::ModRevision(Revision(revision)) => kv.mod_revision.0.cmp(revision),
            Target::Value(value) => kv.value.cmp(value),
            Target::Lease(LeaseId(lease)) => kv.lease.0.cmp(lease),
        };
        match self.order {
            Order::Equal => ordering == Ordering::Equal,
            Order::NotEqual => ordering != Ordering::Equal,
            Order::Less => ordering == Ordering::Less,
            Order::Greater => ordering == Ordering::Greater,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyRange;

    #[test]
    fn fields_compare_as_the_table_says() {
        let kv = KeyValue {
            key: "k".into(),
            value: "m".into(),
            create_revision: Revision(3),
            mod_revision: Revision(5),
            version: 2,
            lease: LeaseId(9),
        };
        let table = [
            (Target::Version(2), Order::Equal, true, false),
            (Target::Version(0), Order::Equal, false, true),
            (Target::CreateRevision(Revision(4)), Order::Less, true, true),
            (Target::ModRevision(Revision(4)), Order::Greater, true, false),
            (Target::ModRevision(Revision(0)), Order::Equal, false, true),
            (Target::Lease(LeaseId(9)), Order::NotEqual, false, true),
            (Target::Value("m".into()), Order::Equal, true, false),
            (Target::Value("x".into()), Order::NotEqual, true, false),
            (Target::Value("z".into()), Order::Less, true, false),
        ];
        for (target, order, present, absent) in table {
            let compare = Compare { keys: KeyRange::Key("k".into()), target, order };
            assert_eq!(compare.holds([&kv]), present, "{compare:?} with the key");
            assert_eq!(compare.holds([]), absent, "{compare:?} without the key");
        }
    }
}
