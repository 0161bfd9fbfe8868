//! Members that get no more of what the system gives out: files, memory.
//!
//! They may make do with what they have, or end and be started again; the others go on, and what was acknowledged stands.

use std::time::{Duration, Instant};

use rustix::process::Resource;
use tokio::net::TcpStream;

use crate::fault::Scene;
use crate::limits::{MEMORY_SPARE, POLL, VISITORS};

/// How long it lasts: longer than an election, and some flushes of the state.
const LASTING: Duration = Duration::from_secs(3);

/// What there is no more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scarce {
    /// Open files and connections.
    Files,
    /// Memory.
    Memory,
}

impl Scarce {
    /// What the system calls it.
    pub fn resource(self) -> Resource {
        match self {
            Self::Files => Resource::Nofile,
            Self::Memory => Resource::As,
        }
    }

    /// How much more of it there is.
    fn spare(self) -> u64 {
        match self {
            Self::Files => 0,
            Self::Memory => MEMORY_SPARE,
        }
    }
}

/// Gives a member nothing more for a while.
pub async fn strike(scene: &mut Scene, at: usize, scarce: Scarce) -> anyhow::Result<()> {
    let most = scene.cluster.has(at, scarce)? + scarce.spare();
    let usual = scene.cluster.give(at, scarce, Some(most))?;
    let address = scene.cluster.client_address(at);
    // They stay until the end; the kernel may take them even if the member cannot.
    let mut visitors = Vec::new();
    let begin = Instant::now();
    let (mut ended, mut has_all) = (false, false);
    while begin.elapsed() < LASTING && !ended {
        if visitors.len() < VISITORS
            && let Ok(Ok(visitor)) = tokio::time::timeout(POLL, TcpStream::connect(address)).await
        {
            visitors.push(visitor);
        }
        tokio::time::sleep(POLL).await;
        ended = scene.cluster.has_ended(at)?;
        // Of memory a process asks for pieces: the one that it did not get leaves no trace in how much it has.
        has_all |= scarce == Scarce::Files && !ended && scene.cluster.has(at, scarce)? >= most;
    }
    anyhow::ensure!(ended || has_all || scarce == Scarce::Memory, "member {at} never ran out of {scarce:?}");
    scene.changes_go_on("while a member gets no more").await?;
    if ended || scene.cluster.has_ended(at)? {
        scene.seen.add("members that ended for want of something", 1);
        return scene.cluster.spawn(at);
    }
    scene.seen.add("members that made do", 1);
    scene.cluster.give(at, scarce, usual).map(drop)
}
