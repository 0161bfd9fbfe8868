//! Starts and stops the processes of a local cluster. A process is known by the pid file in its directory, and
//! by a command line that names that directory: a number alone may long belong to somebody else.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{Error, state};

/// How much of a log is shown when its process ends too early.
const LOG_LINES_SHOWN: usize = 12;
/// How often a process that should end is looked at.
const POLL: Duration = Duration::from_millis(20);

/// The process that runs from a directory, if it does.
pub fn running(dir: &Path) -> Option<u32> {
    let pid: u32 = fs::read_to_string(dir.join("pid")).ok()?.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let dir = dir.to_str()?.as_bytes();
    let alive = command.windows(dir.len()).any(|part| part == dir) && !is_zombie(pid);
    alive.then_some(pid)
}

fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// Starts a process that outlives us, with its output in `DIR/log`.
pub fn start(program: &Path, arguments: &[String], dir: &Path) -> Result<u32, Error> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { action, path, source }
    };
    state::make_dir(dir)?;
    let log_path = dir.join("log");
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .map_err(failed("open", &log_path))?;
    let errors = log.try_clone().map_err(failed("open", &log_path))?;
    let child = Command::new(program)
        .args(arguments)
        .current_dir(dir)
        // Every thread would otherwise get an arena of its own, and keep what it once needed.
        .env("MALLOC_ARENA_MAX", "2")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(failed("run", program))?;
    state::write_private(&dir.join("pid"), child.id().to_string().as_bytes())?;
    Ok(child.id())
}

/// Asks a process to end, and makes it end after `patience`. That it does not run is success.
pub async fn stop(dir: &Path, patience: Duration) -> Result<(), Error> {
    if let Some(pid) = running(dir) {
        signal(pid, "TERM");
        if !ended(dir, patience).await {
            signal(pid, "KILL");
            if !ended(dir, patience).await {
                return Err(Error::Timeout { what: format!("process {pid} to end"), after: patience * 2 });
            }
        }
    }
    let _ = fs::remove_file(dir.join("pid"));
    Ok(())
}

async fn ended(dir: &Path, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while running(dir).is_some() {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
    true
}

fn signal(pid: u32, name: &str) {
    // The process may have ended meanwhile; whoever calls looks again.
    let _ = Command::new("kill").args([format!("-{name}"), pid.to_string()]).stderr(Stdio::null()).status();
}

/// The last lines of a process's log.
pub fn log_tail(dir: &Path) -> String {
    let log = fs::read(dir.join("log")).unwrap_or_default();
    let text = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}
