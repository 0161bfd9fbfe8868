//! What a program ran on and against, printed above its table.

use std::{path::Path, process::Command};

use anyhow::Context;

/// Load above which figures are not to be quoted.
pub const LOAD_MAX: f64 = 0.3;

/// Prints the machine, its load and the program that is measured.
pub fn introduce(name: &str, kontiki: &Path, pinned: bool) -> anyhow::Result<()> {
    let only_store = kontiki.file_name().is_some_and(|name| name == crate::process::STORE_PROGRAM);
    let version = first_line(kontiki, if only_store { "--version" } else { "version" })?;
    let size = std::fs::metadata(kontiki).with_context(|| format!("reading {}", kontiki.display()))?.len();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!("kontiki-bench {name}");
    println!("  against   {version} ({}, {:.1} MB)", kontiki.display(), size as f64 / 1e6);
    println!("  machine   {cores} cores, {:.0} GiB, Linux {}", memory_gib(), kernel.trim());
    println!("  data in   {}", std::env::temp_dir().display());
    match pinned {
        true => println!("  cores     servers on 0, generator on 1"),
        false => println!("  cores     shared by servers and generator"),
    }
    let load = load();
    let remark = if load > LOAD_MAX { "  <- busy: do not quote these figures" } else { "" };
    println!("  load      {load:.2} before the start{remark}\n");
    Ok(())
}

/// The first line a program prints when called with one argument.
pub fn first_line(program: &Path, argument: &str) -> anyhow::Result<String> {
    let output = Command::new(program).arg(argument).output();
    let output = output.with_context(|| format!("running {} {argument}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Processes that wanted to run, on average over the last minute.
pub fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(f64::NAN)
}

fn memory_gib() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib =
        line.and_then(|line| line.split_ascii_whitespace().next()).and_then(|word| word.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) / 1024.0 / 1024.0
}
