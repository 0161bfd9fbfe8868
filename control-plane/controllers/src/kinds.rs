//! The built-in resources whose objects belong to a namespace or to each other, and those that CRDs add.
//!
//! A table, because a plugin has no discovery over gRPC. Deleting a namespace and collecting garbage go
//! through it.

use std::sync::Arc;

use api::GroupVersionResource;
use client::{
    Informer, Informers,
    informer::{Cached, Selection},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

/// A resource and its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) resource: GroupVersionResource,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
}

/// Group, version, plural, kind. Events are last: they tell what happened to the others.
const NAMESPACED: &[(&str, &str, &str, &str)] = &[
    ("apps", "v1", "deployments", "Deployment"),
    ("apps", "v1", "statefulsets", "StatefulSet"),
    ("apps", "v1", "daemonsets", "DaemonSet"),
    ("apps", "v1", "replicasets", "ReplicaSet"),
    ("apps", "v1", "controllerrevisions", "ControllerRevision"),
    ("batch", "v1", "cronjobs", "CronJob"),
    ("batch", "v1", "jobs", "Job"),
    ("", "v1", "replicationcontrollers", "ReplicationController"),
    ("", "v1", "pods", "Pod"),
    ("", "v1", "podtemplates", "PodTemplate"),
    ("", "v1", "services", "Service"),
    ("", "v1", "endpoints", "Endpoints"),
    ("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    ("", "v1", "configmaps", "ConfigMap"),
    ("", "v1", "secrets", "Secret"),
    ("", "v1", "serviceaccounts", "ServiceAccount"),
    ("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    ("", "v1", "limitranges", "LimitRange"),
    ("", "v1", "resourcequotas", "ResourceQuota"),
    ("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    ("networking.k8s.io", "v1", "ingresses", "Ingress"),
    ("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
    ("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    ("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    ("coordination.k8s.io", "v1", "leases", "Lease"),
    ("storage.k8s.io", "v1", "csistoragecapacities", "CSIStorageCapacity"),
    ("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim"),
    ("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate"),
    ("", "v1", "events", "Event"),
];

const CLUSTER: &[(&str, &str, &str, &str)] = &[
    ("", "v1", "namespaces", "Namespace"),
    ("", "v1", "nodes", "Node"),
    ("", "v1", "persistentvolumes", "PersistentVolume"),
    ("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole"),
    ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding"),
    ("storage.k8s.io", "v1", "storageclasses", "StorageClass"),
    ("storage.k8s.io", "v1", "csinodes", "CSINode"),
    ("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment"),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"),
    ("apiregistration.k8s.io", "v1", "apiservices", "APIService"),
];

/// Built-in resources that are not followed for ownership: they change often and nobody owns them.
const NEVER_OWNED: [&str; 1] = ["events"];

/// All kinds: the table, and the CRDs present.
#[derive(Clone)]
pub(crate) struct Kinds {
    definitions: Informer<Definition>,
}

impl Kinds {
    pub(crate) fn new(informers: &Informers) -> Self {
        let resource = GroupVersionResource::new("apiextensions.k8s.io", "v1", "customresourcedefinitions");
        Self { definitions: informers.custom(&resource, Selection::default()) }
    }

    /// Everything that lives in namespaces, in the order in which it should be deleted.
    pub(crate) fn namespaced(&self) -> Vec<Kind> {
        let custom = self.definitions.list();
        let custom = custom.iter().filter_map(|d| d.kind()).filter(|k| k.namespaced);
        custom.chain(NAMESPACED.iter().map(|row| built_in(row, true))).collect()
    }

    /// Built-in kinds that may own or be owned.
    pub(crate) fn ownable() -> Vec<Kind> {
        let rows = NAMESPACED
            .iter()
            .map(|row| built_in(row, true))
            .chain(CLUSTER.iter().map(|row| built_in(row, false)));
        rows.filter(|kind| !NEVER_OWNED.contains(&kind.resource.resource.as_str())).collect()
    }

    /// The CRDs, to follow them.
    pub(crate) fn definitions(&self) -> &Informer<Definition> {
        &self.definitions
    }

    /// Where objects of this apiVersion and kind live; any version of a group will do.
    pub(crate) fn find(&self, api_version: &str, kind: &str) -> Option<Kind> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let of = |rows: &[(&str, &str, &str, &str)], namespaced| {
            rows.iter().find(|row| row.0 == group && row.3 == kind).map(|row| built_in(row, namespaced))
        };
        of(NAMESPACED, true).or_else(|| of(CLUSTER, false)).or_else(|| {
            let definitions = self.definitions.list();
            let found = definitions.iter().find(|d| d.spec.group == group && d.spec.names.kind == kind);
            found.and_then(|d| d.kind())
        })
    }
}

fn built_in(row: &(&str, &str, &str, &str), namespaced: bool) -> Kind {
    Kind { resource: GroupVersionResource::new(row.0, row.1, row.2), kind: row.3.to_owned(), namespaced }
}

/// What we need of a CustomResourceDefinition.
#[derive(Debug, Deserialize)]
pub(crate) struct Definition {
    #[serde(default)]
    metadata: ObjectMeta,
    spec: DefinitionSpec,
}

#[derive(Debug, Deserialize)]
struct DefinitionSpec {
    group: String,
    names: Names,
    scope: String,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Debug, Deserialize)]
struct Names {
    plural: String,
    kind: String,
}

#[derive(Debug, Deserialize)]
struct Version {
    name: String,
    #[serde(default)]
    served: bool,
}

impl Cached for Definition {
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Definition {
    /// The resource it adds, in the first version that is served.
    pub(crate) fn kind(self: &Arc<Self>) -> Option<Kind> {
        let version = self.spec.versions.iter().find(|v| v.served)?;
        Some(Kind {
            resource: GroupVersionResource::new(&self.spec.group, &version.name, &self.spec.names.plural),
            kind: self.spec.names.kind.clone(),
            namespaced: self.spec.scope == "Namespaced",
        })
    }
}
