//! The table holds every kind, and its facts are right where it is known what right is.

use std::time::{Duration, Instant};

use crate::GroupVersionKind;
use crate::schema::{Field, ListKind, Shape, Table};

fn field<'t>(table: &'t Table, owner: &str, name: &str) -> &'t Field {
    let id = table.by_name(&format!("io.k8s.api.{owner}")).expect("the type exists");
    table.field(id, name).expect("the field exists")
}

fn list(owner: &str, name: &str) -> ListKind {
    let table = Table::builtin();
    match &table.get(field(table, owner, name).ty).shape {
        Shape::List { kind, .. } => kind.clone(),
        other => panic!("{owner}.{name} is {other:?}"),
    }
}

fn keys(keys: &[&str]) -> ListKind {
    ListKind::Map { keys: keys.iter().map(|k| (*k).to_owned()).collect() }
}

#[test]
fn every_kind_of_the_level_is_there() {
    let table = Table::builtin();
    let kinds = [
        "v1 Pod",
        "v1 Service",
        "v1 Node",
        "v1 Namespace",
        "v1 ConfigMap",
        "v1 Secret",
        "v1 ServiceAccount",
        "v1 PersistentVolume",
        "v1 PersistentVolumeClaim",
        "v1 Event",
        "v1 Endpoints",
        "v1 LimitRange",
        "v1 ResourceQuota",
        "v1 ReplicationController",
        "v1 PodTemplate",
        "v1 Binding",
        "v1 ComponentStatus",
        "apps/v1 Deployment",
        "apps/v1 ReplicaSet",
        "apps/v1 StatefulSet",
        "apps/v1 DaemonSet",
        "apps/v1 ControllerRevision",
        "batch/v1 Job",
        "batch/v1 CronJob",
        "autoscaling/v1 Scale",
        "autoscaling/v1 HorizontalPodAutoscaler",
        "autoscaling/v2 HorizontalPodAutoscaler",
        "networking.k8s.io/v1 Ingress",
        "networking.k8s.io/v1 IngressClass",
        "networking.k8s.io/v1 NetworkPolicy",
        "policy/v1 PodDisruptionBudget",
        "policy/v1 Eviction",
        "rbac.authorization.k8s.io/v1 Role",
        "rbac.authorization.k8s.io/v1 ClusterRoleBinding",
        "storage.k8s.io/v1 StorageClass",
        "storage.k8s.io/v1 CSINode",
        "scheduling.k8s.io/v1 PriorityClass",
        "coordination.k8s.io/v1 Lease",
        "discovery.k8s.io/v1 EndpointSlice",
        "events.k8s.io/v1 Event",
        "node.k8s.io/v1 RuntimeClass",
        "admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy",
        "certificates.k8s.io/v1 CertificateSigningRequest",
        "apiextensions.k8s.io/v1 CustomResourceDefinition",
        "apiregistration.k8s.io/v1 APIService",
        "authentication.k8s.io/v1 TokenReview",
        "authorization.k8s.io/v1 SubjectAccessReview",
        "flowcontrol.apiserver.k8s.io/v1 FlowSchema",
        "resource.k8s.io/v1 ResourceClaim",
    ];
    for kind in kinds {
        let (api_version, kind) = kind.split_once(' ').expect("two words");
        let gvk = GroupVersionKind::from_api_version(api_version, kind);
        let id = table.kind(&gvk).unwrap_or_else(|| panic!("{gvk} is missing"));
        assert_eq!(table.get(id).short_name(), kind);
    }
    assert!(table.kinds().count() >= 193, "{} kinds", table.kinds().count());
}

#[test]
fn every_reference_of_the_table_resolves() {
    let table = Table::builtin();
    let size = table.types().count();
    for (_, ty) in table.types() {
        let targets: Vec<_> = match &ty.shape {
            Shape::Object { fields, .. } => fields.iter().map(|f| f.ty).collect(),
            Shape::Map { value, .. } => vec![*value],
            Shape::List { item, .. } => vec![*item],
            _ => Vec::new(),
        };
        assert!(targets.iter().all(|id| (id.0 as usize) < size), "{}", ty.name);
    }
}

#[test]
fn list_types_are_those_of_the_level() {
    assert_eq!(list("core.v1.PodSpec", "containers"), keys(&["name"]));
    assert_eq!(list("core.v1.PodSpec", "tolerations"), ListKind::Atomic);
    assert_eq!(
        list("core.v1.PodSpec", "topologySpreadConstraints"),
        keys(&["topologyKey", "whenUnsatisfiable"])
    );
    assert_eq!(list("core.v1.Container", "ports"), keys(&["containerPort", "protocol"]));
    assert_eq!(list("core.v1.Container", "env"), keys(&["name"]));
    assert_eq!(list("core.v1.Container", "volumeMounts"), keys(&["mountPath"]));
    assert_eq!(list("core.v1.Container", "args"), ListKind::Atomic);
    assert_eq!(list("core.v1.ServiceSpec", "ports"), keys(&["port", "protocol"]));
    assert_eq!(list("core.v1.NodeSpec", "podCIDRs"), ListKind::Set);
    assert_eq!(list("core.v1.PodStatus", "conditions"), keys(&["type"]));
}

#[test]
fn patch_strategies_are_those_of_the_level() {
    let table = Table::builtin();
    let containers = &field(table, "core.v1.PodSpec", "containers").patch;
    assert!(containers.merge && !containers.retain_keys);
    assert_eq!(containers.merge_key.as_deref(), Some("name"));
    let volumes = &field(table, "core.v1.PodSpec", "volumes").patch;
    assert!(volumes.merge && volumes.retain_keys);
    let ports = &field(table, "core.v1.ServiceSpec", "ports").patch;
    assert_eq!(ports.merge_key.as_deref(), Some("port"));
    assert!(field(table, "apps.v1.DeploymentSpec", "strategy").patch.retain_keys);
    assert!(field(table, "policy.v1.PodDisruptionBudgetSpec", "selector").patch.replace);
}

#[test]
fn protobuf_numbers_and_pointers_are_those_of_the_level() {
    let table = Table::builtin();
    assert_eq!(field(table, "core.v1.PodSpec", "containers").proto, [2]);
    assert!(field(table, "core.v1.Pod", "kind").proto.is_empty());
    let embedded = field(table, "core.v1.Volume", "configMap");
    assert_eq!(embedded.proto.len(), 2, "a volume's source is a message of its own: {:?}", embedded.proto);
    assert!(field(table, "apps.v1.DeploymentSpec", "replicas").go.pointer);
    assert!(!field(table, "core.v1.PodSpec", "hostNetwork").go.pointer);
}

#[test]
fn enums_formats_and_descriptions_are_there() {
    let table = Table::builtin();
    let policy = field(table, "core.v1.Container", "imagePullPolicy");
    let Shape::String { enum_values, .. } = &table.get(policy.ty).shape else { panic!("not a string") };
    assert_eq!(enum_values, &["Always", "IfNotPresent", "Never"]);
    assert!(table.doc(policy.doc).starts_with("Image pull policy."));
    let replicas = field(table, "apps.v1.DeploymentSpec", "replicas");
    assert_eq!(table.get(replicas.ty).shape, Shape::Integer { bits: 32 });
    let data = field(table, "core.v1.Secret", "data");
    let Shape::Map { value, .. } = table.get(data.ty).shape else { panic!("not a map") };
    assert_eq!(table.get(value).shape, Shape::Bytes);
}

#[test]
fn loading_takes_milliseconds() {
    let begin = Instant::now();
    let table = crate::schema::load::builtin();
    let took = begin.elapsed();
    println!("loading took {took:?}");
    assert!(table.kinds().count() > 0);
    // Unoptimised and on a busy machine; optimised code takes about a tenth.
    assert!(took < Duration::from_millis(500), "loading took {took:?}");
}
