//! What a request asks for: the one reading of method, path and query that authorization and routing share
//! (invariant C2).
//!
//! The rules are those of upstream's request info resolver (k8s.io/apiserver pkg/endpoints/request).

use api::{
    GroupVersionResource,
    objects::{Scope, Target},
};
use http::Method;

use crate::query::{self, Query};

/// A request in the words of authorization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `get`, `list`, `watch`, `create`, ... or, for other paths, the method in lower case.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Version within the group.
    pub version: String,
    /// Plural; empty when the path names no resource.
    pub resource: String,
    /// Subresource, or empty.
    pub subresource: String,
    /// Namespace, or empty for all or for cluster-scoped resources.
    pub namespace: String,
    /// Object name, or empty.
    pub name: String,
    /// The path as sent.
    pub path: String,
    /// Path segments behind the subresource, still encoded; only `proxy` uses them.
    pub rest: String,
    /// The field selector of a list, watch or deletion of many.
    pub field_selector: String,
    /// The label selector of a list, watch or deletion of many.
    pub label_selector: String,
}

impl Attributes {
    /// Whether an API resource is asked for.
    pub fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }

    /// Whether the verb changes nothing.
    pub fn is_read_only(&self) -> bool {
        matches!(self.verb.as_str(), "get" | "list" | "watch" | "head")
    }

    /// Whether the request may last: a watch, a log, a tunnel.
    pub fn is_long_running(&self) -> bool {
        self.verb == "watch"
            || self.verb == "proxy"
            || matches!(self.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy")
    }

    /// Group, version and resource.
    pub fn gvr(&self) -> GroupVersionResource {
        GroupVersionResource::new(&self.group, &self.version, &self.resource)
    }

    /// The collection.
    pub fn scope(&self) -> Scope {
        Scope { resource: self.gvr(), namespace: self.storage_namespace().to_owned() }
    }

    /// The object or its subresource.
    pub fn target(&self) -> Target {
        Target::new(self.gvr(), self.storage_namespace(), &self.name).subresource(&self.subresource)
    }

    /// The namespace an object lives in; a Namespace itself lives in none, though its rules are looked up in it.
    fn storage_namespace(&self) -> &str {
        if self.resource == "namespaces" && self.group.is_empty() { "" } else { &self.namespace }
    }

    /// `pods` or `pods/log`, as RBAC rules name it.
    pub fn qualified_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// An action on a target that did not come by HTTP.
    pub fn of(verb: &str, target: &Target) -> Self {
        let resource = &target.scope.resource;
        Self {
            verb: verb.into(),
            group: resource.group.clone(),
            version: resource.version.clone(),
            resource: resource.resource.clone(),
            subresource: target.subresource.clone(),
            namespace: match resource.resource.as_str() {
                "namespaces" if resource.group.is_empty() => target.name.clone(),
                _ => target.scope.namespace.clone(),
            },
            name: target.name.clone(),
            ..Self::default()
        }
    }

    /// A verb on many objects that did not come by HTTP.
    pub fn of_many(verb: &str, scope: &Scope, field_selector: &str, label_selector: &str) -> Self {
        let target = Target::new(scope.resource.clone(), &scope.namespace, "");
        let mut what = Self::of(verb, &target);
        what.name = selected_name(field_selector);
        what.field_selector = field_selector.to_owned();
        what.label_selector = label_selector.to_owned();
        what
    }
}

/// Why a path is refused before anything else looks at it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path is not canonical")]
pub struct BadPath;

/// Reads a request line. Paths with empty, dot or slash-hiding segments are refused, but behind `proxy`.
pub fn parse(method: &Method, path: &str, query: &Query) -> Result<Attributes, BadPath> {
    let other = Attributes {
        verb: method.as_str().to_ascii_lowercase(),
        path: path.to_owned(),
        ..Attributes::default()
    };
    let raw: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let is_api = matches!(raw[0], "api" | "apis");
    if !is_api {
        return Ok(other);
    }
    if path.starts_with("//") {
        return Err(BadPath);
    }
    let raw = without_trailing_empty(&raw);
    let head = if raw[0] == "api" { 2 } else { 3 };
    let segments = decode_segments(raw, head)?;
    if segments.len() <= head {
        return Ok(other);
    }
    let (group, version) = match head {
        2 => (String::new(), segments[1].clone()),
        _ => (segments[1].clone(), segments[2].clone()),
    };
    let mut found = Attributes { group, version, verb: verb_of(method).to_owned(), ..other };
    locate(&mut found, &segments[head..], &raw[head..], query)?;
    Ok(found)
}

fn without_trailing_empty<'a, 'b>(raw: &'a [&'b str]) -> &'a [&'b str] {
    match raw {
        [head @ .., ""] if !head.is_empty() && !head.contains(&"proxy") => head,
        all => all,
    }
}

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// Decodes segments up to a `proxy` subresource, behind which everything belongs to somebody else.
fn decode_segments(raw: &[&str], head: usize) -> Result<Vec<String>, BadPath> {
    let mut out = Vec::with_capacity(raw.len());
    for (i, segment) in raw.iter().enumerate() {
        let decoded = query::decode(segment, false);
        if decoded.is_empty() || decoded == "." || decoded == ".." || decoded.contains(['/', '\\', '\0']) {
            return Err(BadPath);
        }
        let ends = decoded == "proxy" && i >= head + 2;
        out.push(decoded);
        if ends {
            break;
        }
    }
    Ok(out)
}

fn locate(found: &mut Attributes, segments: &[String], raw: &[&str], query: &Query) -> Result<(), BadPath> {
    let mut parts = segments;
    let mut raw = raw;
    let mut watch_prefix = false;
    if parts[0] == "watch" && found.verb == "get" {
        (parts, raw, watch_prefix) = (&parts[1..], &raw[1..], true);
        if parts.is_empty() {
            return Err(BadPath);
        }
    }
    if parts[0] == "namespaces" && parts.len() > 1 {
        found.namespace = parts[1].clone();
        let of_namespace = |s: &String| s == "status" || s == "finalize";
        if parts.len() > 2 && !of_namespace(&parts[2]) {
            (parts, raw) = (&parts[2..], &raw[2..]);
        }
    }
    found.resource = parts[0].clone();
    found.name = parts.get(1).cloned().unwrap_or_default();
    found.subresource = parts.get(2).cloned().unwrap_or_default();
    if found.subresource == "proxy" {
        found.rest = raw[3..].join("/");
    } else if parts.len() > 3 {
        return Err(BadPath);
    }
    refine_verb(found, query, watch_prefix);
    Ok(())
}

fn refine_verb(found: &mut Attributes, query: &Query, watch_prefix: bool) {
    if watch_prefix {
        found.verb = "watch".into();
    } else if found.name.is_empty() && found.verb == "get" {
        found.verb = if query.flag("watch") { "watch".into() } else { "list".into() };
    } else if found.name.is_empty() && found.verb == "delete" {
        found.verb = "deletecollection".into();
    }
    if found.name.is_empty() && matches!(found.verb.as_str(), "list" | "watch" | "deletecollection") {
        found.field_selector = query.text("fieldSelector");
        found.label_selector = query.text("labelSelector");
        found.name = selected_name(&found.field_selector);
    }
}

/// `x` of a field selector that requires `metadata.name=x`, so that rules with resource names apply.
pub fn selected_name(field_selector: &str) -> String {
    let requires = |term: &str| {
        let (field, value) = term.split_once("==").or_else(|| term.split_once('='))?;
        (field == "metadata.name" && !value.is_empty()).then(|| value.to_owned())
    };
    field_selector.split(',').find_map(requires).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, line: &str, expect: [&str; 7]) {
        let (path, query) = line.split_once('?').unwrap_or((line, ""));
        let a = parse(&method, path, &Query::parse(query)).unwrap();
        let got = [&a.verb, &a.group, &a.version, &a.namespace, &a.resource, &a.subresource, &a.name];
        assert_eq!(got.map(String::as_str), expect, "{method} {line}");
    }

    #[test]
    fn resource_paths_are_read_as_upstream_reads_them() {
        use Method as M;
        check(M::GET, "/api/v1/namespaces", ["list", "", "v1", "", "namespaces", "", ""]);
        check(M::GET, "/api/v1/namespaces/other", ["get", "", "v1", "other", "namespaces", "", "other"]);
        check(
            M::PUT,
            "/api/v1/namespaces/other/finalize",
            ["update", "", "v1", "other", "namespaces", "finalize", "other"],
        );
        check(M::GET, "/api/v1/namespaces/other/pods", ["list", "", "v1", "other", "pods", "", ""]);
        check(M::GET, "/api/v1/namespaces/other/pods/foo", ["get", "", "v1", "other", "pods", "", "foo"]);
        check(M::HEAD, "/api/v1/namespaces/other/pods/foo", ["get", "", "v1", "other", "pods", "", "foo"]);
        check(
            M::GET,
            "/api/v1/namespaces/other/pods/foo/log",
            ["get", "", "v1", "other", "pods", "log", "foo"],
        );
        check(M::GET, "/api/v1/pods?watch=1", ["watch", "", "v1", "", "pods", "", ""]);
        check(M::GET, "/api/v1/pods?watch=false", ["list", "", "v1", "", "pods", "", ""]);
        check(M::GET, "/api/v1/watch/namespaces/other/pods", ["watch", "", "v1", "other", "pods", "", ""]);
        check(
            M::GET,
            "/api/v1/pods?fieldSelector=metadata.name%3Dx",
            ["list", "", "v1", "", "pods", "", "x"],
        );
        check(
            M::DELETE,
            "/apis/apps/v1/namespaces/a/deployments",
            ["deletecollection", "apps", "v1", "a", "deployments", "", ""],
        );
        check(
            M::DELETE,
            "/apis/apps/v1/namespaces/a/deployments/d",
            ["delete", "apps", "v1", "a", "deployments", "", "d"],
        );
        check(
            M::PATCH,
            "/apis/apps/v1/namespaces/a/deployments/d/scale",
            ["patch", "apps", "v1", "a", "deployments", "scale", "d"],
        );
        check(
            M::POST,
            "/apis/apps/v1/namespaces/a/deployments/",
            ["create", "apps", "v1", "a", "deployments", "", ""],
        );
        check(M::GET, "/api/v1/nodes/n%3A1", ["get", "", "v1", "", "nodes", "", "n:1"]);
    }

    #[test]
    fn other_paths_keep_their_method() {
        for path in [
            "/",
            "/healthz",
            "/version",
            "/api",
            "/api/v1",
            "/apis",
            "/apis/apps",
            "/apis/apps/v1",
            "/openapi/v2",
        ] {
            check(Method::GET, path, ["get", "", "", "", "", "", ""]);
        }
        check(Method::POST, "/healthz", ["post", "", "", "", "", "", ""]);
    }

    #[test]
    fn the_rest_of_a_proxy_path_stays_encoded() {
        let path = "/api/v1/namespaces/a/services/http:web:80/proxy/x/%2e%2e//y/";
        let a = parse(&Method::GET, path, &Query::default()).unwrap();
        assert_eq!(
            (a.name.as_str(), a.subresource.as_str(), a.rest.as_str()),
            ("http:web:80", "proxy", "x/%2e%2e//y/")
        );
    }

    #[test]
    fn tricky_paths_are_refused() {
        let tricks = [
            "//api/v1/pods",
            "/api/v1//pods",
            "/api/v1/namespaces/%2e%2e/pods",
            "/api/v1/namespaces/a%2fb/pods",
            "/api/v1/namespaces/../pods",
            "/api/v1/namespaces/a/pods/x/log/y",
            "/api/v1/watch",
        ];
        for path in tricks {
            let read = parse(&Method::GET, path, &Query::default());
            assert_eq!(read.map(|a| a.resource), Err(BadPath), "{path}");
        }
    }
}
