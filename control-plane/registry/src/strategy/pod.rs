//! Pods: quality of service, what may change, graceful deletion.

use api::status::Cause;
use serde_json::{Value, json};

use super::{
    Context, Grace, NameRule, Selectable, Strategy, pod_spec,
    rules::{entries, items, quantity, same, text},
};
use crate::tree::{copy, items_mut, set, set_default, take};

/// See the module.
pub(super) struct Pod;

const FIELDS: &[Selectable] = &[
    Selectable::text("spec.nodeName", &["spec", "nodeName"]),
    Selectable::text("spec.restartPolicy", &["spec", "restartPolicy"]),
    Selectable::text("spec.schedulerName", &["spec", "schedulerName"]),
    Selectable::text("spec.serviceAccountName", &["spec", "serviceAccountName"]),
    Selectable::or("spec.hostNetwork", &["spec", "hostNetwork"], "false"),
    Selectable::text("status.phase", &["status", "phase"]),
    Selectable::text("status.podIP", &["status", "podIP"]),
    Selectable::text("status.nominatedNodeName", &["status", "nominatedNodeName"]),
];

const IMMUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

impl Strategy for Pod {
    fn selectable(&self) -> &'static [Selectable] {
        FIELDS
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn defaults(&self, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec").filter(|s| s.is_object()) {
            pod_spec::defaults(spec);
            pod_spec::pod_only_defaults(spec);
        }
    }

    fn prepare_create(&self, _: Context<'_>, object: &mut Value) {
        let class = qos_class(object);
        set(object, &["status"], json!({"phase": "Pending", "qosClass": class}));
        if let Some(spec) = object.get_mut("spec") {
            take(spec, &["ephemeralContainers"]);
            if items(spec.get("schedulingGates")).next().is_some() {
                let gated = json!({"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates"});
                set(object, &["status", "conditions"], json!([gated]));
            }
        }
    }

    fn prepare_status(&self, _: Context<'_>, old: &Value, new: &mut Value) {
        copy(old, new, &["metadata", "ownerReferences"]);
        if let Some(class) = old.pointer("/status/qosClass") {
            set(new, &["status", "qosClass"], class.clone());
        }
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        pod_spec::validate("spec", object.get("spec"), causes);
    }

    fn validate_update(&self, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
        validate_spec_change(old, new, causes);
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        let name = text(object, "/metadata/name");
        if !name.is_empty() && !super::rules::name_faults(NameRule::Label, name).is_empty() {
            warnings.push("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must be no more than 63 characters]".replace(
                "must be no more than 63 characters",
                super::rules::name_faults(NameRule::Label, name).first().copied().unwrap_or(""),
            ));
        }
        warnings
    }

    fn grace(&self, object: &Value, asked: Option<i64>) -> Grace {
        let own = object.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(30);
        let period = asked.unwrap_or(own);
        let finished = matches!(text(object, "/status/phase"), "Failed" | "Succeeded");
        // Nobody runs it, so nobody would confirm.
        if text(object, "/spec/nodeName").is_empty() || finished {
            return Grace::None;
        }
        match period {
            0 => Grace::None,
            negative if negative < 0 => Grace::Seconds(1),
            period => Grace::Seconds(period),
        }
    }
}

/// The class of quality of service, as upstream computes it from CPU and memory.
pub(crate) fn qos_class(pod: &Value) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for list in ["/spec/containers", "/spec/initContainers"] {
        for container in items(pod.pointer(list)) {
            for resource in ["cpu", "memory"] {
                let amount = |kind: &str| {
                    let value = container.pointer("/resources")?.get(kind)?.get(resource)?;
                    quantity(value).filter(|q| !q.is_zero())
                };
                let (limit, request) = (amount("limits"), amount("requests"));
                any |= limit.is_some() || request.is_some();
                guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
            }
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn validate_spec_change(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let (Some(before), Some(after)) = (old.get("spec"), new.get("spec")) else { return };
    if before == after {
        return;
    }
    let mut allowed = after.clone();
    for list in ["/containers", "/initContainers"] {
        let images: Vec<_> = items(before.pointer(list)).map(|c| c.get("image").cloned()).collect();
        for (container, image) in items_mut(&mut allowed, list).zip(images) {
            if let Some(image) = image {
                set(container, &["image"], image);
            }
        }
    }
    deadline(before, after, causes);
    copy(before, &mut allowed, &["activeDeadlineSeconds"]);
    added_tolerations(before, after, causes);
    copy(before, &mut allowed, &["tolerations"]);
    gates(before, after, &mut allowed, causes);
    if before.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|n| n < 0)
        && after.get("terminationGracePeriodSeconds").and_then(Value::as_i64) == Some(1)
    {
        copy(before, &mut allowed, &["terminationGracePeriodSeconds"]);
    }
    let changed = before != &allowed && {
        let keys =
            |v: &Value| v.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect::<Vec<_>>();
        keys(before).iter().chain(&keys(&allowed)).any(|key| !same(before.get(key), allowed.get(key)))
    };
    if changed {
        causes.push(Cause::forbidden("spec", IMMUTABLE));
    }
}

fn deadline(before: &Value, after: &Value, causes: &mut Vec<Cause>) {
    let at = |spec: &Value| spec.get("activeDeadlineSeconds").and_then(Value::as_i64);
    match (at(before), at(after)) {
        (Some(old), Some(new)) if new > old => causes.push(Cause::invalid(
            "spec.activeDeadlineSeconds",
            &new.into(),
            "must be less than or equal to previous value",
        )),
        (Some(_), None) => causes.push(Cause::invalid(
            "spec.activeDeadlineSeconds",
            &Value::Null,
            "must not update from a positive integer to nil value",
        )),
        _ => {}
    }
}

fn added_tolerations(before: &Value, after: &Value, causes: &mut Vec<Cause>) {
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        take(&mut toleration, &["tolerationSeconds"]);
        toleration
    };
    let kept = items(before.get("tolerations"))
        .all(|old| items(after.get("tolerations")).any(|new| without_seconds(new) == without_seconds(old)));
    if !kept {
        causes.push(Cause::forbidden(
            "spec.tolerations",
            "existing toleration can not be modified except its tolerationSeconds",
        ));
    }
}

/// Gates may be removed, never added; a gated pod's node selector may be narrowed.
fn gates(before: &Value, after: &Value, allowed: &mut Value, causes: &mut Vec<Cause>) {
    let names = |spec: &Value| -> Vec<String> {
        items(spec.get("schedulingGates")).map(|g| text(g, "/name").to_owned()).collect()
    };
    let old = names(before);
    if let Some(added) = names(after).into_iter().find(|name| !old.contains(name)) {
        causes.push(Cause::forbidden(
            "spec.schedulingGates",
            &format!("only deletion is allowed, but found new scheduling gate '{added}'"),
        ));
    }
    if !old.is_empty() {
        let narrowed = entries(before.get("nodeSelector"))
            .all(|(key, value)| after.pointer("/nodeSelector").and_then(|s| s.get(key)) == Some(value));
        if narrowed {
            copy(before, allowed, &["nodeSelector"]);
        }
    }
    copy(before, allowed, &["schedulingGates"]);
}

/// Sets a condition, moving its transition time only when the status changes.
pub(crate) fn set_condition(object: &mut Value, kind: &str, status: &str, now: &str, more: Value) {
    let mut condition =
        json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": now});
    if let (Some(into), Value::Object(more)) = (condition.as_object_mut(), more) {
        into.remove("lastProbeTime");
        into.extend(more);
    }
    set_default(object, &["status", "conditions"], json!([]));
    let Some(conditions) = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut) else {
        return;
    };
    match conditions.iter_mut().find(|c| text(c, "/type") == kind) {
        Some(old) => {
            if text(old, "/status") == status
                && let Some(time) = old.get("lastTransitionTime").cloned()
            {
                set(&mut condition, &["lastTransitionTime"], time);
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_of_service_follows_requests_and_limits() {
        let pod = |resources: Value| json!({"spec": {"containers": [{"resources": resources}]}});
        for (resources, class) in [
            (json!({}), "BestEffort"),
            (json!({"requests": {"cpu": "1"}}), "Burstable"),
            (
                json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}),
                "Guaranteed",
            ),
            (
                json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}),
                "Burstable",
            ),
            (
                json!({"limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {"cpu": "1", "memory": "1Gi"}}),
                "Guaranteed",
            ),
            (json!({"requests": {"ephemeral-storage": "1Gi"}}), "BestEffort"),
        ] {
            assert_eq!(qos_class(&pod(resources.clone())), class, "{resources}");
        }
    }

    #[test]
    fn a_pod_that_nobody_runs_needs_no_grace() {
        let pod = |node: &str, phase: &str| json!({"spec": {"nodeName": node}, "status": {"phase": phase}});
        assert_eq!(Pod.grace(&pod("", "Pending"), Some(60)), Grace::None);
        assert_eq!(Pod.grace(&pod("n", "Succeeded"), None), Grace::None);
        assert_eq!(Pod.grace(&pod("n", "Running"), None), Grace::Seconds(30));
        assert_eq!(Pod.grace(&pod("n", "Running"), Some(0)), Grace::None);
        assert_eq!(Pod.grace(&pod("n", "Running"), Some(-5)), Grace::Seconds(1));
    }
}
