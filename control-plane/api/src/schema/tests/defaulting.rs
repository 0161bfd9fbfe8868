//! Defaults, against objects written by hand from what upstream stores.

use serde_json::{Value, json};

use crate::GroupVersionKind;
use crate::schema::{Table, apply_defaults};

fn defaulted(api_version: &str, kind: &str, mut value: Value) -> Value {
    let table = Table::builtin();
    let ty = table.kind(&GroupVersionKind::from_api_version(api_version, kind)).expect("a built-in kind");
    apply_defaults(table, ty, &mut value);
    let once = value.clone();
    apply_defaults(table, ty, &mut value);
    assert_eq!(value, once, "defaulting twice changes nothing");
    value
}

/// Each file is `{"given": object, "expect": object}`.
fn golden(text: &str) {
    let case: Value = serde_json::from_str(text).expect("well-formed golden file");
    let given = case["given"].clone();
    let api_version = given["apiVersion"].as_str().expect("apiVersion").to_owned();
    let kind = given["kind"].as_str().expect("kind").to_owned();
    let got = defaulted(&api_version, &kind, given);
    let shown = serde_json::to_string_pretty(&got).expect("JSON");
    assert_eq!(got, case["expect"], "got {shown}");
}

#[test]
fn a_deployment_is_completed_as_upstream_does() {
    golden(include_str!("golden/deployment.json"));
}

#[test]
fn a_pod_is_completed_as_upstream_does() {
    golden(include_str!("golden/pod.json"));
}

#[test]
fn a_service_is_completed_as_upstream_does() {
    golden(include_str!("golden/service.json"));
}

#[test]
fn a_recreate_strategy_gets_no_rolling_update() {
    let got = defaulted("apps/v1", "Deployment", json!({"spec": {"strategy": {"type": "Recreate"}}}));
    assert_eq!(got["spec"]["strategy"], json!({"type": "Recreate"}));
}

#[test]
fn a_stateful_set_with_an_explicit_type_gets_no_partition() {
    let of = |strategy: Value| {
        defaulted("apps/v1", "StatefulSet", json!({"spec": {"updateStrategy": strategy}}))["spec"]["updateStrategy"].clone()
    };
    assert_eq!(of(json!({})), json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
    assert_eq!(of(json!({"type": "RollingUpdate"})), json!({"type": "RollingUpdate"}));
}

#[test]
fn a_job_is_completed_but_not_the_template_of_a_cron_job() {
    let spec = |given: Value| defaulted("batch/v1", "Job", json!({"spec": given}))["spec"].clone();
    let both = spec(json!({}));
    assert_eq!((&both["completions"], &both["parallelism"]), (&json!(1), &json!(1)));
    let queue = spec(json!({"parallelism": 3, "backoffLimitPerIndex": 1}));
    assert_eq!((&queue["completions"], &queue["backoffLimit"]), (&Value::Null, &json!(i32::MAX)));
    let cron = defaulted("batch/v1", "CronJob", json!({"spec": {"jobTemplate": {"spec": {}}}}));
    assert_eq!(cron["spec"]["jobTemplate"]["spec"].get("backoffLimit"), None);
    assert_eq!(cron["spec"]["concurrencyPolicy"], "Allow");
}

#[test]
fn rules_look_at_what_was_given() {
    let policy = |spec: Value| {
        defaulted("networking.k8s.io/v1", "NetworkPolicy", json!({"spec": spec}))["spec"]["policyTypes"]
            .clone()
    };
    assert_eq!(policy(json!({})), json!(["Ingress"]));
    assert_eq!(policy(json!({"egress": [{}]})), json!(["Ingress", "Egress"]));
    let subject = |kind: &str| {
        let given = json!({"subjects": [{"kind": kind, "name": "x"}]});
        defaulted("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", given)["subjects"][0]
            .get("apiGroup")
            .cloned()
    };
    assert_eq!(subject("User"), Some(json!("rbac.authorization.k8s.io")));
    assert_eq!(subject("ServiceAccount"), None);
}
