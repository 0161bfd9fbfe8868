//! A full disk stops writes with words, not reads, and loses nothing.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::ensure;
use harness::{Need, kontiki, missing, wait_for};

/// Size of the disk: the store wants 256 MiB free, and a fresh one needs some dozens.
const DISK: &str = "size=512m";

/// A small disk of its own, unmounted when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("kontiki-disk-").tempdir()?;
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(dir.path()).status()?;
        ensure!(mounted.success(), "cannot mount a tmpfs");
        Ok(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes until nothing more fits.
    fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::create(self.path().join("filler"))?;
        let block = vec![0; 1 << 20];
        while file.write_all(&block).is_ok() {}
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let data = self.path().join("data");
        // Whatever fails here is seen by whoever looks at the machine; the test has its verdict.
        let _ = run("kontiki", &["down", "--data-dir", &data.display().to_string()], &data);
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

fn run(program: &str, arguments: &[&str], data: &Path) -> anyhow::Result<String> {
    let path = if program == "kontiki" { kontiki()? } else { program.into() };
    let mut command = Command::new(path);
    let output =
        command.env("KUBECONFIG", data.join("kubeconfig")).args(arguments).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_full_disk_refuses_writes_answers_reads_and_recovers() -> anyhow::Result<()> {
    if missing(&[Need::Root, Need::Kubectl]) {
        return Ok(());
    }
    let disk = Disk::mount()?;
    let data = disk.path().join("data");
    let kubectl = |arguments: &[&str]| {
        let bounded = [&["--request-timeout=10s"], arguments].concat();
        run("kubectl", &bounded, &data)
    };
    run("kontiki", &["up", "--data-dir", &data.display().to_string(), "--agents", "0"], &data)?;
    wait_for("writes are taken", || kubectl(&["create", "configmap", "before", "--from-literal=a=b"]))?;

    disk.fill()?;
    let mut acknowledged = 0;
    let refusal = wait_for("writes are refused", || {
        match kubectl(&["create", "configmap", &format!("full-{acknowledged}"), "--from-literal=a=b"]) {
            Err(refusal) => Ok(refusal.to_string()),
            Ok(_) => {
                acknowledged += 1;
                anyhow::bail!("taken")
            }
        }
    })?;
    ensure!(refusal.contains("out of space"), "{refusal}");
    ensure!(kubectl(&["get", "configmap", "before", "-o", "name"])?.contains("before"), "reads go on");

    fs::remove_file(disk.path().join("filler"))?;
    wait_for("writes are taken again", || kubectl(&["create", "configmap", "after", "--from-literal=a=b"]))?;
    for n in 0..acknowledged {
        kubectl(&["get", "configmap", &format!("full-{n}")])?;
    }
    Ok(())
}
