//! The stored form of an object.
//!
//! | offset | bytes | meaning |
//! |---|---|---|
//! | 0 | 4 | `KTJ1`: JSON, first version of this layout |
//! | 4 | 4 | splice offset within the text, little endian |
//! | 8 | rest | the object as canonical JSON, without `metadata.resourceVersion` |
//!
//! Canonical: `apiVersion`, `kind` and `metadata` first, everything else sorted, no white space. The splice
//! offset points behind the brace that opens `metadata`; that is where readers put the resource version.

use std::sync::Arc;

use api::Status;
use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::project;
use crate::{contract::Encoded, limits, strategy::Selectable};

const MAGIC: &[u8; 4] = b"KTJ1";
const HEADER: usize = 8;
const RESOURCE_VERSION: &str = "resourceVersion";
const SPLICE_AFTER: &[u8] = b"\"metadata\":{";

/// A stored value that we did not write.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The header is not ours.
    #[error("unknown layout of a stored object")]
    Layout,
    /// The text is not the JSON of an object.
    #[error("stored object: {0}")]
    Json(#[from] serde_json::Error),
}

/// Metadata without the resource version.
struct Metadata<'a>(&'a Map<String, Value>);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in self.0.iter().filter(|(key, _)| *key != RESOURCE_VERSION) {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Encodes an object for the store.
pub(crate) fn encode(object: &Value) -> Result<Bytes, Status> {
    let fields = object.as_object().ok_or_else(|| Status::internal("an object must be a JSON object"))?;
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[0; 4]);
    let mut splice = 0;
    out.push(b'{');
    for key in ["apiVersion", "kind"] {
        if let Some(value) = fields.get(key) {
            entry(&mut out, key, value)?;
        }
    }
    if let Some(Value::Object(metadata)) = fields.get("metadata") {
        separator(&mut out);
        out.extend_from_slice(b"\"metadata\":");
        splice = out.len() + 1 - HEADER;
        serde_json::to_writer(&mut out, &Metadata(metadata)).map_err(Status::internal)?;
    }
    for (key, value) in
        fields.iter().filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata"))
    {
        entry(&mut out, key, value)?;
    }
    out.push(b'}');
    if splice == 0 {
        return Err(Status::internal("an object must have metadata"));
    }
    if out.len() > limits::OBJECT_BYTES_MAX {
        let message = format!(
            "Request is too large: the object has {} bytes, limit is {}",
            out.len(),
            limits::OBJECT_BYTES_MAX
        );
        return Err(Status::failure(api::Reason::RequestEntityTooLarge, message));
    }
    let offset = u32::try_from(splice).map_err(Status::internal)?;
    out[4..HEADER].copy_from_slice(&offset.to_le_bytes());
    Ok(out.into())
}

fn separator(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

fn entry(out: &mut Vec<u8>, key: &str, value: &Value) -> Result<(), Status> {
    separator(out);
    serde_json::to_writer(&mut *out, key).map_err(Status::internal)?;
    out.push(b':');
    serde_json::to_writer(&mut *out, value).map_err(Status::internal)
}

/// The wire form of a stored value: the text with its resource version.
pub(crate) fn wire(stored: &[u8], revision: i64) -> Result<Bytes, Error> {
    let (header, text) = stored.split_at_checked(HEADER).ok_or(Error::Layout)?;
    let (magic, offset) = header.split_at(4);
    let offset = u32::from_le_bytes(offset.try_into().map_err(|_| Error::Layout)?) as usize;
    if magic != MAGIC || offset == 0 || offset >= text.len() {
        return Err(Error::Layout);
    }
    // A dry run that would create: there is no resource version yet.
    if revision == 0 {
        return Ok(Bytes::copy_from_slice(text));
    }
    Ok(splice(&text[..offset], &text[offset..], revision))
}

fn splice(before: &[u8], after: &[u8], revision: i64) -> Bytes {
    let mut digits = itoa(revision);
    let mut out = Vec::with_capacity(before.len() + after.len() + digits.len() + 22);
    out.extend_from_slice(before);
    out.extend_from_slice(b"\"resourceVersion\":\"");
    out.append(&mut digits);
    out.push(b'"');
    if after.first() != Some(&b'}') {
        out.push(b',');
    }
    out.extend_from_slice(after);
    out.into()
}

fn itoa(revision: i64) -> Vec<u8> {
    revision.to_string().into_bytes()
}

/// Decodes a stored value: its wire form, and the facts that many readers ask for.
pub(crate) fn decode(
    stored: &[u8],
    revision: i64,
    selectable: &'static [Selectable],
) -> Result<Arc<Encoded>, Error> {
    with_facts(wire(stored, revision)?, revision, selectable)
}

/// As [`decode`], of bytes that already have the wire form.
pub(crate) fn with_facts(
    json: Bytes,
    revision: i64,
    selectable: &'static [Selectable],
) -> Result<Arc<Encoded>, Error> {
    let facts = project::facts(&json, selectable)?;
    Ok(Arc::new(Encoded {
        json,
        revision,
        namespace: facts.namespace,
        name: facts.name,
        uid: facts.uid,
        labels: facts.labels,
        fields: facts.fields,
    }))
}

/// The same object under another resource version: what a deletion event carries.
pub(crate) fn at_revision(object: &Encoded, revision: i64) -> Arc<Encoded> {
    let json = respliced(&object.json, revision).unwrap_or_else(|| object.json.clone());
    Arc::new(Encoded {
        json,
        revision,
        namespace: object.namespace.clone(),
        name: object.name.clone(),
        uid: object.uid.clone(),
        labels: object.labels.clone(),
        fields: object.fields.clone(),
    })
}

/// The wire form begins with `apiVersion` and `kind`, so the first `"metadata":{` is the object's own, and the
/// resource version comes right behind it.
fn respliced(json: &[u8], revision: i64) -> Option<Bytes> {
    let start = json.windows(SPLICE_AFTER.len()).position(|w| w == SPLICE_AFTER)? + SPLICE_AFTER.len();
    let rest = json[start..].strip_prefix(b"\"resourceVersion\":\"")?;
    let end = rest.iter().position(|b| *b == b'"')?;
    let rest = &rest[end + 1..];
    Some(splice(&json[..start], rest.strip_prefix(b",").unwrap_or(rest), revision))
}

/// The wire form of a tree that was never stored: a dry run's, or another version's.
pub(crate) fn unstored(object: &Value) -> Result<Bytes, Status> {
    serde_json::to_vec(object).map(Bytes::from).map_err(Status::internal)
}

/// The tree of a wire form.
pub(crate) fn tree(json: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(json).map_err(Status::internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NODE_NAME: &[Selectable] = &[Selectable::text("spec.nodeName", &["spec", "nodeName"])];

    #[test]
    fn the_resource_version_is_spliced_into_canonical_json() {
        let object = json!({"data": {"b": "1", "a": "\"metadata\":{"}, "kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": "x", "resourceVersion": "stale"}});
        let wire = wire(&encode(&object).unwrap(), 42).unwrap();
        assert_eq!(
            std::str::from_utf8(&wire).unwrap(),
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"42","name":"x"},"data":{"a":"\"metadata\":{","b":"1"}}"#
        );
    }

    #[test]
    fn facts_are_read_once_and_a_deletion_changes_only_the_resource_version() {
        let object = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
            "metadata": {"name": "p", "namespace": "d", "uid": "u", "labels": {"b": "2", "a": "1"}}});
        let encoded = decode(&encode(&object).unwrap(), 7, NODE_NAME).unwrap();
        assert_eq!(
            (encoded.namespace.as_str(), encoded.name.as_str(), encoded.uid.as_str()),
            ("d", "p", "u")
        );
        assert_eq!(encoded.labels, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        assert_eq!(encoded.fields, [("spec.nodeName", "n1".to_owned())]);
        let gone = at_revision(&encoded, 9);
        let mut expected = tree(&encoded.json).unwrap();
        expected["metadata"]["resourceVersion"] = json!("9");
        assert_eq!(tree(&gone.json).unwrap(), expected);
    }

    #[test]
    fn damaged_values_are_refused() {
        for damaged in
            [&b""[..], b"KTJ1", b"KTJ1\x00\x00\x00\x00{}", b"KTJ1\xff\xff\xff\xff{}", b"k8s\0\x01\0\0\0{}"]
        {
            assert!(wire(damaged, 1).is_err(), "{damaged:?}");
        }
    }
}
