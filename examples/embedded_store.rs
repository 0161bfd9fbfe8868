//! Embeds a replicated store of three members in one process, and watches a prefix through the library's handle.
//!
//! In production each member is a process of its own, on a machine of its own; the calls are the same. Run it with
//! `cargo run --release -p kontiki --example embedded_store`.

use std::{collections::BTreeMap, net::TcpListener};

use futures::StreamExt;
use store::{Listeners, Options, Server};
use store_client::{KeyRange, Kv, Op, Revision, Txn, Watch, WatchMessage};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let servers = start_members(dir.path()).await?;
    let (first, second, third) = (servers[0].handle(), servers[1].handle(), servers[2].handle());

    // Watch on the second member ...
    let watch =
        Watch { keys: KeyRange::prefix("fruit/"), start: Revision(0), prev_kv: false, progress: false };
    let mut changes = second.watch(watch).await?;

    // ... write on the first and the third: any member takes writes, followers forward them.
    for (member, key, value) in
        [(&first, "fruit/apple", "red"), (&third, "fruit/plum", "blue"), (&first, "stone/onyx", "black")]
    {
        let written = member.txn(Txn { success: vec![Op::put(key, value)], ..Txn::default() }).await?;
        println!("wrote {key} at revision {}", written.revision.0);
    }

    // Both changes of the prefix arrive in order; the stone does not.
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let message = changes.next().await.ok_or_else(|| anyhow::anyhow!("the watch ended"))??;
        if let WatchMessage::Changes { changes, .. } = message {
            for change in changes {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                println!(
                    "saw {} = {} at revision {}",
                    text(&change.kv.key),
                    text(&change.kv.value),
                    change.kv.mod_revision.0
                );
                seen.push(text(&change.kv.key));
            }
        }
    }
    anyhow::ensure!(seen == ["fruit/apple", "fruit/plum"], "changes came in the wrong order: {seen:?}");

    for server in servers {
        server.stop().await?;
    }
    Ok(())
}

/// Three members on loopback, with ports that are free now.
async fn start_members(dir: &std::path::Path) -> anyhow::Result<Vec<Server>> {
    let mut members = BTreeMap::new();
    let mut sockets = Vec::new();
    for name in ["a", "b", "c"] {
        let socket = TcpListener::bind("127.0.0.1:0")?;
        members.insert(name.to_owned(), format!("http://{}", socket.local_addr()?));
        sockets.push((name, socket));
    }
    let mut servers = Vec::new();
    for (name, socket) in sockets {
        let options = Options::member(name, dir.join(name), members.clone());
        let listeners = Listeners { peer: vec![socket], ..Listeners::default() };
        servers.push(Server::start_on(options, listeners).await?);
    }
    Ok(servers)
}
