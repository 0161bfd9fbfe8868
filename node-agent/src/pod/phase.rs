//! The pod's phase, computed from its containers' statuses by upstream's rules.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::spec::{self, RestartPolicy};

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not everything has started.
    Pending,
    /// Bound, and at least one container runs or will run again.
    Running,
    /// Every container ended with success and none runs again.
    Succeeded,
    /// Every container ended and at least one failed, or the pod was stopped.
    Failed,
}

impl Phase {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    /// Whether it is the last.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// Computes the phase; it never goes back from `last`. `stopped` says that the agent decided to end the pod,
/// `stopping` that it ends for whatever reason.
pub fn of(
    pod: &Pod,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
    stopped: bool,
    stopping: bool,
    last: Option<&str>,
) -> Phase {
    match last {
        Some("Succeeded") => return Phase::Succeeded,
        Some("Failed") => return Phase::Failed,
        _ if stopped => return Phase::Failed,
        _ => {}
    }
    let counts = Counts::of(regular);
    let phase = match initialization(pod, init) {
        Initialization::Failed => Phase::Failed,
        Initialization::Pending if counts.running + counts.stopped == 0 => Phase::Pending,
        Initialization::Pending | Initialization::Done => from_counts(pod, &counts, stopping),
    };
    if phase == Phase::Pending && last == Some("Running") { Phase::Running } else { phase }
}

enum Initialization {
    Done,
    Pending,
    Failed,
}

fn initialization(pod: &Pod, init: &[ContainerStatus]) -> Initialization {
    let mut outcome = Initialization::Done;
    for (container, status) in spec::init(pod).iter().zip(init) {
        let state = status.state.clone().unwrap_or_default();
        if spec::is_sidecar(container) {
            if !status.started.unwrap_or(false) && state.terminated.is_none() {
                outcome = Initialization::Pending;
            }
            continue;
        }
        match state.terminated {
            Some(end) if end.exit_code == 0 => {}
            Some(_) if spec::restart_policy(pod) == RestartPolicy::Never => return Initialization::Failed,
            Some(_) | None => outcome = Initialization::Pending,
        }
    }
    outcome
}

#[derive(Default)]
struct Counts {
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
}

impl Counts {
    fn of(statuses: &[ContainerStatus]) -> Self {
        let mut counts = Self::default();
        for status in statuses {
            let state = status.state.clone().unwrap_or_default();
            let ended_before = status.last_state.as_ref().is_some_and(|s| s.terminated.is_some());
            match (state.running, state.terminated) {
                (Some(_), _) => counts.running += 1,
                (None, Some(end)) => {
                    counts.stopped += 1;
                    counts.succeeded += usize::from(end.exit_code == 0);
                }
                (None, None) if ended_before => counts.stopped += 1,
                (None, None) => counts.waiting += 1,
            }
        }
        counts
    }
}

fn from_counts(pod: &Pod, counts: &Counts, stopping: bool) -> Phase {
    let policy = spec::restart_policy(pod);
    if counts.waiting > 0 {
        Phase::Pending
    } else if counts.running > 0 {
        Phase::Running
    } else if counts.stopped == 0 {
        Phase::Pending
    } else if counts.succeeded == counts.stopped && (policy != RestartPolicy::Always || stopping) {
        Phase::Succeeded
    } else if policy == RestartPolicy::Never || stopping {
        Phase::Failed
    } else {
        Phase::Running
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Phase, of};

    const RUN: &str = "running";
    const WAIT: &str = "waiting";
    const AGAIN: &str = "waiting after an end";

    fn status(state: &str) -> Value {
        let end = |code: i32| json!({"terminated": {"exitCode": code}});
        let (state, last) = match state {
            RUN => (json!({"running": {}}), json!({})),
            WAIT => (json!({"waiting": {}}), json!({})),
            AGAIN => (json!({"waiting": {}}), end(1)),
            code => (end(code.parse().unwrap()), json!({})),
        };
        json!({"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state,
            "lastState": last})
    }

    fn phase(policy: &str, init: &[&str], regular: &[&str], last: &str) -> Phase {
        let container = json!({"name": "c"});
        let pod = serde_json::from_value(json!({"metadata": {}, "spec": {
            "restartPolicy": policy,
            "initContainers": vec![container.clone(); init.len()],
            "containers": vec![container; regular.len()],
        }}))
        .unwrap();
        let decode = |states: &[&str]| {
            states.iter().map(|s| serde_json::from_value(status(s)).unwrap()).collect::<Vec<_>>()
        };
        of(&pod, &decode(init), &decode(regular), false, false, Some(last))
    }

    #[test]
    fn phases_follow_upstreams_table() {
        use Phase::{Failed, Pending, Running, Succeeded};
        let table: &[(&str, &[&str], &[&str], Phase)] = &[
            ("Always", &[], &[WAIT], Pending),
            ("Always", &[], &[RUN], Running),
            ("Always", &[], &[RUN, WAIT], Pending),
            ("Always", &[], &[RUN, "1"], Running),
            ("Always", &[], &["0"], Running),
            ("Always", &[], &[AGAIN], Running),
            ("OnFailure", &[], &["0"], Succeeded),
            ("OnFailure", &[], &["0", "1"], Running),
            ("Never", &[], &["0", "0"], Succeeded),
            ("Never", &[], &["0", "1"], Failed),
            ("Never", &[], &[RUN, "1"], Running),
            ("Always", &[RUN], &[WAIT], Pending),
            ("Always", &["1"], &[WAIT], Pending),
            ("Never", &["1"], &[WAIT], Failed),
            ("Never", &["0"], &[WAIT], Pending),
            ("Never", &["0"], &[RUN], Running),
        ];
        for (policy, init, regular, expected) in table {
            assert_eq!(phase(policy, init, regular, "Pending"), *expected, "{policy} {init:?} {regular:?}");
        }
    }

    #[test]
    fn phases_never_go_back() {
        assert_eq!(phase("Always", &[], &[RUN], "Failed"), Phase::Failed);
        assert_eq!(phase("Never", &[], &["1"], "Succeeded"), Phase::Succeeded);
        assert_eq!(phase("Always", &[RUN], &[WAIT], "Running"), Phase::Running);
    }
}
