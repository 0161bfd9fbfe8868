//! Priority: the class of a pod becomes a number.

use api::Status;
use serde_json::{Value, json};

use super::Request;
use crate::{storage::codec, strategy::rules::text, tree::set};

/// Resolves `priorityClassName`.
pub(super) async fn apply(request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
    let Some(cache) = request.core.cache_of("scheduling.k8s.io", "v1", "priorityclasses") else {
        return Ok(());
    };
    let name = text(pod, "/spec/priorityClassName").to_owned();
    let class = if name.is_empty() {
        let reached = request.core.storage.reached();
        let classes = cache.snapshot(reached);
        let mut default = None;
        for class in classes.iter() {
            let tree = codec::tree(&class.json)?;
            if tree.get("globalDefault") == Some(&json!(true)) {
                default = Some(tree);
            }
        }
        default
    } else {
        let cached = if cache.is_filled() { cache.get("", &name) } else { None };
        let found = match cached {
            Some(found) => Some(found),
            None => request.core.storage.read(&cache, "", &name).await?,
        };
        let missing = || request.forbid(&format!("no PriorityClass with name {name} was found"));
        Some(codec::tree(&found.ok_or_else(missing)?.json)?)
    };
    let value = class.as_ref().and_then(|c| c.get("value")).and_then(Value::as_i64).unwrap_or(0);
    let policy = class.as_ref().map_or("PreemptLowerPriority", |c| match text(c, "/preemptionPolicy") {
        "" => "PreemptLowerPriority",
        policy => policy,
    });
    if pod.pointer("/spec/priority").and_then(Value::as_i64).is_some_and(|given| given != value) {
        let why = "the integer value of priority must not be provided in pod spec; priority admission controller computed";
        return Err(request.forbid(&format!("{why} {value} from the given PriorityClass name")));
    }
    if let Some(class) = &class
        && name.is_empty()
    {
        set(pod, &["spec", "priorityClassName"], api::meta::name(class));
    }
    set(pod, &["spec", "priority"], value);
    if text(pod, "/spec/preemptionPolicy").is_empty() {
        set(pod, &["spec", "preemptionPolicy"], policy);
    }
    Ok(())
}
