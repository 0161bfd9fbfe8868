//! What can be asked of a resource, before either version of OpenAPI writes it down.

use super::{ResourceDoc, SubresourceDoc};
use crate::GroupVersionKind;

/// One method of one path.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) path: String,
    pub(super) method: &'static str,
    /// `x-kubernetes-action`.
    pub(super) action: &'static str,
    pub(super) id: String,
    pub(super) tag: String,
    pub(super) gvk: GroupVersionKind,
    pub(super) description: String,
    pub(super) parameters: Vec<&'static Parameter>,
    pub(super) body: Body,
    pub(super) answer: Answer,
}

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    None,
    /// An object of the operation's kind.
    Object,
    /// A patch; strategic merge is for built-in kinds.
    Patch {
        strategic: bool,
    },
    DeleteOptions,
}

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Object,
    List,
    Status,
    /// A stream, not an object: logs, exec, proxies.
    Text,
}

/// A query or path parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: &'static str,
    pub(super) kind: &'static str,
    pub(super) description: &'static str,
}

macro_rules! parameters {
    ($($id:ident $place:literal $name:literal $kind:literal $description:literal)*) => {
        $(static $id: Parameter =
            Parameter { name: $name, place: $place, kind: $kind, description: $description };)*
        /// All parameters.
        pub(super) static ALL: &[&Parameter] = &[$(&$id),*];
    };
}

parameters! {
    NAME "path" "name" "string" "name of the object"
    NAMESPACE "path" "namespace" "string" "namespace of the objects"
    PRETTY "query" "pretty" "string" "If 'true', then the output is pretty printed."
    DRY_RUN "query" "dryRun" "string" "'All': go through every stage but do not store the result."
    FIELD_MANAGER "query" "fieldManager" "string" "Name of the actor that is making these changes."
    FIELD_VALIDATION "query" "fieldValidation" "string" "What to do with unknown and duplicate fields: 'Ignore', 'Warn' (the default) or 'Strict'."
    FORCE "query" "force" "boolean" "Apply only: take over fields that other managers own."
    LABELS "query" "labelSelector" "string" "Only objects with these labels."
    FIELDS "query" "fieldSelector" "string" "Only objects with these field values."
    LIMIT "query" "limit" "integer" "At most this many objects in one answer."
    CONTINUE "query" "continue" "string" "Token of the previous page."
    VERSION "query" "resourceVersion" "string" "Where to read from."
    VERSION_MATCH "query" "resourceVersionMatch" "string" "How resourceVersion is applied: 'NotOlderThan' or 'Exact'."
    WATCH "query" "watch" "boolean" "Stream changes instead of answering once."
    BOOKMARKS "query" "allowWatchBookmarks" "boolean" "Send bookmarks while watching."
    INITIAL_EVENTS "query" "sendInitialEvents" "boolean" "Begin a watch with the objects that exist."
    TIMEOUT "query" "timeoutSeconds" "integer" "End the call after this time."
    GRACE "query" "gracePeriodSeconds" "integer" "Time until the object is removed."
    PROPAGATION "query" "propagationPolicy" "string" "What happens to dependents: 'Orphan', 'Background' or 'Foreground'."
}

static LIST_PARAMETERS: &[&Parameter] = &[
    &PRETTY,
    &LABELS,
    &FIELDS,
    &LIMIT,
    &CONTINUE,
    &VERSION,
    &VERSION_MATCH,
    &WATCH,
    &BOOKMARKS,
    &INITIAL_EVENTS,
    &TIMEOUT,
];
static WRITE_PARAMETERS: &[&Parameter] = &[&PRETTY, &DRY_RUN, &FIELD_MANAGER, &FIELD_VALIDATION];
static PATCH_PARAMETERS: &[&Parameter] = &[&PRETTY, &DRY_RUN, &FIELD_MANAGER, &FIELD_VALIDATION, &FORCE];
static DELETE_PARAMETERS: &[&Parameter] = &[&PRETTY, &DRY_RUN, &GRACE, &PROPAGATION];
static DELETE_MANY_PARAMETERS: &[&Parameter] =
    &[&PRETTY, &DRY_RUN, &GRACE, &PROPAGATION, &LABELS, &FIELDS, &LIMIT, &CONTINUE, &VERSION];
static READ_PARAMETERS: &[&Parameter] = &[&PRETTY];

/// Everything that can be asked of a resource.
pub(super) fn operations(resource: &ResourceDoc<'_>) -> Vec<Operation> {
    let mut out = Vec::new();
    let root = resource.root();
    let within = if resource.namespaced { format!("{root}/namespaces/{{namespace}}") } else { root.clone() };
    let collection = format!("{within}/{}", resource.plural);
    let item = format!("{collection}/{{name}}");
    for verb in &resource.verbs {
        match *verb {
            "list" => {
                out.push(operation(resource, &collection, "list"));
                if resource.namespaced {
                    let mut all = operation(resource, &format!("{root}/{}", resource.plural), "list");
                    all.id = format!("list{}{}ForAllNamespaces", group_id(resource), resource.kind);
                    out.push(all);
                }
            }
            "create" | "deletecollection" => out.push(operation(resource, &collection, verb)),
            "get" | "update" | "patch" | "delete" => out.push(operation(resource, &item, verb)),
            _ => {}
        }
    }
    for subresource in &resource.subresources {
        let path = format!("{item}/{}", subresource.name);
        for verb in &subresource.verbs {
            out.extend(sub_operation(resource, subresource, &path, verb));
        }
    }
    out
}

fn operation(resource: &ResourceDoc<'_>, path: &str, verb: &str) -> Operation {
    let strategic = !resource.table.is_custom();
    let (method, action, word, parameters, body, answer) = match verb {
        "list" => ("get", "list", "list", LIST_PARAMETERS, Body::None, Answer::List),
        "create" => ("post", "post", "create", WRITE_PARAMETERS, Body::Object, Answer::Object),
        "deletecollection" => {
            let parameters = DELETE_MANY_PARAMETERS;
            (
                "delete",
                "deletecollection",
                "deletecollection",
                parameters,
                Body::DeleteOptions,
                Answer::Status,
            )
        }
        "update" => ("put", "put", "replace", WRITE_PARAMETERS, Body::Object, Answer::Object),
        "patch" => ("patch", "patch", "patch", PATCH_PARAMETERS, Body::Patch { strategic }, Answer::Object),
        "delete" => ("delete", "delete", "delete", DELETE_PARAMETERS, Body::DeleteOptions, Answer::Status),
        _ => ("get", "get", "read", READ_PARAMETERS, Body::None, Answer::Object),
    };
    let scope = if resource.namespaced { "Namespaced" } else { "" };
    let group = group_id(resource);
    let id = match word {
        "deletecollection" => format!("delete{group}Collection{scope}{}", resource.kind),
        _ => format!("{word}{group}{scope}{}", resource.kind),
    };
    Operation {
        path: path.to_owned(),
        method,
        action,
        id,
        tag: tag(resource),
        gvk: resource.gvk(),
        description: describe(word, resource.kind),
        parameters: path_parameters(path).chain(parameters.iter().copied()).collect(),
        body,
        answer,
    }
}

fn sub_operation(
    resource: &ResourceDoc<'_>,
    subresource: &SubresourceDoc<'_>,
    path: &str,
    verb: &str,
) -> Option<Operation> {
    if !matches!(verb, "get" | "update" | "patch" | "create" | "delete") {
        return None;
    }
    let mut operation = operation(resource, path, verb);
    let suffix: String = subresource.name.split('/').map(capitalized).collect();
    operation.id.push_str(&suffix);
    operation.description = format!("{} of {}", subresource.name, operation.description);
    if !subresource.kind.is_empty() {
        let api_version = if subresource.api_version.is_empty() {
            resource.gvk().api_version()
        } else {
            subresource.api_version.to_owned()
        };
        operation.gvk = GroupVersionKind::from_api_version(&api_version, subresource.kind);
    }
    if is_stream(subresource.name) {
        operation.action = if subresource.name == "log" { "get" } else { "connect" };
        operation.id = operation.id.replace("read", "connectGet").replace("create", "connectPost");
        operation.body = Body::None;
        operation.answer = Answer::Text;
    }
    Some(operation)
}

fn is_stream(subresource: &str) -> bool {
    matches!(subresource, "log" | "exec" | "attach" | "portforward" | "proxy")
}

fn path_parameters(path: &str) -> impl Iterator<Item = &'static Parameter> {
    let name = path.contains("{name}").then_some(&NAME);
    let namespace = path.contains("{namespace}").then_some(&NAMESPACE);
    name.into_iter().chain(namespace)
}

fn describe(word: &str, kind: &str) -> String {
    match word {
        "list" => format!("list or watch objects of kind {kind}"),
        "create" => format!("create a {kind}"),
        "deletecollection" => format!("delete collection of {kind}"),
        "read" => format!("read the specified {kind}"),
        "replace" => format!("replace the specified {kind}"),
        "patch" => format!("partially update the specified {kind}"),
        _ => format!("delete a {kind}"),
    }
}

/// `CoreV1`, `AppsV1`, `RbacAuthorizationV1`.
fn group_id(resource: &ResourceDoc<'_>) -> String {
    let group = match resource.group {
        "" => "core",
        group => group.trim_end_matches(".k8s.io"),
    };
    group.split(['.', '-']).chain([resource.version]).map(capitalized).collect()
}

/// `core_v1`, `rbacAuthorization_v1`.
fn tag(resource: &ResourceDoc<'_>) -> String {
    let id = group_id(resource);
    let group = &id[..id.len() - capitalized(resource.version).len()];
    let lower: String =
        group.chars().take(1).flat_map(char::to_lowercase).chain(group.chars().skip(1)).collect();
    format!("{lower}_{}", resource.version)
}

fn capitalized(word: &str) -> String {
    word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect()
}
