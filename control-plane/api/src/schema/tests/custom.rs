//! A custom resource's schema does what a built-in one does, and validates.

use serde_json::{Value, json};

use crate::GroupVersionKind;
use crate::schema::{Table, TypeId, apply_defaults, check, validate};

fn table() -> (Table, TypeId) {
    let gvk = GroupVersionKind::new("example.com", "v1", "Boat");
    let schema = json!({
        "type": "object", "description": "A boat.",
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
            "spec": {
                "type": "object", "required": ["name"],
                "properties": {
                    "name": {"type": "string", "maxLength": 5, "pattern": "^[a-z]+$"},
                    "size": {"type": "integer", "default": 3, "minimum": 1},
                    "sail": {"type": "string", "enum": ["square", "gaff"], "nullable": true},
                    "crew": {
                        "type": "array", "maxItems": 2, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                        "items": {"type": "object", "properties": {"id": {"type": "string"}, "age": {"type": "integer", "default": 30}}},
                    },
                    "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "port": {"x-kubernetes-int-or-string": true},
                },
            },
        },
    });
    let table = Table::custom(&gvk, &schema).expect("the schema compiles");
    let id = table.kind(&gvk).expect("its kind is there");
    (table, id)
}

#[test]
fn unknown_fields_are_pruned_and_defaults_set() {
    let (table, ty) = table();
    let mut boat = json!({
        "metadata": {"name": "a", "creationTimestamp": null},
        "spec": {"size": null, "sail": null, "foo": 1, "open": {"x": null}, "crew": [{"id": "a", "b": 0}], "port": "http"},
    });
    let unknown = check(&table, ty, &mut boat, true).expect("well typed");
    let unknown: Vec<&str> = unknown.iter().map(|u| u.path.as_str()).collect();
    assert_eq!(unknown, ["spec.crew[0].b", "spec.foo"]);
    apply_defaults(&table, ty, &mut boat);
    assert_eq!(
        boat,
        json!({
            "metadata": {"name": "a"},
            "spec": {"size": 3, "sail": null, "open": {"x": null}, "crew": [{"id": "a", "age": 30}], "port": "http"},
        })
    );
}

#[test]
fn faults_are_named_with_their_fields() {
    let faults = |spec: Value| {
        let (table, ty) = table();
        let causes = validate(&table, ty, &json!({ "spec": spec }));
        causes.into_iter().map(|c| format!("{}: {}", c.field, c.message)).collect::<Vec<_>>()
    };
    assert_eq!(faults(json!({"name": "kon"})), Vec::<String>::new());
    assert_eq!(faults(json!({})), ["spec.name: Required value"]);
    assert_eq!(
        faults(json!({"name": "K", "size": 0})),
        [
            "spec.name: Invalid value: \"K\": spec.name in body should match '^[a-z]+$'",
            "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
        ]
    );
    assert_eq!(
        faults(json!({"name": 5, "sail": "lug", "port": "http", "crew": [{}, {}, {}]})),
        [
            "spec.crew: Too many: 3: must have at most 2 items",
            "spec.name: Invalid value: \"integer\": spec.name in body must be of type string: \"integer\"",
            "spec.sail: Unsupported value: \"lug\": supported values: \"square\", \"gaff\"",
        ]
    );
}

#[test]
fn metadata_is_that_of_every_object() {
    let (table, ty) = table();
    let mut boat = json!({"metadata": {"labels": 5}});
    let error = check(&table, ty, &mut boat, false).expect_err("labels are a map");
    assert_eq!(
        error.message,
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type map[string]string"
    );
}

#[test]
fn a_schema_that_says_nothing_is_refused() {
    let gvk = GroupVersionKind::new("example.com", "v1", "Boat");
    let error =
        Table::custom(&gvk, &json!({"type": "object", "properties": {"a": {}}})).expect_err("no type");
    assert_eq!(error.to_string(), "properties[a]: type is required");
}
