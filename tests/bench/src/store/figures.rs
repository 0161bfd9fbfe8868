//! What is compared: each figure of the table, its goal, and how rounds become a row.

use std::collections::BTreeMap;

use crate::{
    samples::{median, number},
    table::Table,
};

/// One figure of the table; the number is that of the target it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// S1: CPU of the server per put, 1,000 clients.
    PutCpu,
    /// S2: puts per second, server and generator on a core each.
    PutRate,
    /// S3: puts per second with the peer's own tool.
    ForeignPutRate,
    /// S4: median of a put of a single client.
    PutAlone,
    /// S5: syncs of a file for 1,000 puts.
    Syncs,
    /// S5: puts per second on a disk by those on a file system in memory, where a sync is free.
    Durability,
    /// S6: CPU per linearizable read.
    LinearizableCpu,
    /// S6: CPU per serializable read.
    SerializableCpu,
    /// S6: linearizable by serializable reads per second.
    ReadParity,
    /// S7: CPU per transaction as Kubernetes writes.
    TxnCpu,
    /// S7: CPU per transaction of a program that holds the store, against the peer over gRPC.
    InProcessTxnCpu,
    /// S8: CPU per delivered event.
    WatchCpu,
    /// S8: 99th percentile from put to delivery.
    WatchDelay,
    /// S9: bytes per watcher.
    WatcherBytes,
    /// S10: memory with a data set.
    DataMemory,
    /// S11: memory of a member that has just begun.
    IdleMemory,
    /// S11: from the start to the first answered read.
    FirstRead,
    /// S11: the same after kill -9, with a data set.
    Restart,
    /// S12: CPU per keep-alive.
    KeepAliveCpu,
    /// S12: p99 of puts while leases expire by that before.
    Expiry,
    /// S13: p99 of puts with a large data set by that with a small one.
    LargeData,
    /// S14: bytes written by the process per byte of keys and values.
    WriteAmplification,
    /// S15: growth of memory by a range of everything.
    RangeMemory,
    /// S16: puts per second on three members.
    ThreePutRate,
    /// S16: CPU per put, three members summed.
    ThreePutCpu,
    /// S17: puts per second of 16,000 clients by those of 1,000.
    Crowd,
}

/// What a figure is held against.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// Ours by the peer's, at most.
    AtMost(f64),
    /// Ours by the peer's, at least.
    AtLeast(f64),
    /// Ours alone, at most.
    OwnAtMost(f64),
    /// Ours alone, at least.
    OwnAtLeast(f64),
}

/// The floor a figure is printed beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Floor {
    None,
    /// A call that does nothing, by as many clients.
    Call,
    /// The same by as many clients as reads have.
    Read,
    /// A message of a stream that is sent back.
    KeepAlive,
    /// An event that was made before.
    Event,
    /// A call that does nothing, and a sync, for the only client.
    Alone,
}

/// Floors of a run.
#[derive(Clone, Copy, Debug)]
pub struct Floors {
    /// Microseconds of CPU for a call that does nothing, by many clients.
    pub call_us: f64,
    /// The same by as many as reads have.
    pub read_us: f64,
    /// Microseconds of CPU for a message that is sent back.
    pub keep_alive_us: f64,
    /// Microseconds of CPU for an event that is sent on.
    pub event_us: f64,
    /// Medians of such a call by the only client and of a sync, together, in milliseconds.
    pub alone_ms: f64,
}

impl Figure {
    /// All, in the order of the table.
    pub const ALL: [Self; 26] = [
        Self::PutCpu,
        Self::PutRate,
        Self::ForeignPutRate,
        Self::PutAlone,
        Self::Syncs,
        Self::Durability,
        Self::LinearizableCpu,
        Self::SerializableCpu,
        Self::ReadParity,
        Self::TxnCpu,
        Self::InProcessTxnCpu,
        Self::WatchCpu,
        Self::WatchDelay,
        Self::WatcherBytes,
        Self::DataMemory,
        Self::IdleMemory,
        Self::FirstRead,
        Self::Restart,
        Self::KeepAliveCpu,
        Self::Expiry,
        Self::LargeData,
        Self::WriteAmplification,
        Self::RangeMemory,
        Self::ThreePutRate,
        Self::ThreePutCpu,
        Self::Crowd,
    ];

    /// Target, what is measured, unit, goal, floor.
    const fn spec(self) -> (&'static str, &'static str, &'static str, Goal, Floor) {
        use Goal::{AtLeast, AtMost, OwnAtLeast, OwnAtMost};
        match self {
            Self::PutCpu => ("S1", "CPU per put, 1000 clients", "us", AtMost(0.45), Floor::Call),
            Self::PutRate => ("S2", "puts, 1000 clients", "/s", AtLeast(2.2), Floor::None),
            Self::ForeignPutRate => ("S3", "puts by etcd's own tool", "/s", AtLeast(1.7), Floor::None),
            Self::PutAlone => ("S4", "put p50, 1 client", "ms", AtMost(0.5), Floor::Alone),
            Self::Syncs => ("S5", "syncs per 1000 puts, 1000 clients", "", OwnAtMost(20.0), Floor::None),
            Self::Durability => ("S5", "puts on disk by puts in memory", "", OwnAtLeast(0.8), Floor::None),
            Self::LinearizableCpu => ("S6", "CPU per linearizable read", "us", AtMost(0.6), Floor::Read),
            Self::SerializableCpu => ("S6", "CPU per serializable read", "us", AtMost(0.6), Floor::Read),
            Self::ReadParity => ("S6", "linearizable by serializable", "", OwnAtLeast(0.85), Floor::None),
            Self::TxnCpu => ("S7", "CPU per Kubernetes-shaped txn", "us", AtMost(0.4), Floor::Call),
            Self::InProcessTxnCpu => ("S7", "the same by the handle", "us", AtMost(0.15), Floor::None),
            Self::WatchCpu => ("S8", "CPU per delivered event", "us", AtMost(0.3), Floor::Event),
            Self::WatchDelay => ("S8", "p99 from put to delivery", "ms", AtMost(0.5), Floor::None),
            Self::WatcherBytes => ("S9", "memory per watcher", "B", AtMost(0.25), Floor::None),
            Self::DataMemory => ("S10", "memory with the data set", "MB", AtMost(0.6), Floor::None),
            Self::IdleMemory => ("S11", "memory when idle", "MB", AtMost(0.5), Floor::None),
            Self::FirstRead => ("S11", "start to first read", "ms", AtMost(0.1), Floor::None),
            Self::Restart => ("S11", "kill -9 to first read, data set", "ms", AtMost(0.3), Floor::None),
            Self::KeepAliveCpu => ("S12", "CPU per keep-alive", "us", AtMost(0.4), Floor::KeepAlive),
            Self::Expiry => ("S12", "put p99 while leases expire/before", "", OwnAtMost(2.0), Floor::None),
            Self::LargeData => ("S13", "put p99 large/small data set", "", OwnAtMost(1.5), Floor::None),
            Self::WriteAmplification => ("S14", "bytes written per user byte", "", AtMost(0.6), Floor::None),
            Self::RangeMemory => ("S15", "memory by a range of everything", "MB", AtMost(0.1), Floor::None),
            Self::ThreePutRate => ("S16", "puts on 3 members", "/s", AtLeast(2.0), Floor::None),
            Self::ThreePutCpu => ("S16", "CPU per put, 3 members summed", "us", AtMost(0.45), Floor::Call),
            Self::Crowd => ("S17", "puts, 16000 by 1000 clients", "", OwnAtLeast(0.8), Floor::None),
        }
    }
}

/// Figures by program (ours first), one for each round.
#[derive(Debug, Default)]
pub struct Figures {
    measured: BTreeMap<(Figure, usize), Vec<f64>>,
    /// Why some are missing.
    absent: BTreeMap<&'static str, String>,
}

impl Figures {
    /// Notes a figure of a program.
    pub fn note(&mut self, figure: Figure, program: usize, value: f64) {
        self.measured.entry((figure, program)).or_default().push(value);
    }

    /// Notes why the figures of a target are missing.
    pub fn skip(&mut self, target: &'static str, reason: impl Into<String>) {
        self.absent.insert(target, reason.into());
    }

    /// The last figure noted.
    pub fn last(&self, figure: Figure, program: usize) -> Option<f64> {
        self.measured.get(&(figure, program))?.last().copied()
    }

    fn of(&self, figure: Figure, program: usize) -> &[f64] {
        self.measured.get(&(figure, program)).map_or(&[], Vec::as_slice)
    }

    /// The table, with a peer's column where there is one.
    pub fn table(&self, peer: Option<&str>, floors: Floors) -> Table {
        let peer_name = peer.unwrap_or("peer");
        let mut table =
            Table::new(["target", "kontiki", peer_name, "/floor", "ratio (min-max)", "goal", "met"]);
        for figure in Figure::ALL {
            let (target, what, unit, goal, floor) = figure.spec();
            let (ours, theirs) = (self.of(figure, 0), self.of(figure, 1));
            if ours.is_empty() && theirs.is_empty() {
                continue;
            }
            let with_unit = |values: &[f64]| match values {
                [] => String::from("-"),
                values => format!("{} {unit}", number(median(values))).trim_end().to_owned(),
            };
            let floor = match floor {
                Floor::None => f64::NAN,
                Floor::Call => median(ours) / floors.call_us,
                Floor::Read => median(ours) / floors.read_us,
                Floor::KeepAlive => median(ours) / floors.keep_alive_us,
                Floor::Event => median(ours) / floors.event_us,
                Floor::Alone => median(ours) / floors.alone_ms,
            };
            let (ratio, ends) = pairs(ours, theirs);
            let (met, said) = goal.judge(median(ours), ratio);
            table.row([
                format!("{target:<4} {what}"),
                with_unit(ours),
                with_unit(theirs),
                if floor.is_nan() { String::new() } else { number(floor) },
                if ratio.is_nan() { String::new() } else { format!("{ratio:.2} ({ends})") },
                said,
                met.map_or("", |met| if met { "yes" } else { "no" }).to_owned(),
            ]);
        }
        table
    }

    /// Targets without figures, and why.
    pub fn absent(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.absent.iter().map(|(target, reason)| (*target, reason.as_str()))
    }
}

/// Median of the ratios of rounds, and its ends; and how many rounds say something, if not all.
fn pairs(ours: &[f64], theirs: &[f64]) -> (f64, String) {
    let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs);
    let mut all: Vec<f64> = ratios.clone().filter(|ratio| !ratio.is_nan()).collect();
    all.sort_unstable_by(f64::total_cmp);
    let ends = all.first().zip(all.last()).map(|(min, max)| format!("{min:.2}-{max:.2}"));
    let mut ends = ends.unwrap_or_default();
    if all.len() < ratios.len() {
        ends += &format!(", {} of {}", all.len(), ratios.len());
    }
    (median(&all), ends)
}

impl Goal {
    /// Whether it is met, where that can be told, and how it is written.
    fn judge(self, own: f64, ratio: f64) -> (Option<bool>, String) {
        let told = |value: f64, met: bool| (!value.is_nan()).then_some(met);
        match self {
            Self::AtMost(goal) => (told(ratio, ratio <= goal), format!("<= {goal}")),
            Self::AtLeast(goal) => (told(ratio, ratio >= goal), format!(">= {goal}")),
            Self::OwnAtMost(goal) => (told(own, own <= goal), format!("own <= {goal}")),
            Self::OwnAtLeast(goal) => (told(own, own >= goal), format!("own >= {goal}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOORS: Floors =
        Floors { call_us: 10.0, read_us: 12.0, keep_alive_us: 11.0, event_us: 1.0, alone_ms: 0.1 };

    #[test]
    fn a_row_shows_the_median_of_pairs_and_whether_the_goal_is_met() {
        let mut figures = Figures::default();
        for (ours, theirs) in [(20.0, 40.0), (30.0, 100.0), (40.0, 100.0)] {
            figures.note(Figure::PutCpu, 0, ours);
            figures.note(Figure::PutCpu, 1, theirs);
        }
        let text = figures.table(Some("etcd"), FLOORS).to_string();
        let row = text.lines().nth(1).unwrap();
        for part in ["S1", "30.0 us", "100 us", "3.00", "0.40 (0.30-0.50)", "<= 0.45", "yes"] {
            assert!(row.contains(part), "no {part:?} in {row}");
        }
    }

    #[test]
    fn a_round_that_says_nothing_is_told_and_not_counted() {
        assert_eq!(pairs(&[1.0, f64::NAN, 3.0], &[2.0, 2.0, 2.0]), (1.0, "0.50-1.50, 2 of 3".to_owned()));
    }

    #[test]
    fn without_a_peer_only_own_goals_are_judged() {
        let mut figures = Figures::default();
        figures.note(Figure::PutCpu, 0, 20.0);
        figures.note(Figure::Syncs, 0, 21.0);
        let text = figures.table(None, FLOORS).to_string();
        let ends = |line: usize| text.lines().nth(line).unwrap().trim_end().to_owned();
        assert!(ends(1).ends_with("<= 0.45"), "{text}");
        assert!(ends(2).ends_with("no"), "{text}");
    }

    #[test]
    fn every_figure_is_in_the_table_once() {
        let all: std::collections::BTreeSet<Figure> = Figure::ALL.into_iter().collect();
        assert_eq!(all.len(), Figure::ALL.len());
        assert!(Figure::ALL.is_sorted());
    }
}
