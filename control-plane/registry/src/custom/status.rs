//! What the status of a definition should say.

use serde_json::{Value, json};

use super::rows::words;
use crate::{
    strategy::rules::{items, text},
    tree::set,
};

/// What came of a definition.
pub(super) enum Outcome {
    /// It is served.
    Served,
    /// Another holds one of its names.
    NameTaken(String),
    /// A schema does not compile.
    Refused(String),
}

/// The definition with the status it should have.
pub(super) fn with_status(definition: &Value, outcome: &Outcome, now: &str) -> Value {
    let mut new = definition.clone();
    let (accepted, established) = match outcome {
        Outcome::Served => (
            ["True", "NoConflicts", "no conflicts found"].map(str::to_owned),
            ["True", "InitialNamesAccepted", "the initial names have been accepted"].map(str::to_owned),
        ),
        Outcome::NameTaken(name) => (
            ["False".into(), "NameConflict".into(), format!("{name:?} is already in use")],
            ["False", "NotAccepted", "not all names are accepted"].map(str::to_owned),
        ),
        Outcome::Refused(why) => (
            ["True", "NoConflicts", "no conflicts found"].map(str::to_owned),
            ["False".into(), "InvalidSchema".into(), why.clone()],
        ),
    };
    let mut conditions: Vec<Value> = items(definition.pointer("/status/conditions"))
        .filter(|c| !matches!(text(c, "/type"), "NamesAccepted" | "Established"))
        .cloned()
        .collect();
    conditions.push(condition(definition, "NamesAccepted", &accepted, now));
    conditions.push(condition(definition, "Established", &established, now));
    set(&mut new, &["status", "conditions"], conditions);
    if !matches!(outcome, Outcome::NameTaken(_)) {
        set(&mut new, &["status", "acceptedNames"], definition["spec"]["names"].clone());
    }
    let mut stored = words(definition.pointer("/status/storedVersions"));
    let current = items(definition.pointer("/spec/versions")).find(|v| v["storage"] == true);
    if let Some(name) = current.map(|v| text(v, "/name")).filter(|name| !stored.iter().any(|s| s == name)) {
        stored.push(name.to_owned());
    }
    set(&mut new, &["status", "storedVersions"], stored);
    new
}

/// A condition; the time of its last transition stays while its status does.
fn condition(definition: &Value, kind: &str, [status, reason, message]: &[String; 3], now: &str) -> Value {
    let before = items(definition.pointer("/status/conditions")).find(|c| text(c, "/type") == kind);
    let since =
        before.filter(|c| text(c, "/status") == status).map_or(now, |c| text(c, "/lastTransitionTime"));
    json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
}
