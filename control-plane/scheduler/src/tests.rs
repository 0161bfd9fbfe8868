//! The feasible set and the choice, as tables of clusters and pods.

use serde_json::{Value, json};

use crate::{cluster::Cluster, cycle::Scheduler, pod::Pod};

fn node(name: &str, extra: Value) -> k8s_openapi::api::core::v1::Node {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}},
    });
    merge(&mut node, &extra);
    serde_json::from_value(node).unwrap()
}

fn pod(name: &str, extra: Value) -> Pod {
    let mut pod = json!({
        "metadata": {"namespace": "default", "name": name, "uid": name},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}]},
    });
    merge(&mut pod, &extra);
    Pod::read(&serde_json::from_value(pod).unwrap()).unwrap()
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn cluster(nodes: Vec<k8s_openapi::api::core::v1::Node>) -> Cluster {
    let mut cluster = Cluster::default();
    for node in &nodes {
        cluster.put_node(node);
    }
    cluster
}

fn choose(scheduler: &mut Scheduler, cluster: &mut Cluster, pod: &Pod) -> Result<String, String> {
    let slot = scheduler.choose(&pod.requirements, cluster).map_err(|why| why.to_string())?;
    let name = cluster.nodes[slot].name.clone();
    cluster.place(pod, &name);
    Ok(name)
}

fn check(
    nodes: Vec<k8s_openapi::api::core::v1::Node>,
    placed: &[(Pod, &str)],
    incoming: &Pod,
    expect: Result<&str, &str>,
) {
    let mut cluster = cluster(nodes);
    for (pod, node) in placed {
        cluster.place(pod, node);
    }
    let chosen = choose(&mut Scheduler::default(), &mut cluster, incoming);
    assert_eq!(chosen.as_deref().map_err(String::as_str), expect);
}

#[test]
fn a_pod_that_fits_nowhere_is_told_why_in_the_words_users_know() {
    check(vec![], &[], &pod("p", json!({})), Err("no nodes available to schedule pods"));
    check(
        vec![
            node("a", json!({"spec": {"unschedulable": true}})),
            node("b", json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}})),
            node("c", json!({"status": {"allocatable": {"cpu": "500m"}}})),
            node("d", json!({"status": {"allocatable": {"pods": "0", "memory": "1Mi"}}})),
        ],
        &[],
        &pod("p", json!({})),
        Err("0/4 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 Too many pods, \
             1 node(s) had untolerated taint {k: v}, 1 node(s) were unschedulable."),
    );
}

#[test]
fn requests_of_placed_pods_count_and_come_back() {
    let mut cluster = cluster(vec![node("a", json!({}))]);
    let mut scheduler = Scheduler::default();
    for name in ["1", "2", "3", "4"] {
        assert_eq!(choose(&mut scheduler, &mut cluster, &pod(name, json!({}))).as_deref(), Ok("a"));
    }
    let fifth = pod("5", json!({}));
    assert_eq!(
        choose(&mut scheduler, &mut cluster, &fifth),
        Err("0/1 nodes are available: 1 Insufficient cpu.".into())
    );
    assert!(cluster.displace("2"));
    assert_eq!(choose(&mut scheduler, &mut cluster, &fifth).as_deref(), Ok("a"));
}

#[test]
fn init_containers_need_their_peak_and_sidecars_add_up() {
    let asks = |cpu: &str| json!({"requests": {"cpu": cpu}});
    let incoming = pod(
        "p",
        json!({"spec": {
        "initContainers": [
            {"name": "side", "restartPolicy": "Always", "resources": asks("1")},
            {"name": "init", "resources": asks("3500m")}],
        "containers": [{"name": "c", "resources": asks("1")}]}}),
    );
    assert_eq!(incoming.requirements.requests.cpu_m, 4500);
    check(vec![node("a", json!({}))], &[], &incoming, Err("0/1 nodes are available: 1 Insufficient cpu."));
}

#[test]
fn taints_are_tolerated_by_key_value_effect_or_all() {
    let tainted =
        || vec![node("a", json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoExecute"}]}}))];
    let tolerating = |t: Value| pod("p", json!({"spec": {"tolerations": [t]}}));
    let refused = Err("0/1 nodes are available: 1 node(s) had untolerated taint {k: v}.");
    for toleration in [
        json!({"key": "k", "value": "v"}),
        json!({"key": "k", "operator": "Exists"}),
        json!({"operator": "Exists"}),
        json!({"key": "k", "value": "v", "effect": "NoExecute"}),
    ] {
        check(tainted(), &[], &tolerating(toleration), Ok("a"));
    }
    for toleration in [
        json!({"key": "k", "value": "x"}),
        json!({"key": "x", "operator": "Exists"}),
        json!({"key": "k", "value": "v", "effect": "NoSchedule"}),
    ] {
        check(tainted(), &[], &tolerating(toleration), refused);
    }
}

#[test]
fn node_affinity_requires_and_prefers() {
    let zone = |name: &str, zone: &str| node(name, json!({"metadata": {"labels": {"zone": zone}}}));
    let nodes = || vec![zone("a", "east"), zone("b", "west")];
    check(nodes(), &[], &pod("p", json!({"spec": {"nodeSelector": {"zone": "west"}}})), Ok("b"));
    let term =
        |zone: &str| json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]});
    let affinity = |value: Value| pod("p", json!({"spec": {"affinity": {"nodeAffinity": value}}}));
    let required =
        json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term("east")]}});
    check(nodes(), &[], &affinity(required), Ok("a"));
    let preferred = json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 9, "preference": term("west")}]});
    check(nodes(), &[], &affinity(preferred), Ok("b"));
    let nowhere =
        json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term("north")]}});
    check(
        nodes(),
        &[],
        &affinity(nowhere),
        Err("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."),
    );
}

#[test]
fn a_host_port_belongs_to_one_pod_of_a_node() {
    let wanting = |name: &str, ip: &str| {
        pod(
            name,
            json!({"spec": {"containers": [
        {"name": "c", "ports": [{"containerPort": 80, "hostPort": 80, "hostIP": ip}]}]}}),
        )
    };
    let nodes = || vec![node("a", json!({}))];
    let taken = Err("0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.");
    check(nodes(), &[(wanting("x", ""), "a")], &wanting("p", "127.0.0.1"), taken);
    check(nodes(), &[(wanting("x", "127.0.0.2"), "a")], &wanting("p", "127.0.0.1"), Ok("a"));
}

#[test]
fn siblings_spread_and_emptier_nodes_are_preferred() {
    let owned = |name: &str| {
        pod(
            name,
            json!({"metadata": {"ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": true}]}}),
        )
    };
    let mut cluster = cluster(vec![node("a", json!({})), node("b", json!({})), node("c", json!({}))]);
    let mut scheduler = Scheduler::default();
    let mut chosen: Vec<String> = ["1", "2", "3"]
        .iter()
        .map(|name| choose(&mut scheduler, &mut cluster, &owned(name)).unwrap())
        .collect();
    chosen.sort();
    assert_eq!(chosen, ["a", "b", "c"]);
    let full = pod("x", json!({}));
    check(vec![node("a", json!({})), node("b", json!({}))], &[(full, "a")], &pod("p", json!({})), Ok("b"));
}

#[test]
fn hard_spread_constraints_bound_the_skew() {
    let spread = |name: &str| {
        pod(
            name,
            json!({"metadata": {"labels": {"app": "x"}}, "spec": {"topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
         "labelSelector": {"matchLabels": {"app": "x"}}}]}}),
        )
    };
    let tight = node("b", json!({"status": {"allocatable": {"cpu": "1"}}}));
    let placed = [(spread("1"), "a"), (spread("2"), "b")];
    check(vec![node("a", json!({})), tight.clone()], &placed, &spread("3"), Ok("a"));
    let placed = [(spread("1"), "a"), (spread("2"), "b"), (spread("3"), "a")];
    check(
        vec![node("a", json!({})), tight],
        &placed,
        &spread("4"),
        Err(
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match pod topology spread constraints.",
        ),
    );
}

#[test]
fn pods_stay_near_or_apart_as_they_ask() {
    let labelled = |name: &str| pod(name, json!({"metadata": {"labels": {"app": "db"}}}));
    let term =
        json!([{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}}]);
    let rule = |name: &str, kind: &str| {
        pod(
            name,
            json!({"metadata": {"labels": {"app": "db"}},
            "spec": {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": term}}}}),
        )
    };
    let nodes = || vec![node("a", json!({})), node("b", json!({}))];
    check(nodes(), &[(labelled("x"), "b")], &rule("p", "podAffinity"), Ok("b"));
    check(nodes(), &[(labelled("x"), "b")], &rule("p", "podAntiAffinity"), Ok("a"));
    check(nodes(), &[(rule("x", "podAntiAffinity"), "a")], &labelled("p"), Ok("b"));
    check(
        vec![node("a", json!({}))],
        &[(rule("x", "podAntiAffinity"), "a")],
        &labelled("p"),
        Err("0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."),
    );
    check(vec![node("a", json!({}))], &[], &rule("first", "podAffinity"), Ok("a"));
}

#[test]
fn a_removed_node_is_not_chosen_and_its_slot_is_reused() {
    let mut cluster = cluster(vec![node("a", json!({})), node("b", json!({}))]);
    cluster.remove_node("a");
    let mut scheduler = Scheduler::default();
    assert_eq!(choose(&mut scheduler, &mut cluster, &pod("p", json!({}))).as_deref(), Ok("b"));
    cluster.put_node(&node("c", json!({})));
    assert_eq!((cluster.nodes.len(), cluster.len()), (2, 2));
    assert_eq!(choose(&mut scheduler, &mut cluster, &pod("q", json!({}))).as_deref(), Ok("c"));
}
