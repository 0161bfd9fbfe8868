//! What the kernel says of a process: CPU time and memory; and which cores it may use.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, ensure};
use nix::time::{clock_getcpuclockid, clock_gettime};
use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{CpuSet, sched_setaffinity},
};

/// CPU time below which a difference is not trusted: servers use some of their own accord.
pub const CPU_MIN: Duration = Duration::from_millis(50);
/// Core of the servers.
pub const SERVER_CORE: usize = 0;
/// Core of the generator.
pub const GENERATOR_CORE: usize = 1;

/// User and system time of a process with all its threads so far, those that ended too. Its clock, and not `/proc/PID/stat`, which
/// counts hundredths of a second.
pub fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let clock = clock_getcpuclockid(nix::unistd::Pid::from_raw(pid.try_into()?));
    let time = clock.and_then(clock_gettime).with_context(|| format!("CPU time of process {pid}"))?;
    Ok(time.into())
}

/// The sum of [`cpu`] over several processes.
pub fn cpu_of(pids: &[u32]) -> anyhow::Result<Duration> {
    pids.iter().map(|&pid| cpu(pid)).sum()
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// Resident at most so far.
    pub peak: u64,
}

/// Reads the memory of a process.
pub fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    parse_memory(&text).with_context(|| format!("{path} has no VmRSS"))
}

fn parse_memory(status: &str) -> Option<Memory> {
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Memory { resident: kib("VmRSS:")? * 1024, peak: kib("VmHWM:")? * 1024 })
}

/// Ends a process at once, as a crash would.
pub fn kill(pid: u32) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process has such a number")?;
    kill_process(pid, Signal::KILL).with_context(|| format!("killing process {}", pid.as_raw_nonzero()))
}

/// Whether containers and network namespaces can be made.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether servers and generator can have a core each.
pub fn can_pin() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores > GENERATOR_CORE && find("taskset").is_some()
}

/// Ties this thread, and what it starts from now on, to the generator's core.
pub fn pin_generator() -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(GENERATOR_CORE);
    sched_setaffinity(None, &cores).context("choosing a core for the generator")
}

/// A command that runs a program, on the servers' core if asked to.
pub fn command(program: &Path, pinned: bool) -> Command {
    if !pinned {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", &SERVER_CORE.to_string()]).arg(program);
    command
}

/// Finds a program on PATH.
pub fn find(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Name of the program that is only the store.
pub const STORE_PROGRAM: &str = "kontiki-store";

/// The program that is the store: what the variable KONTIKI names, else `kontiki` beside this program, else
/// `kontiki-store` there.
pub fn store() -> anyhow::Result<std::path::PathBuf> {
    let alone = std::env::current_exe()?.with_file_name(STORE_PROGRAM);
    match kontiki() {
        Err(_) if std::env::var_os("KONTIKI").is_none() && alone.is_file() => Ok(alone),
        found => found,
    }
}

/// Bytes that a process has caused to be written to the disk so far.
pub fn written(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/io");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    parse_written(&text).with_context(|| format!("{path} has no write_bytes"))
}

fn parse_written(io: &str) -> Option<u64> {
    io.lines().find_map(|line| line.strip_prefix("write_bytes:"))?.trim().parse().ok()
}

/// Lets the peak of [`memory`] begin anew at what is resident now.
pub fn forget_peak(pid: u32) -> anyhow::Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    std::fs::write(&path, "5").with_context(|| format!("writing {path}"))
}

/// Asks a process to end, as Ctrl-C does.
pub fn interrupt(pid: u32) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process has such a number")?;
    kill_process(pid, Signal::INT).with_context(|| format!("interrupting process {}", pid.as_raw_nonzero()))
}

/// The `kontiki` program: what the variable KONTIKI names, else the one beside this program.
pub fn kontiki() -> anyhow::Result<std::path::PathBuf> {
    let beside = || Ok::<_, std::io::Error>(std::env::current_exe()?.with_file_name("kontiki"));
    let program = std::env::var_os("KONTIKI").map_or_else(beside, |path| Ok(path.into()))?;
    let advice = "build it with `cargo build --release -p kontiki-cli`, or name it in the variable KONTIKI";
    ensure!(program.is_file(), "{} is missing: {advice}", program.display());
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_that_of_all_threads_and_finer_than_a_tick() {
        fn own() -> Duration {
            cpu(std::process::id()).unwrap()
        }
        let before = own();
        let until = before + Duration::from_millis(3);
        std::thread::spawn(move || while own() < until {}).join().unwrap();
        let used = own() - before;
        assert!(
            used >= Duration::from_millis(3) && !used.subsec_nanos().is_multiple_of(10_000_000),
            "{used:?}"
        );
        assert!(cpu(u32::MAX).is_err());
    }

    #[test]
    fn memory_is_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t  20 kB\nVmRSS:\t  10 kB\n";
        assert_eq!(parse_memory(status), Some(Memory { resident: 10240, peak: 20480 }));
        assert_eq!(parse_memory("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn written_bytes_are_those_of_the_disk() {
        let io = "rchar: 1\nwchar: 2\nread_bytes: 3\nwrite_bytes: 4096\ncancelled_write_bytes: 5\n";
        assert_eq!(parse_written(io), Some(4096));
        assert_eq!(parse_written("wchar: 2\n"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let pid = std::process::id();
        assert!(cpu(pid).is_ok());
        assert!(memory(pid).unwrap().resident > 0);
    }
}
