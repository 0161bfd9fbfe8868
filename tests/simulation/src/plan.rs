//! What a seed means: how large a cluster, set up how, struck by what and when. Pure.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use store::Sizes;

use crate::limits::{BY_BYTES, BY_ENTRIES};

/// Who is struck; found out when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Whoever leads.
    Leader,
    /// One that does not lead.
    Follower(usize),
    /// Anybody.
    Any(usize),
}

/// What strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The machine stops and starts again, without some of what was not synced.
    Crash(Who),
    /// More than half of the machines do.
    CrashMajority,
    /// All machines do.
    CrashAll,
    /// Nothing goes between a member and the others; what was sent arrives later.
    Cut(Who),
    /// Nothing goes between a member and anybody, clients included; what was sent arrives later.
    CutFromAll(Who),
    /// What is sent between a member and the others is lost.
    Partition(Who),
    /// What a member sends to the others is lost.
    Mute(Who),
    /// What the others send to a member is lost.
    Deafen(Who),
    /// A member is cut off and back again, over and over.
    Flap(Who),
    /// Messages between a member and the others take long.
    Delay(Who),
    /// Now and then what is sent between a member and the others is lost.
    Lose(Who),
    /// Nothing goes between the leader and the others, and who votes crashes a little later.
    Depose,
    /// A disk hangs.
    DiskHang(Who),
    /// A disk is slow.
    DiskSlow(Who),
    /// One operation of a disk fails; perhaps the power fails a little later.
    DiskError(Who),
    /// A disk is full.
    DiskFull(Who),
    /// The member stands still: its disk hangs and nothing goes in or out.
    Stall(Who),
    /// The machine stops and starts again, and its clock is so many milliseconds ahead of where it was, or behind.
    ClockJump(Who, i64),
    /// A clock is set by so many milliseconds while its member runs.
    ClockSet(Who, i64),
    /// A bit of a log flips while its machine is down. The member is replaced afterwards.
    BitFlip(Who),
    /// A machine comes back with empty disks, under its old name. The member is replaced afterwards.
    Wipe(Who),
    /// A member is added.
    Add,
    /// A member is removed.
    Remove(Who),
    /// Another member is asked to lead.
    Transfer(Who),
    /// A follower is asked to lead, and the leader hears nothing of how that goes on.
    DeafTransfer(usize),
}

/// What a run is.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where all of it comes from.
    pub seed: u64,
    /// Founding members.
    pub members: usize,
    /// Entries between two snapshots.
    pub snapshot_entries: u64,
    /// Sizes of the log.
    pub sizes: Sizes,
    /// Seconds of history; 0 for all.
    pub history_window_s: u64,
    /// Whether clients compact.
    pub compacts: bool,
    /// How far the clock of each founder is ahead, and how much it gains in a second, or loses.
    pub clocks_ms: Vec<(i64, i64)>,
    /// How long clients call while faults strike.
    pub load_ms: u64,
    /// When what strikes, counted from the first answered call.
    pub strikes: Vec<(u64, Fault)>,
}

/// A fault of somebody, and how often it is chosen.
type Weighted = (fn(Who) -> Fault, u32);

/// Faults that any cluster stands, with how often.
const COMMON: &[Weighted] = &[
    (Fault::Crash, 8),
    (Fault::DiskHang, 3),
    (Fault::DiskSlow, 2),
    (Fault::DiskError, 5),
    (Fault::DiskFull, 2),
];

/// Faults that need others.
const BETWEEN: &[Weighted] = &[
    (Fault::Cut, 4),
    (Fault::CutFromAll, 3),
    (Fault::Partition, 3),
    (Fault::Mute, 2),
    (Fault::Deafen, 2),
    (Fault::Flap, 2),
    (Fault::Delay, 2),
    (Fault::Lose, 2),
    (Fault::Stall, 3),
    (Fault::Transfer, 2),
];

/// Faults after which a member has to be replaced, or the membership changes: at most one in a run, because two of three
/// lost are more than Raft stands.
const GRAVE: &[fn(Who) -> Fault] = &[Fault::BitFlip, Fault::Wipe, Fault::Remove];

/// What a seed means.
pub fn plan(seed: u64) -> Plan {
    let mut chance = StdRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let members = match chance.random_range(0..10) {
        0..2 => 1,
        2..8 => 3,
        _ => 5,
    };
    let load_ms = chance.random_range(2500..4500);
    let count = chance.random_range(2..6);
    let mut strikes: Vec<(u64, Fault)> =
        (0..count).map(|_| (chance.random_range(100..load_ms - 300), common(&mut chance, members))).collect();
    if members > 1 && chance.random_range(0..3) == 0 {
        let fault = GRAVE.choose(&mut chance).expect("there are some");
        let who = who(&mut chance);
        strikes.push((chance.random_range(500..load_ms / 2), fault(who)));
    }
    if members > 1 && chance.random_range(0..4) > 0 {
        strikes.push((chance.random_range(300..load_ms - 600), leading(&mut chance)));
    }
    if members < 5 && chance.random_range(0..4) == 0 {
        strikes.push((chance.random_range(100..load_ms / 2), Fault::Add));
    }
    let mut plan = Plan {
        seed,
        members,
        snapshot_entries: *[40, 100, 1000].choose(&mut chance).expect("there are some"),
        sizes: BY_ENTRIES,
        history_window_s: *[0, 1, 3600].choose(&mut chance).expect("there are some"),
        compacts: chance.random_range(0..2) == 0,
        clocks_ms: (0..members).map(|_| (chance.random_range(0..4000), 0)).collect(),
        load_ms,
        strikes,
    };
    // Last, so that the rest of what seeds meant before there was this stays.
    if chance.random_range(0..4) == 0 {
        let at = chance.random_range(100..load_ms - 300);
        plan.strikes.push((at, jump(Fault::ClockJump, &mut chance)));
    }
    if chance.random_range(0..4) == 0 {
        let at = chance.random_range(100..load_ms - 300);
        plan.strikes.push((at, jump(Fault::ClockSet, &mut chance)));
    }
    if chance.random_range(0..4) == 0 {
        let gain = |(ahead_ms, _)| (ahead_ms, chance.random_range(-300..=300));
        plan.clocks_ms = plan.clocks_ms.into_iter().map(gain).collect();
    }
    if chance.random_range(0..3) == 0 {
        plan.sizes = BY_BYTES;
    }
    plan.strikes.sort_by_key(|(at, _)| *at);
    plan
}

/// A clock that is set: by up to an hour, either way.
fn jump(fault: fn(Who, i64) -> Fault, chance: &mut StdRng) -> Fault {
    let most = *[2_000, 60_000, 3_600_000].choose(chance).expect("there are some");
    fault(who(chance), chance.random_range(-most..=most))
}

fn who(chance: &mut StdRng) -> Who {
    match chance.random_range(0..4) {
        0 | 1 => Who::Leader,
        2 => Who::Follower(chance.random_range(0..4)),
        _ => Who::Any(chance.random_range(0..5)),
    }
}

fn common(chance: &mut StdRng, members: usize) -> Fault {
    if members > 1 && chance.random_range(0..10) == 0 {
        return if chance.random_range(0..2) == 0 { Fault::CrashAll } else { Fault::CrashMajority };
    }
    let table: Vec<_> = match members {
        1 => COMMON.to_vec(),
        _ => COMMON.iter().chain(BETWEEN).copied().collect(),
    };
    let (fault, _) = table.choose_weighted(chance, |(_, weight)| *weight).expect("weights are positive");
    fault(who(chance))
}

/// A fault around a change of leader, when most is promised in the least time.
fn leading(chance: &mut StdRng) -> Fault {
    match chance.random_range(0..2) {
        0 => Fault::Depose,
        _ => Fault::DeafTransfer(chance.random_range(0..4)),
    }
}

impl Fault {
    /// Its name, in the counts of what happened.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Crash(_) => "fault: crash and restart",
            Self::CrashMajority => "fault: crash of a majority",
            Self::CrashAll => "fault: crash of all",
            Self::Cut(_) => "fault: cut, delivered later",
            Self::CutFromAll(_) => "fault: cut from all, delivered later",
            Self::Partition(_) => "fault: partition",
            Self::Mute(_) => "fault: not heard",
            Self::Deafen(_) => "fault: does not hear",
            Self::Flap(_) => "fault: flapping",
            Self::Delay(_) => "fault: delay",
            Self::Lose(_) => "fault: loss",
            Self::Depose => "fault: cut off, and voters crash",
            Self::DiskHang(_) => "fault: disk hangs",
            Self::DiskSlow(_) => "fault: disk is slow",
            Self::DiskError(_) => "fault: disk fails once",
            Self::DiskFull(_) => "fault: disk is full",
            Self::Stall(_) => "fault: member stands still",
            Self::ClockJump(..) => "fault: restart with another time",
            Self::ClockSet(..) => "fault: clock is set",
            Self::BitFlip(_) => "fault: bit flip in a log",
            Self::Wipe(_) => "fault: member wiped",
            Self::Add => "fault: member added",
            Self::Remove(_) => "fault: member removed",
            Self::Transfer(_) => "fault: leadership transferred",
            Self::DeafTransfer(_) => "fault: deaf while handing over",
        }
    }
}
