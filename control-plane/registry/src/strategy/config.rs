//! ConfigMaps and Secrets.

use api::status::Cause;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    Context, Selectable, Strategy,
    rules::{self, entries, immutable, same},
};
use crate::{
    limits,
    tree::{copy, set, set_default, take},
};

/// See the module.
pub(super) struct ConfigMap;
/// See the module.
pub(super) struct Secret;

const SECRET_FIELDS: &[Selectable] = &[Selectable::text("type", &["type"])];
const KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const LOCKED: &str = "field is immutable when `immutable` is set";

impl Strategy for ConfigMap {
    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let (text, binary) = (object.get("data"), object.get("binaryData"));
        keys("data", text, causes);
        keys("binaryData", binary, causes);
        for (key, value) in entries(text) {
            if binary.and_then(|b| b.get(key)).is_some() {
                let why = "duplicate of key present in binaryData";
                causes.push(Cause::invalid(format!("data[{key}]"), value, why));
            }
        }
        size("", [text, binary], causes);
    }

    fn validate_update(&self, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
        locked(old, new, &["data", "binaryData"], causes);
    }
}

impl Strategy for Secret {
    fn selectable(&self) -> &'static [Selectable] {
        SECRET_FIELDS
    }

    fn defaults(&self, object: &mut Value) {
        set_default(object, &["type"], "Opaque");
        // Write-only text becomes data at once, so that it is never stored or shown.
        if let Some(Value::Object(texts)) = take(object, &["stringData"]) {
            for (key, value) in texts {
                if let Value::String(text) = value {
                    set(object, &["data", &key], STANDARD.encode(text));
                }
            }
        }
    }

    fn prepare_update(&self, _: Context<'_>, old: &Value, new: &mut Value) {
        if new.get("type").is_none() {
            copy(old, new, &["type"]);
        }
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let data = object.get("data");
        keys("data", data, causes);
        size("data", [data, None], causes);
        let required: &[&str] = match rules::text(object, "/type") {
            "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
            "kubernetes.io/dockercfg" => &[".dockercfg"],
            "kubernetes.io/tls" => &["tls.crt", "tls.key"],
            "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
            "kubernetes.io/service-account-token" => {
                if api::meta::annotation(object, "kubernetes.io/service-account.name")
                    .is_none_or(str::is_empty)
                {
                    causes.push(Cause::required(
                        "metadata.annotations[kubernetes.io/service-account.name]",
                        "",
                    ));
                }
                &[]
            }
            _ => &[],
        };
        for key in required {
            if data.and_then(|d| d.get(*key)).is_none() {
                causes.push(Cause::required(format!("data[{key}]"), ""));
            }
        }
    }

    fn validate_update(&self, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
        immutable("type", "/type", old, new, causes);
        locked(old, new, &["data"], causes);
    }
}

fn keys(field: &str, data: Option<&Value>, causes: &mut Vec<Cause>) {
    for (key, _) in entries(data) {
        let path = format!("{field}[{key}]");
        let shown = Value::from(key.as_str());
        if key.len() > 253 {
            causes.push(Cause::invalid(path.clone(), &shown, "must be no more than 253 characters"));
        }
        if !key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            || key.is_empty()
        {
            causes.push(Cause::invalid(path, &shown, KEY));
        } else if key == "." || key.starts_with("..") {
            causes.push(Cause::invalid(
                path,
                &shown,
                &format!("must not be '{}'", if key == "." { "." } else { ".." }),
            ));
        }
    }
}

fn size(path: &str, maps: [Option<&Value>; 2], causes: &mut Vec<Cause>) {
    let bytes: usize = maps.into_iter().flat_map(entries).map(|(_, v)| v.as_str().map_or(0, str::len)).sum();
    if bytes > limits::DATA_BYTES_MAX {
        causes.push(Cause::too_long(path, limits::DATA_BYTES_MAX));
    }
}

fn locked(old: &Value, new: &Value, fields: &[&str], causes: &mut Vec<Cause>) {
    if old.get("immutable") != Some(&Value::Bool(true)) {
        return;
    }
    if new.get("immutable") != Some(&Value::Bool(true)) {
        causes.push(Cause::forbidden("immutable", LOCKED));
    }
    for field in fields {
        if !same(old.get(*field), new.get(*field)) {
            causes.push(Cause::forbidden(*field, LOCKED));
        }
    }
}
