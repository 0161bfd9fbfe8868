//! The built-in resources of Kubernetes v1.36 in the versions that are on by default, one row each.

/// What discovery and the router know of a resource.
pub(super) struct Row {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    pub(super) namespaced: bool,
    pub(super) short_names: &'static [&'static str],
    pub(super) categories: &'static [&'static str],
    pub(super) verbs: &'static [&'static str],
    pub(super) subresources: &'static [Sub],
    /// Group and version of the stored form, where another than its own.
    pub(super) stored: Option<(&'static str, &'static str)>,
}

/// A subresource; an empty kind is the kind of the resource itself.
pub(super) struct Sub {
    pub(super) name: &'static str,
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) verbs: &'static [&'static str],
}

impl Row {
    pub(super) const fn is_stored(&self) -> bool {
        self.verbs.len() > 1
    }
    const fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short_names = names;
        self
    }
    const fn all(mut self) -> Self {
        self.categories = &["all"];
        self
    }
    const fn category(mut self, categories: &'static [&'static str]) -> Self {
        self.categories = categories;
        self
    }
    const fn subs(mut self, subresources: &'static [Sub]) -> Self {
        self.subresources = subresources;
        self
    }
    const fn verbs(mut self, verbs: &'static [&'static str]) -> Self {
        self.verbs = verbs;
        self
    }
    const fn stored_as(mut self, group: &'static str, version: &'static str) -> Self {
        self.stored = Some((group, version));
        self
    }
}

const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const NO_COLLECTION: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
const CREATE: &[&str] = &["create"];
const GET: &[&str] = &["get"];
const WRITE: &[&str] = &["get", "patch", "update"];
const CONNECT: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

const fn row(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
) -> Row {
    Row {
        group,
        version,
        kind,
        plural,
        namespaced,
        short_names: &[],
        categories: &[],
        verbs: ALL,
        subresources: &[],
        stored: None,
    }
}
const fn space(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Row {
    row(group, version, kind, plural, true)
}
const fn cluster(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
) -> Row {
    row(group, version, kind, plural, false)
}
const fn own(name: &'static str, verbs: &'static [&'static str]) -> Sub {
    Sub { name, api_version: "", kind: "", verbs }
}
const fn sub(
    name: &'static str,
    api_version: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
) -> Sub {
    Sub { name, api_version, kind, verbs }
}

const STATUS: &[Sub] = &[own("status", WRITE)];
const SCALED: &[Sub] = &[sub("scale", "autoscaling/v1", "Scale", WRITE), own("status", WRITE)];

const REG: &str = "admissionregistration.k8s.io";
const STORAGE: &str = "storage.k8s.io";
const NET: &str = "networking.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";
const DRA: &str = "resource.k8s.io";
const AUTHZ: &str = "authorization.k8s.io";

/// Groups in the order in which discovery prefers them.
pub(super) static ROWS: &[Row] = &[
    space("", "v1", "Binding", "bindings").verbs(CREATE),
    space("", "v1", "ConfigMap", "configmaps").short(&["cm"]),
    space("", "v1", "Endpoints", "endpoints").short(&["ep"]),
    space("", "v1", "Event", "events").short(&["ev"]),
    space("", "v1", "LimitRange", "limitranges").short(&["limits"]),
    cluster("", "v1", "Namespace", "namespaces")
        .short(&["ns"])
        .verbs(NO_COLLECTION)
        .subs(&[own("finalize", &["update"]), own("status", WRITE)]),
    cluster("", "v1", "Node", "nodes")
        .short(&["no"])
        .subs(&[sub("proxy", "v1", "NodeProxyOptions", PROXY), own("status", WRITE)]),
    space("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims").short(&["pvc"]).subs(STATUS),
    cluster("", "v1", "PersistentVolume", "persistentvolumes").short(&["pv"]).subs(STATUS),
    space("", "v1", "Pod", "pods").short(&["po"]).all().subs(&[
        sub("attach", "v1", "PodAttachOptions", CONNECT),
        sub("binding", "v1", "Binding", CREATE),
        own("ephemeralcontainers", WRITE),
        sub("eviction", "policy/v1", "Eviction", CREATE),
        sub("exec", "v1", "PodExecOptions", CONNECT),
        own("log", GET),
        sub("portforward", "v1", "PodPortForwardOptions", CONNECT),
        sub("proxy", "v1", "PodProxyOptions", PROXY),
        own("resize", WRITE),
        own("status", WRITE),
    ]),
    space("", "v1", "PodTemplate", "podtemplates"),
    space("", "v1", "ReplicationController", "replicationcontrollers").short(&["rc"]).all().subs(SCALED),
    space("", "v1", "ResourceQuota", "resourcequotas").short(&["quota"]).subs(STATUS),
    space("", "v1", "Secret", "secrets"),
    space("", "v1", "ServiceAccount", "serviceaccounts").short(&["sa"]).subs(&[sub(
        "token",
        "authentication.k8s.io/v1",
        "TokenRequest",
        CREATE,
    )]),
    space("", "v1", "Service", "services")
        .short(&["svc"])
        .all()
        .subs(&[sub("proxy", "v1", "ServiceProxyOptions", PROXY), own("status", WRITE)]),
    cluster("apiregistration.k8s.io", "v1", "APIService", "apiservices")
        .category(&["api-extensions"])
        .subs(STATUS),
    space("apps", "v1", "ControllerRevision", "controllerrevisions"),
    space("apps", "v1", "DaemonSet", "daemonsets").short(&["ds"]).all().subs(STATUS),
    space("apps", "v1", "Deployment", "deployments").short(&["deploy"]).all().subs(SCALED),
    space("apps", "v1", "ReplicaSet", "replicasets").short(&["rs"]).all().subs(SCALED),
    space("apps", "v1", "StatefulSet", "statefulsets").short(&["sts"]).all().subs(SCALED),
    space("events.k8s.io", "v1", "Event", "events").short(&["ev"]).stored_as("", "v1"),
    cluster("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews").verbs(CREATE),
    cluster("authentication.k8s.io", "v1", "TokenReview", "tokenreviews").verbs(CREATE),
    space(AUTHZ, "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews").verbs(CREATE),
    cluster(AUTHZ, "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews").verbs(CREATE),
    cluster(AUTHZ, "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews").verbs(CREATE),
    cluster(AUTHZ, "v1", "SubjectAccessReview", "subjectaccessreviews").verbs(CREATE),
    space("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
        .short(&["hpa"])
        .all()
        .subs(STATUS),
    space("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
        .short(&["hpa"])
        .all()
        .subs(STATUS)
        .stored_as("autoscaling", "v2"),
    space("batch", "v1", "CronJob", "cronjobs").short(&["cj"]).all().subs(STATUS),
    space("batch", "v1", "Job", "jobs").all().subs(STATUS),
    cluster("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests")
        .short(&["csr"])
        .subs(&[own("approval", WRITE), own("status", WRITE)]),
    space(NET, "v1", "Ingress", "ingresses").short(&["ing"]).subs(STATUS),
    cluster(NET, "v1", "IngressClass", "ingressclasses"),
    cluster(NET, "v1", "IPAddress", "ipaddresses").short(&["ip"]),
    space(NET, "v1", "NetworkPolicy", "networkpolicies").short(&["netpol"]),
    cluster(NET, "v1", "ServiceCIDR", "servicecidrs").subs(STATUS),
    space("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets").short(&["pdb"]).subs(STATUS),
    cluster(RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings"),
    cluster(RBAC, "v1", "ClusterRole", "clusterroles"),
    space(RBAC, "v1", "RoleBinding", "rolebindings"),
    space(RBAC, "v1", "Role", "roles"),
    cluster(STORAGE, "v1", "CSIDriver", "csidrivers"),
    cluster(STORAGE, "v1", "CSINode", "csinodes"),
    space(STORAGE, "v1", "CSIStorageCapacity", "csistoragecapacities"),
    cluster(STORAGE, "v1", "StorageClass", "storageclasses").short(&["sc"]),
    cluster(STORAGE, "v1", "VolumeAttachment", "volumeattachments").subs(STATUS),
    cluster(STORAGE, "v1", "VolumeAttributesClass", "volumeattributesclasses").short(&["vac"]),
    cluster(REG, "v1", "MutatingAdmissionPolicy", "mutatingadmissionpolicies").category(&["api-extensions"]),
    cluster(REG, "v1", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")
        .category(&["api-extensions"]),
    cluster(REG, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
        .category(&["api-extensions"]),
    cluster(REG, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
        .category(&["api-extensions"])
        .subs(STATUS),
    cluster(REG, "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
        .category(&["api-extensions"]),
    cluster(REG, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
        .category(&["api-extensions"]),
    cluster("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions")
        .short(&["crd", "crds"])
        .category(&["api-extensions"])
        .subs(STATUS),
    cluster("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses").short(&["pc"]),
    space("coordination.k8s.io", "v1", "Lease", "leases"),
    cluster("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses"),
    space("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
    cluster(FLOW, "v1", "FlowSchema", "flowschemas").subs(STATUS),
    cluster(FLOW, "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations").subs(STATUS),
    cluster(DRA, "v1", "DeviceClass", "deviceclasses"),
    space(DRA, "v1", "ResourceClaim", "resourceclaims").subs(STATUS),
    space(DRA, "v1", "ResourceClaimTemplate", "resourceclaimtemplates"),
    cluster(DRA, "v1", "ResourceSlice", "resourceslices"),
];
