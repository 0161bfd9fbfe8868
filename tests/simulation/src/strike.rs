//! How each fault strikes, and how it ends.

use std::io;
use std::path::Path;
use std::time::Duration;

use raft::disk::{Crash, Disk, SimDisk};
use rand::Rng;

use crate::cluster::{CLIENTS, Cluster, Fate, Later};
use crate::load::Order;
use crate::plan::{Fault, Who};

/// Records of a segment without which a flipped bit might be in its very last write, which looks like a torn one.
const RECORDS_MIN: usize = 40;

/// Votes of one member that a crash follows: for whom it elects, for whom it finds leading when it is back, and again.
const VOTES: u32 = 3;

impl Cluster {
    /// Strikes. What cannot be struck, because nobody is there, is not counted.
    pub fn strike(&mut self, fault: Fault) -> anyhow::Result<()> {
        self.ledger.note(format_args!("STRIKE {fault:?}"));
        if self.struck(fault)? {
            self.ledger.books().coverage.hit(fault.name());
        }
        Ok(())
    }

    fn who(&mut self, who: Who) -> Option<usize> {
        let leader = self.leader();
        let up: Vec<usize> = self.sound().filter(|at| self.fates[*at] == Fate::Up).collect();
        let of = |candidates: Vec<usize>, number: usize| {
            (!candidates.is_empty()).then(|| candidates[number % candidates.len()])
        };
        match who {
            Who::Leader => leader.filter(|at| up.contains(at)),
            Who::Follower(number) => of(up.into_iter().filter(|at| Some(*at) != leader).collect(), number),
            Who::Any(number) => of(up, number),
        }
    }

    fn struck(&mut self, fault: Fault) -> anyhow::Result<bool> {
        match fault {
            Fault::CrashAll => return Ok(self.crash_some(usize::MAX)),
            Fault::CrashMajority => return Ok(self.crash_some(self.sound().count() / 2 + 1)),
            Fault::Add => return self.expect().map(|_| true),
            _ => {}
        }
        let Some(at) = self.target(fault).and_then(|who| self.who(who)) else { return Ok(false) };
        let mut ms = self.chance.random_range(200..1600);
        if self.chance.random_range(0..3) == 0 {
            // Long enough for leases to end meanwhile.
            ms += 1500;
        }
        match fault {
            Fault::Crash(_) => self.crash(at),
            Fault::Cut(_) => self.cut(at, ms, false),
            Fault::CutFromAll(_) => self.cut(at, ms, true),
            Fault::Partition(_) => self.each_link(at, |cluster, name, other| {
                cluster.sim.partition(name.as_str(), other.as_str());
                cluster.later(ms, Later::Repair(name, other));
            }),
            Fault::Mute(_) => self.each_link(at, |cluster, name, other| {
                cluster.sim.partition_oneway(name.as_str(), other.as_str());
                cluster.later(ms, Later::Repair(name, other));
            }),
            Fault::Deafen(_) => self.each_link(at, |cluster, name, other| {
                cluster.sim.partition_oneway(other.as_str(), name.as_str());
                cluster.later(ms, Later::Repair(name, other));
            }),
            Fault::Flap(_) => self.flap(at),
            Fault::Delay(_) => {
                let latency = Duration::from_millis(self.chance.random_range(20..200));
                self.each_link(at, |cluster, name, other| {
                    cluster.sim.set_link_latency(name.as_str(), other.as_str(), latency);
                    cluster.later(ms, Later::Quick(name, other));
                });
            }
            Fault::Lose(_) => self.each_link(at, |cluster, name, other| {
                cluster.sim.set_link_fail_rate(name.as_str(), other.as_str(), 0.03);
                cluster.later(ms, Later::Reliable(name, other));
            }),
            Fault::Depose => self.depose(at, ms),
            Fault::DiskHang(_) => self.hang(at, ms),
            Fault::DiskSlow(_) => {
                let latency = Duration::from_millis(self.chance.random_range(10..120));
                self.sites[at].disk().set_latency(latency);
                self.later(ms, Later::Move(at));
            }
            Fault::DiskError(_) => {
                self.faulty.insert(at);
                let disk = self.sites[at].disk();
                match self.chance.random_range(0..2) {
                    0 => disk.fail_after(self.chance.random_range(0..6), io::ErrorKind::Other),
                    _ => disk.fail_sync(),
                }
                if self.chance.random_range(0..3) > 0 {
                    let pause = self.chance.random_range(50..500);
                    self.later(pause, Later::Crash(at));
                }
            }
            Fault::DiskFull(_) => {
                let disk = self.sites[at].disk();
                disk.set_capacity(Some(disk.used() + self.chance.random_range(0..20_000)));
                self.faulty.insert(at);
                self.later(ms, Later::Space(at));
            }
            Fault::Stall(_) => {
                self.hang(at, ms);
                self.cut(at, ms, true);
            }
            Fault::ClockJump(_, by_ms) => {
                self.sites[at].clock.set(by_ms);
                self.crash(at);
            }
            Fault::ClockSet(_, by_ms) => self.sites[at].clock.set(by_ms),
            Fault::BitFlip(_) => return self.flip(at),
            Fault::Wipe(_) => self.wipe(at)?,
            Fault::Remove(_) => {
                let name = self.sites[at].name.clone();
                self.desk.orders.lock().push_back(Order::Remove(name));
            }
            Fault::Transfer(_) | Fault::DeafTransfer(_) => {
                let (name, deaf) = (self.sites[at].name.clone(), matches!(fault, Fault::DeafTransfer(_)));
                self.desk.orders.lock().push_back(Order::Lead { name, deaf });
                // Counted when somebody is asked.
                return Ok(!deaf);
            }
            Fault::CrashAll | Fault::CrashMajority | Fault::Add => {}
        }
        Ok(true)
    }

    fn target(&self, fault: Fault) -> Option<Who> {
        match fault {
            Fault::Crash(who)
            | Fault::Cut(who)
            | Fault::CutFromAll(who)
            | Fault::Partition(who)
            | Fault::Mute(who)
            | Fault::Deafen(who)
            | Fault::Flap(who)
            | Fault::Delay(who)
            | Fault::Lose(who)
            | Fault::DiskHang(who)
            | Fault::DiskSlow(who)
            | Fault::DiskError(who)
            | Fault::DiskFull(who)
            | Fault::Stall(who)
            | Fault::ClockJump(who, _)
            | Fault::ClockSet(who, _)
            | Fault::BitFlip(who)
            | Fault::Wipe(who)
            | Fault::Remove(who)
            | Fault::Transfer(who) => Some(who),
            Fault::Depose => Some(Who::Leader),
            Fault::DeafTransfer(number) => Some(Who::Follower(number)),
            Fault::CrashMajority | Fault::CrashAll | Fault::Add => None,
        }
    }

    /// The machine stops: now, or in the middle of what its disk does next.
    fn crash(&mut self, at: usize) {
        if self.chance.random_range(0..2) == 0 {
            let disk = self.sites[at].disk();
            disk.crash_after(disk.operations() + self.chance.random_range(0..8));
            self.faulty.insert(at);
            return;
        }
        let crash = self.any_crash();
        self.down(at, crash);
        let pause = self.chance.random_range(50..900);
        self.later(pause, Later::Up(at));
    }

    fn crash_some(&mut self, count: usize) -> bool {
        let up: Vec<usize> = self.sound().filter(|at| self.fates[*at] == Fate::Up).take(count).collect();
        up.iter().for_each(|at| self.crash(*at));
        !up.is_empty()
    }

    /// Does something to each link between a member and the others.
    fn each_link(&mut self, at: usize, mut act: impl FnMut(&mut Self, String, String)) {
        let name = self.sites[at].name.clone();
        let others: Vec<String> =
            self.sites.iter().map(|site| site.name.clone()).filter(|other| *other != name).collect();
        others.into_iter().for_each(|other| act(self, name.clone(), other));
    }

    /// The leader is cut off. It and some of the others crash when they vote: on electing another, and on hearing of that.
    fn depose(&mut self, leader: usize, ms: u64) {
        for at in 0..self.sites.len() {
            if at == leader || self.chance.random_range(0..2) == 0 {
                self.ledger.books().armed.arm(self.sites[at].number, VOTES);
            }
        }
        self.cut(leader, ms, false);
    }

    /// Somebody who is to crash then has voted: the machine stops before its candidate can lead, or when it has entries of a leader.
    pub fn voted(&mut self, at: usize, leads: bool) {
        let pause = self.chance.random_range(if leads { 10..200 } else { 0..8 });
        self.later(pause, Later::Crash(at));
        self.ledger.books().coverage.hit("crashes after a vote");
    }

    /// A leader that is asked to hand over hears nothing from the others for a while.
    pub fn deafen(&mut self, name: &str) {
        let Some(at) = self.sites.iter().position(|site| site.name == name) else { return };
        let ms = self.chance.random_range(150..500);
        self.each_link(at, |cluster, name, other| {
            cluster.sim.partition_oneway(other.as_str(), name.as_str());
            cluster.later(ms, Later::Repair(name, other));
        });
        self.ledger.note(format_args!("{name} is to hand over, and hears nothing"));
        self.ledger.books().coverage.hit(Fault::DeafTransfer(at).name());
    }

    fn cut(&mut self, at: usize, ms: u64, clients_too: bool) {
        self.each_link(at, |cluster, name, other| {
            cluster.sim.hold(name.as_str(), other.as_str());
            cluster.later(ms, Later::Release(name, other));
        });
        if clients_too {
            let name = self.sites[at].name.clone();
            self.sim.hold(name.as_str(), CLIENTS);
            self.later(ms, Later::Release(name, CLIENTS.to_owned()));
        }
    }

    fn flap(&mut self, at: usize) {
        let mut from = 0;
        for _ in 0..self.chance.random_range(2..6) {
            let (cut, whole) = (self.chance.random_range(60..350), self.chance.random_range(60..350));
            self.each_link(at, |cluster, name, other| {
                cluster.later(from, Later::Hold(name.clone(), other.clone()));
                cluster.later(from + cut, Later::Release(name, other));
            });
            from += cut + whole;
        }
    }

    fn hang(&mut self, at: usize, ms: u64) {
        self.sites[at].disk().hang(true);
        self.later(ms, Later::Move(at));
    }

    fn wipe(&mut self, at: usize) -> anyhow::Result<()> {
        let number = self.sites[at].number;
        self.down(at, Crash::Everything);
        self.ledger.books().silence.demand(number, "lost its disks");
        self.sites[at].wipe()?;
        self.replace(at)
    }

    /// Flips a bit in what was acknowledged long ago, if there is enough of that.
    fn flip(&mut self, at: usize) -> anyhow::Result<bool> {
        let (number, disk) = (self.sites[at].number, self.sites[at].disk());
        let segments = || disk.files().into_keys().filter(|path| is_segment(path)).collect::<Vec<_>>();
        let Some(oldest) = segments().into_iter().min() else { return Ok(false) };
        let records = records(&disk, &oldest)?;
        if segments().len() < 2 && records.len() < RECORDS_MIN {
            return Ok(false);
        }
        self.down(at, Crash::Everything);
        let (offset, length) = records[self.chance.random_range(0..RECORDS_MIN.min(records.len()) / 4)];
        let bit = self.chance.random_range(offset * 8..(offset + length) * 8);
        disk.flip_bit(&oldest, bit)?;
        self.ledger.note(format_args!("bit {bit} of the oldest segment of m{number} flips"));
        self.ledger.books().silence.demand(number, "has a damaged log");
        self.replace(at)?;
        Ok(true)
    }

    /// Brings a member that must keep still up again, and has it replaced a little later.
    fn replace(&mut self, at: usize) -> anyhow::Result<()> {
        let pause = self.chance.random_range(50..400);
        self.later(pause, Later::Up(at));
        let name = self.sites[at].name.clone();
        self.desk.orders.lock().push_back(Order::Remove(name));
        self.expect().map(drop)
    }
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

/// Where the records of a segment are, and how long without their padding. The layout is documented in the log: a head of 32
/// bytes with the length of the body at 4, the body, padding to a multiple of 8.
fn records(disk: &SimDisk, path: &Path) -> io::Result<Vec<(u64, u64)>> {
    let file = disk.open(path)?;
    let mut content = vec![0; file.size()? as usize];
    file.read_at(0, &mut content)?;
    let (mut records, mut offset) = (Vec::new(), 0);
    while let Some(head) = content.get(offset..offset + 32) {
        let length = 32 + u32::from_le_bytes(head[4..8].try_into().map_err(io::Error::other)?) as usize;
        if length == 32 {
            break;
        }
        records.push((offset as u64, length as u64));
        offset += length.next_multiple_of(8);
    }
    Ok(records)
}
