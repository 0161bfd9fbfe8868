use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use serde_json::{Value, json};

use super::{Facts, Sources, field::Allocatable, of};
use crate::pod::spec;

struct Fixed;

impl Sources for Fixed {
    fn config_map(&self, name: &str) -> Result<Option<Arc<ConfigMap>>, String> {
        let data = json!({"metadata": {}, "data": {"COLOUR": "blue", "SIZE": "large"}});
        Ok((name == "settings").then(|| Arc::new(serde_json::from_value(data).unwrap())))
    }

    fn secret(&self, name: &str) -> Result<Option<Arc<Secret>>, String> {
        let data = json!({"metadata": {}, "data": {"password": "aHVudGVyMg=="}});
        Ok((name == "login").then(|| Arc::new(serde_json::from_value(data).unwrap())))
    }
}

fn resolve(container: Value) -> Result<Vec<(String, String)>, String> {
    let mut container = container;
    container["name"] = json!("web");
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web-0", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [container]},
    }))
    .unwrap();
    let allocatable = Allocatable { cpu_millis: 4_000, memory_bytes: 8 << 30, disk_bytes: 1 << 40 };
    let facts = Facts {
        pod: &pod,
        pod_ips: &["10.0.0.2".into()],
        host_ips: &["192.0.2.1".into()],
        allocatable: &allocatable,
    };
    let services = BTreeMap::from([("DB_SERVICE_HOST".to_owned(), "10.96.0.7".to_owned())]);
    of(&facts, &spec::regular(&pod)[0], services, &Fixed)
}

fn value(variables: &[(String, String)], name: &str) -> Option<String> {
    variables.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
}

#[test]
fn later_sources_override_earlier_ones_and_references_are_expanded() {
    let variables = resolve(json!({
        "envFrom": [{"prefix": "CFG_", "configMapRef": {"name": "settings"}}],
        "env": [
            {"name": "CFG_SIZE", "value": "small"},
            {"name": "URL", "value": "http://$(DB_SERVICE_HOST)/$(CFG_COLOUR)?$(NONE)&$$(URL)"},
        ],
    }))
    .unwrap();
    assert_eq!(value(&variables, "CFG_SIZE").unwrap(), "small");
    assert_eq!(value(&variables, "URL").unwrap(), "http://10.96.0.7/blue?$(NONE)&$(URL)");
    assert_eq!(value(&variables, "DB_SERVICE_HOST").unwrap(), "10.96.0.7");
}

#[test]
fn variables_come_from_keys_fields_and_resources() {
    let variables = resolve(json!({
        "resources": {"limits": {"memory": "64Mi"}},
        "env": [
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ],
    }))
    .unwrap();
    let expected = [
        ("PASSWORD", "hunter2"),
        ("NAME", "web-0"),
        ("APP", "web"),
        ("NODE", "n1"),
        ("IP", "10.0.0.2"),
        ("MEMORY", "64"),
        ("CPUS", "4"),
    ];
    for (name, text) in expected {
        assert_eq!(value(&variables, name).as_deref(), Some(text), "{name}");
    }
}

#[test]
fn what_is_missing_is_an_error_unless_optional() {
    let missing = |optional: bool| {
        resolve(json!({"env": [{"name": "X", "valueFrom": {
            "configMapKeyRef": {"name": "settings", "key": "NONE", "optional": optional}}}]}))
    };
    assert_eq!(missing(false).unwrap_err(), "couldn't find key NONE in ConfigMap shop/settings");
    assert_eq!(value(&missing(true).unwrap(), "X"), None);
    let whole = resolve(json!({"envFrom": [{"secretRef": {"name": "none"}}]}));
    assert_eq!(whole.unwrap_err(), "secret \"none\" not found");
}
