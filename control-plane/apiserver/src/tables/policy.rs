//! Tables of rules: roles and bindings, disruption budgets, priorities, admission, flow control.

use serde_json::Value;

use super::{
    AGE, CREATED_AT, Column, NAME, Row, Tables, boolean,
    cell::{self, items, number, text},
    number as numeric, text as column, wide,
};

const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";

pub(super) const TABLES: Tables = &[
    (RBAC, "roles", &[NAME, CREATED_AT]),
    (RBAC, "clusterroles", &[NAME, CREATED_AT]),
    (RBAC, "rolebindings", BINDINGS),
    (RBAC, "clusterrolebindings", BINDINGS),
    ("policy", "poddisruptionbudgets", BUDGETS),
    ("scheduling.k8s.io", "priorityclasses", PRIORITIES),
    ("certificates.k8s.io", "certificatesigningrequests", SIGNING_REQUESTS),
    (ADMISSION, "mutatingwebhookconfigurations", WEBHOOKS),
    (ADMISSION, "validatingwebhookconfigurations", WEBHOOKS),
    (ADMISSION, "validatingadmissionpolicies", POLICIES),
    (ADMISSION, "validatingadmissionpolicybindings", POLICY_BINDINGS),
    (FLOW, "flowschemas", FLOW_SCHEMAS),
    (FLOW, "prioritylevelconfigurations", PRIORITY_LEVELS),
];

const BINDINGS: &[Column] = &[
    NAME,
    column("Role", "The role it gives.", |row| {
        format!("{}/{}", text(row.object, "/roleRef/kind"), text(row.object, "/roleRef/name")).into()
    }),
    AGE,
    wide("Users", "Users who have it.", |row| subjects(row, "User").into()),
    wide("Groups", "Groups that have it.", |row| subjects(row, "Group").into()),
    wide("ServiceAccounts", "Service accounts that have it.", |row| subjects(row, "ServiceAccount").into()),
];

fn subjects(row: Row<'_>, kind: &str) -> String {
    let name = |s: &Value| match kind {
        "ServiceAccount" => format!("{}/{}", text(s, "/namespace"), text(s, "/name")),
        _ => text(s, "/name").to_owned(),
    };
    items(row.object, "/subjects")
        .filter(|s| text(s, "/kind") == kind)
        .map(name)
        .collect::<Vec<_>>()
        .join(", ")
}

fn or_not_applicable(row: Row<'_>, pointer: &str) -> Value {
    match cell::plain(row.object.pointer(pointer)).as_str() {
        "" => "N/A".into(),
        value => value.into(),
    }
}

const BUDGETS: &[Column] = &[
    NAME,
    column("Min Available", "Pods that must stay.", |row| or_not_applicable(row, "/spec/minAvailable")),
    column("Max Unavailable", "Pods that may go.", |row| or_not_applicable(row, "/spec/maxUnavailable")),
    numeric("Allowed Disruptions", "Pods that may go now.", |row| {
        number(row.object, "/status/disruptionsAllowed").into()
    }),
    AGE,
];

const PRIORITIES: &[Column] = &[
    NAME,
    numeric("Value", "The higher, the more important.", |row| number(row.object, "/value").into()),
    boolean("Global-Default", "Whether pods without a class get it.", |row| {
        row.object.get("globalDefault").and_then(Value::as_bool).unwrap_or(false).into()
    }),
    AGE,
    column("PreemptionPolicy", "Whether others make room.", |row| {
        match text(row.object, "/preemptionPolicy") {
            "" => "PreemptLowerPriority".into(),
            policy => policy.into(),
        }
    }),
];

const SIGNING_REQUESTS: &[Column] = &[
    NAME,
    AGE,
    column("SignerName", "Who is to sign.", |row| text(row.object, "/spec/signerName").into()),
    column("Requestor", "Who asked.", |row| text(row.object, "/spec/username").into()),
    column("RequestedDuration", "For how long.", |row| match number(row.object, "/spec/expirationSeconds") {
        0 => cell::NONE.into(),
        seconds => super::human_duration(seconds).into(),
    }),
    column("Condition", "How far it is.", |row| {
        let has = |kind: &str| items(row.object, "/status/conditions").any(|c| text(c, "/type") == kind);
        let mut all = Vec::new();
        for kind in ["Approved", "Denied", "Failed"] {
            if has(kind) {
                all.push(kind);
            }
        }
        if all.is_empty() {
            all.push("Pending");
        }
        if !text(row.object, "/status/certificate").is_empty() {
            all.push("Issued");
        }
        all.join(",").into()
    }),
];

fn count(row: Row<'_>, pointer: &str) -> Value {
    i64::try_from(items(row.object, pointer).count()).unwrap_or(i64::MAX).into()
}

const WEBHOOKS: &[Column] =
    &[NAME, numeric("Webhooks", "Number of webhooks.", |row| count(row, "/webhooks")), AGE];

const POLICIES: &[Column] = &[
    NAME,
    numeric("Validations", "Number of rules.", |row| count(row, "/spec/validations")),
    column("ParamKind", "Kind of its parameters.", |row| {
        let (version, kind) =
            (text(row.object, "/spec/paramKind/apiVersion"), text(row.object, "/spec/paramKind/kind"));
        if kind.is_empty() { "<unset>".into() } else { format!("{version}/{kind}").into() }
    }),
    AGE,
];

const POLICY_BINDINGS: &[Column] = &[
    NAME,
    column("PolicyName", "The policy.", |row| text(row.object, "/spec/policyName").into()),
    column("ParamRef", "Its parameters.", |row| {
        let (namespace, name) =
            (text(row.object, "/spec/paramRef/namespace"), text(row.object, "/spec/paramRef/name"));
        match (namespace, name) {
            ("", "") => "<unset>".into(),
            ("", name) => name.into(),
            (namespace, name) => format!("{namespace}/{name}").into(),
        }
    }),
    AGE,
];

const FLOW_SCHEMAS: &[Column] = &[
    NAME,
    column("PriorityLevel", "Where requests go.", |row| {
        text(row.object, "/spec/priorityLevelConfiguration/name").into()
    }),
    numeric("MatchingPrecedence", "Order of matching.", |row| {
        number(row.object, "/spec/matchingPrecedence").into()
    }),
    column("DistinguisherMethod", "How flows are told apart.", |row| {
        cell::or_none(text(row.object, "/spec/distinguisherMethod/type")).into()
    }),
    AGE,
    column("MissingPL", "Whether the level is missing.", |row| {
        let dangling = items(row.object, "/status/conditions").find(|c| text(c, "/type") == "Dangling");
        dangling.map_or("?", |c| text(c, "/status")).into()
    }),
];

const PRIORITY_LEVELS: &[Column] = &[
    NAME,
    column("Type", "Limited or exempt.", |row| text(row.object, "/spec/type").into()),
    column("NominalConcurrencyShares", "Share of the server.", |row| {
        limited(row, "/nominalConcurrencyShares")
    }),
    column("Queues", "Number of queues.", |row| limited(row, "/limitResponse/queuing/queues")),
    column("HandSize", "Queues of a flow.", |row| limited(row, "/limitResponse/queuing/handSize")),
    column("QueueLengthLimit", "Requests in a queue.", |row| {
        limited(row, "/limitResponse/queuing/queueLengthLimit")
    }),
    AGE,
];

fn limited(row: Row<'_>, pointer: &str) -> Value {
    let found = row.object.pointer("/spec/limited").and_then(|limited| limited.pointer(pointer));
    cell::or_none(&cell::plain(found)).into()
}
