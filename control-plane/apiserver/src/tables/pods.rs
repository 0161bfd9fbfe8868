//! The table of pods, with upstream's way to sum up a pod in one word.

use serde_json::Value;

use super::{
    AGE, Column, NAME, Row, Tables,
    age::human_duration,
    cell::{self, has, items, number, text},
    text as column, wide,
};

pub(super) const TABLES: Tables = &[("", "pods", PODS)];

const PODS: &[Column] = &[
    NAME,
    column("Ready", "The aggregate readiness state of this pod for accepting traffic.", |row| {
        summary(row).ready()
    }),
    column("Status", "The aggregate status of the containers in this pod.", |row| summary(row).status.into()),
    column(
        "Restarts",
        "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
        restarts,
    ),
    AGE,
    wide("IP", "The primary IP address allocated to the pod.", ip),
    wide("Node", "The node the pod is bound to.", |row| {
        cell::or_none(text(row.object, "/spec/nodeName")).into()
    }),
    wide("Nominated Node", "The node that pods of lower priority make room on.", |row| {
        cell::or_none(text(row.object, "/status/nominatedNodeName")).into()
    }),
    wide("Readiness Gates", "Conditions beside the containers that readiness depends on.", readiness_gates),
];

#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    ready: i64,
    total: i64,
    status: String,
    restarts: i64,
    last_restart: Option<jiff::Timestamp>,
}

impl Summary {
    fn ready(&self) -> Value {
        format!("{}/{}", self.ready, self.total).into()
    }

    fn count(&mut self, container: &Value) {
        self.restarts += number(container, "/restartCount");
        let ended = text(container, "/lastState/terminated/finishedAt").parse().ok();
        self.last_restart = self.last_restart.max(ended);
    }
}

fn summary(row: Row<'_>) -> Summary {
    let pod = row.object;
    let mut sum = Summary { status: text(pod, "/status/phase").into(), ..Summary::default() };
    if !text(pod, "/status/reason").is_empty() {
        sum.status = text(pod, "/status/reason").into();
    }
    let gated = |c: &Value| text(c, "/type") == "PodScheduled" && text(c, "/reason") == "SchedulingGated";
    if items(pod, "/status/conditions").any(gated) {
        sum.status = "SchedulingGated".into();
    }
    let sidecars: Vec<&str> = items(pod, "/spec/initContainers")
        .filter(|c| text(c, "/restartPolicy") == "Always")
        .map(|c| text(c, "/name"))
        .collect();
    sum.total = count(items(pod, "/spec/containers")) + count(sidecars.iter());
    let (initializing, of_sidecars) = initialization(pod, &sidecars, &mut sum);
    if !initializing || cell::condition(pod, "Initialized") {
        (sum.restarts, sum.last_restart) = of_sidecars;
        main_containers(pod, &mut sum);
    }
    if cell::is_deleted(pod) {
        let phase = text(pod, "/status/phase");
        if text(pod, "/status/reason") == "NodeLost" {
            sum.status = "Unknown".into();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            sum.status = "Terminating".into();
        }
    }
    sum
}

fn count<T>(items: impl Iterator<Item = T>) -> i64 {
    i64::try_from(items.count()).unwrap_or(i64::MAX)
}

/// Follows the init containers up to the first that is not done. Answers whether there is one, and the restarts of
/// sidecars so far.
fn initialization(
    pod: &Value,
    sidecars: &[&str],
    sum: &mut Summary,
) -> (bool, (i64, Option<jiff::Timestamp>)) {
    let mut of_sidecars = Summary::default();
    for (i, container) in items(pod, "/status/initContainerStatuses").enumerate() {
        sum.count(container);
        let is_sidecar = sidecars.contains(&text(container, "/name"));
        if is_sidecar {
            of_sidecars.count(container);
        }
        let ended = container.pointer("/state/terminated").filter(|t| !t.is_null());
        let waiting = text(container, "/state/waiting/reason");
        match ended {
            Some(ended) if number(ended, "/exitCode") == 0 => continue,
            _ if is_sidecar && flag(container, "/started") => {
                sum.ready += i64::from(flag(container, "/ready"));
                continue;
            }
            Some(ended) => sum.status = format!("Init:{}", termination(ended)),
            None if !waiting.is_empty() && waiting != "PodInitializing" => {
                sum.status = format!("Init:{waiting}")
            }
            None => sum.status = format!("Init:{i}/{}", count(items(pod, "/spec/initContainers"))),
        }
        return (true, (of_sidecars.restarts, of_sidecars.last_restart));
    }
    (false, (of_sidecars.restarts, of_sidecars.last_restart))
}

fn main_containers(pod: &Value, sum: &mut Summary) {
    let mut running = false;
    for container in items(pod, "/status/containerStatuses").rev() {
        sum.count(container);
        let waiting = text(container, "/state/waiting/reason");
        let ended = container.pointer("/state/terminated").filter(|t| !t.is_null());
        if !waiting.is_empty() {
            sum.status = waiting.into();
        } else if let Some(ended) = ended {
            sum.status = termination(ended);
        } else if flag(container, "/ready") && has(container, "/state/running") {
            running = true;
            sum.ready += 1;
        }
    }
    if sum.status == "Completed" && running {
        sum.status = if cell::condition(pod, "Ready") { "Running".into() } else { "NotReady".into() };
    }
}

fn flag(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
}

fn termination(ended: &Value) -> String {
    let (reason, signal) = (text(ended, "/reason"), number(ended, "/signal"));
    match reason {
        "" if signal != 0 => format!("Signal:{signal}"),
        "" => format!("ExitCode:{}", number(ended, "/exitCode")),
        reason => reason.into(),
    }
}

fn restarts(row: Row<'_>) -> Value {
    let sum = summary(row);
    match sum.last_restart {
        Some(last) if sum.restarts != 0 => {
            let ago = human_duration(row.now.as_second() - last.as_second());
            format!("{} ({ago} ago)", sum.restarts).into()
        }
        _ => sum.restarts.to_string().into(),
    }
}

fn ip(row: Row<'_>) -> Value {
    let first = text(row.object, "/status/podIPs/0/ip");
    cell::or_none(if first.is_empty() { text(row.object, "/status/podIP") } else { first }).into()
}

fn readiness_gates(row: Row<'_>) -> Value {
    let gates: Vec<&str> =
        items(row.object, "/spec/readinessGates").map(|g| text(g, "/conditionType")).collect();
    if gates.is_empty() {
        return cell::NONE.into();
    }
    let met = gates.iter().filter(|gate| cell::condition(row.object, gate)).count();
    format!("{met}/{}", gates.len()).into()
}
