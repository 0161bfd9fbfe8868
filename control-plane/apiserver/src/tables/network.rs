//! Tables of services and what surrounds them.

use serde_json::Value;

use super::{
    AGE, Column, NAME, Row, Tables,
    cell::{self, items, number, text},
    text as column, wide,
};

pub(super) const TABLES: Tables = &[
    ("", "services", SERVICES),
    ("", "endpoints", ENDPOINTS),
    ("discovery.k8s.io", "endpointslices", ENDPOINT_SLICES),
    ("networking.k8s.io", "ingresses", INGRESSES),
    ("networking.k8s.io", "ingressclasses", INGRESS_CLASSES),
    ("networking.k8s.io", "networkpolicies", NETWORK_POLICIES),
    ("networking.k8s.io", "ipaddresses", IP_ADDRESSES),
    ("networking.k8s.io", "servicecidrs", SERVICE_CIDRS),
];

const SERVICES: &[Column] = &[
    NAME,
    column("Type", "How the service is exposed.", |row| text(row.object, "/spec/type").into()),
    column("Cluster-IP", "The address inside the cluster.", |row| {
        let first = text(row.object, "/spec/clusterIPs/0");
        cell::or_none(if first.is_empty() { text(row.object, "/spec/clusterIP") } else { first }).into()
    }),
    column("External-IP", "Addresses from outside.", |row| external_ip(row.object).into()),
    column("Port(s)", "Ports, with their node ports.", |row| ports(row.object).into()),
    AGE,
    wide("Selector", "Labels of the pods behind the service.", |row| {
        cell::labels(row.object.pointer("/spec/selector")).into()
    }),
];

fn external_ip(service: &Value) -> String {
    let external: Vec<&str> = items(service, "/spec/externalIPs").filter_map(Value::as_str).collect();
    match text(service, "/spec/type") {
        "ExternalName" => text(service, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let balanced =
                items(service, "/status/loadBalancer/ingress").map(|entry| match text(entry, "/ip") {
                    "" => text(entry, "/hostname"),
                    ip => ip,
                });
            let mut all: Vec<&str> = balanced.filter(|a| !a.is_empty()).collect();
            all.extend(external);
            if all.is_empty() { "<pending>".into() } else { all.join(",") }
        }
        _ if external.is_empty() => cell::NONE.into(),
        _ => external.join(","),
    }
}

fn ports(service: &Value) -> String {
    let port = |port: &Value| {
        let (number, node) = (number(port, "/port"), number(port, "/nodePort"));
        let protocol = text(port, "/protocol");
        if node > 0 { format!("{number}:{node}/{protocol}") } else { format!("{number}/{protocol}") }
    };
    let all: Vec<String> = items(service, "/spec/ports").map(port).collect();
    if all.is_empty() { cell::NONE.into() } else { all.join(",") }
}

const ENDPOINTS: &[Column] =
    &[NAME, column("Endpoints", "Addresses with their ports.", |row| endpoints(row.object).into()), AGE];

fn endpoints(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in items(object, "/subsets") {
        let addresses = || items(subset, "/addresses").map(|a| text(a, "/ip"));
        if items(subset, "/ports").next().is_none() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in items(subset, "/ports") {
            all.extend(addresses().map(|ip| joined(ip, number(port, "/port"))));
        }
    }
    cell::shortened(&all)
}

fn joined(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

const ENDPOINT_SLICES: &[Column] = &[
    NAME,
    column("AddressType", "Family of the addresses.", |row| text(row.object, "/addressType").into()),
    column("Ports", "Ports of every endpoint.", |row| {
        let port = |p: &Value| match p.get("port").filter(|n| !n.is_null()) {
            Some(number) => number.to_string(),
            None => text(p, "/name").to_owned(),
        };
        let all: Vec<String> = items(row.object, "/ports").map(port).collect();
        if all.is_empty() { "<unset>".into() } else { cell::shortened(&all).into() }
    }),
    column("Endpoints", "Addresses.", |row| {
        let all = items(row.object, "/endpoints").flat_map(|e| items(e, "/addresses"));
        let all: Vec<String> = all.filter_map(Value::as_str).map(str::to_owned).collect();
        if all.is_empty() { "<unset>".into() } else { cell::shortened(&all).into() }
    }),
    AGE,
];

const INGRESSES: &[Column] = &[
    NAME,
    column("Class", "The class that serves it.", |row| match text(row.object, "/spec/ingressClassName") {
        "" => match row.object.pointer("/metadata/annotations/kubernetes.io~1ingress.class") {
            Some(Value::String(class)) => class.clone().into(),
            _ => cell::NONE.into(),
        },
        class => class.into(),
    }),
    column("Hosts", "Hosts the rules are for.", |row| {
        let hosts = items(row.object, "/spec/rules").map(|r| text(r, "/host")).filter(|h| !h.is_empty());
        let hosts: Vec<String> = hosts.map(str::to_owned).collect();
        if hosts.is_empty() { "*".into() } else { cell::shortened(&hosts).into() }
    }),
    column("Address", "Where it is served.", |row| {
        let address = |entry: &Value| match text(entry, "/ip") {
            "" => text(entry, "/hostname").to_owned(),
            ip => ip.to_owned(),
        };
        items(row.object, "/status/loadBalancer/ingress").map(address).collect::<Vec<_>>().join(",").into()
    }),
    column("Ports", "Ports it is served on.", |row| match items(row.object, "/spec/tls").next() {
        Some(_) => "80, 443".into(),
        None => "80".into(),
    }),
    AGE,
];

const INGRESS_CLASSES: &[Column] = &[
    NAME,
    column("Controller", "Who serves this class.", |row| text(row.object, "/spec/controller").into()),
    column("Parameters", "Further configuration.", |row| {
        let of = |field: &str| text(row.object, &format!("/spec/parameters/{field}")).to_owned();
        let (group, kind, name) = (of("apiGroup"), of("kind"), of("name"));
        match (name.is_empty(), group.is_empty()) {
            (true, _) => cell::NONE.into(),
            (false, true) => format!("{kind}/{name}").into(),
            (false, false) => format!("{kind}.{group}/{name}").into(),
        }
    }),
    AGE,
];

const NETWORK_POLICIES: &[Column] = &[
    NAME,
    column("Pod-Selector", "The pods it is for.", |row| {
        cell::selector(row.object.pointer("/spec/podSelector")).into()
    }),
    AGE,
];

const IP_ADDRESSES: &[Column] = &[
    NAME,
    column("ParentRef", "Who holds the address.", |row: Row<'_>| {
        let of = |field: &str| text(row.object, &format!("/spec/parentRef/{field}")).to_owned();
        let (group, resource, namespace, name) = (of("group"), of("resource"), of("namespace"), of("name"));
        let resource = if group.is_empty() { resource } else { format!("{resource}.{group}") };
        let place = if namespace.is_empty() { name } else { format!("{namespace}/{name}") };
        format!("{resource}/{place}").into()
    }),
];

const SERVICE_CIDRS: &[Column] = &[
    NAME,
    column("CIDRs", "The ranges.", |row| {
        items(row.object, "/spec/cidrs").filter_map(Value::as_str).collect::<Vec<_>>().join(",").into()
    }),
    AGE,
];
