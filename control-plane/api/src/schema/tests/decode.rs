//! Parsing and checking: the words of errors, unknown fields, canonical form.

use serde_json::{Value, json};

use crate::GroupVersionKind;
use crate::schema::{Table, cannot_be_handled, check, parse_json, strict_error};

fn kind(api_version: &str, kind: &str) -> crate::schema::TypeId {
    let gvk = GroupVersionKind::from_api_version(api_version, kind);
    Table::builtin().kind(&gvk).expect("a built-in kind")
}

fn type_error(api_version: &str, name: &str, mut value: Value) -> String {
    check(Table::builtin(), kind(api_version, name), &mut value, false).expect_err("a type error").message
}

fn canonical(api_version: &str, name: &str, mut value: Value) -> Value {
    check(Table::builtin(), kind(api_version, name), &mut value, true).expect("well typed");
    value
}

#[test]
fn wrong_types_are_named_as_go_names_them() {
    let pod = |spec: Value| type_error("v1", "Pod", json!({ "spec": spec }));
    let cases = [
        (
            pod(json!({"containers": "x"})),
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            pod(json!({"containers": [{"image": 5}]})),
            "json: cannot unmarshal number into Go struct field Container.spec.containers.image of type string",
        ),
        (
            pod(json!({"hostNetwork": "yes"})),
            "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool",
        ),
        (
            pod(json!({"containers": [{"imagePullPolicy": true}]})),
            "json: cannot unmarshal bool into Go struct field Container.spec.containers.imagePullPolicy of type v1.PullPolicy",
        ),
        (
            pod(json!({"nodeSelector": {"a": 1}})),
            "json: cannot unmarshal number into Go struct field PodSpec.spec.nodeSelector of type string",
        ),
        (pod(json!([])), "json: cannot unmarshal array into Go struct field Pod.spec of type v1.PodSpec"),
        (
            type_error("apps/v1", "Deployment", json!({"spec": {"replicas": 1.5}})),
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            type_error("apps/v1", "Deployment", json!({"spec": {"replicas": 3_000_000_000_u32}})),
            "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            type_error("v1", "Service", json!({"spec": {"ports": [{"targetPort": true}]}})),
            "json: cannot unmarshal bool into Go value of type int32",
        ),
        (type_error("v1", "Secret", json!({"data": {"a": "%%"}})), "illegal base64 data at input byte 0"),
    ];
    for (got, expected) in cases {
        assert_eq!(got, expected);
    }
}

#[test]
fn the_sentence_around_an_error_is_upstreams() {
    let status = cannot_be_handled(&GroupVersionKind::new("", "v1", "Pod"), "why");
    assert_eq!(status.message, "Pod in version \"v1\" cannot be handled as a Pod: why");
    assert_eq!(status.code, 400);
}

#[test]
fn unknown_and_duplicate_fields_are_reported_by_path() {
    let text = br#"{"spec": {"replicas": 1, "replicas": 2, "foo": 1, "template": {"spec": {"containers": [{"bar": {}}]}}}}"#;
    let mut decoded = parse_json(text).expect("well formed");
    assert_eq!(decoded.duplicates, ["spec.replicas"]);
    let kept = decoded.value.clone();
    let ty = kind("apps/v1", "Deployment");
    let unknown = check(Table::builtin(), ty, &mut decoded.value, false).expect("well typed");
    assert_eq!(decoded.value, kept, "nothing is dropped unless asked for");
    assert_eq!(
        strict_error(&unknown, &decoded.duplicates).expect("faults"),
        "strict decoding error: duplicate field \"spec.replicas\", unknown field \"spec.foo\", \
         unknown field \"spec.template.spec.containers[0].bar\""
    );
    check(Table::builtin(), ty, &mut decoded.value, true).expect("well typed");
    assert_eq!(
        decoded.value,
        json!({"spec": {"replicas": 2, "template": {"spec": {"containers": [{}]}}}}),
        "pruning drops unknown fields and nothing else"
    );
    assert_eq!(strict_error(&[], &[]), None);
}

#[test]
fn canonical_form_is_what_a_round_trip_through_structs_gives() {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "creationTimestamp": null, "labels": {"empty": null}, "annotations": {}},
        "spec": {
            "hostNetwork": false, "nodeName": "", "terminationGracePeriodSeconds": 0, "volumes": [],
            "automountServiceAccountToken": false, "affinity": {},
            "containers": [{"name": "c", "resources": {"requests": {"cpu": 0.5, "memory": "1024Mi"}}}],
        },
    });
    assert_eq!(
        canonical("v1", "Pod", pod),
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "labels": {"empty": ""}},
            "spec": {
                "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false, "affinity": {},
                "containers": [{"name": "c", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}],
            },
        })
    );
}

#[test]
fn times_are_written_in_utc() {
    let lease = json!({"spec": {"renewTime": "2026-01-02T03:04:05.6+01:00"}});
    let lease = canonical("coordination.k8s.io/v1", "Lease", lease);
    assert_eq!(lease["spec"]["renewTime"], "2026-01-02T02:04:05.600000Z");
    let message = type_error("v1", "Pod", json!({"metadata": {"deletionTimestamp": "soon"}}));
    assert!(message.starts_with("parsing time \"soon\" as \"2006-01-02T15:04:05Z07:00\""), "{message}");
}

#[test]
fn free_form_fields_stay_as_they_are() {
    let revision = json!({"revision": 1, "data": {"a": null, "b": [1, {"c": 0}]}});
    assert_eq!(canonical("apps/v1", "ControllerRevision", revision.clone()), revision);
}

#[test]
fn nesting_is_bounded() {
    let deep = "[".repeat(100_000);
    let error = parse_json(deep.as_bytes()).expect_err("too deep");
    assert!(error.to_string().contains("recursion limit"), "{error}");
    assert!(parse_json(b"{} trailing").is_err());
    assert!(parse_json(b"{\"a\": 1e999}").is_err());
}
