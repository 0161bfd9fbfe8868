//! ServiceAccount: every pod runs as an account and is given its token.

use api::Status;
use serde_json::{Value, json};

use super::Request;
use crate::{
    clock, limits,
    storage::codec,
    strategy::rules::{items, text},
    tree::{items_mut, object_at, set, set_default},
};

/// Where containers find their token.
pub(crate) const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Longer than an hour, so that a token that was read once per hour is never too old; upstream's value.
const TOKEN_EXPIRATION_S: i64 = 3607;
const ROOT_CA: &str = "kube-root-ca.crt";
/// Marks pods that mirror a node's static pods.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Sets the account and mounts its token.
pub(super) async fn apply(request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
    if api::meta::annotation(pod, MIRROR).is_some() {
        return Ok(());
    }
    if text(pod, "/spec/serviceAccountName").is_empty() {
        set(pod, &["spec", "serviceAccountName"], "default");
        set(pod, &["spec", "serviceAccount"], "default");
    }
    let name = text(pod, "/spec/serviceAccountName").to_owned();
    let account = account(request, &name).await?;
    if mounts_token(pod, &account) {
        mount_token(pod);
    }
    if items(pod.pointer("/spec/imagePullSecrets")).next().is_none()
        && let Some(secrets) =
            account.get("imagePullSecrets").filter(|s| s.as_array().is_some_and(|s| !s.is_empty()))
    {
        set(pod, &["spec", "imagePullSecrets"], secrets.clone());
    }
    Ok(())
}

async fn account(request: &Request<'_>, name: &str) -> Result<Value, Status> {
    let missing = || {
        let namespace = request.namespace;
        request.forbid(&format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        ))
    };
    let cache = request.core.cache_of("", "v1", "serviceaccounts").ok_or_else(missing)?;
    // The controller that makes the account of a new namespace may be a moment behind.
    for attempt in 0..limits::ACCOUNT_LOOKUPS_MAX {
        let cached = if cache.is_filled() { cache.get(request.namespace, name) } else { None };
        let found = match cached {
            Some(found) => Some(found),
            None => request.core.storage.read(&cache, request.namespace, name).await?,
        };
        if let Some(found) = found {
            return codec::tree(&found.json);
        }
        if attempt + 1 < limits::ACCOUNT_LOOKUPS_MAX {
            tokio::time::sleep(limits::ACCOUNT_LOOKUP_PAUSE).await;
        }
    }
    Err(missing())
}

fn mounts_token(pod: &Value, account: &Value) -> bool {
    let says = |value: Option<&Value>| value.and_then(Value::as_bool);
    says(pod.pointer("/spec/automountServiceAccountToken"))
        .or_else(|| says(account.get("automountServiceAccountToken")))
        .unwrap_or(true)
}

fn mount_token(pod: &mut Value) {
    let existing = items(pod.pointer("/spec/volumes"))
        .filter_map(|volume| volume.get("name")?.as_str())
        .find(|name| name.starts_with(VOLUME_PREFIX))
        .map(str::to_owned);
    let name = existing.clone().unwrap_or_else(|| format!("{VOLUME_PREFIX}{}", clock::name_suffix()));
    let mut used = false;
    for list in ["/spec/initContainers", "/spec/containers"] {
        for container in items_mut(pod, list) {
            if items(container.get("volumeMounts")).any(|mount| text(mount, "/mountPath") == MOUNT_PATH) {
                continue;
            }
            let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH});
            set_default(container, &["volumeMounts"], json!([]));
            if let Some(mounts) = container.get_mut("volumeMounts").and_then(Value::as_array_mut) {
                mounts.push(mount);
                used = true;
            }
        }
    }
    if !used || existing.is_some() {
        return;
    }
    if let Some(spec) = object_at(pod, &["spec"])
        && let Some(volumes) = spec.entry("volumes").or_insert_with(|| json!([])).as_array_mut()
    {
        volumes.push(token_volume(&name));
    }
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_EXPIRATION_S, "path": "token"}},
        {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}
