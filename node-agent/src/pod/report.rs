//! Pods' statuses on their way to the API: the newest of each pod, in batches, again until it is written.
//!
//! Only fields the agent owns are patched, and only those that changed since the last write, so others' fields
//! survive. A status that is superseded before it was sent is never sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use api::{
    Reason,
    objects::{PatchType, Target, Write},
};
use client::typed::resource_of;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{conditions, spec};
use crate::limits;

/// Fields of the status the agent writes as a whole.
const FIELDS: [&str; 10] = [
    "phase",
    "reason",
    "message",
    "hostIP",
    "podIP",
    "startTime",
    "initContainerStatuses",
    "containerStatuses",
    "qosClass",
    "observedGeneration",
];
/// Lists that the API merges by key, so that what is gone has to be said.
const ADDRESSES: [&str; 2] = ["hostIPs", "podIPs"];

/// Hands statuses over. Cheap to clone.
#[derive(Clone, Default)]
pub struct Handle {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    pods: Mutex<BTreeMap<String, Entry>>,
    work: Notify,
    written: Notify,
}

struct Entry {
    target: Target,
    written: Value,
    desired: Value,
}

impl Handle {
    /// Reports a pod's status. What the API has according to `pod` counts as written when the pod is new here.
    pub fn report(&self, pod: &Pod, status: &PodStatus) {
        let desired = encode(status);
        let mut pods = self.shared.pods.lock();
        let entry = pods.entry(spec::uid(pod).to_owned()).or_insert_with(|| Entry {
            target: target(pod),
            written: encode(spec::status(pod)),
            desired: Value::Null,
        });
        if entry.desired != desired {
            entry.desired = desired;
            self.shared.work.notify_one();
        }
    }

    /// The API has another status than was written; compare anew.
    pub fn observed(&self, pod: &Pod) {
        let mut pods = self.shared.pods.lock();
        if let Some(entry) = pods.get_mut(spec::uid(pod))
            && entry.written == entry.desired
        {
            let present = encode(spec::status(pod));
            if diff(&present, &entry.desired).is_some() {
                entry.written = present;
                self.shared.work.notify_one();
            }
        }
    }

    /// Forgets a pod.
    pub fn forget(&self, uid: &str) {
        self.shared.pods.lock().remove(uid);
        self.shared.written.notify_waiters();
    }

    /// Waits until the newest status of a pod is written, or the pod is forgotten.
    pub async fn flushed(&self, uid: &str) {
        loop {
            let written = self.shared.written.notified();
            tokio::pin!(written);
            written.as_mut().enable();
            let done =
                self.shared.pods.lock().get(uid).is_none_or(|e| diff(&e.written, &e.desired).is_none());
            if done {
                return;
            }
            written.await;
        }
    }

    /// Writes until shutdown.
    pub async fn run(self, client: client::Client, shutdown: CancellationToken) {
        let work = async {
            let mut wait = Duration::ZERO;
            loop {
                if wait.is_zero() {
                    self.shared.work.notified().await;
                } else {
                    tokio::time::sleep(wait).await;
                }
                wait = match self.write_all(&client).await {
                    true => Duration::ZERO,
                    false => (wait * 2).clamp(limits::STATUS_RETRY_MIN, limits::STATUS_RETRY_MAX),
                };
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    /// Writes everything that differs; false if something is left.
    async fn write_all(&self, client: &client::Client) -> bool {
        let mut tried = BTreeSet::new();
        let mut complete = true;
        loop {
            let batch = self.next_batch(&tried);
            if batch.is_empty() {
                return complete;
            }
            tried.extend(batch.iter().map(|(uid, _, _)| uid.clone()));
            let writes = batch.iter().map(|(_, _, write)| write.clone()).collect();
            match client.objects().batch(writes, client.write_options()).await {
                Ok(outcomes) => {
                    for ((uid, desired, _), outcome) in batch.into_iter().zip(outcomes) {
                        complete &= self.settle(&uid, desired, outcome.map(|_| ()));
                    }
                }
                Err(status) => {
                    warn!(error = %status, "pod statuses could not be written");
                    complete = false;
                }
            }
            self.shared.written.notify_waiters();
        }
    }

    fn next_batch(&self, tried: &BTreeSet<String>) -> Vec<(String, Value, Write)> {
        let pods = self.shared.pods.lock();
        let fresh = pods.iter().filter(|(uid, _)| !tried.contains(*uid));
        let write = |(uid, entry): (&String, &Entry)| {
            let status = diff(&entry.written, &entry.desired)?;
            let body = json!({"metadata": {"uid": uid}, "status": status}).to_string();
            let write = Write::Patch(entry.target.clone(), PatchType::Strategic, body.into());
            Some((uid.clone(), entry.desired.clone(), write))
        };
        fresh.filter_map(write).take(limits::STATUS_BATCH_MAX).collect()
    }

    /// Takes note of an outcome; false if the write has to be repeated.
    fn settle(&self, uid: &str, desired: Value, outcome: Result<(), api::Status>) -> bool {
        let mut pods = self.shared.pods.lock();
        match outcome {
            Ok(()) => {
                if let Some(entry) = pods.get_mut(uid) {
                    entry.written = desired;
                }
                true
            }
            // The pod is gone: its status no longer matters.
            Err(status) if status.is(Reason::NotFound) => {
                debug!(uid, error = %status, "a pod's status is no longer wanted");
                pods.remove(uid);
                true
            }
            Err(status) => {
                warn!(uid, error = %status, "a pod's status could not be written");
                false
            }
        }
    }
}

fn target(pod: &Pod) -> Target {
    Target::new(resource_of::<Pod>(), spec::namespace(pod), spec::name(pod)).subresource("status")
}

fn encode(status: &PodStatus) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}

/// What has to be patched to get from one status to another; `None` for nothing.
fn diff(written: &Value, desired: &Value) -> Option<Value> {
    let mut patch = Map::new();
    for field in FIELDS {
        let (before, after) = (value(written, field), value(desired, field));
        if before != after {
            patch.insert(field.to_owned(), after);
        }
    }
    for field in ADDRESSES {
        let (before, after) = (value(written, field), value(desired, field));
        if before != after {
            patch.insert(field.to_owned(), replaced(before, after));
        }
    }
    let conditions = changed_conditions(written, desired);
    if !conditions.is_empty() {
        patch.insert("conditions".into(), Value::Array(conditions));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn value(status: &Value, field: &str) -> Value {
    match status.get(field) {
        Some(Value::Array(items)) if items.is_empty() => Value::Null,
        other => other.cloned().unwrap_or_default(),
    }
}

/// A list that is merged by key, replaced as a whole.
fn replaced(before: Value, after: Value) -> Value {
    match (before, after) {
        (Value::Array(_), Value::Array(items)) => {
            Value::Array(std::iter::once(json!({"$patch": "replace"})).chain(items).collect())
        }
        (_, after) => after,
    }
}

/// The agent's conditions if any of them changed; what a condition no longer has is said with null.
fn changed_conditions(written: &Value, desired: &Value) -> Vec<Value> {
    let of = |status: &Value, r#type: &str| {
        let list = status.get("conditions").and_then(Value::as_array);
        list.and_then(|l| l.iter().find(|c| c["type"] == r#type)).cloned().unwrap_or_default()
    };
    let own = conditions::OWNED.iter().map(|t| (of(written, t), of(desired, t)));
    let pairs: Vec<(Value, Value)> = own.filter(|(_, after)| !after.is_null()).collect();
    let differs = |(before, after): &(Value, Value)| before != after;
    if !pairs.iter().any(differs) {
        return Vec::new();
    }
    let complete = |(before, mut after): (Value, Value)| {
        if let (Some(before), Some(after)) = (before.as_object(), after.as_object_mut()) {
            for key in before.keys().filter(|k| *k != "lastProbeTime") {
                after.entry(key.clone()).or_insert(Value::Null);
            }
        }
        after
    };
    pairs.into_iter().map(complete).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::diff;

    #[test]
    fn only_what_changed_is_patched() {
        let written = json!({"phase": "Pending", "hostIP": "1.1.1.1", "nominatedNodeName": "x",
            "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}, {"type": "Gate"}]});
        assert_eq!(diff(&written, &written), None);
        let mut desired = written.clone();
        desired["phase"] = json!("Running");
        desired["nominatedNodeName"] = Value::Null;
        assert_eq!(diff(&written, &desired), Some(json!({"phase": "Running"})));
        desired["conditions"] = json!([{"type": "Ready", "status": "True"}]);
        let patch = diff(&written, &desired).unwrap();
        assert_eq!(patch["conditions"], json!([{"type": "Ready", "status": "True", "reason": null}]));
    }

    #[test]
    fn addresses_are_replaced_not_merged() {
        let at = |ip: &str| json!({"podIPs": [{"ip": ip}]});
        let patch = diff(&at("10.0.0.1"), &at("10.0.0.2")).unwrap();
        assert_eq!(patch["podIPs"], json!([{"$patch": "replace"}, {"ip": "10.0.0.2"}]));
        assert_eq!(diff(&json!({}), &at("10.0.0.1")).unwrap(), at("10.0.0.1"));
    }
}
