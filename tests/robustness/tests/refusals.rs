//! What cannot be meant is refused with words a person can act on, and nothing is lost by asking.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use anyhow::{Context, ensure};
use harness::{Cluster, Need, kontiki, missing, wait_for};

/// Runs the program to its end.
fn ask(arguments: &[&str]) -> anyhow::Result<Output> {
    Ok(Command::new(kontiki()?).args(arguments).env("RUST_LOG", "error").stdin(Stdio::null()).output()?)
}

/// Runs a command that must fail, and must say each of these words and no panic.
fn refused(arguments: &[&str], words: &[&str]) -> anyhow::Result<()> {
    let output = ask(arguments)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "{arguments:?} succeeded");
    ensure!(words.iter().all(|word| said.contains(word)), "{arguments:?} said {said:?}, not {words:?}");
    ensure!(!said.contains("panicked"), "{said}");
    Ok(())
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A server in the foreground, killed when dropped.
struct Foreground(Child);

impl Drop for Foreground {
    fn drop(&mut self) {
        // It may have ended by itself, which is what some tests ask for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn commands_say_what_they_do_not_understand() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let none = text(&dir.path().join("none"));
    refused(&["up", "--bogus"], &["--bogus", "Usage"])?;
    refused(&["server"], &["--data-dir"])?;
    refused(&["agent"], &["name"])?;
    for command in ["status", "down"] {
        refused(&[command, "--data-dir", &none], &["there is no cluster in", &none, "kontiki up"])?;
    }
    refused(&["up", "--data-dir", &none, "--servers", "0"], &["1 to 7 servers"])?;
    ensure!(!dir.path().join("none").exists(), "a refused `up` left a directory behind");
    Ok(())
}

#[test]
fn a_taken_port_is_named() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let url = format!("a=https://{address}");
    let data = text(&dir.path().join("a"));
    let free = "127.0.0.1:0";
    let words = [address.as_str(), "in use"];
    refused(&["server", "--data-dir", &data, "--listen", &address], &words)?;
    refused(&["server", "--data-dir", &data, "--listen", free, "--listen-etcd", &address], &words)?;
    let peers = ["--name", "a", "--peer", &url, "--listen-peer", &address];
    refused(&[&["server", "--data-dir", &data, "--listen", free], peers.as_slice()].concat(), &words)
}

#[test]
fn a_data_directory_has_one_process() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let data = text(&dir.path().join("a"));
    let serve = ["server", "--data-dir", &data, "--listen", "127.0.0.1:0"];
    let mut first = Command::new(kontiki()?);
    first.args(serve).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut first = Foreground(first.spawn()?);
    wait_for("the store is made", || {
        fs::metadata(dir.path().join("a/store/member.json")).context("no store yet").map(drop)
    })?;
    refused(&serve, &["another process uses it"])?;
    ensure!(first.0.try_wait()?.is_none(), "the first process ended");
    Ok(())
}

#[test]
fn a_broken_description_of_a_cluster_is_refused_and_kept() -> anyhow::Result<()> {
    if missing(&[Need::Kubectl]) {
        return Ok(());
    }
    let cluster = Cluster::up(1, 0)?;
    let (file, data) = (cluster.data_dir().join("cluster.json"), text(&cluster.data_dir()));
    let good = fs::read_to_string(&file)?;
    let broken = ["", "{\"format\": 1, \"id", "[]", &good.replace("\"format\": 1", "\"format\": 99")];
    for text in broken {
        fs::write(&file, text)?;
        for command in ["up", "status"] {
            let refusal = refused(&[command, "--data-dir", &data], &["cluster.json cannot be understood"]);
            let unchanged = fs::read_to_string(&file)? == text;
            if refusal.is_err() || !unchanged {
                fs::write(&file, &good)?;
            }
            refusal?;
            ensure!(unchanged, "{command} changed what it did not understand");
        }
    }
    fs::write(&file, &good)?;
    ensure!(cluster.status()?["servers"][0]["ready"] == true);
    Ok(())
}

#[test]
fn the_data_of_another_cluster_is_refused_and_nothing_is_lost() -> anyhow::Result<()> {
    if missing(&[Need::Kubectl]) {
        return Ok(());
    }
    let (ours, theirs) = (Cluster::up(1, 0)?, Cluster::up(1, 0)?);
    for (cluster, name) in [(&ours, "ours"), (&theirs, "theirs")] {
        cluster.kubectl(&["create", "configmap", "whose", &format!("--from-literal=name={name}")])?;
        let data = text(&cluster.data_dir());
        ensure!(ask(&["down", "--data-dir", &data])?.status.success());
    }
    let store = |cluster: &Cluster| cluster.data_dir().join("servers/server-1/data/store");
    let (mine, aside) = (store(&ours), ours.data_dir().join("aside"));
    fs::rename(&mine, &aside)?;
    let copied = Command::new("cp").arg("-r").args([store(&theirs), mine.clone()]).status()?;
    ensure!(copied.success());
    refused(&["up", "--data-dir", &text(&ours.data_dir())], &["it belongs to cluster"])?;
    fs::remove_dir_all(&mine)?;
    fs::rename(&aside, &mine)?;
    for (cluster, name) in [(&ours, "ours"), (&theirs, "theirs")] {
        cluster.again()?;
        let whose = cluster.kubectl(&["get", "configmap", "whose", "-o", "jsonpath={.data.name}"])?;
        ensure!(whose == name, "{whose}");
    }
    Ok(())
}

#[test]
fn a_certificate_of_another_cluster_opens_nothing() -> anyhow::Result<()> {
    if missing(&[Need::Kubectl]) {
        return Ok(());
    }
    let (ours, theirs) = (Cluster::up(1, 0)?, Cluster::up(1, 0)?);
    let url = ours.status()?["servers"][0]["urls"]["api"].as_str().context("no URL")?.to_owned();
    // Even a client that does not mind whom it talks to is not let in.
    let trusting = ["--server", &url, "--insecure-skip-tls-verify", "get", "namespaces"];
    let careful = ["--server", &url, "get", "namespaces"];
    for arguments in [trusting.as_slice(), careful.as_slice()] {
        let answer = theirs.kubectl(arguments);
        ensure!(answer.is_err(), "let in: {answer:?}");
    }
    let careful = theirs.kubectl(&careful).expect_err("refused above").to_string();
    ensure!(careful.contains("certificate"), "{careful}");
    ensure!(ours.kubectl(&["get", "namespaces"])?.contains("default"));
    Ok(())
}
