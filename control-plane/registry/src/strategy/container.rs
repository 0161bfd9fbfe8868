//! Defaults and rules of one container.

use std::collections::BTreeSet;

use api::status::Cause;
use serde_json::{Value, json};

use super::rules::{dns_label, entries, items, one_of, port, quantities, quantity, text};
use crate::tree::{items_mut, object_at, set_default};

/// Sets what a container does not say. `host_network` makes host ports follow container ports.
pub(super) fn defaults(container: &mut Value, host_network: bool) {
    let image = text(container, "/image").to_owned();
    let policy = if wants_newest(&image) { "Always" } else { "IfNotPresent" };
    set_default(container, &["imagePullPolicy"], policy);
    set_default(container, &["terminationMessagePath"], "/dev/termination-log");
    set_default(container, &["terminationMessagePolicy"], "File");
    set_default(container, &["resources"], json!({}));
    for exposed in items_mut(container, "/ports") {
        set_default(exposed, &["protocol"], "TCP");
        if host_network && let Some(number) = exposed.get("containerPort").cloned() {
            set_default(exposed, &["hostPort"], number);
        }
    }
    for variable in items_mut(container, "/env") {
        if let Some(source) = variable.pointer_mut("/valueFrom/fieldRef") {
            set_default(source, &["apiVersion"], "v1");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).filter(|p| p.is_object()) {
            probe_defaults(probe);
        }
    }
    for hook in ["/lifecycle/postStart/httpGet", "/lifecycle/preStop/httpGet"] {
        if let Some(get) = container.pointer_mut(hook) {
            http_defaults(get);
        }
    }
    requests_from_limits(container);
}

/// Whether the image names no digest and no tag but `latest`.
fn wants_newest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn probe_defaults(probe: &mut Value) {
    set_default(probe, &["timeoutSeconds"], 1);
    set_default(probe, &["periodSeconds"], 10);
    set_default(probe, &["successThreshold"], 1);
    set_default(probe, &["failureThreshold"], 3);
    if let Some(get) = probe.get_mut("httpGet") {
        http_defaults(get);
    }
    if let Some(grpc) = probe.get_mut("grpc") {
        set_default(grpc, &["service"], "");
    }
}

fn http_defaults(get: &mut Value) {
    set_default(get, &["path"], "/");
    set_default(get, &["scheme"], "HTTP");
}

/// A limit without a request is the request, too.
fn requests_from_limits(container: &mut Value) {
    let Some(limits) = container.pointer("/resources/limits").and_then(Value::as_object).cloned() else {
        return;
    };
    let Some(requests) = object_at(container, &["resources", "requests"]) else { return };
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

/// What is wrong with the containers of one list. `names` are taken already.
pub(super) fn validate(
    path: &str,
    containers: Option<&Value>,
    volumes: &BTreeSet<&str>,
    names: &mut BTreeSet<String>,
    causes: &mut Vec<Cause>,
) {
    for (at, container) in items(containers).enumerate() {
        let path = format!("{path}[{at}]");
        let name = container.get("name").unwrap_or(&Value::Null);
        dns_label(&format!("{path}.name"), name, causes);
        if !names.insert(name.as_str().unwrap_or("").to_owned()) {
            causes.push(Cause::duplicate(format!("{path}.name"), name));
        }
        image(&path, container, causes);
        one_of(
            &format!("{path}.imagePullPolicy"),
            container.get("imagePullPolicy"),
            &["Always", "IfNotPresent", "Never"],
            causes,
        );
        one_of(
            &format!("{path}.terminationMessagePolicy"),
            container.get("terminationMessagePolicy"),
            &["FallbackToLogsOnError", "File"],
            causes,
        );
        ports(&path, container, causes);
        environment(&path, container, causes);
        resources(&path, container, causes);
        mounts(&path, container, volumes, causes);
        probes(&path, container, causes);
    }
}

fn image(path: &str, container: &Value, causes: &mut Vec<Cause>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or("");
    if image.is_empty() {
        causes.push(Cause::required(format!("{path}.image"), ""));
    } else if image.trim() != image {
        causes.push(Cause::invalid(
            format!("{path}.image"),
            &image.into(),
            "must not have leading or trailing whitespace",
        ));
    }
}

fn ports(path: &str, container: &Value, causes: &mut Vec<Cause>) {
    let mut names = BTreeSet::new();
    for (at, exposed) in items(container.get("ports")).enumerate() {
        let path = format!("{path}.ports[{at}]");
        match exposed.get("containerPort") {
            None => causes.push(Cause::required(format!("{path}.containerPort"), "")),
            number => port(&format!("{path}.containerPort"), number, causes),
        }
        if let Some(number) = exposed.get("hostPort").filter(|p| p.as_i64() != Some(0)) {
            port(&format!("{path}.hostPort"), Some(number), causes);
        }
        one_of(&format!("{path}.protocol"), exposed.get("protocol"), &["SCTP", "TCP", "UDP"], causes);
        let Some(name) = exposed.get("name").filter(|n| n.as_str().is_some_and(|n| !n.is_empty())) else {
            continue;
        };
        port_name(&format!("{path}.name"), name, causes);
        if !names.insert(name.to_string()) {
            causes.push(Cause::duplicate(format!("{path}.name"), name));
        }
    }
}

/// IANA service names: at most 15 characters, a letter among them.
pub(super) fn port_name(path: &str, name: &Value, causes: &mut Vec<Cause>) {
    let text = name.as_str().unwrap_or("");
    let mut fault = |why| causes.push(Cause::invalid(path, name, why));
    if text.len() > 15 {
        fault("must be no more than 15 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        fault("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        fault("must contain at least one letter (a-z)");
    }
    if text.contains("--") {
        fault("must not contain consecutive hyphens");
    }
    if text.starts_with('-') || text.ends_with('-') {
        fault("must not begin or end with a hyphen");
    }
}

fn environment(path: &str, container: &Value, causes: &mut Vec<Cause>) {
    for (at, variable) in items(container.get("env")).enumerate() {
        let path = format!("{path}.env[{at}]");
        let name = text(variable, "/name");
        if name.is_empty() {
            causes.push(Cause::required(format!("{path}.name"), ""));
        } else if name.contains('=') || !name.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            let why = "a valid environment variable name must consist only of printable ASCII characters other than '='";
            causes.push(Cause::invalid(format!("{path}.name"), &name.into(), why));
        }
        let Some(from) = variable.get("valueFrom").and_then(Value::as_object) else { continue };
        if !text(variable, "/value").is_empty() {
            let why = "may not be specified when `value` is not empty";
            causes.push(Cause::invalid(format!("{path}.valueFrom"), &"".into(), why));
        }
        match from.len() {
            0 => causes.push(Cause::invalid(
                format!("{path}.valueFrom"),
                &"".into(),
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
            )),
            1 => {}
            _ => causes.push(Cause::invalid(format!("{path}.valueFrom"), &"".into(), "may not have more than one field specified at a time")),
        }
    }
}

/// Quantities, and no request above its limit.
pub(super) fn resources(path: &str, container: &Value, causes: &mut Vec<Cause>) {
    let (limits, requests) =
        (container.pointer("/resources/limits"), container.pointer("/resources/requests"));
    quantities(&format!("{path}.resources.limits"), limits, causes);
    quantities(&format!("{path}.resources.requests"), requests, causes);
    for (name, request) in entries(requests) {
        let Some(limit) = limits.and_then(|l| l.get(name)) else { continue };
        if let (Some(wanted), Some(most)) = (quantity(request), quantity(limit))
            && wanted > most
        {
            let why = format!("must be less than or equal to {name} limit of {most}");
            causes.push(Cause::invalid(
                format!("{path}.resources.requests"),
                &wanted.to_string().into(),
                &why,
            ));
        }
    }
}

fn mounts(path: &str, container: &Value, volumes: &BTreeSet<&str>, causes: &mut Vec<Cause>) {
    let mut paths = BTreeSet::new();
    for (at, mount) in items(container.get("volumeMounts")).enumerate() {
        let path = format!("{path}.volumeMounts[{at}]");
        let name = text(mount, "/name");
        if name.is_empty() {
            causes.push(Cause::required(format!("{path}.name"), ""));
        } else if !volumes.contains(name) {
            causes.push(Cause::not_found(format!("{path}.name"), &name.into()));
        }
        let target = text(mount, "/mountPath");
        if target.is_empty() {
            causes.push(Cause::required(format!("{path}.mountPath"), ""));
        } else if !paths.insert(target) {
            causes.push(Cause::invalid(format!("{path}.mountPath"), &target.into(), "must be unique"));
        }
        if text(mount, "/subPath").split('/').any(|part| part == "..") {
            causes.push(Cause::invalid(
                format!("{path}.subPath"),
                &text(mount, "/subPath").into(),
                "must not contain '..'",
            ));
        }
    }
}

fn probes(path: &str, container: &Value, causes: &mut Vec<Cause>) {
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get(kind).filter(|p| p.is_object()) else { continue };
        let path = format!("{path}.{kind}");
        let handlers =
            ["exec", "httpGet", "tcpSocket", "grpc"].iter().filter(|h| probe.get(**h).is_some()).count();
        match handlers {
            0 => causes.push(Cause::required(path.clone(), "must specify a handler type")),
            1 => {}
            _ => causes.push(Cause::forbidden(path.clone(), "may not specify more than 1 handler type")),
        }
        for field in
            ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            super::rules::non_negative(&format!("{path}.{field}"), probe.get(field), causes);
        }
        if kind != "readinessProbe" && probe.get("successThreshold").is_some_and(|n| n.as_i64() != Some(1)) {
            causes.push(Cause::invalid(
                format!("{path}.successThreshold"),
                &probe["successThreshold"],
                "must be 1",
            ));
        }
    }
}
