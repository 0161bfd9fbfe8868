use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::pod::{
    observed::{Container, Observed, Sandbox, State},
    plan::{Action, Context, Key, Memory, Plan, plan},
    spec,
};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec}))
        .unwrap()
}

fn two_containers(policy: &str) -> Pod {
    pod(json!({"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b"}]}))
}

fn sandbox(ready: bool) -> Sandbox {
    Sandbox { id: "s".into(), attempt: 0, ready, created_at: NOW, ips: vec!["10.0.0.2".into()] }
}

fn container(pod: &Pod, name: &str, state: State, exit_code: i32) -> Container {
    Container {
        id: format!("{name}-0"),
        sandbox_id: "s".into(),
        name: name.into(),
        restarts: 0,
        state,
        created_at: NOW,
        started_at: Some(NOW),
        finished_at: (state == State::Exited).then_some(NOW),
        exit_code,
        reason: String::new(),
        message: String::new(),
        image: String::new(),
        image_id: String::new(),
        hash: spec::container(pod, name).map(|(_, c)| spec::hash(c)).unwrap_or_default(),
        log_fallback: false,
    }
}

fn ready() -> Memory {
    Memory { volumes_ready: true, ..Memory::default() }
}

fn decide(pod: &Pod, observed: &Observed, memory: &Memory) -> Plan {
    plan(Context { pod, observed, memory, now: NOW })
}

fn names(plan: &Plan) -> Vec<String> {
    let name = |action: &Action| match action {
        Action::Start { name, restarts, .. } => format!("start {name} {restarts}"),
        Action::Kill { name, grace_s, .. } => format!("kill {name} {grace_s}"),
        Action::CreateSandbox { attempt } => format!("sandbox {attempt}"),
        Action::StopSandbox { .. } => "stop sandbox".into(),
        Action::RemoveContainer { id, .. } => format!("remove {id}"),
        Action::RemoveSandbox { id } => format!("remove {id}"),
        Action::MountVolumes => "mount".into(),
        Action::TearDown => "tear down".into(),
        Action::Delete => "delete".into(),
    };
    plan.actions.iter().map(name).collect()
}

#[test]
fn volumes_come_before_the_sandbox_and_the_sandbox_before_containers() {
    let pod = two_containers("Always");
    let nothing = Observed::default();
    assert_eq!(names(&decide(&pod, &nothing, &Memory::default())), ["mount"]);
    assert_eq!(names(&decide(&pod, &nothing, &ready())), ["sandbox 0"]);
    let up = Observed { sandboxes: vec![sandbox(true)], containers: vec![] };
    assert_eq!(names(&decide(&pod, &up, &ready())), ["start a 0", "start b 0"]);
}

#[test]
fn an_action_under_way_is_not_planned_twice() {
    let pod = two_containers("Always");
    let up = Observed { sandboxes: vec![sandbox(true)], containers: vec![] };
    let mut memory = ready();
    memory.busy.insert(Key::Start("a".into()));
    assert_eq!(names(&decide(&pod, &up, &memory)), ["start b 0"]);
}

#[test]
fn what_ended_is_started_again_as_its_policy_says() {
    let table: &[(&str, i32, i32, &[&str])] = &[
        ("Always", 0, 1, &["start a 1", "start b 1"]),
        ("OnFailure", 0, 1, &["start b 1"]),
        ("OnFailure", 0, 0, &["stop sandbox"]),
        ("Never", 0, 1, &["stop sandbox"]),
    ];
    for (policy, a, b, expected) in table {
        let pod = two_containers(policy);
        let containers =
            vec![container(&pod, "a", State::Exited, *a), container(&pod, "b", State::Exited, *b)];
        let observed = Observed { sandboxes: vec![sandbox(true)], containers };
        assert_eq!(names(&decide(&pod, &observed, &ready())), *expected, "{policy} {a} {b}");
    }
}

#[test]
fn an_adopted_pod_needs_nothing_but_its_volumes() {
    let pod = two_containers("Always");
    let containers = vec![container(&pod, "a", State::Running, 0), container(&pod, "b", State::Running, 0)];
    let observed = Observed { sandboxes: vec![sandbox(true)], containers };
    assert_eq!(names(&decide(&pod, &observed, &Memory::default())), ["mount"]);
    assert!(names(&decide(&pod, &observed, &ready())).is_empty());
}

#[test]
fn a_pod_ends_in_order_and_a_shorter_grace_takes_over() {
    let json = json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "deletionGracePeriodSeconds": 9},
        "spec": {"initContainers": [
                {"name": "s1", "restartPolicy": "Always"}, {"name": "s2", "restartPolicy": "Always"}],
            "containers": [{"name": "a"}]},
    });
    let pod: Pod = serde_json::from_value(json).unwrap();
    let all = ["a", "s2", "s1"].map(|name| container(&pod, name, State::Running, 0)).to_vec();
    let mut observed = Observed { sandboxes: vec![sandbox(true)], containers: all };
    let mut memory = ready();
    for expected in ["kill a 9", "kill s2 9", "kill s1 9"] {
        assert_eq!(names(&decide(&pod, &observed, &memory)), [expected]);
        observed.containers.remove(0);
    }
    assert_eq!(names(&decide(&pod, &observed, &memory)), ["stop sandbox"]);
    memory.sandboxes_stopped.insert("s".into());
    assert_eq!(names(&decide(&pod, &observed, &memory)), ["tear down"]);
    memory.torn_down = true;
    let plan = decide(&pod, &observed, &memory);
    assert!(plan.finished);
    assert_eq!(names(&plan), ["delete"]);

    observed.containers = vec![container(&pod, "a", State::Running, 0)];
    memory.busy.insert(Key::Kill("a-0".into()));
    memory.kills.insert("a-0".into(), 9);
    assert!(names(&decide(&pod, &observed, &memory)).is_empty());
    memory.kills.insert("a-0".into(), 30);
    assert_eq!(names(&decide(&pod, &observed, &memory)), ["kill a 9"]);
}

#[test]
fn of_dead_containers_the_last_is_kept() {
    let pod = two_containers("Always");
    let mut containers =
        vec![container(&pod, "b", State::Running, 0), container(&pod, "a", State::Running, 0)];
    for dead in ["a-3", "a-2", "a-1"] {
        containers.push(Container { id: dead.into(), ..container(&pod, "a", State::Exited, 1) });
    }
    let observed = Observed { sandboxes: vec![sandbox(true)], containers };
    assert_eq!(names(&decide(&pod, &observed, &ready())), ["remove a-2", "remove a-1"]);
}
