//! The simulated cluster: hosts that go up and down, links, and what comes due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use faults_tests::workload::Record;
use futures::FutureExt;
use parking_lot::Mutex;
use raft::disk::Crash;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use store_client::Revision;
use tokio_util::sync::CancellationToken;
use turmoil::Sim;

use crate::clock::Clock;
use crate::invariants::convergence::Stand;
use crate::ledger::Ledger;
use crate::limits::{LATENCY_MS, POWER_BACK_MS, SEGMENTS, TICK};
use crate::load::{self, Desk, Order};
use crate::plan::Plan;
use crate::site::{Setup, Site, peer_url};

/// Where the clients live.
pub const CLIENTS: &str = "clients";

/// How a member fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its host is up.
    Up,
    /// Its host is down, for now.
    Down,
    /// It may not come back: it lost what it had promised.
    Refused,
    /// It was removed.
    Gone,
    /// It waits for the others to know it.
    Expected,
}

/// Something that is to happen later.
#[derive(Clone, Debug)]
pub enum Later {
    /// A host comes up.
    Up(usize),
    /// A link delivers again, and what it held.
    Release(String, String),
    /// A link delivers again.
    Repair(String, String),
    /// A link holds what is sent.
    Hold(String, String),
    /// A link is as fast as before.
    Quick(String, String),
    /// A link loses nothing more.
    Reliable(String, String),
    /// A disk moves again, and at its usual pace.
    Move(usize),
    /// A disk has space again.
    Space(usize),
    /// The power fails.
    Crash(usize),
}

/// The cluster of a run.
pub struct Cluster {
    /// The simulation.
    pub sim: Sim<'static>,
    /// The members ever, by number less one.
    pub sites: Vec<Arc<Site>>,
    /// How each fares.
    pub fates: Vec<Fate>,
    /// Whose disk was made to fail.
    pub faulty: BTreeSet<usize>,
    /// Where everything is noted.
    pub ledger: Ledger,
    /// What clients share with us.
    pub desk: Arc<Desk>,
    /// Chooses.
    pub chance: StdRng,
    setup: Setup,
    agenda: BTreeMap<(u64, u64), Later>,
    planned: u64,
}

impl Cluster {
    /// Sets up founders and clients. Nothing runs before the first [`step`](Self::step).
    pub fn new(plan: &Plan, loud: bool) -> anyhow::Result<Self> {
        let mut chance = StdRng::seed_from_u64(plan.seed ^ 0x5EED);
        let mut sim = turmoil::Builder::new()
            .rng_seed(chance.random())
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3600))
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(Duration::from_millis(LATENCY_MS))
            .tcp_capacity(SEGMENTS)
            .enable_random_order()
            .build();
        let ledger = Ledger::new(plan.members, loud);
        let names: Vec<String> = (1..=plan.members).map(|number| format!("m{number}")).collect();
        let setup = Setup {
            founders: names.iter().map(|name| (name.clone(), peer_url(name))).collect(),
            snapshot_entries: plan.snapshot_entries,
            sizes: plan.sizes,
            history_window_s: plan.history_window_s,
            hash_check_interval_s: 2,
        };
        let watches = faults_tests::watcher::plans().into_iter().map(|plan| (plan, Default::default()));
        let skipped = chance.random_range(0..4);
        let desk = Arc::new(Desk {
            ledger: ledger.clone(),
            members: Mutex::new(names),
            record: Record::default(),
            reads: Mutex::default(),
            leases: Mutex::default(),
            watches: watches.skip(skipped).step_by(2).collect(),
            late: Mutex::default(),
            orders: Mutex::default(),
            done: Mutex::default(),
            deafened: Mutex::default(),
            stop: CancellationToken::new(),
            quiet: CancellationToken::new(),
            compacts: plan.compacts,
            seed: chance.random(),
        });
        let mut sites = Vec::new();
        for (at, (ahead_ms, gain_ms)) in plan.clocks_ms.iter().enumerate() {
            let clock = Clock::new(*ahead_ms, *gain_ms);
            if *gain_ms != 0 {
                ledger.books().coverage.hit("fault: clock goes wrong");
            }
            let site = Arc::new(Site::new(at + 1, &setup, false, clock, latency(&mut chance), &ledger)?);
            host(&mut sim, &site);
            sites.push(site);
        }
        let clients = desk.clone();
        sim.host(CLIENTS, move || {
            let desk = clients.clone();
            async move {
                load::run(desk).await;
                Ok(())
            }
        });
        let fates = vec![Fate::Up; sites.len()];
        let (agenda, faulty) = (BTreeMap::new(), BTreeSet::new());
        Ok(Self { sim, sites, fates, faulty, ledger, desk, chance, setup, agenda, planned: 0 })
    }

    /// Simulated milliseconds since the start.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.sim.elapsed().as_millis()).expect("a run takes less than centuries")
    }

    /// One tick: what is due, then everybody for a millisecond, then whoever ended.
    pub fn step(&mut self) -> Result<(), String> {
        let now = self.now_ms();
        self.ledger.books().now_ms = now;
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let later = entry.remove();
            self.happen(later);
        }
        self.sim.step().map_err(|error| format!("the simulation stopped: {error}"))?;
        for at in 0..self.sites.len() {
            if self.fates[at] == Fate::Up
                && let Some(reason) = self.sites[at].ended()
            {
                self.ended(at, &reason);
            }
        }
        let voted = self.ledger.books().armed.take();
        voted.into_iter().for_each(|(number, leads)| self.voted(number - 1, leads));
        let deafened: Vec<String> = self.desk.deafened.lock().drain(..).collect();
        for name in deafened {
            self.deafen(&name);
        }
        let done: Vec<Order> = self.desk.done.lock().drain(..).collect();
        done.into_iter().for_each(|order| self.done(&order));
        Ok(())
    }

    /// Plans something.
    pub fn later(&mut self, in_ms: u64, later: Later) {
        self.planned += 1;
        self.agenda.insert((self.now_ms() + in_ms, self.planned), later);
    }

    fn happen(&mut self, later: Later) {
        self.ledger.note(format_args!("{later:?}"));
        match later {
            Later::Up(at) => self.up(at),
            Later::Release(a, b) => self.sim.release(a, b),
            Later::Repair(a, b) => self.sim.repair(a, b),
            Later::Hold(a, b) => self.sim.hold(a, b),
            Later::Quick(a, b) => self.sim.set_link_latency(a, b, Duration::from_millis(LATENCY_MS / 2)),
            Later::Reliable(a, b) => self.sim.set_link_fail_rate(a, b, 0.0),
            Later::Move(at) => {
                self.sites[at].disk().hang(false);
                self.sites[at].usual_pace();
            }
            Later::Space(at) => self.sites[at].disk().set_capacity(None),
            Later::Crash(at) => {
                let crash = self.any_crash();
                self.down(at, crash);
                let pause = self.chance.random_range(POWER_BACK_MS / 8..POWER_BACK_MS);
                self.later(pause, Later::Up(at));
            }
        }
    }

    /// Mends everything that mends at once.
    pub fn heal(&mut self) {
        self.ledger.books().armed.disarm();
        let agenda = std::mem::take(&mut self.agenda);
        // What would strike again is left out.
        let mends = agenda.into_values().filter(|later| !matches!(later, Later::Hold(..) | Later::Crash(_)));
        mends.for_each(|later| self.happen(later));
        for at in 0..self.sites.len() {
            if self.fates[at] == Fate::Down {
                self.up(at);
            }
        }
    }

    /// Takes a host down; says what its crash keeps.
    pub fn down(&mut self, at: usize, crash: Crash) {
        if self.fates[at] != Fate::Up {
            return;
        }
        let site = self.sites[at].clone();
        self.sim.crash(site.name.as_str());
        let chance = &mut self.chance;
        let kept = site.crash(crash, |unflushed| chance.random_range(0..=unflushed));
        self.fates[at] = Fate::Down;
        let mut books = self.ledger.books();
        books.crashed(site.number);
        books.note(format_args!("m{} is down, {kept} batches of its state survive, {crash:?}", site.number));
    }

    /// Brings a host up.
    pub fn up(&mut self, at: usize) {
        if self.fates[at] == Fate::Down {
            self.fates[at] = Fate::Up;
            self.faulty.remove(&at);
            self.ledger.note(format_args!("m{} is up", self.sites[at].number));
            self.sim.bounce(self.sites[at].name.as_str());
        }
    }

    /// What a crash keeps, by chance.
    pub fn any_crash(&mut self) -> Crash {
        match self.chance.random_range(0..4) {
            0 => Crash::Nothing,
            1 => Crash::Everything,
            _ => Crash::Torn(self.chance.random()),
        }
    }

    /// A member ended by itself.
    fn ended(&mut self, at: usize, reason: &str) {
        let number = self.sites[at].number;
        let demanded = self.ledger.books().silence.is_demanded(number);
        let faulty = self.faulty.contains(&at);
        // After a failed sync nothing is known of what was written; otherwise the system writes on what a process wrote.
        let crash = if faulty { Crash::Torn(self.chance.random()) } else { Crash::Everything };
        self.down(at, crash);
        self.ledger.note(format_args!("m{number} ended by itself"));
        let mut books = self.ledger.books();
        if demanded {
            self.fates[at] = Fate::Refused;
            books.coverage.hit("damaged members that refused themselves");
        } else if faulty || reason.contains("join") {
            books.coverage.hit("members that stopped by themselves");
            drop(books);
            let pause = self.chance.random_range(50..600);
            self.later(pause, Later::Up(at));
        } else {
            books.hold::<()>("members live", Err(format!("m{number} ended by itself: {reason}")));
        }
    }

    /// A member is to join; its host is there, and waits.
    pub fn expect(&mut self) -> anyhow::Result<usize> {
        let at = self.sites.len();
        let latency = latency(&mut self.chance);
        let site = Arc::new(Site::new(at + 1, &self.setup, true, Clock::default(), latency, &self.ledger)?);
        host(&mut self.sim, &site);
        // It must have a name in the network before anybody is told to reach it there.
        self.sim.crash(site.name.as_str());
        self.desk.orders.lock().push_back(Order::Add(site.name.clone()));
        self.sites.push(site);
        self.fates.push(Fate::Expected);
        Ok(at)
    }

    fn done(&mut self, order: &Order) {
        let (name, add) = match order {
            Order::Add(name) => (name, true),
            Order::Remove(name) => (name, false),
            Order::Lead { .. } => return,
        };
        let Some(at) = self.sites.iter().position(|site| site.name == *name) else { return };
        if add {
            if self.fates[at] == Fate::Expected {
                self.fates[at] = Fate::Down;
                self.up(at);
                self.desk.members.lock().push(name.clone());
                self.ledger.books().coverage.hit("members that joined");
            }
            return;
        }
        self.down(at, Crash::Everything);
        self.fates[at] = Fate::Gone;
        self.desk.members.lock().retain(|member| member != name);
        self.ledger.books().coverage.hit("members that left");
    }

    /// Members that are part of the cluster, whether up or down, and keep what they promised.
    pub fn sound(&self) -> impl Iterator<Item = usize> {
        let sound = |fate: &Fate| matches!(fate, Fate::Up | Fate::Down);
        let silence: Vec<bool> = {
            let books = self.ledger.books();
            self.sites.iter().map(|site| books.silence.is_demanded(site.number)).collect()
        };
        let fates = self.fates.clone();
        (0..self.sites.len()).filter(move |at| sound(&fates[*at]) && !silence[*at])
    }

    /// Who leads, as it believes itself; of several the one with the newest term.
    pub fn leader(&self) -> Option<usize> {
        let led = |at: usize| {
            let leadership = self.sites[at].handle()?.leadership_now();
            leadership.is_self.then_some((leadership.term.0, at))
        };
        (0..self.sites.len()).filter_map(led).max().map(|(_, at)| at)
    }

    /// Asks every member that runs for its hash (S5).
    pub fn sample(&mut self) {
        for at in self.sound().collect::<Vec<_>>() {
            let Some(handle) = self.sites[at].handle() else { continue };
            if self.sites[at].is_log_short(&handle) {
                self.ledger.books().coverage.hit("looks at short logs");
            }
            if let Some(Ok((hash, compacted, revision))) = handle.hash(Revision(0)).now_or_never() {
                let mut books = self.ledger.books();
                books.note(format_args!("m{} has {hash:08x} at {}", at + 1, revision.0));
                let same = books.hashes.said(at + 1, revision.0, compacted.0, hash);
                books.hold("one state at a revision", same);
                books.coverage.hit("hashes compared");
            }
        }
    }

    /// Where every sound member stands; `None` while one cannot tell.
    pub fn stands(&self) -> Option<Vec<Stand>> {
        self.sound().map(|at| self.stand(at)).collect()
    }

    fn stand(&self, at: usize) -> Option<Stand> {
        let handle = self.sites[at].handle()?;
        let status = handle.raft().status();
        let (hash, compacted, revision) = handle.hash(Revision(0)).now_or_never()?.ok()?;
        let reader = store::engine::Engine::reader(&self.sites[at].engine());
        let leases = store::lease::read_all(&*reader).ok()?;
        Some(Stand {
            applied: status.applied.0,
            state: (hash, compacted, revision),
            leases: leases.into_iter().map(|(id, _)| id.0).collect(),
            leader: status.leader.map(|leader| leader.0),
        })
    }
}

/// How long a disk takes to write and sync.
fn latency(chance: &mut StdRng) -> Duration {
    Duration::from_millis(chance.random_range(0..5))
}

fn host(sim: &mut Sim<'static>, site: &Arc<Site>) {
    let (name, site) = (site.name.clone(), site.clone());
    sim.host(name.as_str(), move || {
        let site = site.clone();
        async move {
            site.live().await;
            Ok(())
        }
    });
}
