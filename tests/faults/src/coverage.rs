//! What really happened in a run: a fault that was ordered and did not strike proves nothing.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::ensure;

/// Counters by what they count.
#[derive(Clone, Default)]
pub struct Coverage {
    counters: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// It happened so many times more.
    pub fn add(&mut self, what: &'static str, times: u64) {
        *self.counters.entry(what).or_default() += times;
    }

    /// As [`add`](Self::add), and a run without it is invalid.
    pub fn add_surely(&mut self, what: &'static str, times: u64) -> anyhow::Result<()> {
        self.add(what, times);
        ensure!(times > 0, "invalid run: no {what}");
        Ok(())
    }

    /// Adds another run's.
    pub fn merge(&mut self, other: &Self) {
        other.counters.iter().for_each(|(what, times)| self.add(what, *times));
    }
}

impl fmt::Debug for Coverage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.counters.iter().map(|(what, times)| format!("{times} {what}"));
        out.write_str(&words.collect::<Vec<_>>().join(", "))
    }
}
