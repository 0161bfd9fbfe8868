//! The examples of embedding do what their comments say. They check that themselves, and fail if it is not so.

use std::process::Command;

use anyhow::{Context, ensure};
use harness::kontiki;

fn run(name: &str) -> anyhow::Result<String> {
    let program = kontiki()?.with_file_name("examples").join(name);
    ensure!(
        program.exists(),
        "{} is missing: build it first with `cargo build --release --examples`",
        program.display()
    );
    let output = Command::new(&program).output().with_context(|| format!("running {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{name}: {said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(said)
}

#[test]
fn a_store_of_three_members_is_embedded_and_watched() -> anyhow::Result<()> {
    let said = run("embedded_store")?;
    ensure!(said.contains("saw fruit/plum = blue"), "{said}");
    Ok(())
}

#[test]
fn a_control_plane_is_embedded_and_makes_pods() -> anyhow::Result<()> {
    let said = run("embedded_control_plane")?;
    ensure!(said.contains("one ReplicaSet and three Pods"), "{said}");
    Ok(())
}
