//! How much is asked of a store: etcdctl's four loads.

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Load {
    /// Of a small cluster.
    #[value(name = "s", alias = "small")]
    Small,
    /// Of a medium one.
    #[value(name = "m", alias = "medium")]
    Medium,
    /// Of a large one.
    #[value(name = "l", alias = "large")]
    Large,
    /// Of the largest.
    #[value(name = "xl", alias = "xLarge")]
    XLarge,
}

impl Load {
    /// Clients that write at once, each on a connection of its own.
    pub fn clients(self) -> usize {
        match self {
            Self::Small => 50,
            Self::Medium => 200,
            Self::Large => 500,
            Self::XLarge => 1000,
        }
    }

    /// Writes in a second, for `check perf`.
    pub fn writes_per_second(self) -> u32 {
        match self {
            Self::Small => 150,
            Self::Medium => 1000,
            Self::Large => 8000,
            Self::XLarge => 15_000,
        }
    }

    /// Keys in the end, for `check datascale`.
    pub fn keys(self) -> usize {
        match self {
            Self::Small => 10_000,
            Self::Medium => 100_000,
            Self::Large => 1_000_000,
            Self::XLarge => 3_000_000,
        }
    }
}
