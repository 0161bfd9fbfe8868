//! Golden rows: an object, and what `kubectl get -o wide` shows of it.

use serde_json::{Value, json};

use super::*;

fn cells(group: &str, plural: &str, object: Value) -> Vec<String> {
    let now = "2026-01-02T00:00:00Z".parse().unwrap();
    let printer = Printer(Columns::Builtin(builtin(group, plural).unwrap()));
    let row = printer.row(&object, IncludeObject::None, "v1", now);
    row["cells"].as_array().unwrap().iter().map(|c| cell::plain(Some(c))).collect()
}

fn meta(name: &str) -> Value {
    json!({"name": name, "creationTimestamp": "2026-01-01T23:54:57Z"})
}

fn pod(status: Value, spec: Value) -> Vec<String> {
    let object = json!({"metadata": meta("p"), "spec": spec, "status": status});
    cells("", "pods", object)[1..4].to_vec()
}

#[test]
fn pods_are_summed_up_in_one_word() {
    let one = || json!({"containers": [{"name": "c"}]});
    let init = || json!({"containers": [{"name": "c"}], "initContainers": [{"name": "a"}, {"name": "b"}]});
    let running = json!({"ready": true, "restartCount": 0, "state": {"running": {}}});
    let crashed = json!({"ready": false, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"finishedAt": "2026-01-01T23:58:30Z"}}});
    let table = [
        (json!({"phase": "Pending"}), one(), ["0/1", "Pending", "0"]),
        (json!({"phase": "Running", "containerStatuses": [running]}), one(), ["1/1", "Running", "0"]),
        (
            json!({"phase": "Running", "containerStatuses": [crashed]}),
            one(),
            ["0/1", "CrashLoopBackOff", "3 (90s ago)"],
        ),
        (
            json!({"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"reason": "Completed"}}}]}),
            one(),
            ["0/1", "Completed", "0"],
        ),
        (
            json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}),
            one(),
            ["0/1", "ExitCode:3", "0"],
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "a", "state": {"terminated": {"exitCode": 0}}}, {"name": "b", "state": {"running": {}}}]}),
            init(),
            ["0/1", "Init:1/2", "0"],
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "a", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
            init(),
            ["0/1", "Init:CrashLoopBackOff", "2"],
        ),
        (json!({"phase": "Failed", "reason": "Evicted"}), one(), ["0/1", "Evicted", "0"]),
        (
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
            one(),
            ["0/1", "SchedulingGated", "0"],
        ),
    ];
    for (status, spec, expect) in table {
        assert_eq!(pod(status.clone(), spec), expect, "{status}");
    }
}

#[test]
fn a_sidecar_counts_among_the_containers() {
    let spec =
        json!({"containers": [{"name": "c"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]});
    let status = json!({"phase": "Running",
        "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "state": {"running": {}}}],
        "containerStatuses": [{"name": "c", "ready": true, "state": {"running": {}}}]});
    assert_eq!(pod(status, spec), ["2/2", "Running", "0"]);
}

#[test]
fn a_deleted_pod_is_terminating_with_its_wide_columns() {
    let mut metadata = meta("p");
    metadata["deletionTimestamp"] = "2026-01-02T00:00:00Z".into();
    let object = json!({"metadata": metadata,
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}], "readinessGates": [{"conditionType": "x"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "containerStatuses": [{"ready": true, "state": {"running": {}}}]}});
    assert_eq!(
        cells("", "pods", object),
        ["p", "1/1", "Terminating", "0", "5m3s", "10.0.0.1", "n1", "<none>", "0/1"]
    );
}

#[test]
fn common_kinds_show_what_users_expect() {
    let template = json!({"spec": {"containers": [{"name": "c", "image": "web:1"}]}});
    let table = [
        (
            cells(
                "apps",
                "deployments",
                json!({"metadata": meta("d"),
                "spec": {"replicas": 3, "template": template, "selector": {"matchLabels": {"app": "d"}}},
                "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2}}),
            ),
            vec!["d", "2/3", "3", "2", "5m3s", "c", "web:1", "app=d"],
        ),
        (
            cells(
                "",
                "services",
                json!({"metadata": meta("s"), "spec": {"type": "NodePort", "clusterIP": "10.96.0.9",
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
            ),
            vec!["s", "NodePort", "10.96.0.9", "<none>", "80:30080/TCP,53/UDP", "5m3s", "<none>"],
        ),
        (
            cells(
                "",
                "nodes",
                json!({
                "metadata": {"name": "n", "creationTimestamp": "2026-01-01T23:54:57Z",
                    "labels": {"node-role.kubernetes.io/control-plane": ""}},
                "spec": {"unschedulable": true},
                "status": {"conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "10.1.0.1"}],
                    "nodeInfo": {"kubeletVersion": "v1", "osImage": "os", "kernelVersion": "6", "containerRuntimeVersion": "k"}}}),
            ),
            vec![
                "n",
                "Ready,SchedulingDisabled",
                "control-plane",
                "5m3s",
                "v1",
                "10.1.0.1",
                "<none>",
                "os",
                "6",
                "k",
            ],
        ),
        (
            cells(
                "",
                "events",
                json!({"metadata": meta("e"), "type": "Normal", "reason": "Pulled", "message": "ok\n",
                "involvedObject": {"kind": "Pod", "name": "p"}, "lastTimestamp": "2026-01-01T23:59:50Z",
                "firstTimestamp": "2026-01-01T23:59:40Z", "count": 2, "source": {"component": "kubelet", "host": "n"}}),
            ),
            vec!["10s", "Normal", "Pulled", "pod/p", "", "kubelet, n", "ok", "20s", "2", "e"],
        ),
        (
            cells(
                "batch",
                "jobs",
                json!({"metadata": meta("j"), "spec": {"completions": 1, "template": template},
                "status": {"succeeded": 1, "startTime": "2026-01-01T23:55:00Z", "completionTime": "2026-01-01T23:55:07Z",
                    "conditions": [{"type": "Complete", "status": "True"}]}}),
            ),
            vec!["j", "Complete", "1/1", "7s", "5m3s", "c", "web:1", "<none>"],
        ),
        (
            cells(
                "",
                "persistentvolumeclaims",
                json!({"metadata": meta("c"),
                "spec": {"volumeName": "v", "storageClassName": "fast", "volumeMode": "Filesystem"},
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}}),
            ),
            vec!["c", "Bound", "v", "1Gi", "RWO", "fast", "<unset>", "5m3s", "Filesystem"],
        ),
        (
            cells(
                "",
                "endpoints",
                json!({"metadata": meta("e"), "subsets": [{"ports": [{"port": 80}],
                "addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}, {"ip": "10.0.0.3"}, {"ip": "fd00::4"}]}]}),
            ),
            vec!["e", "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 1 more...", "5m3s"],
        ),
        (
            cells(
                "discovery.k8s.io",
                "endpointslices",
                json!({"metadata": meta("s"), "addressType": "IPv4"}),
            ),
            vec!["s", "IPv4", "<unset>", "<unset>", "5m3s"],
        ),
        (
            cells(
                "",
                "secrets",
                json!({"metadata": meta("s"), "type": "Opaque", "data": {"a": "", "b": ""}}),
            ),
            vec!["s", "Opaque", "2", "5m3s"],
        ),
        (
            cells(
                "rbac.authorization.k8s.io",
                "rolebindings",
                json!({"metadata": meta("b"),
                "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "a"}]}),
            ),
            vec!["b", "Role/r", "5m3s", "u", "", "n/a"],
        ),
        (
            cells(
                "networking.k8s.io",
                "networkpolicies",
                json!({"metadata": meta("n"), "spec": {"podSelector": {
                "matchLabels": {"a": "b"}, "matchExpressions": [{"key": "z", "operator": "NotIn", "values": ["2", "1"]}]}}}),
            ),
            vec!["n", "a=b,z notin (1,2)", "5m3s"],
        ),
    ];
    for (got, expect) in table {
        assert_eq!(got, expect);
    }
}

#[test]
fn every_builtin_table_fills_its_cells_for_an_empty_object() {
    for tables in [
        workloads::TABLES,
        pods::TABLES,
        network::TABLES,
        config::TABLES,
        storage::TABLES,
        policy::TABLES,
        cluster::TABLES,
    ] {
        for (group, plural, columns) in tables {
            assert_eq!(cells(group, plural, json!({})).len(), columns.len(), "{plural}");
        }
    }
}
