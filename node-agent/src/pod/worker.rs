//! One pod's worker: observes, plans, reports, acts; again after everything that happens.
//!
//! The loop itself never waits for an action: actions run beside it, and their outcomes come back as
//! [`Outcome`]s. So a pod that pulls a large image can be deleted, and a status is never late because of a
//! slow kill. Shutting the agent down drops the worker and touches no container (invariant N1).

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use tokio::{
    sync::{Notify, watch},
    task::{Id, JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    backoff::Backoff,
    effects,
    events::Events,
    last_words,
    observed::{Container, Observed, State},
    plan::{self, Action, Context, Health, Key, Memory, Plan, StartFailure},
    spec::{self, Role},
    start, status,
};
use crate::{
    cri, limits,
    probe::{self, Probed, check::Subject},
    references::{self, Hold},
    shared::Shared,
    sys::clock::after,
    volume::{self, token::Tokens},
};

/// What the API says of the pod.
#[derive(Clone)]
pub enum Input {
    /// It is to be like this.
    Desired(Arc<Pod>),
    /// It is no longer there.
    Removed,
}

/// What became of an action.
pub(super) enum Outcome {
    /// Volumes are set up; they are due again at the time, if any.
    Volumes(Result<Option<Timestamp>, volume::Failure>),
    /// A sandbox was created.
    Sandbox(cri::Result<()>),
    /// A sandbox was stopped.
    StoppedSandbox(String, cri::Result<()>),
    /// A container was started.
    Started(String, Result<(), start::Failure>),
    /// A container was stopped.
    Killed(cri::Result<()>),
    /// Something dead was removed.
    Removed(cri::Result<()>),
    /// Everything outside the runtime is gone.
    TornDown(Result<(), String>),
    /// The API was told that the pod is gone.
    Deleted(Result<(), client::Error>),
}

/// The worker.
pub struct Worker {
    shared: Arc<Shared>,
    uid: String,
    pod: Arc<Pod>,
    input: watch::Receiver<Input>,
    wake: Arc<Notify>,
    memory: Memory,
    setups: Backoff,
    actions: JoinSet<Outcome>,
    keys: HashMap<Id, Key>,
    cancel: CancellationToken,
    hold: Arc<Hold>,
    sources_changed: Arc<Notify>,
    probes: probe::Set,
    tokens: Arc<tokio::sync::Mutex<Tokens>>,
    last: PodStatus,
    shown: BTreeMap<String, String>,
    words: HashMap<String, String>,
}

impl Worker {
    /// A worker for a pod. It adopts whatever the runtime already has of it.
    pub fn new(shared: Arc<Shared>, pod: Arc<Pod>, input: watch::Receiver<Input>, wake: Arc<Notify>) -> Self {
        let sources_changed = Arc::new(Notify::new());
        let hold = Arc::new(shared.references.hold(&pod, &sources_changed));
        let events = Events::new(shared.recorder.clone(), &pod);
        let report: probe::Report =
            Arc::new(move |name, purpose, finding| unhealthy(&events, name, purpose, finding));
        let probes =
            probe::Set::new(shared.clock.clone(), Arc::clone(&shared.probes), Arc::clone(&wake), report);
        Self {
            uid: spec::uid(&pod).to_owned(),
            last: spec::status(&pod).clone(),
            memory: Memory::default(),
            setups: Backoff::new(limits::SETUP_RETRY_MIN, limits::SETUP_RETRY_MAX),
            actions: JoinSet::new(),
            keys: HashMap::new(),
            cancel: CancellationToken::new(),
            tokens: Arc::default(),
            shown: BTreeMap::new(),
            words: HashMap::new(),
            shared,
            pod,
            input,
            wake,
            hold,
            sources_changed,
            probes,
        }
    }

    /// Works until the pod is gone from the API and from the node, or until shutdown.
    pub async fn run(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.work()).await;
    }

    async fn work(&mut self) {
        loop {
            self.take_input();
            let Some(observed) = self.observe().await else {
                tokio::time::sleep(limits::OBSERVE_RETRY).await;
                continue;
            };
            let now = self.shared.clock.now();
            self.probe(&observed);
            let pod = Arc::clone(&self.pod);
            let plan = plan::plan(Context { pod: &pod, observed: &observed, memory: &self.memory, now });
            self.remember(&plan);
            self.report(&observed, &plan, now);
            for action in plan.actions {
                self.act(action, &observed);
            }
            if plan.finished && self.memory.removed && self.keys.is_empty() && self.bury(&observed).await {
                return;
            }
            self.wait(plan.wake).await;
        }
    }

    fn take_input(&mut self) {
        let input = self.input.borrow_and_update().clone();
        match input {
            Input::Removed => self.memory.removed = true,
            Input::Desired(pod) if Arc::ptr_eq(&pod, &self.pod) => {}
            Input::Desired(pod) => {
                let shows = |p: &Pod| (p.metadata.labels.clone(), p.metadata.annotations.clone());
                if shows(&pod) != shows(&self.pod) {
                    self.memory.volumes_due = Some(self.shared.clock.now());
                }
                if references::of(&pod) != references::of(&self.pod) {
                    self.hold = Arc::new(self.shared.references.hold(&pod, &self.sources_changed));
                }
                self.shared.reporter.observed(&pod);
                self.pod = pod;
            }
        }
    }

    async fn observe(&mut self) -> Option<Observed> {
        let mut observed = match Observed::of(&*self.shared.runtime, &self.uid).await {
            Ok(observed) => observed,
            Err(e) => {
                warn!(pod = spec::full_name(&self.pod), error = %e, "the runtime does not say what it has of a pod");
                return None;
            }
        };
        let options = &self.shared.options;
        let (namespace, name) = (spec::namespace(&self.pod), spec::name(&self.pod));
        let logs = options.pod_log_dir(namespace, name, &self.uid);
        let pod_dir = options.pod_dir(&self.uid);
        for container in
            observed.containers.iter_mut().filter(|c| c.state == State::Exited && c.message.is_empty())
        {
            let words = self.words.entry(container.id.clone()).or_insert_with(|| {
                let file = start::termination_file(&pod_dir, &container.name, container.restarts);
                last_words::of(
                    container,
                    &file,
                    &logs.join(start::log_path(&container.name, container.restarts)),
                )
            });
            container.message.clone_from(words);
        }
        self.words.retain(|id, _| observed.containers.iter().any(|c| c.id == *id));
        Some(observed)
    }

    /// Probes what runs, and remembers what was found.
    fn probe(&mut self, observed: &Observed) {
        let pod = Arc::clone(&self.pod);
        let running: Vec<&Container> =
            observed.containers.iter().filter(|c| c.state == State::Running).collect();
        let stopping = self.memory.removed || spec::is_deleting(&pod) || self.memory.stopped.is_some();
        let probed = running.iter().filter(|_| !stopping).filter_map(|c| self.probed(observed, c));
        let probed: Vec<Probed> = probed.collect();
        if !stopping {
            self.probes.reconcile(probed);
        }
        self.memory.health.clear();
        for container in running {
            let Some((role, spec)) = spec::container(&pod, &container.name) else { continue };
            let mut health = if role == Role::Init {
                Health { started: true, ready: true, ..Health::default() }
            } else {
                self.probes.health(&container.id, spec)
            };
            // Until the postStart hook is done the container has not started.
            health.started &= !self.memory.busy.contains(&Key::Start(container.name.clone()));
            self.memory.health.insert(container.id.clone(), health);
        }
    }

    fn probed(&self, observed: &Observed, container: &Container) -> Option<Probed> {
        let (role, spec) = spec::container(&self.pod, &container.name)?;
        let starting = self.memory.busy.contains(&Key::Start(container.name.clone()));
        if role == Role::Init || starting {
            return None;
        }
        let rows = self.last.init_container_statuses.iter().chain(&self.last.container_statuses).flatten();
        let is_this = |s: &&ContainerStatus| {
            s.container_id
                .as_deref()
                .and_then(|id| id.split_once("://"))
                .is_some_and(|(_, id)| id == container.id)
        };
        let before = rows.into_iter().find(is_this).map(|s| (s.started.unwrap_or(false), s.ready));
        Some(Probed {
            subject: Subject {
                runtime: Arc::clone(&self.shared.runtime),
                container: spec.clone(),
                container_id: container.id.clone(),
                pod_ip: self.pod_ips(observed).into_iter().next().unwrap_or_default(),
            },
            started_at: container.started_at.unwrap_or(container.created_at),
            before,
        })
    }

    fn pod_ips(&self, observed: &Observed) -> Vec<String> {
        if spec::host_network(&self.pod) {
            return self.shared.host_ips();
        }
        observed.sandboxes.first().map(|s| s.ips.clone()).unwrap_or_default()
    }

    fn remember(&mut self, plan: &Plan) {
        if let Some(stop) = &plan.stop
            && self.memory.stopped.is_none()
        {
            self.events().warning(&stop.reason, stop.message.clone());
            self.memory.stopped = Some(stop.clone());
        }
        if plan.stopping {
            self.cancel.cancel();
        }
        let mut shown = BTreeMap::new();
        for (name, waiting) in &plan.waiting {
            if self.shown.get(name) != Some(&waiting.reason) {
                self.announce(name, &waiting.reason);
            }
            shown.insert(name.clone(), waiting.reason.clone());
        }
        self.shown = shown;
    }

    /// Back-offs are worth an event when they begin.
    fn announce(&self, name: &str, reason: &str) {
        let events = self.events();
        match reason {
            "CrashLoopBackOff" => {
                let pod = spec::full_name(&self.pod);
                let text = format!("Back-off restarting failed container {name} in pod {pod}");
                events.container_warning(name, "BackOff", text);
            }
            "ImagePullBackOff" => {
                let image =
                    spec::container(&self.pod, name).and_then(|(_, c)| c.image.clone()).unwrap_or_default();
                events.container(name, "BackOff", format!("Back-off pulling image {image:?}"));
                events.container_warning(name, "Failed", "Error: ImagePullBackOff");
            }
            _ => {}
        }
    }

    fn report(&mut self, observed: &Observed, plan: &Plan, now: Timestamp) {
        if self.memory.removed {
            return self.shared.reporter.forget(&self.uid);
        }
        let node = self.shared.node.read().clone();
        let context = Context { pod: &self.pod, observed, memory: &self.memory, now };
        let status = status::generate(context, plan, &node, &self.last);
        self.shared.reporter.report(&self.pod, &status);
        self.last = status;
    }

    fn events(&self) -> Events {
        Events::new(self.shared.recorder.clone(), &self.pod)
    }

    fn act(&mut self, action: Action, observed: &Observed) {
        let key = action.key();
        let first = !self.memory.busy.contains(&key);
        debug!(pod = spec::full_name(&self.pod), ?action, "acting");
        let (shared, pod) = (Arc::clone(&self.shared), Arc::clone(&self.pod));
        let handle = match action {
            Action::MountVolumes => {
                let (hold, tokens) = (Arc::clone(&self.hold), Arc::clone(&self.tokens));
                self.memory.volumes_due = None;
                let ips = self.pod_ips(observed);
                self.actions.spawn(effects::volumes(shared, pod, hold, tokens, ips))
            }
            Action::CreateSandbox { attempt } => self.actions.spawn(effects::sandbox(shared, pod, attempt)),
            Action::StopSandbox { id } => self.actions.spawn(effects::stop_sandbox(shared, id)),
            Action::Start { name, sandbox_id, restarts, after } => {
                if let Some(ended) = after {
                    self.memory.restarts.next(&name, ended);
                }
                let attempt = observed.sandboxes.iter().find(|s| s.id == sandbox_id).map_or(0, |s| s.attempt);
                let start = start::Start {
                    shared,
                    hold: Arc::clone(&self.hold),
                    pod,
                    name: name.clone(),
                    sandbox_id,
                    sandbox_attempt: attempt,
                    pod_ips: self.pod_ips(observed),
                    restarts,
                    cancel: self.cancel.clone(),
                };
                self.actions.spawn(async move { Outcome::Started(name, start.run().await) })
            }
            Action::Kill { id, name, grace_s, message } => {
                self.memory.kills.insert(id.clone(), grace_s);
                let pod_ip = self.pod_ips(observed).into_iter().next().unwrap_or_default();
                let kill = super::kill::Kill { shared, pod, id, name, grace_s, message, pod_ip, first };
                self.actions.spawn(async move { Outcome::Killed(kill.run().await) })
            }
            Action::RemoveContainer { id, name, restarts } => {
                self.actions.spawn(effects::remove_container(shared, pod, id, name, restarts))
            }
            Action::RemoveSandbox { id } => self.actions.spawn(effects::remove_sandbox(shared, id)),
            Action::TearDown => self.actions.spawn(effects::tear_down(shared, pod)),
            Action::Delete => self.actions.spawn(effects::delete(shared, pod)),
        };
        self.keys.insert(handle.id(), key.clone());
        self.memory.busy.insert(key);
    }

    /// Waits for anything that could change the plan.
    async fn wait(&mut self, wake: Option<Timestamp>) {
        let now = self.shared.clock.now();
        let resync = after(now, limits::POD_RESYNC);
        let at = wake.map_or(resync, |wake| wake.min(resync));
        tokio::select! {
            changed = self.input.changed() => if changed.is_err() {
                // The supervisor is gone and so is the agent; shutdown follows.
                std::future::pending::<()>().await;
            },
            () = self.wake.notified() => {}
            () = self.sources_changed.notified() => self.memory.volumes_due = Some(self.shared.clock.now()),
            Some(done) = self.actions.join_next_with_id() => self.settle(done),
            () = self.shared.clock.sleep_until(at) => {}
        }
        while let Some(done) = self.actions.try_join_next_with_id() {
            self.settle(done);
        }
    }

    fn settle(&mut self, done: Result<(Id, Outcome), JoinError>) {
        let id = match &done {
            Ok((id, _)) => *id,
            Err(e) => e.id(),
        };
        if let Some(key) = self.keys.remove(&id)
            && !self.keys.values().any(|k| *k == key)
        {
            if let Key::Kill(container) = &key {
                self.memory.kills.remove(container);
            }
            self.memory.busy.remove(&key);
        }
        match done {
            Ok((_, outcome)) => self.take_outcome(outcome),
            Err(e) => warn!(pod = spec::full_name(&self.pod), error = %e, "an action broke off"),
        }
    }

    fn take_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Volumes(outcome) => self.take_volumes(outcome),
            Outcome::Sandbox(outcome) => self.take_sandbox(outcome),
            Outcome::StoppedSandbox(id, Ok(())) => {
                self.memory.sandboxes_stopped.insert(id);
            }
            Outcome::Started(name, outcome) => self.take_start(&name, outcome),
            Outcome::TornDown(Ok(())) => self.memory.torn_down = true,
            Outcome::TornDown(Err(why)) => {
                self.memory.teardown_due = Some(self.retry_at("teardown"));
                self.events().warning("FailedKillPod", format!("error killing pod: {why}"));
            }
            Outcome::Deleted(outcome) => {
                self.memory.delete_due = Some(after(self.shared.clock.now(), limits::DELETE_RETRY));
                if let Err(error) = outcome {
                    warn!(
                        pod = spec::full_name(&self.pod),
                        error = client::error::chain(&error),
                        "not deleted yet"
                    );
                }
            }
            Outcome::Killed(Ok(())) | Outcome::Removed(Ok(())) => {}
            Outcome::StoppedSandbox(_, Err(e)) => {
                self.events().warning("FailedKillPod", format!("error killing pod: {e}"));
                self.pause();
            }
            Outcome::Killed(Err(e)) | Outcome::Removed(Err(e)) => {
                warn!(pod = spec::full_name(&self.pod), error = %e, "the runtime did not do as asked");
                self.pause();
            }
        }
    }

    /// The runtime failed at something that is planned again at once: do not spin.
    fn pause(&mut self) {
        let key = Key::Remove("pause".into());
        let pause = async {
            tokio::time::sleep(limits::OBSERVE_RETRY).await;
            Outcome::Removed(Ok(()))
        };
        let handle = self.actions.spawn(pause);
        self.keys.insert(handle.id(), key);
    }

    fn take_volumes(&mut self, outcome: Result<Option<Timestamp>, volume::Failure>) {
        match outcome {
            Ok(due) => {
                self.memory.volumes_ready = true;
                self.memory.volumes_due = self.memory.volumes_due.or(due);
                self.setups.reset("volumes");
            }
            Err(failure) => {
                let text =
                    format!("MountVolume.SetUp failed for volume {:?} : {}", failure.volume, failure.message);
                self.events().warning("FailedMount", text);
                self.memory.volumes_due = Some(self.retry_at("volumes"));
            }
        }
    }

    fn take_sandbox(&mut self, outcome: cri::Result<()>) {
        match outcome {
            Ok(()) => self.setups.reset("sandbox"),
            Err(e) => {
                let text = format!("Failed to create pod sandbox: {e}");
                self.events().warning("FailedCreatePodSandBox", text);
                self.memory.sandbox_due = Some(self.retry_at("sandbox"));
            }
        }
    }

    fn retry_at(&mut self, what: &str) -> Timestamp {
        let now = self.shared.clock.now();
        self.setups.next(what, now);
        after(now, self.setups.delay(what))
    }

    fn take_start(&mut self, name: &str, outcome: Result<(), start::Failure>) {
        let failure = match outcome {
            Ok(()) => {
                self.memory.failures.remove(name);
                self.memory.pulls.reset(name);
                return;
            }
            Err(failure) if failure.reason == start::CANCELLED => return,
            Err(failure) => failure,
        };
        info!(
            pod = spec::full_name(&self.pod),
            name, failure.reason, failure.message, "a container did not start"
        );
        let at = self.shared.clock.now();
        let retry_at = match failure.reason {
            "ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName" | "ImageInspectError" => {
                self.memory.pulls.next(name, at);
                after(at, self.memory.pulls.delay(name))
            }
            // The container exists and has ended: its restarts have their own wait.
            "RunContainerError" | "PostStartHookError" => {
                self.memory.pulls.reset(name);
                after(at, limits::OBSERVE_RETRY)
            }
            _ => after(at, limits::START_RETRY),
        };
        let (reason, message) = (failure.reason.to_owned(), failure.message);
        self.memory.failures.insert(name.to_owned(), StartFailure { reason, message, at, retry_at });
    }

    /// Removes what is left of a pod that is gone from the API; true when nothing is left.
    async fn bury(&self, observed: &Observed) -> bool {
        for sandbox in &observed.sandboxes {
            if let Err(e) = self.shared.runtime.remove_sandbox(&sandbox.id).await {
                warn!(pod = spec::full_name(&self.pod), error = %e, "a sandbox could not be removed");
                return false;
            }
        }
        for container in &observed.containers {
            if let Err(e) = self.shared.runtime.remove_container(&container.id).await {
                warn!(pod = spec::full_name(&self.pod), error = %e, "a container could not be removed");
                return false;
            }
        }
        let options = &self.shared.options;
        let logs = options.pod_log_dir(spec::namespace(&self.pod), spec::name(&self.pod), &self.uid);
        effects::remove_dirs(vec![options.pod_dir(&self.uid), logs]).await;
        self.shared.reporter.forget(&self.uid);
        info!(pod = spec::full_name(&self.pod), "nothing is left of a pod");
        true
    }
}

fn unhealthy(events: &Events, name: &str, purpose: probe::Purpose, finding: &probe::check::Finding) {
    let purpose = purpose.as_str();
    match finding {
        probe::check::Finding::Success => {}
        probe::check::Finding::Failure(why) => {
            events.container_warning(name, "Unhealthy", format!("{purpose} probe failed: {why}"));
        }
        probe::check::Finding::Error(why) => {
            let text = format!("{purpose} probe errored and resulted in unknown state: {why}");
            events.container_warning(name, "Unhealthy", text);
        }
    }
}

/// Where a pod's worker is reached.
#[derive(Clone)]
pub struct Handle {
    input: watch::Sender<Input>,
    wake: Arc<Notify>,
}

impl Handle {
    /// A worker and its handle.
    pub fn new(shared: Arc<Shared>, pod: Arc<Pod>) -> (Self, Worker) {
        let (input, receiver) = watch::channel(Input::Desired(Arc::clone(&pod)));
        let wake = Arc::new(Notify::new());
        let worker = Worker::new(shared, pod, receiver, Arc::clone(&wake));
        (Self { input, wake }, worker)
    }

    /// The API says something new.
    pub fn tell(&self, input: Input) {
        self.input.send_replace(input);
    }

    /// The runtime has something new.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}
