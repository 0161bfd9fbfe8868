//! Bad input gets the errors that users of Kubernetes know.

use api::{Status, objects::Target};
use registry::{FieldValidation, PatchBody, WriteOptions};
use serde_json::{Value, json};

use crate::support::{World, at, config_map, deployment, gvr, pod, world};

#[tokio::test]
async fn unknown_fields_are_refused_warned_of_or_dropped() {
    let world = world().await;
    let mut object = deployment("web");
    object["spec"]["replicaz"] = json!(3);
    let strict = world.create("deployments", object.clone()).await.unwrap_err();
    assert_eq!(strict.code, 400);
    assert_eq!(
        strict.message,
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.replicaz\""
    );
    for (field_validation, warnings) in [(FieldValidation::Warn, 1), (FieldValidation::Ignore, 0)] {
        let options = WriteOptions { dry_run: true, field_validation, ..Default::default() };
        let written = world
            .registry
            .create(&world.caller, &at("deployments", ""), object.clone(), &options)
            .await
            .unwrap();
        assert_eq!(written.warnings.len(), warnings);
        assert!(!std::str::from_utf8(&written.json).unwrap().contains("replicaz"));
    }
}

async fn refused(world: &World, plural: &str, object: Value) -> Status {
    world.create(plural, object).await.unwrap_err()
}

#[tokio::test]
async fn wrong_types_name_the_field() {
    let world = world().await;
    let mut object = deployment("web");
    object["spec"]["replicas"] = json!("three");
    let status = refused(&world, "deployments", object).await;
    assert_eq!(status.code, 400);
    assert!(
        status.message.starts_with("Deployment in version \"v1\" cannot be handled as a Deployment: "),
        "{}",
        status.message
    );
    assert!(
        status.message.contains("spec.replicas") || status.message.contains("replicas"),
        "{}",
        status.message
    );
}

#[tokio::test]
async fn names_must_be_dns_names() {
    let world = world().await;
    let status = refused(&world, "configmaps", config_map("Bad_Name", json!({}))).await;
    assert_eq!(status.code, 422);
    assert_eq!(
        status.message,
        "ConfigMap \"Bad_Name\" is invalid: metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    );
    let status = refused(&world, "configmaps", json!({"metadata": {}})).await;
    assert_eq!(
        status.message,
        "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required"
    );
    let status = refused(&world, "namespaces", json!({"metadata": {"name": "a.b"}})).await;
    assert!(status.message.contains("a lowercase RFC 1123 label must consist of"), "{}", status.message);
    let status = refused(&world, "configmaps", config_map("a", json!({"k": "no spaces"}))).await;
    assert!(
        status.message.contains("a valid label must be an empty string or consist of"),
        "{}",
        status.message
    );
}

#[tokio::test]
async fn bodies_must_agree_with_the_request() {
    let world = world().await;
    let cases = [
        (
            json!({"metadata": {"name": "a", "namespace": "other"}}),
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            json!({"metadata": {"name": "a", "resourceVersion": "5"}}),
            "resourceVersion should not be set on objects to be created",
        ),
        (
            json!({"apiVersion": "v2", "metadata": {"name": "a"}}),
            "the API version in the data (v2) does not match the expected API version (v1)",
        ),
        (json!([]), "the object provided is unrecognized: a JSON object is expected"),
    ];
    for (body, message) in cases {
        let status = refused(&world, "configmaps", body).await;
        assert_eq!((status.code, status.message.as_str()), (400, message));
    }
    world.create("configmaps", config_map("a", json!({}))).await.unwrap();
    let status = world.update_at(&at("configmaps", "a"), config_map("b", json!({}))).await.unwrap_err();
    assert_eq!(status.message, "the name of the object (b) does not match the name on the URL (a)");
    let unknown = Target::new(api::GroupVersionResource::new("", "v1", "widgets"), "d", "x");
    assert_eq!(
        world.registry.get(&unknown, "").await.unwrap_err().message,
        "the server could not find the requested resource"
    );
    let nested = Target::new(gvr("nodes"), "d", "x");
    assert_eq!(world.registry.get(&nested, "").await.unwrap_err().code, 404);
}

#[tokio::test]
async fn pods_say_what_is_missing() {
    let world = world().await;
    let cases: [(Value, &str); 6] = [
        (json!({"containers": []}), "spec.containers: Required value"),
        (json!({"containers": [{"name": "c"}]}), "spec.containers[0].image: Required value"),
        (
            json!({"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]}),
            "spec.containers[1].name: Duplicate value: \"c\"",
        ),
        (
            json!({"containers": [{"name": "c", "image": "i", "imagePullPolicy": "Never!"}]}),
            "spec.containers[0].imagePullPolicy: Unsupported value: \"Never!\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ),
        (
            json!({"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}]}),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
    ];
    for (spec, message) in cases {
        let status = refused(&world, "pods", json!({"metadata": {"name": "p"}, "spec": spec})).await;
        assert_eq!(status.code, 422, "{}", status.message);
        assert!(status.message.contains(message), "{}", status.message);
    }
}

#[tokio::test]
async fn immutable_objects_stay() {
    let world = world().await;
    let mut object = config_map("a", json!({}));
    object["immutable"] = json!(true);
    world.create("configmaps", object).await.unwrap();
    let status =
        world.patch(&at("configmaps", "a"), PatchBody::Merge(json!({"data": {"k": "2"}}))).await.unwrap_err();
    assert_eq!(
        status.message,
        "ConfigMap \"a\" is invalid: data: Forbidden: field is immutable when `immutable` is set"
    );
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"k": "v"}});
    let created = world.create("secrets", secret).await.unwrap();
    assert_eq!((&created["data"]["k"], &created["type"]), (&json!("dg=="), &json!("Opaque")));
    assert!(created.get("stringData").is_none());
    let status = world.patch(&at("secrets", "s"), PatchBody::Merge(json!({"type": "x"}))).await.unwrap_err();
    assert!(status.message.ends_with("field is immutable"), "{}", status.message);
}

#[tokio::test]
async fn an_object_may_not_be_too_large() {
    let world = world().await;
    let big = "x".repeat(1_100_000);
    let status = refused(&world, "configmaps", json!({"metadata": {"name": "a"}, "data": {"k": big}})).await;
    assert_eq!(status.code, 422);
    assert!(status.message.contains("Too long: may not be more than 1048576 bytes"), "{}", status.message);
    let status = refused(&world, "pods", {
        let mut object = pod("p");
        object["spec"]["containers"][0]["args"] = json!(["y".repeat(1_600_000)]);
        object
    })
    .await;
    assert_eq!(status.code, 413, "{}", status.message);
}
