//! Which objects a list or a watch is about: namespace, labels, fields.

use api::{
    Status,
    selector::{FieldSelector, LabelSelector},
};

use crate::{
    Resource,
    contract::{Encoded, EventKind},
    strategy::Selectable,
};

use super::history::Change;

/// A parsed selection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) namespace: String,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    /// Parses the selectors of a request; unknown fields are refused as upstream refuses them.
    pub(crate) fn parse(row: &Resource, namespace: &str, labels: &str, fields: &str) -> Result<Self, Status> {
        let labels = LabelSelector::parse(labels).map_err(|why| Status::bad_request(why.to_string()))?;
        let fields = FieldSelector::parse(fields).map_err(|why| Status::bad_request(why.to_string()))?;
        let selectable: &[Selectable] = row.strategy.selectable();
        for term in fields.terms() {
            let known = matches!(term.field.as_str(), "metadata.name" | "metadata.namespace")
                || selectable.iter().any(|s| s.name == term.field);
            if !known {
                let message = match row.group.is_empty() {
                    true => format!("field label not supported: {}", term.field),
                    false => format!(
                        "{:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                        term.field
                    ),
                };
                return Err(Status::bad_request(message));
            }
        }
        Ok(Self { namespace: namespace.to_owned(), labels, fields })
    }

    /// Whether everything in the namespace matches.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The value that a field must have, when the selection says so.
    pub(crate) fn required(&self, field: &str) -> Option<&str> {
        self.fields.required(field)
    }

    /// Whether an object is selected.
    pub(crate) fn matches(&self, object: &Encoded) -> bool {
        (self.namespace.is_empty() || self.namespace == object.namespace)
            && self.labels.matches(&object.labels)
            && (self.fields.is_empty() || self.fields.matches_with(|field| field_value(object, field)))
    }

    /// What a change looks like through the selection; `None` when nothing of it shows.
    pub(crate) fn event(&self, change: &Change) -> Option<EventKind> {
        let before = change.before.as_ref().is_some_and(|object| self.matches(object));
        let after = !change.deleted && self.matches(&change.object);
        match (before, after) {
            (false, true) => Some(EventKind::Added),
            (true, true) => Some(EventKind::Modified),
            (true, false) => Some(EventKind::Deleted),
            (false, false) => None,
        }
    }
}

fn field_value<'a>(object: &'a Encoded, field: &str) -> &'a str {
    match field {
        "metadata.name" => &object.name,
        "metadata.namespace" => &object.namespace,
        other => object.fields.iter().find(|(name, _)| *name == other).map_or("", |(_, value)| value),
    }
}
