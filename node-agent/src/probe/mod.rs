//! Startup, liveness and readiness probes: one task per probe of a running container, and what they found.
//!
//! A task belongs to one incarnation of a container and ends with it. It writes its verdict into the pod's
//! [`Set`] and rings the pod's worker; the worker reads verdicts as [`Health`] and decides.

pub mod check;
pub mod http;
mod tally;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Probe};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
};

use self::{
    check::{Finding, Subject},
    tally::Tally,
};
use crate::{
    pod::plan::Health,
    sys::{Clock, clock},
};

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Whether the container has come up; the others wait for it.
    Startup,
    /// Whether it has to be restarted.
    Liveness,
    /// Whether it may be sent requests.
    Readiness,
}

impl Purpose {
    /// As events name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

const PURPOSES: [Purpose; 3] = [Purpose::Startup, Purpose::Liveness, Purpose::Readiness];

/// Bad news of a probe, for an event.
pub type Report = Arc<dyn Fn(&str, Purpose, &Finding) + Send + Sync>;

type Key = (String, Purpose);

/// The probes of one pod.
pub struct Set {
    verdicts: Arc<Mutex<BTreeMap<Key, bool>>>,
    tasks: JoinSet<()>,
    running: BTreeMap<Key, tokio::task::AbortHandle>,
    changed: Arc<Notify>,
    at_once: Arc<Semaphore>,
    clock: Clock,
    report: Report,
}

/// A running container that is to be probed.
pub struct Probed {
    /// Against what.
    pub subject: Subject,
    /// When the container started.
    pub started_at: Timestamp,
    /// What the API last said about this very incarnation, if it did: an agent restart must not make pods
    /// look unready until they are probed again.
    pub before: Option<(bool, bool)>,
}

impl Set {
    /// No probes yet. `changed` is rung after every new verdict; `report` is told every finding but success.
    pub fn new(clock: Clock, at_once: Arc<Semaphore>, changed: Arc<Notify>, report: Report) -> Self {
        Self {
            verdicts: Arc::default(),
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            changed,
            at_once,
            clock,
            report,
        }
    }

    /// Runs the probes of exactly these containers.
    pub fn reconcile(&mut self, containers: Vec<Probed>) {
        while self.tasks.try_join_next().is_some() {}
        let ids: BTreeSet<&str> = containers.iter().map(|c| c.subject.container_id.as_str()).collect();
        self.running.retain(|(id, _), task| {
            let stays = ids.contains(id.as_str());
            if !stays {
                task.abort();
            }
            stays
        });
        self.verdicts.lock().retain(|(id, _), _| ids.contains(id.as_str()));
        for container in &containers {
            for purpose in PURPOSES {
                let key = (container.subject.container_id.clone(), purpose);
                if let Some(probe) = purpose.of(&container.subject.container)
                    && !self.running.contains_key(&key)
                {
                    let task = self.spawn(container, purpose, probe.clone());
                    self.running.insert(key, task);
                }
            }
        }
    }

    /// What is known of a running container.
    pub fn health(&self, id: &str, container: &Container) -> Health {
        let verdicts = self.verdicts.lock();
        let verdict = |purpose: Purpose| verdicts.get(&(id.to_owned(), purpose)).copied();
        let started = container.startup_probe.is_none() || verdict(Purpose::Startup) == Some(true);
        Health {
            started,
            ready: container.readiness_probe.is_none() || verdict(Purpose::Readiness) == Some(true),
            liveness_failed: verdict(Purpose::Liveness) == Some(false),
            startup_failed: verdict(Purpose::Startup) == Some(false),
        }
    }

    fn spawn(&mut self, container: &Probed, purpose: Purpose, probe: Probe) -> tokio::task::AbortHandle {
        let key = (container.subject.container_id.clone(), purpose);
        let before = container.before.and_then(|(started, ready)| match purpose {
            Purpose::Startup => started.then_some(true),
            Purpose::Readiness => Some(ready),
            Purpose::Liveness => None,
        });
        if let Some(verdict) = before {
            self.verdicts.lock().insert(key.clone(), verdict);
        }
        let task = Task {
            key,
            probe,
            purpose,
            subject: container.subject.clone(),
            started_at: container.started_at,
            has_startup: container.subject.container.startup_probe.is_some(),
            verdicts: Arc::clone(&self.verdicts),
            changed: Arc::clone(&self.changed),
            at_once: Arc::clone(&self.at_once),
            clock: self.clock.clone(),
            report: Arc::clone(&self.report),
        };
        self.tasks.spawn(task.run())
    }
}

struct Task {
    key: Key,
    probe: Probe,
    purpose: Purpose,
    subject: Subject,
    started_at: Timestamp,
    has_startup: bool,
    verdicts: Arc<Mutex<BTreeMap<Key, bool>>>,
    changed: Arc<Notify>,
    at_once: Arc<Semaphore>,
    clock: Clock,
    report: Report,
}

impl Task {
    async fn run(self) {
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(value.and_then(|v| u64::try_from(v).ok()).unwrap_or(default))
        };
        let period = seconds(self.probe.period_seconds, 10).max(Duration::from_secs(1));
        let first = clock::after(self.started_at, seconds(self.probe.initial_delay_seconds, 0));
        self.clock.sleep_until(first).await;
        let mut tally = Tally::new(&self.probe);
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.is_early() {
                continue;
            }
            if self.is_over() {
                return;
            }
            let Ok(permit) = self.at_once.acquire().await else { return };
            let finding = check::run(&self.subject, &self.probe).await;
            drop(permit);
            self.take(&mut tally, &finding);
        }
    }

    /// Liveness and readiness wait until the container has started.
    fn is_early(&self) -> bool {
        let startup = || self.verdicts.lock().get(&(self.key.0.clone(), Purpose::Startup)).copied();
        self.purpose != Purpose::Startup && self.has_startup && startup() != Some(true)
    }

    /// A startup probe that has its verdict is done, and so is a failed liveness probe: the container goes.
    fn is_over(&self) -> bool {
        let verdict = self.verdicts.lock().get(&self.key).copied();
        match self.purpose {
            Purpose::Startup => verdict.is_some(),
            Purpose::Liveness => verdict == Some(false),
            Purpose::Readiness => false,
        }
    }

    fn take(&self, tally: &mut Tally, finding: &Finding) {
        if *finding != Finding::Success {
            (self.report)(&self.subject.container.name, self.purpose, finding);
        }
        // A probe that could not be run counts as a failure, as upstream counts it.
        let Some(verdict) = tally.count(*finding == Finding::Success) else { return };
        if self.verdicts.lock().insert(self.key.clone(), verdict) != Some(verdict) {
            self.changed.notify_one();
        }
    }
}
