//! Tables of workloads: deployments, sets, jobs.

use serde_json::Value;

use super::{
    AGE, Column, NAME, Row, Tables,
    age::human_duration,
    cell::{self, has, number, text},
    number as numeric, text as column, wide,
};

pub(super) const TABLES: Tables = &[
    ("apps", "deployments", DEPLOYMENTS),
    ("apps", "replicasets", REPLICA_SETS),
    ("", "replicationcontrollers", REPLICATION_CONTROLLERS),
    ("apps", "statefulsets", STATEFUL_SETS),
    ("apps", "daemonsets", DAEMON_SETS),
    ("apps", "controllerrevisions", CONTROLLER_REVISIONS),
    ("batch", "jobs", JOBS),
    ("batch", "cronjobs", CRON_JOBS),
    ("", "podtemplates", POD_TEMPLATES),
    ("autoscaling", "horizontalpodautoscalers", AUTOSCALERS),
];

fn template(object: &Value) -> &Value {
    object.pointer("/spec/template/spec").unwrap_or(&Value::Null)
}

fn count(pointer: &'static str, row: Row<'_>) -> Value {
    number(row.object, pointer).into()
}

const CONTAINERS: Column = wide("Containers", "Names of each container in the template.", |row| {
    cell::containers(template(row.object)).into()
});
const IMAGES: Column = wide("Images", "Images referenced by each container in the template.", |row| {
    cell::images(template(row.object)).into()
});
const SELECTOR: Column = wide("Selector", "Label selector for pods.", |row| {
    cell::selector(row.object.pointer("/spec/selector")).into()
});
const DESIRED: Column =
    numeric("Desired", "The number of desired replicas.", |row| count("/spec/replicas", row));
const CURRENT: Column = numeric("Current", "The most recently observed number of replicas.", |row| {
    count("/status/replicas", row)
});
const READY: Column =
    numeric("Ready", "The number of pods with a Ready condition.", |row| count("/status/readyReplicas", row));

const DEPLOYMENTS: &[Column] = &[
    NAME,
    column("Ready", "Number of the pod with ready state", ready_of_desired),
    numeric(
        "Up-to-date",
        "Total number of non-terminated pods targeted by this deployment that have the desired template spec.",
        |row| count("/status/updatedReplicas", row),
    ),
    numeric(
        "Available",
        "Total number of available pods (ready for at least minReadySeconds) targeted by this deployment.",
        |row| count("/status/availableReplicas", row),
    ),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

fn ready_of_desired(row: Row<'_>) -> Value {
    let ready = number(row.object, "/status/readyReplicas");
    format!("{ready}/{}", number(row.object, "/spec/replicas")).into()
}

const REPLICA_SETS: &[Column] = &[NAME, DESIRED, CURRENT, READY, AGE, CONTAINERS, IMAGES, SELECTOR];

const REPLICATION_CONTROLLERS: &[Column] = &[
    NAME,
    DESIRED,
    CURRENT,
    READY,
    AGE,
    CONTAINERS,
    IMAGES,
    wide("Selector", "Label selector for pods.", |row| {
        cell::labels(row.object.pointer("/spec/selector")).into()
    }),
];

const STATEFUL_SETS: &[Column] =
    &[NAME, column("Ready", "Number of the pod with ready state", ready_of_desired), AGE, CONTAINERS, IMAGES];

const DAEMON_SETS: &[Column] = &[
    NAME,
    numeric("Desired", "Nodes that should be running the daemon pod.", |row| {
        count("/status/desiredNumberScheduled", row)
    }),
    numeric("Current", "Nodes that run at least one daemon pod and should.", |row| {
        count("/status/currentNumberScheduled", row)
    }),
    numeric("Ready", "Nodes with a daemon pod that is ready.", |row| count("/status/numberReady", row)),
    numeric("Up-to-date", "Nodes that run the updated daemon pod.", |row| {
        count("/status/updatedNumberScheduled", row)
    }),
    numeric("Available", "Nodes with a daemon pod that is available.", |row| {
        count("/status/numberAvailable", row)
    }),
    column("Node Selector", "Labels of the nodes the daemon runs on.", |row| {
        cell::labels(row.object.pointer("/spec/template/spec/nodeSelector")).into()
    }),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const CONTROLLER_REVISIONS: &[Column] = &[
    NAME,
    column("Controller", "Controller of the object", |row| {
        let owner = cell::items(row.object, "/metadata/ownerReferences")
            .find(|o| o.get("controller").and_then(Value::as_bool) == Some(true));
        let Some(owner) = owner else { return cell::NONE.into() };
        let (group, _) = text(owner, "/apiVersion").split_once('/').unwrap_or_default();
        let kind = text(owner, "/kind").to_lowercase();
        let qualified = if group.is_empty() { kind } else { format!("{kind}.{group}") };
        format!("{qualified}/{}", text(owner, "/name")).into()
    }),
    numeric("Revision", "Revision of the state represented by data.", |row| count("/revision", row)),
    AGE,
];

const JOBS: &[Column] = &[
    NAME,
    column("Status", "Status of the job.", job_status),
    column("Completions", "Finished of wanted pods.", job_completions),
    column("Duration", "Time required to complete the job.", job_duration),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

fn job_status(row: Row<'_>) -> Value {
    let is = |kind: &str| cell::condition(row.object, kind);
    let status = if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if cell::is_deleted(row.object) {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    };
    status.into()
}

fn job_completions(row: Row<'_>) -> Value {
    let done = number(row.object, "/status/succeeded");
    if has(row.object, "/spec/completions") {
        return format!("{done}/{}", number(row.object, "/spec/completions")).into();
    }
    match number(row.object, "/spec/parallelism") {
        parallel if parallel > 1 => format!("{done}/1 of {parallel}").into(),
        _ => format!("{done}/1").into(),
    }
}

fn job_duration(row: Row<'_>) -> Value {
    let time = |pointer: &str| text(row.object, pointer).parse::<jiff::Timestamp>().ok();
    let Some(start) = time("/status/startTime") else { return "".into() };
    let end = time("/status/completionTime").unwrap_or(row.now);
    human_duration(end.as_second() - start.as_second()).into()
}

const CRON_JOBS: &[Column] = &[
    NAME,
    column("Schedule", "The schedule in Cron format.", |row| text(row.object, "/spec/schedule").into()),
    column("Timezone", "The time zone of the schedule.", |row| {
        cell::or_none(text(row.object, "/spec/timeZone")).into()
    }),
    column("Suspend", "Whether further executions are suspended.", |row| {
        let suspended = row.object.pointer("/spec/suspend").and_then(Value::as_bool).unwrap_or(false);
        if suspended { "True".into() } else { "False".into() }
    }),
    numeric("Active", "Number of jobs that run.", |row| {
        i64::try_from(cell::items(row.object, "/status/active").count()).unwrap_or(i64::MAX).into()
    }),
    column("Last Schedule", "When a job was last started.", |row| {
        match text(row.object, "/status/lastScheduleTime") {
            "" => cell::NONE.into(),
            time => cell::since(row, time).into(),
        }
    }),
    AGE,
    wide("Containers", "Names of each container in the template.", |row| {
        cell::containers(job_template(row.object)).into()
    }),
    wide("Images", "Images referenced by each container in the template.", |row| {
        cell::images(job_template(row.object)).into()
    }),
    wide("Selector", "Label selector for pods.", |row| {
        cell::selector(row.object.pointer("/spec/jobTemplate/spec/selector")).into()
    }),
];

fn job_template(object: &Value) -> &Value {
    object.pointer("/spec/jobTemplate/spec/template/spec").unwrap_or(&Value::Null)
}

const POD_TEMPLATES: &[Column] = &[
    NAME,
    column("Containers", "Names of each container in the template.", |row| {
        cell::containers(row.object.pointer("/template/spec").unwrap_or(&Value::Null)).into()
    }),
    column("Images", "Images referenced by each container in the template.", |row| {
        cell::images(row.object.pointer("/template/spec").unwrap_or(&Value::Null)).into()
    }),
    column("Pod Labels", "The labels for the pod template.", |row| {
        cell::labels(row.object.pointer("/template/metadata/labels")).into()
    }),
];

const AUTOSCALERS: &[Column] = &[
    NAME,
    column("Reference", "What is scaled.", |row| {
        let target = |field: &str| text(row.object, &format!("/spec/scaleTargetRef/{field}")).to_owned();
        format!("{}/{}", target("kind"), target("name")).into()
    }),
    column("Targets", "Current and wanted metrics.", autoscaler_targets),
    column("MinPods", "The lower limit of replicas.", |row| match has(row.object, "/spec/minReplicas") {
        true => number(row.object, "/spec/minReplicas").to_string().into(),
        false => "<unset>".into(),
    }),
    numeric("MaxPods", "The upper limit of replicas.", |row| count("/spec/maxReplicas", row)),
    numeric("Replicas", "The current number of replicas.", |row| count("/status/currentReplicas", row)),
    AGE,
];

fn autoscaler_targets(row: Row<'_>) -> Value {
    let current: Vec<&Value> = cell::items(row.object, "/status/currentMetrics").collect();
    let mut shown: Vec<String> = Vec::new();
    for (i, metric) in cell::items(row.object, "/spec/metrics").enumerate() {
        let source = match text(metric, "/type") {
            "ContainerResource" => "containerResource",
            "Pods" => "pods",
            "Object" => "object",
            "External" => "external",
            _ => "resource",
        };
        let name = match source {
            "resource" | "containerResource" => format!("{}: ", text(metric, &format!("/{source}/name"))),
            _ => String::new(),
        };
        let value = |of: Option<&&Value>, part: &str| -> String {
            let Some(of) = of else { return cell::UNKNOWN.into() };
            let at = |field: &str| of.pointer(&format!("/{source}/{part}/{field}")).filter(|v| !v.is_null());
            match (at("averageUtilization"), at("averageValue").or_else(|| at("value"))) {
                (Some(percent), _) => format!("{percent}%"),
                (None, Some(value)) => cell::plain(Some(value)),
                (None, None) => cell::UNKNOWN.into(),
            }
        };
        shown.push(format!("{name}{}/{}", value(current.get(i), "current"), value(Some(&metric), "target")));
    }
    if shown.is_empty() { cell::NONE.into() } else { shown.join(", ").into() }
}

/// The table of a `scale` subresource.
pub(super) const SCALE: &[Column] = &[
    NAME,
    DESIRED,
    numeric("Available", "The most recently observed number of replicas.", |row| {
        count("/status/replicas", row)
    }),
    AGE,
];
