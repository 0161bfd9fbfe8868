//! The pod's own /etc/hosts.

use k8s_openapi::api::core::v1::Pod;

use super::spec;

/// Longest hostname the kernel takes.
const HOSTNAME_BYTES_MAX: usize = 63;

/// A pod's hostname, and its fully qualified name if it has a subdomain.
pub fn hostname(pod: &Pod, cluster_domain: &str) -> (String, Option<String>) {
    let spec = spec::of(pod);
    if let Some(name) = &spec.hostname_override {
        return (name.clone(), None);
    }
    let chosen = spec.hostname.as_deref().filter(|h| !h.is_empty()).unwrap_or_else(|| spec::name(pod));
    let mut host = chosen.to_owned();
    host.truncate(HOSTNAME_BYTES_MAX);
    let host = host.trim_end_matches(['-', '.']).to_owned();
    let subdomain = spec.subdomain.as_deref().filter(|s| !s.is_empty());
    let full = subdomain.map(|s| format!("{host}.{s}.{}.svc.{cluster_domain}", spec::namespace(pod)));
    (host, full)
}

/// What the kernel calls the pod.
pub fn kernel_hostname(pod: &Pod, cluster_domain: &str) -> String {
    let (host, full) = hostname(pod, cluster_domain);
    match full.filter(|_| spec::of(pod).set_hostname_as_fqdn.unwrap_or(false)) {
        Some(full) if full.len() <= HOSTNAME_BYTES_MAX + 1 => full,
        _ => host,
    }
}

/// The text of the file. Pods with the node's network get the node's file (`host`) and their aliases.
pub fn file(pod: &Pod, ips: &[String], cluster_domain: &str, host: &str) -> String {
    let mut text = if spec::host_network(pod) {
        format!("# Kubernetes-managed hosts file (host network).\n{host}")
    } else {
        own(pod, ips, cluster_domain)
    };
    let aliases = spec::of(pod).host_aliases.as_deref().unwrap_or(&[]);
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or(&[]).join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

fn own(pod: &Pod, ips: &[String], cluster_domain: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    let (host, full) = hostname(pod, cluster_domain);
    for ip in ips {
        match &full {
            Some(full) => text.push_str(&format!("{ip}\t{full}\t{host}\n")),
            None => text.push_str(&format!("{ip}\t{host}\n")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::file;

    #[test]
    fn a_pod_knows_itself_and_its_aliases() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web-0", "namespace": "shop"},
            "spec": {"containers": [], "subdomain": "web",
                "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]},
        }))
        .unwrap();
        let text = file(&pod, &["10.0.0.2".into()], "cluster.local", "");
        assert!(text.contains("10.0.0.2\tweb-0.web.shop.svc.cluster.local\tweb-0\n"), "{text}");
        assert!(text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"), "{text}");
    }
}
