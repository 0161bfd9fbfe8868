//! The programs run: what they measure is not judged here.

use std::process::{Command, Stdio};

fn bench() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kontiki-bench"));
    command.stdin(Stdio::null());
    command
}

#[test]
fn every_program_says_what_it_takes() {
    for program in ["start", "pod", "failover", "api", "store"] {
        let output = bench().args([program, "--help"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("--quick"), "{program}: {text}");
    }
}

#[test]
fn a_store_is_measured_and_gone_afterwards() {
    if bench::process::store().is_err() && !beside().is_file() {
        eprintln!("skipped: the program kontiki is not built");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let only = "S1,S5,S6,S7,S8,S9,S15,S16";
    let output = bench()
        .args(["store", "--quick", "--seconds", "0.1", "--no-peer", "--only", only])
        .env("TMPDIR", dir.path())
        .output()
        .unwrap();
    let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{error}");
    for row in ["fdatasync of", "a call, 1 client"].into_iter().chain(only.split(',')) {
        assert!(text.lines().any(|line| line.trim_start().starts_with(row)), "no {row:?} in: {text}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "something is left behind");
}

fn beside() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_BIN_EXE_kontiki-bench")).with_file_name("kontiki")
}
