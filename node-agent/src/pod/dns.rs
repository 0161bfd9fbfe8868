//! What a pod's resolv.conf says.

use k8s_openapi::api::core::v1::Pod;

use super::spec;
use crate::{cri::v1::DnsConfig, options::Options};

/// Servers in one file that the C library looks at.
const SERVERS_MAX: usize = 3;
/// Search domains the API allows.
const SEARCHES_MAX: usize = 32;

/// The DNS configuration of a pod. `host` is the text of the host's resolv.conf.
pub fn of(pod: &Pod, options: &Options, host: &str) -> DnsConfig {
    let host = parse(host);
    let spec = spec::of(pod);
    let cluster_first = match spec.dns_policy.as_deref() {
        Some("None") => return with_own(pod, DnsConfig::default()),
        Some("Default") => false,
        Some("ClusterFirstWithHostNet") => true,
        _ => !spec::host_network(pod),
    };
    let base = if cluster_first && !options.cluster_dns.is_empty() {
        cluster(spec::namespace(pod), options, host)
    } else {
        host
    };
    with_own(pod, base)
}

fn cluster(namespace: &str, options: &Options, host: DnsConfig) -> DnsConfig {
    let domain = &options.cluster_domain;
    let own = [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    DnsConfig {
        servers: options.cluster_dns.iter().map(ToString::to_string).collect(),
        searches: unique(own.into_iter().chain(host.searches)),
        options: vec!["ndots:5".into()],
    }
}

/// Adds `spec.dnsConfig`: servers and searches are appended, options replaced by name.
fn with_own(pod: &Pod, mut config: DnsConfig) -> DnsConfig {
    let own = spec::of(pod).dns_config.clone().unwrap_or_default();
    config.servers = unique(config.servers.into_iter().chain(own.nameservers.into_iter().flatten()));
    config.searches = unique(config.searches.into_iter().chain(own.searches.into_iter().flatten()));
    for option in own.options.into_iter().flatten() {
        let Some(name) = option.name else { continue };
        config.options.retain(|present| present.split(':').next() != Some(&name));
        config.options.push(option.value.map_or(name.clone(), |value| format!("{name}:{value}")));
    }
    config.servers.truncate(SERVERS_MAX);
    config.searches.truncate(SEARCHES_MAX);
    config
}

fn parse(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(ToOwned::to_owned)),
            Some("search" | "domain") => config.searches = words.map(ToOwned::to_owned).collect(),
            Some("options") => config.options = words.map(ToOwned::to_owned).collect(),
            _ => {}
        }
    }
    config.searches.retain(|domain| domain != ".");
    config
}

fn unique(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::{Value, json};

    use super::{Options, of};

    const HOST: &str = "# made by hand\nnameserver 9.9.9.9\nsearch corp.example\noptions timeout:1\n";

    fn lines(spec: Value) -> (Vec<String>, Vec<String>, Vec<String>) {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"namespace": "shop"}, "spec": spec})).unwrap();
        let options = Options { cluster_dns: vec!["10.96.0.10".parse().unwrap()], ..Options::default() };
        let config = of(&pod, &options, HOST);
        (config.servers, config.searches, config.options)
    }

    #[test]
    fn cluster_first_asks_the_cluster_and_knows_the_namespace() {
        let (servers, searches, options) = lines(json!({"containers": []}));
        assert_eq!(servers, ["10.96.0.10"]);
        assert_eq!(
            searches,
            ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"]
        );
        assert_eq!(options, ["ndots:5"]);
    }

    #[test]
    fn host_network_and_default_ask_the_host() {
        for spec in [
            json!({"containers": [], "hostNetwork": true}),
            json!({"containers": [], "dnsPolicy": "Default"}),
        ] {
            let (servers, searches, options) = lines(spec);
            assert_eq!((servers, searches), (vec!["9.9.9.9".to_owned()], vec!["corp.example".to_owned()]));
            assert_eq!(options, ["timeout:1"]);
        }
    }

    #[test]
    fn own_configuration_is_merged_or_stands_alone() {
        let own = json!({"nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
        let (servers, _, options) = lines(json!({"containers": [], "dnsConfig": own.clone()}));
        assert_eq!(servers, ["10.96.0.10", "1.1.1.1"]);
        assert_eq!(options, ["ndots:2", "edns0"]);
        let (servers, searches, _) = lines(json!({"containers": [], "dnsPolicy": "None", "dnsConfig": own}));
        assert_eq!((servers, searches), (vec!["1.1.1.1".to_owned()], vec![]));
    }
}
