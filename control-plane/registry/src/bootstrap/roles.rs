//! The default roles and bindings, as data (after upstream's `plugin/pkg/auth/authorizer/rbac/bootstrappolicy`).

use serde_json::{Value, json};

/// Groups, resources, verbs.
type Rule = (&'static [&'static str], &'static [&'static str], &'static [&'static str]);

const ANY: &[&str] = &["*"];
const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const UPDATE: &[&str] = &["patch", "update"];
const CREATE: &[&str] = &["create"];
const CORE: &[&str] = &[""];
const EVENTS: Rule = (&["", "events.k8s.io"], &["events"], &["create", "patch", "update"]);
const APPS: &[&str] = &["apps"];
const COORDINATION: &[&str] = &["coordination.k8s.io"];
const DISCOVERY: &[&str] = &["discovery.k8s.io"];
const AUTHN: &[&str] = &["authentication.k8s.io"];
const AUTHZ: &[&str] = &["authorization.k8s.io"];
const STORAGE: &[&str] = &["storage.k8s.io"];
const NETWORKING: &[&str] = &["networking.k8s.io"];
const POLICY: &[&str] = &["policy"];
const DRA: &[&str] = &["resource.k8s.io"];

const CORE_VIEWED: &[&str] = &[
    "bindings",
    "configmaps",
    "endpoints",
    "events",
    "limitranges",
    "namespaces",
    "namespaces/status",
    "persistentvolumeclaims",
    "persistentvolumeclaims/status",
    "pods",
    "pods/log",
    "pods/status",
    "replicationcontrollers",
    "replicationcontrollers/scale",
    "replicationcontrollers/status",
    "resourcequotas",
    "resourcequotas/status",
    "serviceaccounts",
    "services",
    "services/status",
];
const APPS_VIEWED: &[&str] = &[
    "controllerrevisions",
    "daemonsets",
    "daemonsets/status",
    "deployments",
    "deployments/scale",
    "deployments/status",
    "replicasets",
    "replicasets/scale",
    "replicasets/status",
    "statefulsets",
    "statefulsets/scale",
    "statefulsets/status",
];
const APPS_EDITED: &[&str] = &[
    "daemonsets",
    "deployments",
    "deployments/rollback",
    "deployments/scale",
    "replicasets",
    "replicasets/scale",
    "statefulsets",
    "statefulsets/scale",
];
const CORE_EDITED: &[&str] = &[
    "configmaps",
    "events",
    "persistentvolumeclaims",
    "pods",
    "pods/attach",
    "pods/exec",
    "pods/portforward",
    "pods/proxy",
    "replicationcontrollers",
    "replicationcontrollers/scale",
    "secrets",
    "serviceaccounts",
    "services",
    "services/proxy",
];
const BATCH_VIEWED: &[&str] = &["cronjobs", "cronjobs/status", "jobs", "jobs/status"];
const INGRESS_VIEWED: &[&str] = &["ingresses", "ingresses/status", "networkpolicies"];

const VIEW: &[Rule] = &[
    (CORE, CORE_VIEWED, READ),
    (APPS, APPS_VIEWED, READ),
    (&["autoscaling"], &["horizontalpodautoscalers", "horizontalpodautoscalers/status"], READ),
    (&["batch"], BATCH_VIEWED, READ),
    (DISCOVERY, &["endpointslices"], READ),
    (NETWORKING, INGRESS_VIEWED, READ),
    (POLICY, &["poddisruptionbudgets", "poddisruptionbudgets/status"], READ),
];
const EDIT: &[Rule] = &[
    (
        CORE,
        &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"],
        READ,
    ),
    (CORE, &["serviceaccounts"], &["impersonate"]),
    (CORE, CORE_EDITED, WRITE),
    (CORE, &["pods/eviction", "serviceaccounts/token"], CREATE),
    (APPS, APPS_EDITED, WRITE),
    (&["autoscaling"], &["horizontalpodautoscalers"], WRITE),
    (&["batch"], &["cronjobs", "jobs"], WRITE),
    (NETWORKING, &["ingresses", "networkpolicies"], WRITE),
    (POLICY, &["poddisruptionbudgets"], WRITE),
    (COORDINATION, &["leases"], ALL),
];
const ADMIN: &[Rule] = &[
    (AUTHZ, &["localsubjectaccessreviews"], CREATE),
    (&["rbac.authorization.k8s.io"], &["rolebindings", "roles"], ALL),
];
const NODE: &[Rule] = &[
    (AUTHN, &["tokenreviews"], CREATE),
    (AUTHZ, &["localsubjectaccessreviews", "subjectaccessreviews"], CREATE),
    (CORE, &["services"], READ),
    (CORE, &["nodes"], &["create", "get", "list", "patch", "update", "watch"]),
    (CORE, &["nodes/status"], UPDATE),
    (CORE, &["pods"], &["create", "delete", "get", "list", "watch"]),
    (CORE, &["pods/status"], UPDATE),
    (CORE, &["pods/eviction", "serviceaccounts/token"], CREATE),
    (CORE, &["configmaps", "secrets", "endpoints", "namespaces", "serviceaccounts"], READ),
    (CORE, &["persistentvolumeclaims", "persistentvolumes"], READ),
    (CORE, &["persistentvolumeclaims/status"], &["get", "patch", "update"]),
    EVENTS,
    (&["certificates.k8s.io"], &["certificatesigningrequests"], &["create", "get", "list", "watch"]),
    (COORDINATION, &["leases"], &["create", "delete", "get", "patch", "update"]),
    (DISCOVERY, &["endpointslices"], READ),
    (NETWORKING, &["networkpolicies"], READ),
    (STORAGE, &["volumeattachments", "csidrivers"], READ),
    (STORAGE, &["csinodes"], &["create", "delete", "get", "patch", "update"]),
    (&["node.k8s.io"], &["runtimeclasses"], READ),
    (DRA, &["resourceclaims"], &["get"]),
    (
        DRA,
        &["resourceslices"],
        &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
    ),
];
const SCHEDULER: &[Rule] = &[
    EVENTS,
    (COORDINATION, &["leases"], &["create", "get", "list", "patch", "update", "watch"]),
    (CORE, &["nodes", "namespaces", "replicationcontrollers", "services", "persistentvolumes"], READ),
    (CORE, &["pods"], &["delete", "get", "list", "watch"]),
    (CORE, &["bindings", "pods/binding"], CREATE),
    (CORE, &["pods/status"], UPDATE),
    (CORE, &["persistentvolumeclaims"], &["get", "list", "patch", "update", "watch"]),
    (APPS, &["replicasets", "statefulsets"], READ),
    (POLICY, &["poddisruptionbudgets"], READ),
    (
        STORAGE,
        &["csinodes", "csidrivers", "csistoragecapacities", "storageclasses", "volumeattachments"],
        READ,
    ),
    (DRA, &["deviceclasses", "resourceclaims", "resourceslices"], READ),
    (DRA, &["resourceclaims/status"], UPDATE),
    (AUTHN, &["tokenreviews"], CREATE),
    (AUTHZ, &["subjectaccessreviews"], CREATE),
];
const CONTROLLER_MANAGER: &[Rule] = &[
    EVENTS,
    (COORDINATION, &["leases"], &["create", "get", "list", "patch", "update", "watch", "delete"]),
    (ANY, ANY, READ),
    (CORE, &["secrets", "serviceaccounts", "configmaps"], &["create", "delete", "patch", "update"]),
    (CORE, &["serviceaccounts/token"], CREATE),
    (
        CORE,
        &[
            "pods",
            "endpoints",
            "persistentvolumes",
            "persistentvolumeclaims",
            "replicationcontrollers",
            "services",
        ],
        WRITE,
    ),
    (
        CORE,
        &[
            "pods/status",
            "pods/finalizers",
            "persistentvolumes/status",
            "persistentvolumeclaims/status",
            "replicationcontrollers/status",
            "replicationcontrollers/scale",
            "replicationcontrollers/finalizers",
            "resourcequotas/status",
            "services/status",
        ],
        UPDATE,
    ),
    (CORE, &["pods/eviction"], CREATE),
    (CORE, &["nodes"], &["delete", "patch", "update"]),
    (CORE, &["nodes/status"], UPDATE),
    (CORE, &["namespaces"], &["delete", "patch", "update"]),
    (CORE, &["namespaces/finalize", "namespaces/status"], UPDATE),
    (APPS, ANY, &["create", "delete", "patch", "update"]),
    (&["batch"], ANY, &["create", "delete", "patch", "update"]),
    (&["autoscaling"], ANY, UPDATE),
    (DISCOVERY, &["endpointslices"], &["create", "delete", "deletecollection", "patch", "update"]),
    (POLICY, &["poddisruptionbudgets/status"], UPDATE),
    (&["certificates.k8s.io"], ANY, &["approve", "sign", "patch", "update", "delete"]),
    (STORAGE, &["volumeattachments", "volumeattachments/status"], &["create", "delete", "patch", "update"]),
    (
        NETWORKING,
        &["ipaddresses", "servicecidrs", "servicecidrs/status"],
        &["create", "delete", "patch", "update"],
    ),
    (DRA, &["resourceclaims", "resourceclaims/status"], &["create", "delete", "patch", "update"]),
    (AUTHN, &["tokenreviews"], CREATE),
    (AUTHZ, &["subjectaccessreviews"], CREATE),
];
/// The collector and the namespace controller delete whatever there is.
const COLLECTOR: &[Rule] =
    &[EVENTS, (ANY, ANY, &["delete", "deletecollection", "get", "list", "patch", "update", "watch"])];

const BASIC_USER: &[Rule] = &[
    (AUTHZ, &["selfsubjectaccessreviews", "selfsubjectrulesreviews"], CREATE),
    (AUTHN, &["selfsubjectreviews"], CREATE),
];
const DELEGATOR: &[Rule] = &[(AUTHN, &["tokenreviews"], CREATE), (AUTHZ, &["subjectaccessreviews"], CREATE)];
const NODE_PROXIER: &[Rule] = &[
    (CORE, &["endpoints", "services"], &["list", "watch"]),
    (CORE, &["nodes"], READ),
    (DISCOVERY, &["endpointslices"], &["list", "watch"]),
    (NETWORKING, &["servicecidrs"], &["list", "watch"]),
    EVENTS,
];
const DNS: &[Rule] = &[
    (CORE, &["endpoints", "services", "pods", "namespaces"], &["list", "watch"]),
    (DISCOVERY, &["endpointslices"], &["list", "watch"]),
];
const KUBELET_API: &[Rule] = &[
    (CORE, &["nodes"], &["get", "list", "proxy", "watch"]),
    (
        CORE,
        &[
            "nodes/log",
            "nodes/metrics",
            "nodes/proxy",
            "nodes/stats",
            "nodes/configz",
            "nodes/healthz",
            "nodes/pods",
        ],
        ANY,
    ),
];
const BOOTSTRAPPER: &[Rule] =
    &[(&["certificates.k8s.io"], &["certificatesigningrequests"], &["create", "get", "list", "watch"])];
const PROVISIONER: &[Rule] = &[
    (CORE, &["persistentvolumes"], &["create", "delete", "get", "list", "watch"]),
    (CORE, &["persistentvolumeclaims"], &["get", "list", "update", "watch"]),
    (STORAGE, &["storageclasses"], READ),
    EVENTS,
    (CORE, &["events"], READ),
];

/// Controllers have an account each in kube-system when they run with separate credentials.
const CONTROLLERS: &[(&str, &[Rule])] = &[
    (
        "deployment-controller",
        &[
            EVENTS,
            (
                APPS,
                &["deployments", "replicasets"],
                &["create", "delete", "get", "list", "patch", "update", "watch"],
            ),
            (APPS, &["deployments/status", "deployments/finalizers"], &["update"]),
            (CORE, &["pods"], &["get", "list", "update", "watch"]),
        ],
    ),
    (
        "replicaset-controller",
        &[
            EVENTS,
            (APPS, &["replicasets"], &["get", "list", "update", "watch"]),
            (APPS, &["replicasets/status", "replicasets/finalizers"], &["update"]),
            (CORE, &["pods"], &["create", "delete", "list", "patch", "watch"]),
        ],
    ),
    (
        "replication-controller",
        &[
            EVENTS,
            (CORE, &["replicationcontrollers"], &["get", "list", "update", "watch"]),
            (CORE, &["replicationcontrollers/status", "replicationcontrollers/finalizers"], &["update"]),
            (CORE, &["pods"], &["create", "delete", "list", "patch", "watch"]),
        ],
    ),
    (
        "daemon-set-controller",
        &[
            EVENTS,
            (APPS, &["daemonsets", "controllerrevisions"], ALL),
            (APPS, &["daemonsets/status", "daemonsets/finalizers"], &["update"]),
            (CORE, &["nodes"], &["list", "watch"]),
            (CORE, &["pods"], &["create", "delete", "list", "patch", "watch"]),
            (CORE, &["pods/binding"], CREATE),
        ],
    ),
    (
        "statefulset-controller",
        &[
            EVENTS,
            (APPS, &["statefulsets", "controllerrevisions"], ALL),
            (APPS, &["statefulsets/status", "statefulsets/finalizers"], &["update"]),
            (CORE, &["pods"], &["create", "delete", "get", "list", "patch", "update", "watch"]),
            (CORE, &["persistentvolumeclaims"], &["create", "delete", "get", "list", "update", "watch"]),
        ],
    ),
    (
        "job-controller",
        &[
            EVENTS,
            (&["batch"], &["jobs"], &["get", "list", "patch", "update", "watch"]),
            (&["batch"], &["jobs/status", "jobs/finalizers"], &["update"]),
            (CORE, &["pods"], &["create", "delete", "list", "patch", "watch"]),
        ],
    ),
    (
        "cronjob-controller",
        &[
            EVENTS,
            (
                &["batch"],
                &["cronjobs", "jobs"],
                &["create", "delete", "get", "list", "patch", "update", "watch"],
            ),
            (&["batch"], &["cronjobs/status", "cronjobs/finalizers"], &["update"]),
            (CORE, &["pods"], &["delete", "list"]),
        ],
    ),
    (
        "endpoint-controller",
        &[
            EVENTS,
            (CORE, &["pods", "services"], READ),
            (CORE, &["endpoints"], ALL),
            (CORE, &["endpoints/restricted"], CREATE),
        ],
    ),
    (
        "endpointslice-controller",
        &[
            EVENTS,
            (CORE, &["nodes", "pods", "services"], READ),
            (CORE, &["services/finalizers"], &["update"]),
            (DISCOVERY, &["endpointslices"], &["create", "delete", "get", "list", "update", "watch"]),
        ],
    ),
    (
        "namespace-controller",
        &[
            (CORE, &["namespaces"], &["delete", "get", "list", "watch"]),
            (CORE, &["namespaces/finalize", "namespaces/status"], &["update"]),
            (ANY, ANY, &["delete", "deletecollection", "get", "list"]),
        ],
    ),
    (
        "node-controller",
        &[
            EVENTS,
            (CORE, &["nodes"], &["delete", "get", "list", "patch", "update", "watch"]),
            (CORE, &["nodes/status"], UPDATE),
            (CORE, &["pods"], &["delete", "get", "list", "watch"]),
            (CORE, &["pods/status"], UPDATE),
            (COORDINATION, &["leases"], READ),
        ],
    ),
    (
        "service-account-controller",
        &[EVENTS, (CORE, &["serviceaccounts"], CREATE), (CORE, &["namespaces", "serviceaccounts"], READ)],
    ),
    (
        "root-ca-cert-publisher",
        &[EVENTS, (CORE, &["configmaps"], &["create", "get", "list", "update", "watch"])],
    ),
    (
        "disruption-controller",
        &[
            EVENTS,
            (CORE, &["pods", "replicationcontrollers"], READ),
            (APPS, &["deployments", "replicasets", "statefulsets"], READ),
            (POLICY, &["poddisruptionbudgets"], READ),
            (POLICY, &["poddisruptionbudgets/status"], &["update"]),
        ],
    ),
    (
        "pod-garbage-collector",
        &[
            (CORE, &["pods"], &["delete", "list", "watch"]),
            (CORE, &["nodes"], READ),
            (CORE, &["pods/status"], &["patch"]),
        ],
    ),
    (
        "ttl-after-finished-controller",
        &[EVENTS, (&["batch"], &["jobs"], &["delete", "get", "list", "watch"])],
    ),
    (
        "persistent-volume-binder",
        &[
            EVENTS,
            (CORE, &["persistentvolumes", "persistentvolumeclaims"], ALL),
            (CORE, &["persistentvolumes/status", "persistentvolumeclaims/status"], &["update"]),
            (STORAGE, &["storageclasses"], READ),
        ],
    ),
];

/// Roles that are bound to nobody, or below to a group or user.
const ROLES: &[(&str, &[Rule])] = &[
    ("system:node", NODE),
    ("system:kube-scheduler", SCHEDULER),
    ("system:kube-controller-manager", CONTROLLER_MANAGER),
    ("system:controller:generic-garbage-collector", COLLECTOR),
    ("system:basic-user", BASIC_USER),
    ("system:auth-delegator", DELEGATOR),
    ("system:node-proxier", NODE_PROXIER),
    ("system:kube-dns", DNS),
    ("system:kubelet-api-admin", KUBELET_API),
    ("system:node-bootstrapper", BOOTSTRAPPER),
    ("system:persistent-volume-provisioner", PROVISIONER),
];

const HEALTH: &[&str] = &["/healthz", "/livez", "/readyz", "/version", "/version/"];
const DISCOVERY_URLS: &[&str] = &[
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
];
const MONITORED: &[&str] =
    &["/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*"];

/// Roles about paths.
const URL_ROLES: &[(&str, &[&str])] = &[
    ("system:discovery", DISCOVERY_URLS),
    ("system:public-info-viewer", HEALTH),
    ("system:monitoring", MONITORED),
    (
        "system:service-account-issuer-discovery",
        &[
            "/.well-known/openid-configuration",
            "/.well-known/openid-configuration/",
            "/openid/v1/jwks",
            "/openid/v1/jwks/",
        ],
    ),
];

/// Kind and name of who has a role.
type Subject = (&'static str, &'static str);

/// Name of the binding, role, and who has it.
const BINDINGS: &[(&str, &str, &[Subject])] = &[
    ("cluster-admin", "cluster-admin", &[("Group", "system:masters")]),
    ("system:discovery", "system:discovery", &[("Group", "system:authenticated")]),
    ("system:basic-user", "system:basic-user", &[("Group", "system:authenticated")]),
    (
        "system:public-info-viewer",
        "system:public-info-viewer",
        &[("Group", "system:authenticated"), ("Group", "system:unauthenticated")],
    ),
    (
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        &[("Group", "system:serviceaccounts")],
    ),
    ("system:monitoring", "system:monitoring", &[("Group", "system:monitoring")]),
    ("system:kube-scheduler", "system:kube-scheduler", &[("User", "system:kube-scheduler")]),
    (
        "system:kube-controller-manager",
        "system:kube-controller-manager",
        &[("User", "system:kube-controller-manager")],
    ),
    (
        "system:controller:generic-garbage-collector",
        "system:controller:generic-garbage-collector",
        &[("User", "system:kube-controller-manager"), ("ServiceAccount", "generic-garbage-collector")],
    ),
    (
        "system:node-proxier",
        "system:node-proxier",
        &[("User", "system:kube-proxy"), ("Group", "system:nodes")],
    ),
    ("system:kube-dns", "system:kube-dns", &[("ServiceAccount", "kube-dns"), ("Group", "system:nodes")]),
    ("kontiki:nodes", "system:node", &[("Group", "system:nodes")]),
];

/// Every role and binding.
pub(super) fn all() -> impl Iterator<Item = Value> {
    let urls = URL_ROLES
        .iter()
        .map(|(name, paths)| role(name, json!([{"nonResourceURLs": paths, "verbs": ["get"]}])));
    let controllers = CONTROLLERS.iter().flat_map(|(name, rules)| {
        let role_name = format!("system:controller:{name}");
        let bound = binding(&role_name, &role_name, &[("ServiceAccount", name)]);
        [role(&role_name, rules_of(rules)), bound]
    });
    let plain = ROLES.iter().map(|(name, rules)| role(name, rules_of(rules)));
    let bindings = BINDINGS.iter().map(|(name, role, subjects)| binding(name, role, subjects));
    let user_facing = user_facing().into_iter();
    user_facing.chain(plain).chain(urls).chain(controllers).chain(bindings)
}

/// The roles that people are given. Whoever adds a role with the right label extends them.
fn user_facing() -> Vec<Value> {
    let superuser = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]}]);
    let together = |parts: &[&[Rule]]| rules_of(&parts.concat());
    vec![
        role("cluster-admin", superuser),
        role("admin", together(&[ADMIN, EDIT, VIEW])),
        role("edit", together(&[EDIT, VIEW])),
        role("view", together(&[VIEW])),
    ]
}

fn rules_of(rules: &[Rule]) -> Value {
    rules
        .iter()
        .map(
            |(groups, resources, verbs)| json!({"apiGroups": groups, "resources": resources, "verbs": verbs}),
        )
        .collect()
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}})
}

fn role(name: &str, rules: Value) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata(name), "rules": rules})
}

fn binding(name: &str, role: &str, subjects: &[(&str, &str)]) -> Value {
    let subjects: Vec<Value> = subjects
        .iter()
        .map(|(kind, name)| match *kind {
            "ServiceAccount" => json!({"kind": kind, "name": name, "namespace": "kube-system"}),
            _ => json!({"kind": kind, "name": name, "apiGroup": "rbac.authorization.k8s.io"}),
        })
        .collect();
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": metadata(name),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": subjects})
}
