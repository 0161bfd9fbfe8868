//! What is particular about a kind: the only per-kind seam, with defaults for everything.
//!
//! A strategy looks at trees and says what is to be done; it does no I/O. What a kind needs from the store
//! beyond its own object (addresses, ports) it claims through [`Strategy::claims`], and the verbs put the
//! claim into the same transaction.

use api::status::Cause;
use serde_json::Value;

use crate::Options;

pub(crate) mod claims;
mod config;
mod container;
mod endpoints;
pub(crate) mod event;
mod misc;
pub(crate) mod namespace;
mod node;
pub(crate) mod pod;
pub(crate) mod pod_spec;
mod rbac;
pub(crate) mod rules;
mod service;

mod workload;

use claims::Claims;

/// A field that field selectors may name.
#[derive(Debug, PartialEq, Eq)]
pub struct Selectable {
    /// As written in a selector.
    pub name: &'static str,
    /// Where it is.
    pub path: &'static [&'static str],
    /// Its value when it is absent.
    pub default: &'static str,
}

impl Selectable {
    /// A field that is empty when absent.
    pub const fn text(name: &'static str, path: &'static [&'static str]) -> Self {
        Self { name, path, default: "" }
    }

    /// A field with another value when absent.
    pub const fn or(name: &'static str, path: &'static [&'static str], default: &'static str) -> Self {
        Self { name, path, default }
    }
}

/// What names of a kind must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain.
    Subdomain,
    /// RFC 1123 label.
    Label,
    /// RFC 1035 label: begins with a letter.
    Label1035,
    /// Anything that can be one segment of a path.
    Path,
}

/// How long an object stays after its deletion was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// It goes at once.
    None,
    /// Something else must confirm, within this many seconds.
    Seconds(i64),
}

/// What strategies may look at besides the object.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The options of the registry.
    pub options: &'a Options,
    /// Now, as RFC 3339.
    pub now: &'a str,
    /// User name of the caller.
    pub user: &'a str,
}

/// The particularities of a kind. Objects are in their stored version.
pub trait Strategy: Send + Sync {
    /// What names must look like.
    fn name_rule(&self) -> NameRule {
        NameRule::Subdomain
    }

    /// Fields that selectors may name, besides `metadata.name` and `metadata.namespace`.
    fn selectable(&self) -> &'static [Selectable] {
        &[]
    }

    /// Whether a PUT may create.
    fn create_on_update(&self) -> bool {
        false
    }

    /// Whether a PUT may leave out the resource version.
    fn unconditional_update(&self) -> bool {
        true
    }

    /// Whether `metadata.generation` counts changes of the spec.
    fn has_generation(&self) -> bool {
        false
    }

    /// Whether a new object may bring its status: a node that registers says at once what it has.
    fn creates_with_status(&self) -> bool {
        false
    }

    /// Defaults that depend on other fields, after the static ones of the schema.
    fn defaults(&self, _object: &mut Value) {}

    /// Sets what a new object begins with, and drops what its creator may not set. The status is gone already.
    fn prepare_create(&self, _context: Context<'_>, _object: &mut Value) {}

    /// Restores what an update may not touch. The status of the old object is in place already.
    fn prepare_update(&self, _context: Context<'_>, _old: &Value, _new: &mut Value) {}

    /// What a write of the status sets or keeps besides.
    fn prepare_status(&self, _context: Context<'_>, _old: &Value, _new: &mut Value) {}

    /// What is wrong with an object.
    fn validate(&self, _object: &Value, _causes: &mut Vec<Cause>) {}

    /// What is wrong with a change. `validate` has been asked about the new object already.
    fn validate_update(&self, _old: &Value, _new: &Value, _causes: &mut Vec<Cause>) {}

    /// What the writer should know although it was accepted.
    fn warnings(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }

    /// How a deletion goes. `asked` is the caller's `gracePeriodSeconds`.
    fn grace(&self, _object: &Value, _asked: Option<i64>) -> Grace {
        Grace::None
    }

    /// Sets what shows that deletion has begun.
    fn prepare_terminating(&self, _object: &mut Value) {}

    /// Whether something other than `metadata.finalizers` keeps a terminating object.
    fn is_held(&self, _object: &Value) -> bool {
        false
    }

    /// Seconds after which an object disappears by itself.
    fn ttl_s(&self, _options: &Options) -> Option<i64> {
        None
    }

    /// What objects of the kind claim exclusively across the cluster.
    fn claims(&self) -> Option<&'static dyn Claims> {
        None
    }

    /// Whether dependents are orphaned when a deletion does not say otherwise.
    fn orphans_by_default(&self) -> bool {
        false
    }
}

/// A kind without particularities but a count of its changes.
struct Plain {
    generation: bool,
}

impl Strategy for Plain {
    fn has_generation(&self) -> bool {
        self.generation
    }
}

/// The strategy of a stored resource.
pub fn of(group: &str, plural: &str) -> &'static dyn Strategy {
    match (group, plural) {
        ("", "pods") => &pod::Pod,
        ("", "services") => &service::Service,
        ("", "namespaces") => &namespace::Namespace,
        ("", "nodes") => &node::Node,
        ("", "configmaps") => &config::ConfigMap,
        ("", "secrets") => &config::Secret,
        ("", "events") => &event::Event,
        ("", "endpoints") => &endpoints::Endpoints,
        ("", "replicationcontrollers") => &workload::REPLICATION_CONTROLLER,
        ("", "persistentvolumes") => &misc::PersistentVolume,
        ("", "persistentvolumeclaims") => &misc::PersistentVolumeClaim,
        ("", "resourcequotas" | "limitranges" | "serviceaccounts" | "podtemplates") => {
            &Plain { generation: false }
        }
        ("apps", "deployments") => &workload::DEPLOYMENT,
        ("apps", "replicasets") => &workload::REPLICA_SET,
        ("apps", "statefulsets") => &workload::STATEFUL_SET,
        ("apps", "daemonsets") => &workload::DAEMON_SET,
        ("batch", "jobs") => &workload::JOB,
        ("batch", "cronjobs") => &workload::CronJob,
        ("discovery.k8s.io", "endpointslices") => &endpoints::EndpointSlice,
        ("coordination.k8s.io", "leases") => &misc::Lease,
        ("scheduling.k8s.io", "priorityclasses") => &misc::PriorityClass,
        ("policy", "poddisruptionbudgets") => &misc::DisruptionBudget,
        ("networking.k8s.io", "ingresses") => &misc::Ingress,
        ("networking.k8s.io", "ipaddresses") => &misc::IpAddress,
        ("certificates.k8s.io", "certificatesigningrequests") => &misc::SigningRequest,
        ("storage.k8s.io", "storageclasses") => &misc::StorageClass,
        ("apiregistration.k8s.io", "apiservices") => &misc::ApiService,
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => &rbac::Role,
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => &rbac::Binding,
        (
            "networking.k8s.io"
            | "admissionregistration.k8s.io"
            | "apiextensions.k8s.io"
            | "flowcontrol.apiserver.k8s.io"
            | "autoscaling"
            | "resource.k8s.io",
            _,
        ) => &Plain { generation: true },
        _ => &Plain { generation: false },
    }
}
