//! What a name of the cluster's domain means. Pure: services and endpoints come from a [`Source`].

use std::net::Ipv4Addr;

use hickory_server::proto::rr::{
    Name, RData, Record, RecordType,
    rdata::{A, CNAME, PTR, SOA, SRV, TXT},
};

use crate::limits::TTL_S;

/// A port of a service or endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name; empty when it has none.
    pub name: String,
    /// Lower case: `tcp`, `udp`, `sctp`.
    pub protocol: String,
    /// The number.
    pub port: u16,
}

/// What a service is to DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// It has an address of its own.
    Cluster {
        /// The address.
        ip: Ipv4Addr,
        /// Its ports.
        ports: Vec<Port>,
    },
    /// Its endpoints are its addresses.
    Headless,
    /// It stands for a name outside.
    External(String),
}

/// One address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub ip: Ipv4Addr,
    /// `hostname` of the endpoint, if set.
    pub hostname: Option<String>,
    /// Its ports.
    pub ports: Vec<Port>,
}

impl Endpoint {
    /// Its label below the service: the host name, else the address with dashes.
    fn label(&self) -> String {
        self.hostname.clone().unwrap_or_else(|| self.ip.to_string().replace('.', "-"))
    }
}

/// Where services and endpoints are known.
pub trait Source: Send + Sync + 'static {
    /// A service.
    fn service(&self, namespace: &str, name: &str) -> Option<Service>;
    /// The endpoints of a service that may be given to clients.
    fn endpoints(&self, namespace: &str, service: &str) -> Vec<Endpoint>;
    /// Whether a namespace exists.
    fn has_namespace(&self, namespace: &str) -> bool;
    /// Names, relative to the cluster's domain, of an address: `web.default.svc`.
    fn names_of(&self, ip: Ipv4Addr) -> Vec<String>;
}

/// What to answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Whether the name exists.
    pub exists: bool,
    /// Records of the type asked for.
    pub answers: Vec<Record>,
    /// Addresses of names in the answers.
    pub additionals: Vec<Record>,
    /// The name is an alias of one that others must resolve.
    pub resolve: Option<Name>,
}

/// The cluster's domain.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Such as `cluster.local.`.
    pub domain: Name,
}

impl Zone {
    /// Answers a query for a name of the domain or of the reverse tree; `None` when somebody else must.
    pub fn answer(&self, source: &dyn Source, name: &Name, kind: RecordType) -> Option<Answer> {
        if self.domain.zone_of(name) {
            let labels = labels(name, usize::from(self.domain.num_labels()))?;
            return Some(self.inside(source, name, kind, &labels));
        }
        self.reverse(source, name, kind)
    }

    /// The record that negative answers carry (RFC 2308).
    pub fn soa(&self) -> Record {
        let below = |label: &str| Name::from_ascii(label).and_then(|n| n.append_domain(&self.domain));
        let (ns, admin) = (below("ns.dns"), below("hostmaster"));
        let ns = ns.unwrap_or_else(|_| self.domain.clone());
        let admin = admin.unwrap_or_else(|_| self.domain.clone());
        let soa = SOA::new(ns, admin, 1, 7200, 1800, 86400, TTL_S);
        Record::from_rdata(self.domain.clone(), TTL_S, RData::SOA(soa))
    }

    /// `labels` are those below the domain, as written: `["web", "default", "svc"]`.
    fn inside(&self, source: &dyn Source, name: &Name, kind: RecordType, labels: &[String]) -> Answer {
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        match labels.as_slice() {
            [] if kind == RecordType::SOA => {
                Answer { exists: true, answers: vec![self.soa()], ..Answer::default() }
            }
            [] | ["svc" | "pod"] => exists(),
            ["dns-version"] => {
                let text = RData::TXT(TXT::new(vec!["1.1.0".to_owned()]));
                only(kind == RecordType::TXT, name, vec![text])
            }
            [namespace, "svc" | "pod"] => {
                Answer { exists: source.has_namespace(namespace), ..Answer::default() }
            }
            [dashed, namespace, "pod"] => pod(source, name, kind, dashed, namespace),
            [service, namespace, "svc"] => self.service(source, name, kind, namespace, service),
            [protocol, service, namespace, "svc"] if protocol.starts_with('_') => {
                Answer { exists: source.service(namespace, service).is_some(), ..only(false, name, vec![]) }
            }
            [host, service, namespace, "svc"] => endpoint(source, name, kind, namespace, service, host),
            [port, protocol, service, namespace, "svc"]
                if port.starts_with('_') && protocol.starts_with('_') =>
            {
                self.port(source, name, kind, namespace, service, &port[1..], &protocol[1..])
            }
            _ => Answer::default(),
        }
    }

    fn service(
        &self,
        source: &dyn Source,
        name: &Name,
        kind: RecordType,
        namespace: &str,
        service: &str,
    ) -> Answer {
        match source.service(namespace, service) {
            None => Answer::default(),
            Some(Service::Cluster { ip, .. }) if kind == RecordType::A => {
                only(true, name, vec![RData::A(A(ip))])
            }
            Some(Service::Headless) => {
                let endpoints = source.endpoints(namespace, service);
                // A headless service without endpoints does not exist, as CoreDNS sees it.
                let mut answer = only(kind == RecordType::A, name, addresses(&endpoints));
                answer.exists = !endpoints.is_empty();
                if kind == RecordType::SRV {
                    self.ports(source, name, namespace, service, None)
                } else {
                    answer
                }
            }
            Some(Service::Cluster { .. }) if kind == RecordType::SRV => {
                self.ports(source, name, namespace, service, None)
            }
            Some(Service::Cluster { .. }) => exists(),
            Some(Service::External(target)) => {
                match Name::from_utf8(format!("{}.", target.trim_end_matches('.'))) {
                    Ok(target) => Answer {
                        resolve: matches!(kind, RecordType::A | RecordType::AAAA).then(|| target.clone()),
                        ..only(true, name, vec![RData::CNAME(CNAME(target))])
                    },
                    Err(_) => exists(),
                }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each is one label of the name")]
    fn port(
        &self,
        source: &dyn Source,
        name: &Name,
        kind: RecordType,
        namespace: &str,
        service: &str,
        port: &str,
        protocol: &str,
    ) -> Answer {
        let mut answer = self.ports(source, name, namespace, service, Some((port, protocol)));
        if kind != RecordType::SRV {
            answer.answers.clear();
            answer.additionals.clear();
        }
        answer
    }

    fn ports(
        &self,
        source: &dyn Source,
        name: &Name,
        namespace: &str,
        service: &str,
        only: Option<(&str, &str)>,
    ) -> Answer {
        let wanted =
            |port: &Port| only.is_none_or(|(name, protocol)| port.name == name && port.protocol == protocol);
        let mut targets: Vec<(String, Ipv4Addr, u16)> = Vec::new();
        match source.service(namespace, service) {
            Some(Service::Cluster { ip, ports }) => {
                let target = format!("{service}.{namespace}.svc");
                targets.extend(ports.iter().filter(|p| wanted(p)).map(|p| (target.clone(), ip, p.port)));
            }
            Some(Service::Headless) => {
                for endpoint in source.endpoints(namespace, service) {
                    let target = format!("{}.{service}.{namespace}.svc", endpoint.label());
                    targets.extend(
                        endpoint
                            .ports
                            .iter()
                            .filter(|p| wanted(p))
                            .map(|p| (target.clone(), endpoint.ip, p.port)),
                    );
                }
            }
            Some(Service::External(_)) | None => {}
        }
        let mut answer = Answer { exists: !targets.is_empty(), ..Answer::default() };
        let weight = u16::try_from(100 / targets.len().max(1)).unwrap_or(1).max(1);
        for (target, ip, port) in targets {
            let Ok(target) = Name::from_ascii(&target).and_then(|n| n.append_domain(&self.domain)) else {
                continue;
            };
            answer.answers.push(record(name, RData::SRV(SRV::new(0, weight, port, target.clone()))));
            let address = record(&target, RData::A(A(ip)));
            if !answer.additionals.contains(&address) {
                answer.additionals.push(address);
            }
        }
        answer
    }

    fn reverse(&self, source: &dyn Source, name: &Name, kind: RecordType) -> Option<Answer> {
        let text = name.to_ascii().to_ascii_lowercase();
        let octets = text.strip_suffix(".in-addr.arpa.")?;
        let ip: Ipv4Addr = octets.split('.').rev().collect::<Vec<_>>().join(".").parse().ok()?;
        let names = source.names_of(ip);
        if names.is_empty() {
            return None;
        }
        let pointers = names
            .iter()
            .filter_map(|relative| {
                Name::from_ascii(relative).and_then(|n| n.append_domain(&self.domain)).ok()
            })
            .map(|target| RData::PTR(PTR(target)));
        Some(only(kind == RecordType::PTR, name, pointers.collect()))
    }
}

fn labels(name: &Name, domain_labels: usize) -> Option<Vec<String>> {
    let all: Vec<String> = name
        .iter()
        .map(|label| std::str::from_utf8(label).map(str::to_ascii_lowercase))
        .collect::<Result<_, _>>()
        .ok()?;
    Some(all[..all.len().checked_sub(domain_labels)?].to_vec())
}

fn exists() -> Answer {
    Answer { exists: true, ..Answer::default() }
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL_S, data)
}

/// A name that exists, with these records if they are of the type asked for.
fn only(asked: bool, name: &Name, data: Vec<RData>) -> Answer {
    let answers = if asked { data.into_iter().map(|data| record(name, data)).collect() } else { Vec::new() };
    Answer { exists: true, answers, ..Answer::default() }
}

fn addresses(endpoints: &[Endpoint]) -> Vec<RData> {
    endpoints.iter().map(|endpoint| RData::A(A(endpoint.ip))).collect()
}

fn pod(source: &dyn Source, name: &Name, kind: RecordType, dashed: &str, namespace: &str) -> Answer {
    match dashed.replace('-', ".").parse::<Ipv4Addr>() {
        Ok(ip) if source.has_namespace(namespace) => only(kind == RecordType::A, name, vec![RData::A(A(ip))]),
        _ => Answer::default(),
    }
}

fn endpoint(
    source: &dyn Source,
    name: &Name,
    kind: RecordType,
    namespace: &str,
    service: &str,
    host: &str,
) -> Answer {
    let mut endpoints = source.endpoints(namespace, service);
    endpoints.retain(|endpoint| endpoint.label() == host);
    if endpoints.is_empty() || source.service(namespace, service).is_none() {
        return Answer::default();
    }
    only(kind == RecordType::A, name, addresses(&endpoints))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    fn port(name: &str, port: u16) -> Port {
        Port { name: name.into(), protocol: "tcp".into(), port }
    }

    impl Source for Fixed {
        fn service(&self, namespace: &str, name: &str) -> Option<Service> {
            match (namespace, name) {
                ("default", "web") => {
                    Some(Service::Cluster { ip: [10, 96, 0, 5].into(), ports: vec![port("http", 80)] })
                }
                ("default", "db" | "empty") => Some(Service::Headless),
                ("default", "out") => Some(Service::External("example.com".into())),
                _ => None,
            }
        }

        fn endpoints(&self, _: &str, service: &str) -> Vec<Endpoint> {
            let endpoint = |last, hostname: Option<&str>| Endpoint {
                ip: [10, 244, 0, last].into(),
                hostname: hostname.map(str::to_owned),
                ports: vec![port("sql", 5432)],
            };
            if service == "db" { vec![endpoint(2, Some("db-0")), endpoint(3, None)] } else { Vec::new() }
        }

        fn has_namespace(&self, namespace: &str) -> bool {
            namespace == "default"
        }

        fn names_of(&self, ip: Ipv4Addr) -> Vec<String> {
            if ip == Ipv4Addr::new(10, 96, 0, 5) { vec!["web.default.svc".into()] } else { Vec::new() }
        }
    }

    fn ask(name: &str, kind: RecordType) -> Option<Answer> {
        let zone = Zone { domain: Name::from_ascii("cluster.local.").unwrap() };
        zone.answer(&Fixed, &Name::from_ascii(name).unwrap(), kind)
    }

    fn check(name: &str, kind: RecordType, expect: &[&str]) {
        let answer = ask(name, kind).unwrap();
        assert!(answer.exists, "{name} exists");
        let shown: Vec<String> = answer.answers.iter().map(|record| record.data.to_string()).collect();
        assert_eq!(shown, expect, "{name} {kind}");
    }

    #[test]
    fn services_answer_with_their_address_or_their_endpoints() {
        check("web.default.svc.cluster.local.", RecordType::A, &["10.96.0.5"]);
        check("WEB.Default.svc.cluster.local.", RecordType::A, &["10.96.0.5"]);
        check("web.default.svc.cluster.local.", RecordType::AAAA, &[]);
        check("db.default.svc.cluster.local.", RecordType::A, &["10.244.0.2", "10.244.0.3"]);
        check("out.default.svc.cluster.local.", RecordType::A, &["example.com."]);
    }

    #[test]
    fn endpoints_of_headless_services_have_names() {
        check("db-0.db.default.svc.cluster.local.", RecordType::A, &["10.244.0.2"]);
        check("10-244-0-3.db.default.svc.cluster.local.", RecordType::A, &["10.244.0.3"]);
    }

    #[test]
    fn ports_are_found_by_srv() {
        check(
            "_http._tcp.web.default.svc.cluster.local.",
            RecordType::SRV,
            &["0 100 80 web.default.svc.cluster.local."],
        );
        check(
            "_sql._tcp.db.default.svc.cluster.local.",
            RecordType::SRV,
            &[
                "0 50 5432 db-0.db.default.svc.cluster.local.",
                "0 50 5432 10-244-0-3.db.default.svc.cluster.local.",
            ],
        );
    }

    #[test]
    fn pods_reverse_names_and_the_version_answer() {
        check("10-244-0-9.default.pod.cluster.local.", RecordType::A, &["10.244.0.9"]);
        check("5.0.96.10.in-addr.arpa.", RecordType::PTR, &["web.default.svc.cluster.local."]);
        check("dns-version.cluster.local.", RecordType::TXT, &["1.1.0"]);
    }

    #[test]
    fn what_does_not_exist_is_told_from_what_has_no_such_record() {
        for name in ["cluster.local.", "svc.cluster.local.", "default.svc.cluster.local."] {
            check(name, RecordType::A, &[]);
        }
        for name in [
            "x.default.svc.cluster.local.",
            "web.other.svc.cluster.local.",
            "empty.default.svc.cluster.local.",
            "nope.cluster.local.",
            "_x._tcp.web.default.svc.cluster.local.",
            "1-2.default.pod.cluster.local.",
        ] {
            assert!(!ask(name, RecordType::A).unwrap().exists, "{name}");
        }
    }

    #[test]
    fn other_names_are_for_others() {
        assert!(ask("example.com.", RecordType::A).is_none());
        assert!(ask("1.2.3.4.in-addr.arpa.", RecordType::PTR).is_none());
    }
}
