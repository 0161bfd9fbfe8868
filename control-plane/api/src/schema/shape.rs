//! What one type looks like.

use serde_json::Value;

use super::table::{Doc, TypeId};

/// A named type (an object of the API) or an anonymous one (a list, a map, a scalar).
#[derive(Clone, Debug)]
pub struct Type {
    /// Such as `io.k8s.api.core.v1.PodSpec`; empty for anonymous types.
    pub name: String,
    /// Its documentation, by [`Table::doc`](super::Table::doc).
    pub doc: Doc,
    /// How it is built.
    pub shape: Shape,
    /// Constraints on values, set for custom resources only.
    pub rules: Option<Box<Rules>>,
}

impl Type {
    /// `PodSpec`: the last segment of the name.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or("")
    }

    /// Whether the reference implementation has a struct for it, so that its rules for nulls and zeros hold.
    pub fn is_native(&self) -> bool {
        self.name.starts_with("io.k8s.")
    }

    /// `v1.PodSpec`: the last two segments, as Go's messages name it.
    pub fn go_name(&self) -> &str {
        match self.name.rmatch_indices('.').nth(1) {
            Some((at, _)) => &self.name[at + 1..],
            None => &self.name,
        }
    }
}

/// How a type is built.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A struct.
    Object {
        /// Sorted by name.
        fields: Vec<Field>,
        /// Unknown fields stay (`x-kubernetes-preserve-unknown-fields`).
        preserve_unknown: bool,
        /// Server-side apply replaces it as a whole.
        atomic: bool,
    },
    /// String keys to values of one type.
    Map {
        /// Type of the values.
        value: TypeId,
        /// Server-side apply replaces it as a whole.
        atomic: bool,
    },
    /// A list.
    List {
        /// Type of the items.
        item: TypeId,
        /// How server-side apply identifies items.
        kind: ListKind,
    },
    /// A string.
    String {
        /// Its format, if any.
        format: Option<Format>,
        /// The only values allowed; empty when all are.
        enum_values: Vec<String>,
    },
    /// An integer.
    Integer {
        /// 32 or 64.
        bits: u8,
    },
    /// A floating-point number.
    Number,
    /// True or false.
    Boolean,
    /// An integer or a string (ports, percentages).
    IntOrString,
    /// A resource quantity: a string, or a number that is read as one.
    Quantity,
    /// Base64 text of bytes.
    Bytes,
    /// Any JSON: RawExtension, FieldsV1, JSON and JSONSchemaPropsOr….
    Any,
}

/// Formats of strings that matter to decoding or validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 3339 with seconds (`metav1.Time`).
    Time,
    /// RFC 3339 with microseconds (`metav1.MicroTime`).
    MicroTime,
    /// Any other, by name; used by custom resources.
    Other(String),
}

/// How server-side apply identifies the items of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// As a whole.
    Atomic,
    /// Scalars, by value.
    Set,
    /// Objects, by the values of these keys.
    Map {
        /// Names of the key fields.
        keys: Vec<String>,
    },
}

/// One field of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// JSON name.
    pub name: String,
    /// Its type.
    pub ty: TypeId,
    /// Its documentation, by [`Table::doc`](super::Table::doc).
    pub doc: Doc,
    /// Must be present (OpenAPI's sense).
    pub required: bool,
    /// May be null and stay null (custom resources only).
    pub nullable: bool,
    /// Static default, whatever the other fields are.
    pub default: Option<Value>,
    /// Defaults that depend on other fields or on where the type is used; the first that applies is taken,
    /// before `default`.
    pub rules: Vec<DefaultRule>,
    /// Strategic merge patch.
    pub patch: PatchStrategy,
    /// How the reference implementation's struct holds it; decides what zero values mean.
    pub go: GoField,
    /// Its place in the protobuf encoding: field numbers, from the message of this type inwards (embedded
    /// structs are messages of their own). Empty when it has none.
    pub proto: Vec<u32>,
}

/// A default that depends on something.
#[derive(Clone, Debug, PartialEq)]
pub struct DefaultRule {
    /// What the field becomes.
    pub value: Value,
    /// Applies when this sibling field has one of these values, given or by its own default. The empty string
    /// stands for a field that was not given.
    pub when: Option<(String, Vec<String>)>,
    /// Applies when the type is directly inside this one.
    pub within: Option<TypeId>,
}

/// Strategic-merge-patch markers of a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// Lists merge instead of being replaced.
    pub merge: bool,
    /// Objects are replaced instead of merged.
    pub replace: bool,
    /// `$retainKeys` is honoured.
    pub retain_keys: bool,
    /// The key that identifies list items; `None` for lists of scalars.
    pub merge_key: Option<String>,
}

/// How the reference implementation's struct holds a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoField {
    /// A pointer: zero is different from absent.
    pub pointer: bool,
    /// Dropped from JSON when it is the zero value (a struct never is).
    pub omit_empty: bool,
    /// Like `omit_empty`, and a struct of zero values is dropped too.
    pub omit_zero: bool,
    /// The named type of a scalar, such as `v1.PullPolicy`; empty for plain ones.
    pub named: String,
}

/// Constraints on a value beyond its shape, from a custom resource's schema.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the names are JSON schema's")]
pub struct Rules {
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub exclusive_minimum: bool,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub pattern: Option<regex::Regex>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub unique_items: bool,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    /// Allowed values that are not strings.
    pub enum_values: Vec<Value>,
}

impl Rules {
    /// Whether there is nothing to check.
    pub fn is_empty(&self) -> bool {
        let numbers = [self.minimum, self.maximum, self.multiple_of].iter().all(Option::is_none);
        let counts = [
            self.min_length,
            self.max_length,
            self.min_items,
            self.max_items,
            self.min_properties,
            self.max_properties,
        ];
        let counts = counts.iter().all(Option::is_none);
        numbers && counts && self.pattern.is_none() && !self.unique_items && self.enum_values.is_empty()
    }
}
