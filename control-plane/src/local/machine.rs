//! What a local cluster needs of the machine's network: free ports and ranges, a bridge, namespaces, cables.
//!
//! Set up once and rarely, it uses the `ip` and `nft` programs, which every Debian machine has or gets by `make up`.
//! Every step is idempotent, so that `up` mends what a reboot took away.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket},
    process::{Command, Stdio},
};

use ipnet::Ipv4Net;

use super::{
    Error,
    plan::{Agent, Offer, Segment},
};

/// Port of the first server when it is free, as everywhere.
const API_PORT: u16 = 6443;
/// Port of the first agent when it is free, as everywhere.
const AGENT_PORT: u16 = 10250;

/// Whether we may make namespaces and containers.
pub fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("Uid:")).and_then(|ids| ids.split_whitespace().nth(1))
        == Some("0")
}

/// What the machine offers a new cluster.
pub fn offer(servers: u16, agents: u16) -> Result<Offer, Error> {
    Ok(Offer {
        id: format!("{:04x}", uuid::Uuid::new_v4().as_u128() & 0xffff),
        ports: free_ports(usize::from(servers) * 3, usize::from(agents))?,
        routed: routed(),
        address: own_address(),
        hostname: hostname(),
    })
}

fn free_ports(servers: usize, agents: usize) -> Result<Vec<u16>, Error> {
    // All are held until all are known, so that none is offered twice.
    let mut held = Vec::new();
    for n in 0..servers + agents {
        let preferred = match n {
            0 => API_PORT,
            n if n == servers => AGENT_PORT,
            _ => 0,
        };
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, preferred))
            .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)));
        let listener = listener.map_err(|why| Error::Refused(format!("no free TCP port: {why}")))?;
        held.push(listener);
    }
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    held.iter()
        .map(port)
        .collect::<Result<_, _>>()
        .map_err(|why| Error::Refused(format!("no free TCP port: {why}")))
}

/// Every range that has a route or an address on this machine, service ranges of other clusters included.
fn routed() -> Vec<Ipv4Net> {
    let mut ranges = Vec::new();
    let routes = output(&["ip", "-4", "route", "show", "table", "all"]).unwrap_or_default();
    let words = routes.lines().flat_map(|line| line.split_whitespace().take(2));
    for word in words {
        let range = word.parse::<Ipv4Net>().or_else(|_| word.parse::<Ipv4Addr>().map(Ipv4Net::from));
        ranges.extend(range.ok().filter(|range| range.prefix_len() > 0));
    }
    ranges
}

/// The address others would reach this machine by; loopback when it has no network.
fn own_address() -> Ipv4Addr {
    // Connecting a datagram socket sends nothing, but makes the kernel choose a source address.
    let probe = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(203, 0, 113, 1), 9))?;
        socket.local_addr()
    });
    match probe.map(|address| address.ip()) {
        Ok(IpAddr::V4(address)) if !address.is_unspecified() => address,
        _ => Ipv4Addr::LOCALHOST,
    }
}

/// The machine's name as a node name may be: lower case, DNS characters.
fn hostname() -> String {
    let name =
        fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_ascii_lowercase();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let name = name.trim_matches(['-', '.']).to_owned();
    if name.is_empty() { "node".to_owned() } else { name }
}

/// Makes the bridge, and a namespace with a cable to it for each agent.
pub fn prepare(segment: &Segment, agents: &[Agent]) -> Result<(), Error> {
    let Segment { bridge, subnet } = segment;
    let gateway = segment.gateway();
    if !exists(bridge) {
        run(&["ip", "link", "add", bridge, "type", "bridge"])?;
    }
    run(&["ip", "addr", "replace", &format!("{gateway}/{}", subnet.prefix_len()), "dev", bridge])?;
    run(&["ip", "link", "set", bridge, "up"])?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").map_err(|source| Error::File {
        action: "write",
        path: "/proc/sys/net/ipv4/ip_forward".into(),
        source,
    })?;
    masquerade(bridge, *subnet)?;
    agents.iter().try_for_each(|agent| connect(agent, bridge, gateway, subnet.prefix_len()))
}

fn connect(agent: &Agent, bridge: &str, gateway: Ipv4Addr, prefix: u8) -> Result<(), Error> {
    let (Some(namespace), Some(cable)) = (&agent.namespace, &agent.cable) else { return Ok(()) };
    if !std::path::Path::new("/run/netns").join(namespace).exists() {
        run(&["ip", "netns", "add", namespace])?;
    }
    if !exists(cable) {
        run(&["ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace])?;
    }
    run(&["ip", "link", "set", cable, "master", bridge, "up"])?;
    let address = format!("{}/{prefix}", agent.address);
    run(&["ip", "-n", namespace, "addr", "replace", &address, "dev", "eth0"])?;
    run(&["ip", "-n", namespace, "link", "set", "eth0", "up"])?;
    run(&["ip", "-n", namespace, "link", "set", "lo", "up"])?;
    run(&["ip", "-n", namespace, "route", "replace", "default", "via", &gateway.to_string()])
}

/// Lets the nodes reach the world through the machine, for pulling images.
fn masquerade(table: &str, subnet: Ipv4Net) -> Result<(), Error> {
    let rules = format!(
        "add table ip {table}\ndelete table ip {table}\n\
         table ip {table} {{\n\tchain postrouting {{\n\t\ttype nat hook postrouting priority srcnat;\n\
         \t\tip saddr {subnet} ip daddr != {subnet} masquerade\n\t}}\n}}\n"
    );
    run_with_input(&["nft", "-f", "-"], &rules)
}

/// Takes everything away that [`prepare`] made. That it is not there is success.
pub fn remove(segment: &Segment, agents: &[Agent]) -> Result<(), Error> {
    for agent in agents {
        if let Some(cable) = agent.cable.as_deref().filter(|cable| exists(cable)) {
            run(&["ip", "link", "del", cable])?;
        }
        if let Some(namespace) = &agent.namespace
            && std::path::Path::new("/run/netns").join(namespace).exists()
        {
            run(&["ip", "netns", "del", namespace])?;
        }
    }
    if exists(&segment.bridge) {
        run(&["ip", "link", "del", &segment.bridge])?;
    }
    run_with_input(&["nft", "-f", "-"], &format!("add table ip {0}\ndelete table ip {0}\n", segment.bridge))
}

fn exists(link: &str) -> bool {
    std::path::Path::new("/sys/class/net").join(link).exists()
}

fn run(command: &[&str]) -> Result<(), Error> {
    output(command).map(drop)
}

fn output(command: &[&str]) -> Result<String, Error> {
    let failed = |why: String| Error::Command { command: command.join(" "), why };
    let output = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .output()
        .map_err(|why| failed(why.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn run_with_input(command: &[&str], input: &str) -> Result<(), Error> {
    use std::io::Write as _;
    let failed = |why: String| Error::Command { command: command.join(" "), why };
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|why| failed(why.to_string()))?;
    let written = child.stdin.take().expect("stdin was asked to be a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().map_err(|why| failed(why.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    written.map_err(|why| failed(why.to_string()))
}
