//! Tables of the cluster itself: nodes, namespaces, events, leases, definitions.

use serde_json::Value;

use super::{
    AGE, CREATED_AT, Column, NAME, Row, Tables,
    cell::{self, entries, items, number, text},
    text as column, wide,
};

pub(super) const TABLES: Tables = &[
    ("", "nodes", NODES),
    ("", "namespaces", NAMESPACES),
    ("", "events", EVENTS),
    ("events.k8s.io", "events", EVENTS),
    ("coordination.k8s.io", "leases", LEASES),
    ("apiextensions.k8s.io", "customresourcedefinitions", &[NAME, CREATED_AT]),
    ("node.k8s.io", "runtimeclasses", RUNTIME_CLASSES),
    ("resource.k8s.io", "resourceclaims", CLAIMS),
    ("resource.k8s.io", "resourceslices", SLICES),
];

const NODES: &[Column] = &[
    NAME,
    column("Status", "The status of the node", node_status),
    column("Roles", "The roles of the node", node_roles),
    AGE,
    column("Version", "Kubelet Version reported by the node.", |row| {
        text(row.object, "/status/nodeInfo/kubeletVersion").into()
    }),
    wide("Internal-IP", "Its address inside the cluster.", |row| address(row, "InternalIP").into()),
    wide("External-IP", "Its address from outside.", |row| address(row, "ExternalIP").into()),
    wide("OS-Image", "Its operating system.", |row| node_fact(row, "osImage").into()),
    wide("Kernel-Version", "Its kernel.", |row| node_fact(row, "kernelVersion").into()),
    wide("Container-Runtime", "Its container runtime.", |row| {
        node_fact(row, "containerRuntimeVersion").into()
    }),
];

fn node_status(row: Row<'_>) -> Value {
    let ready = items(row.object, "/status/conditions").find(|c| text(c, "/type") == "Ready");
    let mut status = match ready.map(|c| text(c, "/status")) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if row.object.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true) {
        status.push_str(",SchedulingDisabled");
    }
    status.into()
}

fn node_roles(row: Row<'_>) -> Value {
    const PREFIX: &str = "node-role.kubernetes.io/";
    let mut roles: Vec<String> = entries(row.object, "/metadata/labels")
        .filter_map(|(key, value)| match key.strip_prefix(PREFIX) {
            Some(role) if !role.is_empty() => Some(role.to_owned()),
            _ if key == "kubernetes.io/role" => value.as_str().filter(|v| !v.is_empty()).map(str::to_owned),
            _ => None,
        })
        .collect();
    roles.sort_unstable();
    roles.dedup();
    cell::or_none(&roles.join(",")).into()
}

fn address(row: Row<'_>, kind: &str) -> String {
    let found = items(row.object, "/status/addresses").find(|a| text(a, "/type") == kind);
    cell::or_none(found.map_or("", |a| text(a, "/address")))
}

fn node_fact(row: Row<'_>, field: &str) -> String {
    match text(row.object, &format!("/status/nodeInfo/{field}")) {
        "" => cell::UNKNOWN.into(),
        fact => fact.into(),
    }
}

const NAMESPACES: &[Column] = &[
    NAME,
    column("Status", "The status of the namespace", |row| text(row.object, "/status/phase").into()),
    AGE,
];

const EVENTS: &[Column] = &[
    column("Last Seen", "Time this event was last seen", |row| {
        cell::since(row, last_seen(row.object)).into()
    }),
    column("Type", "Type of this event (Normal, Warning), new types could be added in the future", |row| {
        text(row.object, "/type").into()
    }),
    column(
        "Reason",
        "Short, machine understandable string that gives the reason for the transition",
        |row| text(row.object, "/reason").into(),
    ),
    column("Object", "The object that this event is about", |row| {
        let about = regarding(row.object);
        format!("{}/{}", text(about, "/kind").to_lowercase(), text(about, "/name")).into()
    }),
    wide("Subobject", "The part of the object that this event is about", |row| {
        text(regarding(row.object), "/fieldPath").into()
    }),
    wide("Source", "Who reported it", |row| source(row.object).into()),
    column("Message", "A human-readable description of the status of this operation", |row| {
        let message = text(row.object, "/message");
        if message.is_empty() { text(row.object, "/note").trim().into() } else { message.trim().into() }
    }),
    wide("First Seen", "Time this event was first seen", |row| {
        cell::since(row, first_seen(row.object)).into()
    }),
    wide("Count", "How often it was seen", |row| occurrences(row.object).to_string().into()),
    wide("Name", "Name of the event", cell::name),
];

fn regarding(event: &Value) -> &Value {
    let about =
        ["/involvedObject", "/regarding"].iter().find_map(|p| event.pointer(p).filter(|v| v.is_object()));
    about.unwrap_or(&Value::Null)
}

fn first_of<'a>(event: &'a Value, pointers: &[&str]) -> &'a str {
    pointers.iter().map(|p| text(event, p)).find(|t| !t.is_empty()).unwrap_or_default()
}

fn last_seen(event: &Value) -> &str {
    first_of(event, &["/series/lastObservedTime", "/lastTimestamp", "/deprecatedLastTimestamp", "/eventTime"])
}

fn first_seen(event: &Value) -> &str {
    first_of(event, &["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"])
}

fn occurrences(event: &Value) -> i64 {
    let counts = ["/series/count", "/count", "/deprecatedCount"];
    counts.iter().map(|p| number(event, p)).find(|n| *n > 0).unwrap_or(1)
}

fn source(event: &Value) -> String {
    let of = |new: &str, old: &str| first_of(event, &[new, old]).to_owned();
    let component = match first_of(event, &["/source/component", "/deprecatedSource/component"]) {
        "" => of("/reportingComponent", "/reportingController"),
        component => component.to_owned(),
    };
    let host = of("/source/host", "/deprecatedSource/host");
    if host.is_empty() { component } else { format!("{component}, {host}") }
}

const LEASES: &[Column] = &[
    NAME,
    column("Holder", "Identity of the current holder", |row| text(row.object, "/spec/holderIdentity").into()),
    AGE,
];

const RUNTIME_CLASSES: &[Column] = &[
    NAME,
    column("Handler", "Runtime and its configuration.", |row| text(row.object, "/handler").into()),
    AGE,
];

const CLAIMS: &[Column] = &[
    NAME,
    column("State", "How far it is.", |row| {
        let mut states = Vec::new();
        if cell::is_deleted(row.object) {
            states.push("deleted");
        }
        if cell::has(row.object, "/status/allocation") {
            states.push("allocated");
        } else if !cell::is_deleted(row.object) {
            states.push("pending");
        }
        if items(row.object, "/status/reservedFor").next().is_some() {
            states.push("reserved");
        }
        states.join(",").into()
    }),
    AGE,
];

const SLICES: &[Column] = &[
    NAME,
    column("Node", "The node, if local.", |row| match text(row.object, "/spec/nodeName") {
        "" => "<unset>".into(),
        node => node.into(),
    }),
    column("Driver", "Its driver.", |row| text(row.object, "/spec/driver").into()),
    column("Pool", "Its pool.", |row| text(row.object, "/spec/pool/name").into()),
    AGE,
];
