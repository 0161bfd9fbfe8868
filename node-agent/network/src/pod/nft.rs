//! Masquerading and host ports, in one nftables table named after the bridge. Each change is one transaction.

use std::fmt::Write;
use std::net::IpAddr;
use std::process::Stdio;

use ipnet::IpNet;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::PortMapping;
use super::error::{Error, Result};
use super::options::Options;

/// Bytes of a pod id that name its chain: nftables allows 127 in all.
const CHAIN_ID_BYTES: usize = 40;

/// Makes the table, and the masquerading in it, what it should be. Host ports stay.
pub async fn apply(options: &Options, cidrs: &[IpNet], peers: &[(IpNet, IpAddr)]) -> Result<()> {
    run(&rules(options, cidrs, peers)).await
}

fn rules(options: &Options, cidrs: &[IpNet], peers: &[(IpNet, IpAddr)]) -> String {
    let (table, bridge) = (options.table(), &options.bridge);
    let mut text = format!(
        "add table inet {table}\n\
         add chain inet {table} postrouting {{ type nat hook postrouting priority srcnat; policy accept; }}\n\
         flush chain inet {table} postrouting\n"
    );
    for cidr in cidrs {
        let family = family(cidr.addr());
        let inside = cidrs.iter().chain(peers.iter().map(|(cidr, _)| cidr)).chain(&options.no_masquerade);
        let inside: Vec<String> = inside
            .filter(|other| other.addr().is_ipv4() == cidr.addr().is_ipv4())
            .map(|cidr| cidr.trunc().to_string())
            .collect();
        let multicast = if cidr.addr().is_ipv4() { "224.0.0.0/4" } else { "ff00::/8" };
        // Overlapping ranges are an error in a set, so each range is a rule of its own.
        for range in inside.iter().map(String::as_str).chain([multicast]) {
            line(
                &mut text,
                format_args!(
                    "add rule inet {table} postrouting {family} saddr {} {family} daddr {range} return",
                    cidr.trunc()
                ),
            );
        }
        line(
            &mut text,
            format_args!(
                "add rule inet {table} postrouting {family} saddr {} oifname != \"{bridge}\" masquerade",
                cidr.trunc()
            ),
        );
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(arguments);
    text.push('\n');
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}

/// Removes the table.
pub async fn remove(options: &Options) -> Result<()> {
    let table = options.table();
    run(&format!("add table inet {table}\ndelete table inet {table}\n")).await
}

fn chain(id: &str) -> String {
    let id: String = id.chars().filter(char::is_ascii_alphanumeric).take(CHAIN_ID_BYTES).collect();
    format!("ports-{id}")
}

/// Leads ports of the host to a pod: for packets that arrive, and for those of the host itself.
pub async fn map_ports(
    options: &Options,
    id: &str,
    addresses: &[IpAddr],
    mappings: &[PortMapping],
) -> Result<()> {
    unmap_ports(options, id).await?;
    run(&port_rules(options, id, addresses, mappings)).await
}

fn port_rules(options: &Options, id: &str, addresses: &[IpAddr], mappings: &[PortMapping]) -> String {
    let (table, chain) = (options.table(), chain(id));
    let mut text = format!("add table inet {table}\n");
    for (suffix, hook) in [("in", "prerouting"), ("out", "output")] {
        line(
            &mut text,
            format_args!(
                "add chain inet {table} {chain}-{suffix} {{ type nat hook {hook} priority -100; policy accept; }}"
            ),
        );
        for mapping in mappings {
            for address in addresses {
                if let Some(rule) = port_rule(mapping, *address) {
                    line(&mut text, format_args!("add rule inet {table} {chain}-{suffix} {rule}"));
                }
            }
        }
    }
    text
}

fn port_rule(mapping: &PortMapping, address: IpAddr) -> Option<String> {
    let (name, kind) = if address.is_ipv4() { ("ip", "ipv4") } else { ("ip6", "ipv6") };
    let host = match mapping.host_ip {
        Some(host) if host.is_ipv4() != address.is_ipv4() => return None,
        Some(host) if !host.is_unspecified() => format!("{name} daddr {host} "),
        _ => format!("meta nfproto {kind} fib daddr type local "),
    };
    let target = if address.is_ipv4() { format!("{address}") } else { format!("[{address}]") };
    let PortMapping { protocol, host_port, container_port, .. } = mapping;
    Some(format!("{host}{protocol} dport {host_port} dnat {name} to {target}:{container_port}"))
}

/// Removes a pod's host ports.
pub async fn unmap_ports(options: &Options, id: &str) -> Result<()> {
    let (table, chain) = (options.table(), chain(id));
    let listed = output("list", &["chain", "inet", &table, &format!("{chain}-in")]).await?;
    if !listed {
        return Ok(());
    }
    run(&format!("delete chain inet {table} {chain}-in\ndelete chain inet {table} {chain}-out\n")).await
}

async fn output(verb: &str, arguments: &[&str]) -> Result<bool> {
    let status = Command::new("nft")
        .arg(verb)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await
        .map_err(|error| Error::Program { program: "nft".into(), reason: error.to_string() })?;
    Ok(status.success())
}

async fn run(transaction: &str) -> Result<()> {
    let failed = |reason: String| Error::Program { program: "nft".into(), reason };
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(transaction.as_bytes()).await.map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().await.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_keep_their_address_inside_the_cluster_only() {
        let mut options = Options::new("n1", "/state".into());
        options.no_masquerade = vec!["10.99.0.0/16".parse().unwrap()];
        let peers = [("10.1.1.0/24".parse().unwrap(), "192.168.0.2".parse().unwrap())];
        let text = rules(&options, &["10.1.0.0/24".parse().unwrap()], &peers);
        let rules: Vec<_> = text
            .lines()
            .filter_map(|line| line.split_once(" postrouting ip "))
            .map(|(_, rule)| rule)
            .collect();
        assert_eq!(
            rules,
            [
                "saddr 10.1.0.0/24 ip daddr 10.1.0.0/24 return",
                "saddr 10.1.0.0/24 ip daddr 10.1.1.0/24 return",
                "saddr 10.1.0.0/24 ip daddr 10.99.0.0/16 return",
                "saddr 10.1.0.0/24 ip daddr 224.0.0.0/4 return",
                "saddr 10.1.0.0/24 oifname != \"kt-n1\" masquerade",
            ]
        );
    }

    #[test]
    fn host_ports_lead_to_the_pod() {
        let mapping =
            PortMapping { protocol: "tcp".into(), host_ip: None, host_port: 80, container_port: 8080 };
        let v4 = port_rule(&mapping, "10.1.0.2".parse().unwrap()).unwrap();
        assert_eq!(v4, "meta nfproto ipv4 fib daddr type local tcp dport 80 dnat ip to 10.1.0.2:8080");
        let bound = PortMapping { host_ip: Some("127.0.0.1".parse().unwrap()), ..mapping };
        assert!(port_rule(&bound, "fd00::2".parse().unwrap()).is_none());
    }
}
