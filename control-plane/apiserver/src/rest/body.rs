//! Bodies of requests: bounded reading, and decoding of JSON and YAML to a tree.

use api::{GroupVersionKind, Reason, Status, protobuf, schema};
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use registry::FieldValidation;
use serde_json::Value;

use crate::limits;

/// Reads a whole body, at most [`limits::BODY_BYTES_MAX`].
pub async fn read(body: Incoming) -> Result<Bytes, Status> {
    match Limited::new(body, limits::BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(Status::bad_request(format!("unable to read the body: {error}"))),
    }
}

fn too_large() -> Status {
    let limit = limits::BODY_BYTES_MAX;
    Status::failure(Reason::RequestEntityTooLarge, format!("Request entity too large: limit is {limit}"))
}

/// The media type of a body, without parameters; empty when the client did not say.
pub fn media(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// A decoded body and what was odd about it.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The tree.
    pub value: Value,
    /// For `Warning` headers.
    pub warnings: Vec<String>,
}

/// Decodes by media type. A protobuf body that does not say its kind is taken as `expected`.
pub fn decode(
    headers: &HeaderMap,
    expected: &GroupVersionKind,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    match media(headers).as_str() {
        "" | "application/json" => json(body, validation),
        "application/yaml" | "application/x-yaml" | "text/yaml" => yaml(body),
        protobuf::MEDIA_TYPE => {
            let value = protobuf::decode(schema::Table::builtin(), expected, body)
                .map_err(|error| invalid(error.to_string()))?;
            Ok(Decoded { value, warnings: Vec::new() })
        }
        _ => Err(unsupported()),
    }
}

/// 415 in upstream's words.
pub fn unsupported() -> Status {
    Status::failure(
        Reason::UnsupportedMediaType,
        "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf",
    )
}

/// Decodes JSON; duplicate keys are met as `validation` says.
pub fn json(body: &[u8], validation: FieldValidation) -> Result<Decoded, Status> {
    let decoded = schema::parse_json(body).map_err(|e| invalid(format!("json parse error: {e}")))?;
    let duplicates = decoded.duplicates.iter().map(|path| format!("duplicate field {path:?}"));
    match validation {
        FieldValidation::Ignore => Ok(Decoded { value: decoded.value, warnings: Vec::new() }),
        FieldValidation::Warn => Ok(Decoded { value: decoded.value, warnings: duplicates.collect() }),
        FieldValidation::Strict if decoded.duplicates.is_empty() => {
            Ok(Decoded { value: decoded.value, warnings: Vec::new() })
        }
        FieldValidation::Strict => {
            let list: Vec<String> = duplicates.collect();
            Err(Status::bad_request(format!("strict decoding error: {}", list.join(", "))))
        }
    }
}

/// Decodes YAML with the scalar rules of kubectl's parser. Duplicate keys are an error in YAML itself.
pub fn yaml(body: &[u8]) -> Result<Decoded, Status> {
    let options = serde_saphyr::options! { strict_booleans: false, legacy_octal_numbers: true };
    let value = serde_saphyr::from_slice_with_options(body, options)
        .map_err(|error| invalid(format!("yaml: {}", first_line(&error.to_string()))))?;
    Ok(Decoded { value, warnings: Vec::new() })
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn invalid(why: String) -> Status {
    Status::bad_request(format!("the object provided is unrecognized (must be of type Object): {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(media: &str, body: &str) -> Result<Value, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, media.parse().unwrap());
        let kind = GroupVersionKind::new("", "v1", "ConfigMap");
        decode(&headers, &kind, body.as_bytes(), FieldValidation::Warn).map(|d| d.value)
    }

    #[test]
    fn json_and_yaml_give_the_same_tree() {
        let expect = json!({"a": {"b": [1, true, "x"]}});
        assert_eq!(with("application/json; charset=utf-8", r#"{"a":{"b":[1,true,"x"]}}"#).unwrap(), expect);
        assert_eq!(with("application/yaml", "a:\n  b: [1, yes, x]\n").unwrap(), expect);
    }

    #[test]
    fn what_cannot_be_decoded_is_a_bad_request() {
        assert_eq!(with("application/json", "{").unwrap_err().code, 400);
        assert_eq!(with("application/yaml", "a: [").unwrap_err().code, 400);
        assert_eq!(with("text/html", "x").unwrap_err().code, 415);
        let deep = "[".repeat(100_000);
        assert_eq!(with("application/json", &deep).unwrap_err().code, 400);
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
        assert_eq!(with("application/yaml", bomb).unwrap_err().code, 400);
    }
}
