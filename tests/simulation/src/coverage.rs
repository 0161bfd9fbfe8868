//! What really happened in runs: a fault that was planned and struck nothing does not count.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Coverage {
    counts: BTreeMap<Cow<'static, str>, u64>,
}

impl Coverage {
    /// Counts one.
    pub fn hit(&mut self, name: &'static str) {
        self.add(name, 1);
    }

    /// Counts some.
    pub fn add(&mut self, name: impl Into<Cow<'static, str>>, count: u64) {
        *self.counts.entry(name.into()).or_default() += count;
    }

    /// How often.
    pub fn of(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Adds what another run saw.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.counts {
            self.add(name.clone(), *count);
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &self.counts {
            writeln!(f, "  {name:<44} {count:>9}")?;
        }
        Ok(())
    }
}
