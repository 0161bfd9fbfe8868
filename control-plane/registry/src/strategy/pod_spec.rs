//! Defaults and rules of a pod's spec, wherever it is: in a pod or in a template.

use std::collections::BTreeSet;

use api::status::Cause;
use serde_json::{Value, json};

use super::{
    container,
    rules::{dns_label, dns_subdomain, items, non_negative, one_of, text},
};
use crate::tree::{items_mut, object_at, set_default};

/// The lists of containers of a pod.
pub(crate) const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Sets what a pod's spec does not say.
pub(crate) fn defaults(spec: &mut Value) {
    set_default(spec, &["restartPolicy"], "Always");
    set_default(spec, &["terminationGracePeriodSeconds"], 30);
    set_default(spec, &["dnsPolicy"], "ClusterFirst");
    set_default(spec, &["schedulerName"], "default-scheduler");
    set_default(spec, &["securityContext"], json!({}));
    if let Some(account) =
        spec.get("serviceAccountName").filter(|a| a.as_str().is_some_and(|a| !a.is_empty())).cloned()
    {
        set_default(spec, &["serviceAccount"], account);
    } else if let Some(account) = spec.get("serviceAccount").cloned() {
        set_default(spec, &["serviceAccountName"], account);
    }
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in CONTAINERS {
        for container in items_mut(spec, &format!("/{list}")) {
            container::defaults(container, host_network);
        }
    }
    items_mut(spec, "/volumes").for_each(volume_defaults);
    for constraint in items_mut(spec, "/topologySpreadConstraints") {
        set_default(constraint, &["nodeAffinityPolicy"], "Honor");
        set_default(constraint, &["nodeTaintsPolicy"], "Ignore");
    }
}

/// Fields of pods that templates do not have by default.
pub(crate) fn pod_only_defaults(spec: &mut Value) {
    set_default(spec, &["enableServiceLinks"], true);
}

fn volume_defaults(volume: &mut Value) {
    const MODE: i64 = 0o644;
    if let Some(fields) = volume.as_object()
        && fields.keys().all(|key| key == "name")
    {
        set_default(volume, &["emptyDir"], json!({}));
    }
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if volume.get(source).is_some_and(Value::is_object) {
            set_default(volume, &[source, "defaultMode"], MODE);
        }
    }
    if volume.get("hostPath").is_some_and(Value::is_object) {
        set_default(volume, &["hostPath", "type"], "");
    }
    for source in items_mut(volume, "/projected/sources") {
        if source.get("serviceAccountToken").is_some_and(Value::is_object) {
            set_default(source, &["serviceAccountToken", "expirationSeconds"], 3600);
        }
        items_mut(source, "/downwardAPI/items").for_each(field_default);
    }
    items_mut(volume, "/downwardAPI/items").for_each(field_default);
}

fn field_default(item: &mut Value) {
    if let Some(reference) = item.get_mut("fieldRef") {
        set_default(reference, &["apiVersion"], "v1");
    }
}

/// Pod-level host network makes the ports of containers host ports; asked again after admission.
pub(crate) fn validate(path: &str, spec: Option<&Value>, causes: &mut Vec<Cause>) {
    let Some(spec) = spec.filter(|spec| spec.is_object()) else {
        causes.push(Cause::required(path, ""));
        return;
    };
    let volumes = volumes(path, spec, causes);
    let mut names = BTreeSet::new();
    if items(spec.get("containers")).next().is_none() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        container::validate(&format!("{path}.{list}"), spec.get(list), &volumes, &mut names, causes);
    }
    one_of(
        &format!("{path}.restartPolicy"),
        spec.get("restartPolicy"),
        &["Always", "Never", "OnFailure"],
        causes,
    );
    one_of(
        &format!("{path}.dnsPolicy"),
        spec.get("dnsPolicy"),
        &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
        causes,
    );
    non_negative(
        &format!("{path}.terminationGracePeriodSeconds"),
        spec.get("terminationGracePeriodSeconds"),
        causes,
    );
    if let Some(deadline) = spec.get("activeDeadlineSeconds")
        && !deadline.as_i64().is_some_and(|n| (1..=i64::from(i32::MAX)).contains(&n))
    {
        causes.push(Cause::invalid(
            format!("{path}.activeDeadlineSeconds"),
            deadline,
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    for (field, rule) in [
        ("hostname", dns_label as fn(&str, &Value, &mut Vec<Cause>)),
        ("subdomain", dns_label),
        ("serviceAccountName", dns_subdomain),
        ("nodeName", dns_subdomain),
        ("priorityClassName", dns_subdomain),
    ] {
        if let Some(value) = spec.get(field).filter(|v| v.as_str() != Some("")) {
            rule(&format!("{path}.{field}"), value, causes);
        }
    }
    super::rules::labels(&format!("{path}.nodeSelector"), spec.get("nodeSelector"), causes);
    tolerations(path, spec, causes);
    host_ports(path, spec, causes);
}

fn volumes<'a>(path: &str, spec: &'a Value, causes: &mut Vec<Cause>) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (at, volume) in items(spec.get("volumes")).enumerate() {
        let path = format!("{path}.volumes[{at}]");
        let name = volume.get("name").unwrap_or(&Value::Null);
        dns_label(&format!("{path}.name"), name, causes);
        if !names.insert(name.as_str().unwrap_or("")) {
            causes.push(Cause::duplicate(format!("{path}.name"), name));
        }
        let sources: Vec<_> =
            volume.as_object().into_iter().flatten().filter(|(k, _)| *k != "name").collect();
        match sources.as_slice() {
            [] => causes.push(Cause::required(path, "must specify a volume type")),
            [(kind, source)] => volume_source(&format!("{path}.{kind}"), kind, source, causes),
            [_, (kind, _), ..] => {
                causes.push(Cause::forbidden(
                    format!("{path}.{kind}"),
                    "may not specify more than 1 volume type",
                ));
            }
        }
    }
    names
}

fn volume_source(path: &str, kind: &str, source: &Value, causes: &mut Vec<Cause>) {
    let needed = match kind {
        "configMap" => "name",
        "secret" => "secretName",
        "hostPath" => "path",
        "persistentVolumeClaim" => "claimName",
        _ => return,
    };
    if text(source, &format!("/{needed}")).is_empty() {
        causes.push(Cause::required(format!("{path}.{needed}"), ""));
    }
    if kind == "hostPath" && text(source, "/path").split('/').any(|part| part == "..") {
        causes.push(Cause::invalid(format!("{path}.path"), &source["path"], "must not contain '..'"));
    }
}

fn tolerations(path: &str, spec: &Value, causes: &mut Vec<Cause>) {
    for (at, toleration) in items(spec.get("tolerations")).enumerate() {
        let path = format!("{path}.tolerations[{at}]");
        let operator = match text(toleration, "/operator") {
            "" => "Equal",
            other => other,
        };
        one_of(&format!("{path}.operator"), Some(&operator.into()), &["Equal", "Exists", "Lt", "Gt"], causes);
        if operator == "Exists" && !text(toleration, "/value").is_empty() {
            let why = "value must be empty when `operator` is 'Exists'";
            causes.push(Cause::invalid(format!("{path}.operator"), &text(toleration, "/value").into(), why));
        }
        if text(toleration, "/key").is_empty() && operator != "Exists" {
            let why =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            causes.push(Cause::invalid(format!("{path}.operator"), &operator.into(), why));
        }
        if let Some(effect) = toleration.get("effect").filter(|e| e.as_str() != Some("")) {
            one_of(
                &format!("{path}.effect"),
                Some(effect),
                &["NoSchedule", "PreferNoSchedule", "NoExecute"],
                causes,
            );
        }
        if toleration.get("tolerationSeconds").is_some() && text(toleration, "/effect") != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            causes.push(Cause::invalid(format!("{path}.effect"), &text(toleration, "/effect").into(), why));
        }
    }
}

fn host_ports(path: &str, spec: &Value, causes: &mut Vec<Cause>) {
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    let mut taken = BTreeSet::new();
    for (at, container) in items(spec.get("containers")).enumerate() {
        for (index, exposed) in items(container.get("ports")).enumerate() {
            let Some(port) = exposed.get("hostPort").and_then(Value::as_i64).filter(|p| *p != 0) else {
                continue;
            };
            let path = format!("{path}.containers[{at}].ports[{index}]");
            if host_network && exposed.get("containerPort").and_then(Value::as_i64) != Some(port) {
                let why = "must match `hostPort` when `hostNetwork` is true";
                causes.push(Cause::invalid(format!("{path}.containerPort"), &exposed["containerPort"], why));
            }
            let key = format!("{}/{}/{port}", text(exposed, "/protocol"), text(exposed, "/hostIP"));
            if !taken.insert(key.clone()) {
                causes.push(Cause::duplicate(format!("{path}.hostPort"), &key.into()));
            }
        }
    }
}

/// Defaults and rules of a template: metadata labels and a spec.
pub(crate) fn template_defaults(template: &mut Value) {
    // A template shows the empty creation time that upstream's zero value shows; clients compare without it.
    object_at(template, &["metadata"]);
    if let Some(spec) = template.get_mut("spec").filter(|s| s.is_object()) {
        defaults(spec);
    }
}
