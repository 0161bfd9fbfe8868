//! Bytes against what the reference implementation writes, and back.

use serde_json::{Value, json};

use super::wire::{Malformed, Reader, Wire, Writer};
use super::{DecodeError, EncodeError, decode, encode, watch_event};
use crate::GroupVersionKind;
use crate::schema::{Table, check};

fn gvk(api_version: &str, kind: &str) -> GroupVersionKind {
    GroupVersionKind::from_api_version(api_version, kind)
}

/// Encodes, decodes and canonicalizes; gives what came back.
fn round_trip(object: &Value) -> Value {
    let table = Table::builtin();
    let text = |key: &str| object[key].as_str().expect("a kind").to_owned();
    let gvk = gvk(&text("apiVersion"), &text("kind"));
    let bytes = encode(table, &gvk, object).expect("a built-in kind");
    let mut back = decode(table, &gvk, &bytes).expect("what we wrote");
    assert_eq!(encode(table, &gvk, &back).expect("a built-in kind"), bytes, "encoding is stable");
    let ty = table.kind(&gvk).expect("a built-in kind");
    check(table, ty, &mut back, true).expect("well typed");
    back
}

#[test]
fn a_config_map_is_written_byte_for_byte() {
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let bytes = encode(Table::builtin(), &gvk("v1", "ConfigMap"), &object).expect("a built-in kind");
    let meta: &[u8] = &[
        0x0a, 1, b'a', // name
        0x12, 0, 0x1a, 0, 0x22, 0, 0x2a, 0, 0x32,
        0, // generateName, namespace, selfLink, uid, resourceVersion
        0x38, 0, // generation
        0x42, 0, // creationTimestamp
    ];
    let mut raw = Writer::default();
    raw.bytes(1, meta);
    raw.bytes(2, &[0x0a, 1, b'k', 0x12, 1, b'v']);
    let mut unknown = Writer::default();
    unknown.bytes(1, b"\x0a\x02v1\x12\x09ConfigMap");
    unknown.bytes(2, &raw.finish());
    unknown.bytes(3, b"");
    unknown.bytes(4, b"");
    assert_eq!(bytes, [b"k8s\0", unknown.finish().as_slice()].concat());
}

#[test]
fn objects_come_back_as_they_went() {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "p", "labels": {"a": "b"}, "creationTimestamp": "2026-01-02T03:04:05Z", "generation": 7,
            "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}, "time": "2026-01-02T03:04:05Z"}],
        },
        "spec": {
            "terminationGracePeriodSeconds": 0, "hostNetwork": true, "automountServiceAccountToken": false,
            "securityContext": {"supplementalGroups": [1, 2, -3], "runAsUser": 0},
            "containers": [{
                "name": "c", "args": ["", "x"],
                "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}},
                "livenessProbe": {"httpGet": {"port": "http", "path": "/"}, "periodSeconds": 3},
                "readinessProbe": {"tcpSocket": {"port": 80}},
            }],
            "volumes": [
                {"name": "v", "configMap": {"name": "m", "defaultMode": 420}},
                {"name": "e", "emptyDir": {}},
            ],
        },
        "status": {},
    });
    let expect = pod.clone();
    let mut back = round_trip(&pod);
    // A plain struct that is empty is there in the bytes, and so in what comes back.
    back["spec"]["containers"][0].as_object_mut().expect("an object").retain(|_, v| *v != json!({}));
    assert_eq!(back, expect);
}

#[test]
fn bytes_micro_times_and_raw_json_come_back() {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "AAEC", "e": ""}});
    assert_eq!(round_trip(&secret), secret);
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"holderIdentity": "", "renewTime": "2026-01-02T03:04:05.000006Z", "leaseDurationSeconds": 40},
    });
    assert_eq!(round_trip(&lease), lease);
    let revision = json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "r"}, "revision": 3,
        "data": {"spec": {"x": null}},
    });
    assert_eq!(round_trip(&revision), revision);
}

#[test]
fn schemas_with_unions_come_back() {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "b.example.com"},
        "spec": {
            "group": "example.com", "scope": "Cluster", "names": {"plural": "b", "kind": "B"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "additionalProperties": {"type": "string"},
                "properties": {
                    "a": {"type": "array", "items": {"type": "integer", "minimum": 0.0, "default": 5}},
                    "b": {"type": "object", "additionalProperties": false},
                },
            }}}],
        },
    });
    let back = round_trip(&definition);
    assert_eq!(back["spec"]["versions"], definition["spec"]["versions"]);
}

#[test]
fn lists_inside_maps_come_back() {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
        "spec": {"user": "u", "extra": {"scopes": ["a", "b"]}}, "status": {"allowed": false},
    });
    assert_eq!(round_trip(&review), review);
}

#[test]
fn what_is_not_ours_is_refused() {
    let table = Table::builtin();
    let pod = gvk("v1", "Pod");
    assert_eq!(decode(table, &pod, b"{}"), Err(DecodeError::NoMagic));
    assert_eq!(decode(table, &pod, b"k8s\0\x0a\x7f"), Err(DecodeError::Malformed(Malformed)));
    let boat = gvk("example.com/v1", "Boat");
    assert_eq!(encode(table, &boat, &json!({})), Err(EncodeError::NoForm(boat.clone())));
    assert_eq!(decode(table, &boat, b"k8s\0"), Err(DecodeError::UnknownKind(boat)));
}

#[test]
fn truncation_and_noise_never_panic() {
    let object = json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80, "targetPort": "http"}]}});
    let service = gvk("v1", "Service");
    let bytes = encode(Table::builtin(), &service, &object).expect("a built-in kind");
    for at in 0..bytes.len() {
        let _outcome = decode(Table::builtin(), &service, &bytes[..at]);
        let mut noisy = bytes.clone();
        noisy[at] = noisy[at].wrapping_add(0x35);
        let _outcome = decode(Table::builtin(), &service, &noisy);
    }
}

#[test]
fn numbers_on_the_wire_keep_their_sign() {
    let mut out = Writer::default();
    out.integer(1, -1_i64 as u64);
    let bytes = out.finish();
    assert_eq!(bytes.len(), 11);
    assert_eq!(Reader::new(&bytes).next_field(), Ok(Some((1, Wire::Varint(u64::MAX)))));
    assert_eq!(
        Reader::new(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).next_field(),
        Err(Malformed)
    );
}

#[test]
fn events_are_framed_with_their_length() {
    let frame = watch_event("ADDED", b"k8s\0");
    let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
    assert_eq!(length, frame.len() - 4);
    assert!(frame[4..].starts_with(b"k8s\0"));
}
