//! Events: kept for a while, written in two vocabularies.

use api::status::Cause;
use serde_json::Value;

use super::{Context, Selectable, Strategy, rules::text};
use crate::{
    Options,
    tree::{set_default, take},
};

/// See the module. Stored as `v1`.
pub(super) struct Event;

const FIELDS: &[Selectable] = &[
    Selectable::text("involvedObject.kind", &["involvedObject", "kind"]),
    Selectable::text("involvedObject.namespace", &["involvedObject", "namespace"]),
    Selectable::text("involvedObject.name", &["involvedObject", "name"]),
    Selectable::text("involvedObject.uid", &["involvedObject", "uid"]),
    Selectable::text("involvedObject.apiVersion", &["involvedObject", "apiVersion"]),
    Selectable::text("involvedObject.resourceVersion", &["involvedObject", "resourceVersion"]),
    Selectable::text("involvedObject.fieldPath", &["involvedObject", "fieldPath"]),
    Selectable::text("reason", &["reason"]),
    Selectable::text("reportingComponent", &["reportingComponent"]),
    Selectable::text("source", &["source", "component"]),
    Selectable::text("type", &["type"]),
];

impl Strategy for Event {
    fn selectable(&self) -> &'static [Selectable] {
        FIELDS
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn prepare_create(&self, _: Context<'_>, object: &mut Value) {
        set_default(object, &["reportingComponent"], "");
        set_default(object, &["reportingInstance"], "");
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let (own, about) = (api::meta::namespace(object), text(object, "/involvedObject/namespace"));
        let fits =
            if about.is_empty() { matches!(own, "default" | "" | "kube-system") } else { own == about };
        if !fits {
            let shown = Value::from(about);
            causes.push(Cause::invalid("involvedObject.namespace", &shown, "does not match event.namespace"));
        }
    }

    fn ttl_s(&self, options: &Options) -> Option<i64> {
        Some(options.event_ttl_s)
    }
}

/// Names of one field in `v1` and in `events.k8s.io/v1`.
const FIELD_NAMES: [(&str, &str); 6] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
];
const COUNT: (&str, &str) = ("count", "deprecatedCount");

/// `v1` to `events.k8s.io/v1`, but for `apiVersion`.
pub(crate) fn to_events(object: &mut Value) {
    for (core, events) in FIELD_NAMES.into_iter().chain([COUNT]) {
        rename(object, core, events);
    }
}

/// `events.k8s.io/v1` to `v1`, but for `apiVersion`.
pub(crate) fn to_core(object: &mut Value) {
    for (core, events) in FIELD_NAMES.into_iter().chain([COUNT]) {
        rename(object, events, core);
    }
}

fn rename(object: &mut Value, from: &str, to: &str) {
    if let Some(value) = take(object, &[from])
        && let Some(fields) = object.as_object_mut()
    {
        fields.insert(to.to_owned(), value);
    }
}
