//! The Kubernetes `Status`: every failure of the API is one of these, whoever answers.
//!
//! Codes, reasons and wording follow k8s.io/apimachinery `pkg/api/errors`, because clients match on them.

use serde::{Deserialize, Serialize};

use crate::resource::GroupResource;

/// Machine-readable reason of a failure. Names are upstream's `StatusReason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are the documentation, and upstream's")]
pub enum Reason {
    Unknown,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    StoreReadError,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
}

impl Reason {
    /// The HTTP status code that goes with the reason.
    pub fn code(self) -> u16 {
        match self {
            Self::Unknown | Self::InternalError | Self::StoreReadError => 500,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Gone | Self::Expired => 410,
            Self::Invalid => 422,
            Self::ServerTimeout => 500,
            Self::Timeout => 504,
            Self::TooManyRequests => 429,
            Self::BadRequest => 400,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::ServiceUnavailable => 503,
        }
    }
}

/// Why one field was refused. Names are upstream's `CauseType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are the documentation, and upstream's")]
pub enum CauseType {
    FieldValueNotFound,
    FieldValueRequired,
    FieldValueDuplicate,
    FieldValueInvalid,
    FieldValueNotSupported,
    FieldValueForbidden,
    FieldValueTooLong,
    FieldValueTooMany,
    FieldValueTypeInvalid,
    InternalError,
    UnexpectedServerResponse,
    FieldManagerConflict,
    ResourceVersionTooLarge,
}

/// One cause of a failure: which field, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// What kind of fault.
    #[serde(rename = "reason")]
    pub kind: CauseType,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Path of the field, such as `spec.containers[0].name`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

impl Cause {
    /// `Required value: detail`.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        Self {
            kind: CauseType::FieldValueRequired,
            message: with_detail("Required value", detail),
            field: field.into(),
        }
    }

    /// `Invalid value: <value>: detail`; the value is shown as upstream shows it (strings quoted).
    pub fn invalid(field: impl Into<String>, value: &serde_json::Value, detail: &str) -> Self {
        let message = with_detail(&format!("Invalid value: {}", shown(value)), detail);
        Self { kind: CauseType::FieldValueInvalid, message, field: field.into() }
    }

    /// `Forbidden: detail`.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self {
            kind: CauseType::FieldValueForbidden,
            message: with_detail("Forbidden", detail),
            field: field.into(),
        }
    }

    /// `Duplicate value: <value>`.
    pub fn duplicate(field: impl Into<String>, value: &serde_json::Value) -> Self {
        let message = format!("Duplicate value: {}", shown(value));
        Self { kind: CauseType::FieldValueDuplicate, message, field: field.into() }
    }

    /// `Not found: <value>`.
    pub fn not_found(field: impl Into<String>, value: &serde_json::Value) -> Self {
        let message = format!("Not found: {}", shown(value));
        Self { kind: CauseType::FieldValueNotFound, message, field: field.into() }
    }

    /// `Unsupported value: <value>: supported values: "A", "B"`.
    pub fn not_supported(field: impl Into<String>, value: &serde_json::Value, supported: &[&str]) -> Self {
        let list = supported.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", ");
        let message = format!("Unsupported value: {}: supported values: {list}", shown(value));
        Self { kind: CauseType::FieldValueNotSupported, message, field: field.into() }
    }

    /// `Too long: may not be more than <max> bytes`.
    pub fn too_long(field: impl Into<String>, max: usize) -> Self {
        let message = format!("Too long: may not be more than {max} bytes");
        Self { kind: CauseType::FieldValueTooLong, message, field: field.into() }
    }

    /// `Too many: <n>: must have at most <max> items`.
    pub fn too_many(field: impl Into<String>, n: usize, max: usize) -> Self {
        let message = format!("Too many: {n}: must have at most {max} items");
        Self { kind: CauseType::FieldValueTooMany, message, field: field.into() }
    }
}

fn with_detail(what: &str, detail: &str) -> String {
    if detail.is_empty() { what.to_owned() } else { format!("{what}: {detail}") }
}

fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(s) => format!("{s:?}"),
        other => other.to_string(),
    }
}

/// What the failure is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Name of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its API group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its resource, or its kind for invalid objects.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its UID.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The faults, field by field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}

/// A failure (or, rarely, a success without an object) as the API reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    kind: String,
    #[serde(rename = "apiVersion")]
    api_version: String,
    #[serde(default)]
    metadata: serde_json::Map<String, serde_json::Value>,
    /// `Success` or `Failure`.
    #[serde(default)]
    pub status: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// For programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Details>>,
    /// HTTP status code.
    #[serde(default)]
    pub code: u16,
}

impl Status {
    /// A failure without details.
    pub fn failure(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            kind: "Status".into(),
            api_version: "v1".into(),
            metadata: serde_json::Map::new(),
            status: "Failure".into(),
            message: message.into(),
            reason: Some(reason),
            details: None,
            code: reason.code(),
        }
    }

    /// A success that has no object to show, such as a finished deletion.
    pub fn success(resource: &GroupResource, name: &str, uid: &str) -> Self {
        let details = Details {
            name: name.into(),
            group: resource.group.clone(),
            kind: resource.resource.clone(),
            uid: uid.into(),
            ..Details::default()
        };
        Self {
            status: "Success".into(),
            reason: None,
            code: 200,
            details: Some(Box::new(details)),
            ..Self::failure(Reason::Unknown, "")
        }
    }

    fn about(mut self, resource: &GroupResource, name: &str) -> Self {
        self.details = Some(Box::new(Details {
            name: name.into(),
            group: resource.group.clone(),
            kind: resource.resource.clone(),
            ..Details::default()
        }));
        self
    }

    /// 404: no such object.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::failure(Reason::NotFound, format!("{resource} {name:?} not found")).about(resource, name)
    }

    /// 404: no such path.
    pub fn no_such_resource() -> Self {
        Self::failure(Reason::NotFound, "the server could not find the requested resource")
    }

    /// 409: the name is taken.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::failure(Reason::AlreadyExists, format!("{resource} {name:?} already exists"))
            .about(resource, name)
    }

    /// 409: somebody was faster, or a precondition failed.
    pub fn conflict(resource: &GroupResource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Self::failure(Reason::Conflict, message).about(resource, name)
    }

    /// 409 with upstream's wording for a stale resource version.
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 403.
    pub fn forbidden(resource: &GroupResource, name: &str, why: &str) -> Self {
        let message = if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} {name:?} is forbidden: {why}")
        };
        Self::failure(Reason::Forbidden, message).about(resource, name)
    }

    /// 422 with one cause per faulty field. `kind` is the kind, not the resource, as upstream has it.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let shown: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let list = match shown.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut status = Self::failure(Reason::Invalid, format!("{qualified} {name:?} is invalid: {list}"));
        status.details = Some(Box::new(Details {
            name: name.into(),
            group: group.into(),
            kind: kind.into(),
            causes,
            ..Details::default()
        }));
        status
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(Reason::BadRequest, message)
    }

    /// 405.
    pub fn method_not_allowed(resource: &GroupResource, verb: &str) -> Self {
        let message = format!("{verb} is not supported on resources of kind {:?}", resource.to_string());
        Self::failure(Reason::MethodNotAllowed, message).about(resource, "")
    }

    /// 410: the resource version or continue token is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(Reason::Expired, message)
    }

    /// 500.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self::failure(Reason::InternalError, format!("Internal error occurred: {message}"))
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::failure(Reason::ServiceUnavailable, message)
    }

    /// 504: gave up waiting; a write may have happened.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::failure(Reason::Timeout, message)
    }

    /// 429 with a hint when to come back.
    pub fn too_many_requests(message: impl Into<String>, retry_after_s: u32) -> Self {
        let mut status = Self::failure(Reason::TooManyRequests, message);
        status.details =
            Some(Box::new(Details { retry_after_seconds: Some(retry_after_s), ..Details::default() }));
        status
    }

    /// Whether the reason is this one.
    pub fn is(&self, reason: Reason) -> bool {
        self.reason == Some(reason)
    }
}
