//! Writes desired maps, and differences between them, in the language of `nft -f`.

use std::{collections::BTreeMap, fmt::Write as _, net::Ipv4Addr, process::Stdio, time::Duration};

use async_trait::async_trait;
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use super::{
    Loader, Options,
    plan::{Back, Desired, Front, NodeFront, Pick},
};

/// Why rules could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is missing or cannot be run.
    #[error("cannot run nft")]
    Run(#[source] std::io::Error),
    /// The kernel or the program refused the transaction.
    #[error("nft refused the rules: {0}")]
    Refused(String),
    /// It took too long.
    #[error("nft did not finish within {0:?}")]
    Hung(Duration),
}

/// Longest a transaction may take. 10,000 services load in well under a second; a minute means a stuck kernel.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Most characters of nft's complaint that are kept: it repeats the offending input.
const COMPLAINT_CHARS_MAX: usize = 400;

/// The `nft` program.
pub struct Program;

#[async_trait]
impl Loader for Program {
    async fn load(&self, transaction: String) -> Result<(), Error> {
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::Run)?;
        let mut input = child.stdin.take().expect("stdin was asked to be a pipe");
        let run = async {
            // A program that refuses early closes its input; its complaint says more than the broken pipe.
            let written = input.write_all(transaction.as_bytes()).await;
            drop(input);
            let output = child.wait_with_output().await.map_err(Error::Run)?;
            if output.status.success() {
                return written.map_err(Error::Run);
            }
            let complaint = String::from_utf8_lossy(&output.stderr);
            Err(Error::Refused(complaint.chars().take(COMPLAINT_CHARS_MAX).collect()))
        };
        timeout(LOAD_TIMEOUT, run).await.map_err(|_| Error::Hung(LOAD_TIMEOUT))?
    }
}

/// A transaction that leaves nothing of ours behind.
pub fn removal(options: &Options) -> String {
    // Adding first makes the deletion succeed when there is nothing to delete.
    format!("add table ip {0}\ndelete table ip {0}\n", options.table)
}

/// A transaction that replaces whatever is there.
pub fn whole(options: &Options, desired: &Desired) -> String {
    let mut text = removal(options);
    skeleton(&mut text, options, chains(desired));
    text.push_str(&elements(options, &Desired::default(), desired));
    text
}

/// Fewest chains that are made: most services have fewer endpoints than this.
const CHAINS_MIN: usize = 64;

/// Up to how many endpoints there are chains for, when the table was made for this.
fn chains(desired: &Desired) -> usize {
    let picks = desired.services.values().chain(desired.node_ports.values());
    picks.map(|pick| pick.count).max().unwrap_or(0).next_power_of_two().max(CHAINS_MIN)
}

fn skeleton(text: &mut String, options: &Options, chains: usize) {
    let Options { table, service_cidr, cluster_cidr, .. } = options;
    let key = "ip daddr . meta l4proto . th dport";
    let node_key = "meta l4proto . th dport";
    let _ = write!(
        text,
        "table ip {table} {{
\tmap services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
\tmap endpoints {{ typeof {key} . numgen random mod 2 : ip daddr . th dport; }}
\tmap node-ports {{ type inet_proto . inet_service : verdict; }}
\tmap node-endpoints {{ typeof {node_key} . numgen random mod 2 : ip daddr . th dport; }}
\tset hairpin {{ type ipv4_addr . ipv4_addr; }}
\tset dead-node-ports {{ type inet_proto . inet_service; }}
"
    );
    for count in 1..=chains {
        for by_client in [false, true] {
            let choice = if by_client { "jhash ip saddr" } else { "numgen random" };
            let pick = Pick { count, by_client };
            let (inside, outside) = (chain("", pick), chain("node-", pick));
            let _ = write!(
                text,
                "\tchain {inside} {{\n\t\tdnat ip to {key} . {choice} mod {count} map @endpoints\n\t}}\n\
                 \tchain {outside} {{\n\t\tdnat ip to {node_key} . {choice} mod {count} map @node-endpoints\n\t}}\n"
            );
        }
    }
    let _ = write!(
        text,
        "\tchain dispatch {{
\t\t{key} vmap @services
\t\tfib daddr type local {node_key} vmap @node-ports
\t}}
\tchain prerouting {{
\t\ttype nat hook prerouting priority dstnat; policy accept;
\t\tjump dispatch
\t}}
\tchain output {{
\t\ttype nat hook output priority -100; policy accept;
\t\tjump dispatch
\t}}
\tchain postrouting {{
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\tct status dnat ip saddr != {cluster_cidr} masquerade
\t\tct status dnat ip saddr . ip daddr @hairpin masquerade
\t}}
\tchain refuse {{
\t\tip daddr {service_cidr} fib daddr type != local reject with icmp type port-unreachable
\t}}
\tchain forward {{
\t\ttype filter hook forward priority filter; policy accept;
\t\tct state new jump refuse
\t}}
\tchain output-filter {{
\t\ttype filter hook output priority filter; policy accept;
\t\tct state new jump refuse
\t}}
\tchain input {{
\t\ttype filter hook input priority filter; policy accept;
\t\tct state new {node_key} @dead-node-ports reject with icmp type port-unreachable
\t}}
\tchain martian {{
\t\ttype filter hook prerouting priority raw; policy accept;
\t\tiifname != \"lo\" ip daddr 127.0.0.0/8 drop
\t}}
}}
"
    );
}

/// A transaction that turns what `before` describes into what `after` describes; empty when they are equal.
///
/// Chains cannot be added later: nft 1.0.6 refuses a rule that names a map of computed keys unless both come in
/// one transaction. So there are chains for a power of two of endpoints, and outgrowing it writes all anew.
pub fn difference(options: &Options, before: &Desired, after: &Desired) -> String {
    if chains(after) > chains(before) { whole(options, after) } else { elements(options, before, after) }
}

fn elements(options: &Options, before: &Desired, after: &Desired) -> String {
    let mut text = String::new();
    let mut writer = Writer { text: &mut text, table: &options.table };
    // Old elements go before new ones come: a key can be added only when it is free. Maps that decide go last
    // when adding and first when removing, so that no decision points at an endpoint that is not there.
    writer.elements("delete", "services", changed(&before.services, &after.services), service);
    writer.elements("delete", "node-ports", changed(&before.node_ports, &after.node_ports), node_port);
    writer.elements("delete", "endpoints", changed(&before.endpoints, &after.endpoints), endpoint);
    writer.elements(
        "delete",
        "node-endpoints",
        changed(&before.node_endpoints, &after.node_endpoints),
        node_endpoint,
    );
    writer.elements("delete", "hairpin", before.hairpin.difference(&after.hairpin), hairpin);
    writer.elements(
        "delete",
        "dead-node-ports",
        before.dead_node_ports.difference(&after.dead_node_ports),
        dead,
    );
    writer.elements("add", "endpoints", changed(&after.endpoints, &before.endpoints), endpoint);
    writer.elements(
        "add",
        "node-endpoints",
        changed(&after.node_endpoints, &before.node_endpoints),
        node_endpoint,
    );
    writer.elements("add", "hairpin", after.hairpin.difference(&before.hairpin), hairpin);
    writer.elements(
        "add",
        "dead-node-ports",
        after.dead_node_ports.difference(&before.dead_node_ports),
        dead,
    );
    writer.elements("add", "services", changed(&after.services, &before.services), service);
    writer.elements("add", "node-ports", changed(&after.node_ports, &before.node_ports), node_port);
    text
}

/// Entries of one map that the other lacks or holds with another value.
fn changed<'a, K: Ord, V: PartialEq>(
    of: &'a BTreeMap<K, V>,
    against: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    of.iter().filter(move |(key, value)| against.get(*key) != Some(*value))
}

fn chain(prefix: &str, pick: Pick) -> String {
    format!("{prefix}{}-{}", if pick.by_client { "hash" } else { "pick" }, pick.count)
}

fn service(((address, protocol, port), pick): (&Front, &Pick)) -> String {
    format!("{address} . {} . {port} : goto {}", protocol.name(), chain("", *pick))
}

fn node_port(((protocol, port), pick): (&NodeFront, &Pick)) -> String {
    format!("{} . {port} : goto {}", protocol.name(), chain("node-", *pick))
}

fn endpoint((((address, protocol, port), at), (pod, target)): (&(Front, usize), &Back)) -> String {
    format!("{address} . {} . {port} . {at} : {pod} . {target}", protocol.name())
}

fn node_endpoint((((protocol, port), at), (pod, target)): (&(NodeFront, usize), &Back)) -> String {
    format!("{} . {port} . {at} : {pod} . {target}", protocol.name())
}

fn hairpin(address: &Ipv4Addr) -> String {
    format!("{address} . {address}")
}

fn dead((protocol, port): &NodeFront) -> String {
    format!("{} . {port}", protocol.name())
}

/// Most elements in one statement: nft's parser is quadratic in very long lines.
const ELEMENTS_PER_STATEMENT: usize = 1000;

struct Writer<'a> {
    text: &'a mut String,
    table: &'a str,
}

impl Writer<'_> {
    fn elements<T>(
        &mut self,
        verb: &str,
        set: &str,
        items: impl Iterator<Item = T>,
        shown: impl Fn(T) -> String,
    ) {
        let items: Vec<String> = items.map(shown).collect();
        for part in items.chunks(ELEMENTS_PER_STATEMENT) {
            let _ = writeln!(self.text, "{verb} element ip {} {set} {{ {} }}", self.table, part.join(", "));
        }
    }
}
