//! The first process of a pod's shared process namespace. It does nothing but collect orphans.

use std::process::{Command, Stdio};

use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::error::{Error, Result};

/// Starts one in a new process namespace, as a child of this process, and returns its id on the host. `command` is
/// what becomes a shim.
///
/// A process cannot enter a new process namespace, only its children can; so a helper makes the namespace, starts
/// the pause process and ends, and the orphan comes to us.
pub fn start(command: &[String]) -> Result<i32> {
    let program = command.first().ok_or_else(|| Error::Invalid("the shim's command is empty".into()))?;
    let output = Command::new(program)
        .args(&command[1..])
        .arg("pause-in-new-namespace")
        .args(command)
        .stdin(Stdio::null())
        .output()
        .map_err(Error::system("starting the pause process"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| {
        Error::Shim(format!("starting the pause process: {}", String::from_utf8_lossy(&output.stderr).trim()))
    })
}

/// The helper: prints the id of the pause process.
pub fn launch(command: &[&str]) -> Result<()> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| Error::Invalid("no command to start the pause process with".into()))?;
    nix::sched::unshare(CloneFlags::CLONE_NEWPID).map_err(Error::system("making a process namespace"))?;
    let child = Command::new(program)
        .args(arguments)
        .arg("pause")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Error::system("starting the pause process"))?;
    println!("{}", child.id());
    Ok(())
}

/// The pause process itself. Ends on SIGTERM or SIGINT.
pub fn run() -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
        signals.add(signal);
    }
    signals.thread_block().map_err(Error::system("blocking signals"))?;
    loop {
        match signals.wait().map_err(Error::system("waiting for a signal"))? {
            Signal::SIGCHLD => {
                while !matches!(
                    waitpid(None, Some(WaitPidFlag::WNOHANG)),
                    Ok(WaitStatus::StillAlive) | Err(_)
                ) {}
            }
            _ => return Ok(()),
        }
    }
}
