//! Servers that die, hang or are alone: what was acknowledged stays, and whoever has no majority says so.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use harness::{Cluster, Need, missing, wait_for};

/// Longest that a request without a majority may take.
const REFUSAL: Duration = Duration::from_secs(20);

fn signal(pid: u64, name: &str) -> anyhow::Result<()> {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status()?;
    ensure!(sent.success(), "cannot signal {pid}");
    Ok(())
}

/// Servers that are stopped until this is dropped.
struct Hung(Vec<u64>);

impl Hung {
    fn new(pids: Vec<u64>) -> anyhow::Result<Self> {
        pids.iter().try_for_each(|&pid| signal(pid, "STOP"))?;
        Ok(Self(pids))
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        for &pid in &self.0 {
            // A process that ended meanwhile needs no waking.
            let _ = signal(pid, "CONT");
        }
    }
}

/// Name, process and context of each server, the leader first.
fn servers(cluster: &Cluster) -> anyhow::Result<Vec<(String, u64)>> {
    let status = cluster.status()?;
    let mut servers = status["servers"].as_array().cloned().unwrap_or_default();
    servers.sort_by_key(|server| server["leader"] != true);
    ensure!(servers[0]["leader"] == true, "nobody leads: {status}");
    let one = |server: &serde_json::Value| {
        let name = server["name"].as_str().context("no name")?.to_owned();
        let context = if name == "server-1" { "kontiki".to_owned() } else { format!("kontiki-{name}") };
        Ok((context, server["pid"].as_u64().context("does not run")?))
    };
    servers.iter().map(one).collect()
}

/// A list of numbered ConfigMaps, for one request of kubectl that makes many writes.
fn batch(numbers: std::ops::Range<usize>) -> String {
    let one = |n| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: written-{n}\n");
    numbers.map(one).collect()
}

fn count(cluster: &Cluster, context: &str) -> anyhow::Result<usize> {
    let names = cluster.kubectl_at(context, &["get", "configmaps", "-o", "name"], None)?;
    Ok(names.lines().filter(|name| name.starts_with("configmap/written-")).count())
}

#[test]
fn killing_all_servers_at_once_loses_nothing_acknowledged() -> anyhow::Result<()> {
    if missing(&[Need::Kubectl]) {
        return Ok(());
    }
    let cluster = Cluster::up(3, 0)?;
    let made = cluster.kubectl_with(&["create", "-f", "-"], &batch(0..200))?;
    ensure!(made.lines().count() == 200, "{made}");
    for (_, pid) in servers(&cluster)? {
        signal(pid, "KILL")?;
    }
    let killed = Instant::now();
    cluster.again()?;
    eprintln!("serving again {:?} after the kill", killed.elapsed());
    for (context, _) in servers(&cluster)? {
        let has = count(&cluster, &context)?;
        ensure!(has == 200, "{context} has {has} of 200");
    }
    Ok(())
}

#[test]
fn a_killed_follower_fails_no_write() -> anyhow::Result<()> {
    if missing(&[Need::Kubectl]) {
        return Ok(());
    }
    let cluster = Cluster::up(3, 0)?;
    let all = servers(&cluster)?;
    let (leader, follower) = (&all[0].0, all[1].1);
    cluster.kubectl_at(leader, &["create", "-f", "-"], Some(&batch(0..20)))?;
    signal(follower, "KILL")?;
    cluster.kubectl_at(leader, &["create", "-f", "-"], Some(&batch(20..60)))?;
    cluster.again()?;
    wait_for("the killed follower has caught up", || {
        let has = count(&cluster, &all[1].0)?;
        ensure!(has == 60, "{has} of 60");
        Ok(())
    })
}

#[test]
fn a_leader_that_hangs_is_replaced_and_does_no_harm_when_it_wakes() -> anyhow::Result<()> {
    if missing(&[Need::Kubectl]) {
        return Ok(());
    }
    let cluster = Cluster::up(3, 0)?;
    let all = servers(&cluster)?;
    let survivor = all[1].0.as_str();
    cluster.kubectl_at(survivor, &["create", "-f", "-"], Some(&batch(0..10)))?;
    let hung = Hung::new(vec![all[0].1])?;
    let begin = Instant::now();
    wait_for("the others take writes", || {
        cluster.kubectl_at(survivor, &["apply", "-f", "-"], Some(&batch(10..20)))
    })?;
    eprintln!("writes went on {:?} after the leader hung", begin.elapsed());
    // The controllers live on too: a new namespace gets its service account only from them.
    cluster.kubectl_at(survivor, &["create", "namespace", "meanwhile"], None)?;
    let account = ["-n", "meanwhile", "get", "serviceaccount", "default"];
    wait_for("the controllers work elsewhere", || cluster.kubectl_at(survivor, &account, None))?;
    drop(hung);
    wait_for("the woken server has what it missed", || {
        let has = count(&cluster, &all[0].0)?;
        ensure!(has == 20, "{has} of 20");
        Ok(())
    })?;
    cluster.kubectl_at(&all[0].0, &["create", "-f", "-"], Some(&batch(20..30)))?;
    ensure!(count(&cluster, survivor)? == 30);
    Ok(())
}

#[test]
fn without_a_majority_writes_fail_in_time_and_work_again_with_one() -> anyhow::Result<()> {
    if missing(&[Need::Kubectl]) {
        return Ok(());
    }
    let cluster = Cluster::up(3, 0)?;
    let all = servers(&cluster)?;
    let alone = all[0].0.as_str();
    cluster.kubectl_at(alone, &["create", "-f", "-"], Some(&batch(0..10)))?;
    let hung = Hung::new(vec![all[1].1, all[2].1])?;
    let begin = Instant::now();
    let refusal = cluster.kubectl_at(alone, &["create", "configmap", "alone"], None);
    let after = begin.elapsed();
    eprintln!("refused after {after:?}: {refusal:?}");
    ensure!(refusal.is_err() && after < REFUSAL, "{refusal:?} after {after:?}");
    ensure!(cluster.kubectl_at(alone, &["get", "--raw", "/livez"], None).is_ok(), "it is alive all the same");
    drop(hung);
    wait_for("writes work again", || cluster.kubectl_at(alone, &["apply", "-f", "-"], Some(&batch(10..20))))?;
    ensure!(count(&cluster, alone)? == 20);
    Ok(())
}

#[test]
fn a_server_without_a_majority_is_not_ready() -> anyhow::Result<()> {
    if missing(&[Need::Kubectl]) {
        return Ok(());
    }
    let cluster = Cluster::up(3, 0)?;
    let all = servers(&cluster)?;
    let _hung = Hung::new(vec![all[1].1, all[2].1])?;
    wait_for("the server says that it is not ready", || {
        let ready = cluster.kubectl_at(&all[0].0, &["get", "--raw", "/readyz"], None);
        ensure!(ready.is_err(), "it says {ready:?}");
        Ok(())
    })
}
