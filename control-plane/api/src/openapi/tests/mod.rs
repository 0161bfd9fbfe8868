//! What kubectl looks for in the documents.

use serde_json::{Value, json};

use super::{ResourceDoc, SubresourceDoc, gnostic, v2, v3};
use crate::GroupVersionKind;
use crate::schema::Table;

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

fn deployments() -> ResourceDoc<'static> {
    let own = |name, verbs: &[&'static str]| SubresourceDoc {
        name,
        api_version: "",
        kind: "",
        verbs: verbs.to_vec(),
    };
    ResourceDoc {
        table: Table::builtin(),
        group: "apps",
        version: "v1",
        kind: "Deployment",
        plural: "deployments",
        namespaced: true,
        verbs: VERBS.to_vec(),
        subresources: vec![
            own("status", &["get", "patch", "update"]),
            SubresourceDoc {
                name: "scale",
                api_version: "autoscaling/v1",
                kind: "Scale",
                verbs: vec!["get", "patch", "update"],
            },
        ],
    }
}

fn every_reference_resolves(document: &Value, prefix: &str, schemas: &Value) {
    match document {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix(prefix)) {
                assert!(schemas.get(name).is_some(), "{name} is missing");
            }
            map.values().for_each(|value| every_reference_resolves(value, prefix, schemas));
        }
        Value::Array(list) => list.iter().for_each(|value| every_reference_resolves(value, prefix, schemas)),
        _ => {}
    }
}

#[test]
fn version_3_has_what_apply_and_validation_look_for() {
    let document = v3::group_document(&[deployments()]);
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let gvk = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    assert_eq!(patch["x-kubernetes-group-version-kind"], gvk);
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some());
    let parameters = patch["parameters"].as_array().expect("parameters");
    assert!(parameters.iter().any(|p| p["name"] == "fieldValidation" && p["in"] == "query"));
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"], json!([gvk]));
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    let reference = "#/components/schemas/io.k8s.api.core.v1.Container";
    assert_eq!(containers["items"], json!({"allOf": [{ "$ref": reference }]}));
    every_reference_resolves(&document, "#/components/schemas/", schemas);
}

#[test]
fn version_3_has_what_explain_looks_for() {
    let document = v3::group_document(&[deployments()]);
    assert!(document["paths"].get("/apis/apps/v1/deployments").is_some());
    let spec = &document["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentSpec"];
    assert!(spec["description"].as_str().is_some_and(|d| d.contains("DeploymentSpec")));
    assert_eq!(spec["required"], json!(["selector", "template"]));
    assert_eq!(spec["properties"]["replicas"]["type"], "integer");
    assert_eq!(spec["properties"]["replicas"]["format"], "int32");
}

#[test]
fn a_subresource_of_another_kind_says_so() {
    let document = v3::group_document(&[deployments()]);
    let scale = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"];
    assert_eq!(scale["x-kubernetes-group-version-kind"]["kind"], "Scale");
    assert!(document["components"]["schemas"].get("io.k8s.api.autoscaling.v1.Scale").is_some());
}

#[test]
fn the_index_names_documents_by_their_content() {
    let bytes = v3::group_document(&[deployments()]).to_string();
    let again = v3::group_document(&[deployments()]).to_string();
    assert_eq!(v3::hash(bytes.as_bytes()), v3::hash(again.as_bytes()));
    let path = v3::path("apps", "v1");
    let index = v3::index([(path.as_str(), "AB")]);
    assert_eq!(index["paths"]["apis/apps/v1"]["serverRelativeURL"], "/openapi/v3/apis/apps/v1?hash=AB");
    assert_eq!(v3::path("", "v1"), "api/v1");
}

#[test]
fn version_2_is_complete_in_itself() {
    let document = v2::document(&[deployments()]);
    every_reference_resolves(&document, "#/definitions/", &document["definitions"]);
    every_reference_resolves(&document, "#/parameters/", &document["parameters"]);
    let quantity = &document["definitions"]["io.k8s.apimachinery.pkg.api.resource.Quantity"];
    assert_eq!(quantity["type"], "string");
}

#[test]
fn the_protobuf_of_version_2_is_well_formed() {
    let document = json!({"swagger": "2.0", "info": {"title": "t", "version": "v"}, "definitions": {"a": {"type": "string"}}});
    let expected: &[u8] = &[
        0x0a, 3, b'2', b'.', b'0', // swagger
        0x12, 6, 0x0a, 1, b't', 0x12, 1, b'v', // info
        0x42, 0, // paths
        0x4a, 18, 0x0a, 16, 0x0a, 1, b'a', 0x12, 11, 0xb2, 1, 8, 0x0a, 6, b's', b't', b'r', b'i', b'n', b'g',
        0x52, 0, // parameters
    ];
    assert_eq!(gnostic::encode(&document), expected);
    assert!(gnostic::encode(&v2::document(&[deployments()])).len() > 10_000);
}

#[test]
fn a_custom_resource_is_described_like_any_other() {
    let gvk = GroupVersionKind::new("example.com", "v1", "Boat");
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "description": "Wanted.", "properties": {"n": {"type": "integer", "minimum": 1}}}}});
    let table = Table::custom(&gvk, &schema).expect("the schema compiles");
    let boats = ResourceDoc {
        table: &table,
        group: "example.com",
        version: "v1",
        kind: "Boat",
        plural: "boats",
        namespaced: false,
        verbs: VERBS.to_vec(),
        subresources: Vec::new(),
    };
    let document = v3::group_document(&[boats]);
    let schemas = &document["components"]["schemas"];
    every_reference_resolves(&document, "#/components/schemas/", schemas);
    let boat = &schemas["com.example.v1.Boat"];
    assert_eq!(boat["properties"]["spec"]["description"], "Wanted.");
    assert_eq!(boat["properties"]["spec"]["properties"]["n"]["minimum"], 1.0);
    assert!(schemas.get("com.example.v1.BoatList").is_some());
    let meta = &schemas["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"];
    assert!(meta["description"].as_str().is_some_and(|d| !d.is_empty()));
    let patch = &document["paths"]["/apis/example.com/v1/boats/{name}"]["patch"]["requestBody"]["content"];
    assert!(patch.get("application/strategic-merge-patch+json").is_none());
}
