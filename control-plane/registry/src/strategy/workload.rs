//! The kinds that own a pod template: one strategy, a table of their differences; CronJob wraps a Job.

use api::{selector::LabelSelector, status::Cause};
use serde_json::{Value, json};

use super::{
    Context, NameRule, Selectable, Strategy, pod_spec,
    rules::{self, immutable, non_negative, one_of, text},
};
use crate::tree::{copy, set, set_default, take};

/// How the selector of a kind is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Selector {
    /// A plain map, taken from the template when absent.
    Map,
    /// A label selector, required and immutable.
    Object,
    /// A label selector that the server generates.
    Generated,
}

/// A kind that owns a pod template.
pub(super) struct Workload {
    kind: Kind,
    selector: Selector,
    name_rule: NameRule,
    fields: &'static [Selectable],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ReplicationController,
    ReplicaSet,
    Deployment,
    StatefulSet,
    DaemonSet,
    Job,
}

const REPLICAS: &[Selectable] = &[Selectable::or("status.replicas", &["status", "replicas"], "0")];
const SUCCESSFUL: &[Selectable] = &[Selectable::or("status.successful", &["status", "succeeded"], "0")];

const fn workload(kind: Kind, selector: Selector, fields: &'static [Selectable]) -> Workload {
    Workload { kind, selector, name_rule: NameRule::Subdomain, fields }
}

pub(super) const REPLICATION_CONTROLLER: Workload =
    workload(Kind::ReplicationController, Selector::Map, REPLICAS);
pub(super) const REPLICA_SET: Workload = workload(Kind::ReplicaSet, Selector::Object, REPLICAS);
pub(super) const DEPLOYMENT: Workload = workload(Kind::Deployment, Selector::Object, &[]);
pub(super) const STATEFUL_SET: Workload = workload(Kind::StatefulSet, Selector::Object, &[]);
pub(super) const DAEMON_SET: Workload = workload(Kind::DaemonSet, Selector::Object, &[]);
pub(super) const JOB: Workload = workload(Kind::Job, Selector::Generated, SUCCESSFUL);

impl Strategy for Workload {
    fn name_rule(&self) -> NameRule {
        self.name_rule
    }

    fn selectable(&self) -> &'static [Selectable] {
        self.fields
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn orphans_by_default(&self) -> bool {
        matches!(self.kind, Kind::ReplicationController | Kind::Job)
    }

    fn defaults(&self, object: &mut Value) {
        if let Some(template) = object.pointer_mut("/spec/template").filter(|t| t.is_object()) {
            pod_spec::template_defaults(template);
        }
        if self.selector == Selector::Map {
            let labels = object.pointer("/spec/template/metadata/labels").cloned();
            if let Some(labels) = labels.filter(|l| l.as_object().is_some_and(|l| !l.is_empty())) {
                set_default(object, &["spec", "selector"], labels.clone());
                set_default(object, &["metadata", "labels"], labels);
            }
        }
        match self.kind {
            Kind::ReplicationController | Kind::ReplicaSet => set_default(object, &["spec", "replicas"], 1),
            Kind::Deployment => deployment_defaults(object),
            Kind::StatefulSet => stateful_set_defaults(object),
            Kind::DaemonSet => daemon_set_defaults(object),
            Kind::Job => job_defaults(object),
        }
    }

    fn prepare_create(&self, _: Context<'_>, object: &mut Value) {
        if self.selector == Selector::Generated {
            generate_selector(object);
        }
        set(object, &["status"], self.first_status());
    }

    fn prepare_update(&self, _: Context<'_>, old: &Value, new: &mut Value) {
        // The controller's count, not the writer's.
        if self.kind == Kind::DaemonSet {
            copy(old, new, &["spec", "templateGeneration"]);
        }
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        non_negative("spec.replicas", object.pointer("/spec/replicas"), causes);
        non_negative("spec.minReadySeconds", object.pointer("/spec/minReadySeconds"), causes);
        non_negative("spec.revisionHistoryLimit", object.pointer("/spec/revisionHistoryLimit"), causes);
        self.validate_selector(object, causes);
        template(self.kind, "spec.template", object.pointer("/spec/template"), causes);
        match self.kind {
            Kind::Deployment => deployment(object, causes),
            Kind::DaemonSet => {
                strategy_type(object, "updateStrategy", &["OnDelete", "RollingUpdate"], causes)
            }
            Kind::StatefulSet => stateful_set(object, causes),
            Kind::Job => job("spec", object.get("spec").unwrap_or(&Value::Null), causes),
            Kind::ReplicationController | Kind::ReplicaSet => {}
        }
    }

    fn validate_update(&self, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
        if self.selector != Selector::Map {
            immutable("spec.selector", "/spec/selector", old, new, causes);
        }
        match self.kind {
            Kind::StatefulSet => stateful_set_change(old, new, causes),
            Kind::Job => job_change(old, new, causes),
            Kind::ReplicationController | Kind::ReplicaSet | Kind::Deployment | Kind::DaemonSet => {}
        }
    }
}

impl Workload {
    fn first_status(&self) -> Value {
        match self.kind {
            Kind::ReplicationController | Kind::ReplicaSet => json!({"replicas": 0}),
            Kind::StatefulSet => json!({"replicas": 0, "availableReplicas": 0}),
            Kind::DaemonSet => {
                json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0})
            }
            Kind::Deployment | Kind::Job => json!({}),
        }
    }

    fn validate_selector(&self, object: &Value, causes: &mut Vec<Cause>) {
        let selector = object.pointer("/spec/selector").filter(|s| s.is_object());
        let labels = object.pointer("/spec/template/metadata/labels").unwrap_or(&Value::Null);
        let Some(selector) = selector else {
            causes.push(Cause::required("spec.selector", ""));
            return;
        };
        let parsed = match self.selector {
            Selector::Map => {
                let pairs =
                    rules::entries(Some(selector)).filter_map(|(k, v)| Some((k.as_str(), v.as_str()?)));
                Ok(LabelSelector::from_map(pairs))
            }
            Selector::Object | Selector::Generated => LabelSelector::from_object(selector),
        };
        match parsed {
            Err(why) => causes.push(Cause::invalid("spec.selector", selector, &why.to_string())),
            Ok(parsed) if parsed.is_empty() && self.kind != Kind::ReplicationController => {
                let name = match self.kind {
                    Kind::Deployment => "deployment",
                    Kind::StatefulSet => "statefulset",
                    Kind::DaemonSet => "daemonset",
                    Kind::ReplicaSet | Kind::Job | Kind::ReplicationController => "replicaset",
                };
                causes.push(Cause::invalid(
                    "spec.selector",
                    selector,
                    &format!("empty selector is invalid for {name}"),
                ));
            }
            Ok(parsed) if parsed.matches_value(labels) => {}
            Ok(_) => {
                causes.push(Cause::invalid(
                    "spec.template.metadata.labels",
                    labels,
                    "`selector` does not match template `labels`",
                ));
            }
        }
    }
}

fn deployment_defaults(object: &mut Value) {
    set_default(object, &["spec", "replicas"], 1);
    set_default(object, &["spec", "revisionHistoryLimit"], 10);
    set_default(object, &["spec", "progressDeadlineSeconds"], 600);
    set_default(object, &["spec", "strategy", "type"], "RollingUpdate");
    if text(object, "/spec/strategy/type") == "RollingUpdate" {
        set_default(object, &["spec", "strategy", "rollingUpdate", "maxUnavailable"], "25%");
        set_default(object, &["spec", "strategy", "rollingUpdate", "maxSurge"], "25%");
    }
}

fn stateful_set_defaults(object: &mut Value) {
    set_default(object, &["spec", "replicas"], 1);
    set_default(object, &["spec", "revisionHistoryLimit"], 10);
    set_default(object, &["spec", "podManagementPolicy"], "OrderedReady");
    set_default(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
    if text(object, "/spec/updateStrategy/type") == "RollingUpdate" {
        set_default(object, &["spec", "updateStrategy", "rollingUpdate", "partition"], 0);
    }
    set_default(object, &["spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted"], "Retain");
    set_default(object, &["spec", "persistentVolumeClaimRetentionPolicy", "whenScaled"], "Retain");
    for claim in crate::tree::items_mut(object, "/spec/volumeClaimTemplates") {
        set_default(claim, &["apiVersion"], "v1");
        set_default(claim, &["kind"], "PersistentVolumeClaim");
        set_default(claim, &["spec", "volumeMode"], "Filesystem");
        set_default(claim, &["status", "phase"], "Pending");
    }
}

fn daemon_set_defaults(object: &mut Value) {
    set_default(object, &["spec", "revisionHistoryLimit"], 10);
    set_default(object, &["spec", "updateStrategy", "type"], "RollingUpdate");
    if text(object, "/spec/updateStrategy/type") == "RollingUpdate" {
        set_default(object, &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"], 1);
        set_default(object, &["spec", "updateStrategy", "rollingUpdate", "maxSurge"], 0);
    }
}

fn job_defaults(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec").filter(|s| s.is_object()) {
        job_spec_defaults(spec);
        set_default(spec, &["completionMode"], "NonIndexed");
    }
}

fn job_spec_defaults(spec: &mut Value) {
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        set_default(spec, &["completions"], 1);
    }
    set_default(spec, &["parallelism"], 1);
    set_default(spec, &["backoffLimit"], 6);
    set_default(spec, &["suspend"], false);
    set_default(spec, &["manualSelector"], false);
    set_default(
        spec,
        &["podReplacementPolicy"],
        if spec.get("podFailurePolicy").is_some() { "Failed" } else { "TerminatingOrFailed" },
    );
    set_default(spec, &["completionMode"], "NonIndexed");
}

/// A Job finds its pods by its own UID unless its author insists on a selector.
fn generate_selector(object: &mut Value) {
    if object.pointer("/spec/manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    let (uid, name) = (api::meta::uid(object).to_owned(), api::meta::name(object).to_owned());
    let labels = [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ];
    for (key, value) in labels {
        set(object, &["spec", "template", "metadata", "labels", key], value.clone());
    }
    set(object, &["spec", "selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
}

fn template(kind: Kind, path: &str, template: Option<&Value>, causes: &mut Vec<Cause>) {
    let Some(template) = template.filter(|t| t.is_object()) else {
        causes.push(Cause::required(path, ""));
        return;
    };
    rules::labels(&format!("{path}.metadata.labels"), template.pointer("/metadata/labels"), causes);
    pod_spec::validate(&format!("{path}.spec"), template.get("spec"), causes);
    let allowed: &[&str] = if kind == Kind::Job { &["Never", "OnFailure"] } else { &["Always"] };
    one_of(&format!("{path}.spec.restartPolicy"), template.pointer("/spec/restartPolicy"), allowed, causes);
    if kind != Kind::Job && template.pointer("/spec/activeDeadlineSeconds").is_some() {
        causes.push(Cause::forbidden(
            format!("{path}.spec.activeDeadlineSeconds"),
            "activeDeadlineSeconds in a pod template is not supported",
        ));
    }
}

fn strategy_type(object: &Value, field: &str, words: &[&str], causes: &mut Vec<Cause>) {
    one_of(&format!("spec.{field}.type"), object.pointer(&format!("/spec/{field}/type")), words, causes);
}

fn deployment(object: &Value, causes: &mut Vec<Cause>) {
    strategy_type(object, "strategy", &["Recreate", "RollingUpdate"], causes);
    let rolling = object.pointer("/spec/strategy/rollingUpdate");
    if text(object, "/spec/strategy/type") == "Recreate" {
        if rolling.is_some() {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            causes.push(Cause::forbidden("spec.strategy.rollingUpdate", why));
        }
        return;
    }
    let unavailable = rolling.and_then(|r| r.get("maxUnavailable"));
    let surge = rolling.and_then(|r| r.get("maxSurge"));
    for (field, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
        int_or_percent(&format!("spec.strategy.rollingUpdate.{field}"), value, causes);
    }
    let zero = |v: Option<&Value>| matches!(v, Some(v) if v.as_i64() == Some(0) || v.as_str() == Some("0%"));
    if zero(unavailable) && zero(surge) {
        let why = "may not be 0 when `maxSurge` is 0";
        causes.push(Cause::invalid(
            "spec.strategy.rollingUpdate.maxUnavailable",
            unavailable.unwrap_or(&Value::Null),
            why,
        ));
    }
    let deadline = object.pointer("/spec/progressDeadlineSeconds").and_then(Value::as_i64).unwrap_or(600);
    if deadline <= object.pointer("/spec/minReadySeconds").and_then(Value::as_i64).unwrap_or(0) {
        causes.push(Cause::invalid(
            "spec.progressDeadlineSeconds",
            &deadline.into(),
            "must be greater than minReadySeconds",
        ));
    }
}

/// A whole number, or a percentage as text.
pub(super) fn int_or_percent(path: &str, value: Option<&Value>, causes: &mut Vec<Cause>) {
    match value {
        Some(Value::Number(_)) => non_negative(path, value, causes),
        Some(Value::String(text)) => {
            let number =
                text.strip_suffix('%').filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
            if number.is_none() {
                let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                causes.push(Cause::invalid(path, &text.as_str().into(), why));
            } else if path.ends_with("maxUnavailable")
                && number.and_then(|n| n.parse::<u32>().ok()).is_none_or(|n| n > 100)
            {
                causes.push(Cause::invalid(path, &text.as_str().into(), "must not be greater than 100%"));
            }
        }
        _ => {}
    }
}

fn stateful_set(object: &Value, causes: &mut Vec<Cause>) {
    strategy_type(object, "updateStrategy", &["OnDelete", "RollingUpdate"], causes);
    one_of(
        "spec.podManagementPolicy",
        object.pointer("/spec/podManagementPolicy"),
        &["OrderedReady", "Parallel"],
        causes,
    );
    non_negative(
        "spec.updateStrategy.rollingUpdate.partition",
        object.pointer("/spec/updateStrategy/rollingUpdate/partition"),
        causes,
    );
}

fn stateful_set_change(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    const MUTABLE: [&str; 8] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
        "selector",
    ];
    let kept = |object: &Value| {
        let mut spec = object.get("spec").cloned().unwrap_or_default();
        MUTABLE.iter().for_each(|field| _ = take(&mut spec, &[field]));
        spec
    };
    if kept(old) != kept(new) {
        causes.push(Cause::forbidden("spec", "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"));
    }
}

fn job(path: &str, spec: &Value, causes: &mut Vec<Cause>) {
    for field in
        ["parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"]
    {
        non_negative(&format!("{path}.{field}"), spec.get(field), causes);
    }
    one_of(&format!("{path}.completionMode"), spec.get("completionMode"), &["Indexed", "NonIndexed"], causes);
    if text(spec, "/completionMode") == "Indexed" && spec.get("completions").is_none() {
        causes.push(Cause::required(format!("{path}.completions"), "when completion mode is Indexed"));
    }
}

fn job_change(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    immutable("spec.completionMode", "/spec/completionMode", old, new, causes);
    if text(new, "/spec/completionMode") != "Indexed" {
        immutable("spec.completions", "/spec/completions", old, new, causes);
    }
    let suspended = old.pointer("/spec/suspend") == Some(&Value::Bool(true))
        && old.pointer("/status/startTime").is_none();
    if !suspended {
        immutable("spec.template", "/spec/template", old, new, causes);
    }
}

/// A Job on a schedule.
pub(super) struct CronJob;

impl Strategy for CronJob {
    fn has_generation(&self) -> bool {
        true
    }

    fn defaults(&self, object: &mut Value) {
        set_default(object, &["spec", "concurrencyPolicy"], "Allow");
        set_default(object, &["spec", "suspend"], false);
        set_default(object, &["spec", "successfulJobsHistoryLimit"], 3);
        set_default(object, &["spec", "failedJobsHistoryLimit"], 1);
        if let Some(template) =
            object.pointer_mut("/spec/jobTemplate/spec/template").filter(|t| t.is_object())
        {
            pod_spec::template_defaults(template);
        }
    }

    fn prepare_create(&self, _: Context<'_>, object: &mut Value) {
        set(object, &["status"], json!({}));
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        if api::meta::name(object).len() > 52 {
            causes.push(Cause::invalid(
                "metadata.name",
                &api::meta::name(object).into(),
                "must be no more than 52 characters",
            ));
        }
        let schedule = text(object, "/spec/schedule");
        if schedule.is_empty() {
            causes.push(Cause::required("spec.schedule", ""));
        } else if !is_schedule(schedule) {
            let why = format!(
                "expected exactly 5 fields, found {}: [{schedule}]",
                schedule.split_whitespace().count()
            );
            causes.push(Cause::invalid("spec.schedule", &schedule.into(), &why));
        }
        one_of(
            "spec.concurrencyPolicy",
            object.pointer("/spec/concurrencyPolicy"),
            &["Allow", "Forbid", "Replace"],
            causes,
        );
        for field in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
            non_negative(&format!("spec.{field}"), object.pointer(&format!("/spec/{field}")), causes);
        }
        let spec = object.pointer("/spec/jobTemplate/spec").unwrap_or(&Value::Null);
        job("spec.jobTemplate.spec", spec, causes);
        template(Kind::Job, "spec.jobTemplate.spec.template", spec.get("template"), causes);
    }
}

/// Five fields, or one of the named schedules.
fn is_schedule(text: &str) -> bool {
    const NAMED: [&str; 7] =
        ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
    let allowed = |field: &str| {
        field.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'*' | b'/' | b',' | b'-' | b'?'))
    };
    NAMED.contains(&text)
        || text.strip_prefix("@every ").is_some_and(|rest| !rest.is_empty())
        || text.split_whitespace().count() == 5 && text.split_whitespace().all(allowed)
}
