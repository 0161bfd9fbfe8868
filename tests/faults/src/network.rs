//! A bridge with one network namespace for each member, so that members can be cut off from each other while clients,
//! on the bridge, still reach them.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, ensure};

/// Port for clients, in every namespace.
pub const CLIENT_PORT: u16 = 2379;
/// Port for members, in every namespace.
pub const PEER_PORT: u16 = 2380;

/// Which packets between a member and the others are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Those it gets.
    Incoming,
    /// Those it sends.
    Outgoing,
    /// Both.
    Both,
}

/// Removed when dropped.
pub struct Network {
    id: u32,
    members: usize,
}

impl Network {
    /// Makes the bridge and the namespaces; needs root.
    pub fn new(members: usize) -> anyhow::Result<Self> {
        let network = Self { id: std::process::id(), members };
        network.remove();
        let bridge = network.bridge();
        ip(&["link", "add", &bridge, "type", "bridge"])?;
        ip(&["addr", "add", &format!("{}/24", network.address(None)), "dev", &bridge])?;
        ip(&["link", "set", &bridge, "up"])?;
        for at in 0..members {
            let (space, inside, outside) =
                (network.namespace(at), network.link(at, 'i'), network.link(at, 'o'));
            ip(&["netns", "add", &space])?;
            ip(&["link", "add", &outside, "type", "veth", "peer", "name", &inside, "netns", &space])?;
            ip(&["link", "set", &outside, "master", &bridge, "up"])?;
            let address = format!("{}/24", network.address(Some(at)));
            ip(&["-n", &space, "addr", "add", &address, "dev", &inside])?;
            ip(&["-n", &space, "link", "set", &inside, "up"])?;
            ip(&["-n", &space, "link", "set", "lo", "up"])?;
        }
        Ok(network)
    }

    /// The address of a member, or of the bridge.
    pub fn address(&self, member: Option<usize>) -> Ipv4Addr {
        let [_, _, high, low] = self.id.to_be_bytes();
        // 10.128.0.0/9, by the number of this process: tests side by side do not meet.
        let last = member.map_or(1, |at| at as u8 + 2);
        Ipv4Addr::new(10, 128 | high, low, last)
    }

    /// A command that runs inside a member's namespace.
    pub fn command(&self, member: usize, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(member)]).arg(program);
        command
    }

    /// Drops packets between a member and the others from now on.
    pub fn cut(&self, member: usize, cut: Cut) -> anyhow::Result<()> {
        let hooks: &[&str] = match cut {
            Cut::Incoming => &["input"],
            Cut::Outgoing => &["output"],
            Cut::Both => &["input", "output"],
        };
        let chains: String = hooks
            .iter()
            .map(|hook| {
                format!(
                    "chain {hook} {{ type filter hook {hook} priority 0; tcp dport {PEER_PORT} drop; tcp sport {PEER_PORT} drop; }}\n"
                )
            })
            .collect();
        self.nft(member, &["flush ruleset\n", &format!("table inet cut {{\n{chains}}}\n")].concat())
    }

    /// Lets all packets through again.
    pub fn heal(&self, member: usize) -> anyhow::Result<()> {
        self.nft(member, "flush ruleset\n")
    }

    fn nft(&self, member: usize, rules: &str) -> anyhow::Result<()> {
        let mut file = tempfile::NamedTempFile::new()?;
        std::io::Write::write_all(&mut file, rules.as_bytes())?;
        let status = self.command(member, "nft".as_ref()).arg("-f").arg(file.path()).status();
        ensure!(status.context("running nft")?.success(), "nft refuses {rules}");
        Ok(())
    }

    fn bridge(&self) -> String {
        format!("kf{}", self.id)
    }

    fn namespace(&self, at: usize) -> String {
        format!("kf{}-{at}", self.id)
    }

    fn link(&self, at: usize, side: char) -> String {
        format!("kf{}{side}{at}", self.id)
    }

    fn remove(&self) {
        for at in 0..self.members {
            let _absent = ip(&["netns", "del", &self.namespace(at)]);
        }
        let _absent = ip(&["link", "del", &self.bridge()]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.remove();
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(arguments).output().context("running ip")?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
