use serde_json::json;

use super::*;
use crate::resource::GroupVersionKind;

const NOW: &str = "2026-01-01T00:00:00Z";

fn deployment() -> (&'static Table, TypeId) {
    let table = Table::builtin();
    (table, table.kind(&GroupVersionKind::new("apps", "v1", "Deployment")).unwrap())
}

fn by(name: &str) -> Manager<'_> {
    Manager { name, api_version: "apps/v1", subresource: "", time: NOW }
}

fn applied(live: Option<&Value>, config: Value, name: &str, force: bool) -> Result<Value, Status> {
    let (table, ty) = deployment();
    apply(table, ty, live, &config, &by(name), force)
}

fn config(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec})
}

fn owned(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    entries.iter().find(|e| e["manager"] == manager).map_or(Value::Null, |e| e["fieldsV1"].clone())
}

#[test]
fn an_applier_owns_what_it_names() {
    let object =
        applied(None, config(json!({"replicas": 3, "selector": {"matchLabels": {"a": "b"}}})), "me", false)
            .unwrap();
    // A selector is atomic: one field.
    assert_eq!(owned(&object, "me"), json!({"f:spec": {"f:replicas": {}, "f:selector": {}}}));
    assert_eq!(object["metadata"]["managedFields"][0]["operation"], "Apply");
}

#[test]
fn what_is_no_longer_named_is_removed_unless_somebody_else_owns_it() {
    let containers = |names: &[&str]| {
        let list: Vec<Value> = names.iter().map(|n| json!({"name": n, "image": "x"})).collect();
        config(json!({"template": {"spec": {"containers": list}}}))
    };
    let first = applied(None, containers(&["a", "b"]), "me", false).unwrap();
    let shared = applied(Some(&first), containers(&["b"]), "you", false).unwrap();
    let second = applied(Some(&shared), containers(&[]), "me", false).unwrap();
    assert_eq!(second["spec"]["template"]["spec"]["containers"], json!([{"name": "b", "image": "x"}]));
}

#[test]
fn changing_anothers_field_is_a_conflict_until_forced() {
    let live = applied(None, config(json!({"replicas": 3})), "me", false).unwrap();
    let status = applied(Some(&live), config(json!({"replicas": 5})), "you", false).unwrap_err();
    assert_eq!((status.code, status.reason), (409, Some(Reason::Conflict)));
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"me\": .spec.replicas");
    let causes = &status.details.unwrap().causes;
    assert_eq!(
        (causes[0].kind, causes[0].field.as_str()),
        (CauseType::FieldManagerConflict, ".spec.replicas")
    );

    let forced = applied(Some(&live), config(json!({"replicas": 5})), "you", true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 5);
    assert_eq!(owned(&forced, "me"), Value::Null);
    assert_eq!(owned(&forced, "you"), json!({"f:spec": {"f:replicas": {}}}));
}

#[test]
fn the_same_value_is_shared_without_conflict() {
    let live = applied(None, config(json!({"replicas": 3})), "me", false).unwrap();
    let both = applied(Some(&live), config(json!({"replicas": 3})), "you", false).unwrap();
    assert_eq!(owned(&both, "me"), owned(&both, "you"));
}

#[test]
fn an_update_takes_over_what_it_changes() {
    let (table, ty) = deployment();
    let live = applied(None, config(json!({"replicas": 3, "paused": true})), "me", false).unwrap();
    let mut new = live.clone();
    new["spec"]["replicas"] = json!(7);
    new["metadata"]["labels"] = json!({"x": "y"});
    track(table, ty, Some(&live), &mut new, &by("scaler")).unwrap();
    assert_eq!(owned(&new, "me"), json!({"f:spec": {"f:paused": {}}}));
    assert_eq!(
        owned(&new, "scaler"),
        json!({"f:metadata": {"f:labels": {".": {}, "f:x": {}}}, "f:spec": {"f:replicas": {}}})
    );
    let status = applied(Some(&new), config(json!({"replicas": 3})), "me", false).unwrap_err();
    assert!(
        status.message.contains("conflict with \"scaler\" using apps/v1: .spec.replicas"),
        "{}",
        status.message
    );
}

#[test]
fn a_write_that_changes_nothing_changes_no_record() {
    let (table, ty) = deployment();
    let live = applied(None, config(json!({"replicas": 3})), "me", false).unwrap();
    let mut same = live.clone();
    same["metadata"]["resourceVersion"] = json!("77");
    track(table, ty, Some(&live), &mut same, &by("other")).unwrap();
    assert_eq!(same["metadata"]["managedFields"], live["metadata"]["managedFields"]);
    let mut ignorant = live.clone();
    ignorant["metadata"].as_object_mut().unwrap().remove("managedFields");
    track(table, ty, Some(&live), &mut ignorant, &by("other")).unwrap();
    assert_eq!(ignorant["metadata"]["managedFields"], live["metadata"]["managedFields"]);
}

#[test]
fn the_record_survives_being_written_and_read() {
    let live = applied(
        None,
        config(json!({"template": {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]}}})),
        "me",
        false,
    )
    .unwrap();
    let written = owned(&live, "me");
    assert_eq!(Set::read(&written).unwrap().write(), written);
    let ports = &written["f:spec"]["f:template"]["f:spec"]["f:containers"][r#"k:{"name":"a"}"#]["f:ports"];
    assert!(ports.get(r#"k:{"containerPort":80,"protocol":"TCP"}"#).is_some(), "{ports}");
}

#[test]
fn a_configuration_may_not_carry_a_record() {
    let mut config = config(json!({}));
    config["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    assert_eq!(applied(None, config, "me", false).unwrap_err().code, 400);
}
