//! What can go wrong between a plugin and the API, said with what we were doing and to what.

use api::{Reason, Status};

/// A failed call of [`crate::typed::Client`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API refused or could not be reached.
    #[error("{doing} {what}")]
    Api {
        /// The verb.
        doing: &'static str,
        /// Resource, namespace and name.
        what: String,
        /// What the API said.
        #[source]
        source: Box<Status>,
    },
    /// An object does not have the shape its type promises.
    #[error("{doing} {what}")]
    Shape {
        /// Encode or decode.
        doing: &'static str,
        /// Resource, namespace and name as far as known.
        what: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// A failure of our own making that a reconcile wants to report.
    pub fn internal(doing: &'static str, what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Api { doing, what: what.into(), source: Box::new(Status::internal(why)) }
    }

    /// Whether the API gave this reason.
    pub fn is(&self, reason: Reason) -> bool {
        self.status().is_some_and(|s| s.is(reason))
    }

    /// There is no such object.
    pub fn is_not_found(&self) -> bool {
        self.is(Reason::NotFound)
    }

    /// Somebody was faster; read again.
    pub fn is_conflict(&self) -> bool {
        self.is(Reason::Conflict)
    }

    /// The name is taken.
    pub fn is_already_exists(&self) -> bool {
        self.is(Reason::AlreadyExists)
    }

    /// Nothing can be created in a namespace that is being deleted.
    pub fn is_namespace_terminating(&self) -> bool {
        self.status().is_some_and(|s| {
            s.is(Reason::Forbidden) && s.message.contains("because it is being terminated")
                || s.is(Reason::NotFound) && s.details.as_ref().is_some_and(|d| d.kind == "namespaces")
        })
    }

    /// What the API said, unless the object was malformed.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Api { source, .. } => Some(source),
            Self::Shape { .. } => None,
        }
    }
}

/// An error and its causes in one line, for logs and events.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        line.push_str(": ");
        line.push_str(&next.to_string());
        cause = next.source();
    }
    line
}
