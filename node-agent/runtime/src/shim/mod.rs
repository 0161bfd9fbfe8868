//! The shim: one process for each pod, the parent of everything in it.
//!
//! ```text
//! runtime ──control socket──▶ shim ──┬─ first process of a container ── its children
//!    (may die and come back)         ├─ an exec
//!                                    └─ pause (only if the pod shares its process namespace)
//! ```
//!
//! It holds what must not end when the runtime ends: the pipes and terminals of containers, their log files, their
//! exit codes. It is single-threaded, because the container library forks, and a fork of a process with threads may
//! hang in the child; everything waits in one loop instead. It leaves the session and the cgroup of whoever
//! started it, so that neither a closed terminal nor a stopped service takes pods along.

pub mod client;
mod container;
mod exec;
mod io;
mod log;
mod pause;
pub mod protocol;
mod serve;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, broadcast, oneshot};

use crate::error::{Error, Result};
use crate::limits::EVENT_QUEUE_MAX;
use crate::sys::cgroup::Layout;
use crate::sys::{files, namespaces, sockets};
use container::Container;
use protocol::{Config, State};

/// Entry of the hidden subcommand: what follows `kontiki shim`. Call it before anything starts a thread.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<String> =
        arguments.into_iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["run", config] => run(Path::new(config)),
        ["pause-in-new-namespace", ref command @ ..] => pause::launch(command),
        ["pause"] => pause::run(),
        _ => Err(Error::Invalid("the shim is started by the runtime, not by people".into())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = error.chain(), "shim failed");
            eprintln!("shim: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

/// Everything the loop knows.
struct Shim {
    config: Config,
    cgroups: Layout,
    pause_pid: Option<i32>,
    containers: RefCell<BTreeMap<String, Rc<Container>>>,
    /// Who waits for the end of which process.
    waiting: RefCell<HashMap<i32, oneshot::Sender<i32>>>,
    changes: broadcast::Sender<State>,
    shutdown: Notify,
}

fn run(path: &Path) -> Result<()> {
    let config: Config = files::read_json(path)?;
    start_log(&config.log)?;
    let cgroups = Layout::detect()?;
    leave_parent(&config, &cgroups)?;
    let pause_pid = if config.shared_pid { Some(pause::start(&config.command)?) } else { None };
    if let Some(network) = &config.network {
        namespaces::enter_network(network)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::system("starting the event loop"))?;
    let shim = Rc::new(Shim {
        config,
        cgroups,
        pause_pid,
        containers: RefCell::default(),
        waiting: RefCell::default(),
        changes: broadcast::channel(EVENT_QUEUE_MAX).0,
        shutdown: Notify::new(),
    });
    tokio::task::LocalSet::new().block_on(&runtime, shim.clone().event_loop())?;
    shim.end_pause();
    files::remove_all(&shim.config.socket)
}

/// Standard error is a container's standard error after a fork, so the log is a file of its own.
fn start_log(path: &Path) -> Result<()> {
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(Error::file("opening", path))?;
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::sync::Mutex::new(file))
        .with_ansi(false)
        .with_max_level(tracing::Level::WARN)
        .finish();
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|_| Error::State("a log subscriber is set already".into()))
}

fn leave_parent(config: &Config, cgroups: &Layout) -> Result<()> {
    // Fails only for the leader of a process group, which has no parent's session to leave.
    let _ = rustix::process::setsid();
    nix::sys::prctl::set_child_subreaper(true).map_err(Error::system("becoming the parent of orphans"))?;
    std::env::set_current_dir("/").map_err(Error::system("leaving the directory"))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if let Err(error) =
        cgroups.create(&config.cgroup).and_then(|()| cgroups.join(&config.cgroup, std::process::id()))
    {
        tracing::warn!(error = error.chain(), "staying in the cgroup of the runtime");
    }
    // Without CAP_SYS_RESOURCE this may be refused; the shim is then as likely to be killed as other processes.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-998");
    Ok(())
}

impl Shim {
    async fn event_loop(self: Rc<Self>) -> Result<()> {
        let mut ended =
            signal(SignalKind::child()).map_err(Error::system("listening for ended processes"))?;
        // A service manager that stops everything at once must not stop pods: only the runtime ends a shim.
        let mut ignored = [
            signal(SignalKind::hangup()).map_err(Error::system("ignoring signals"))?,
            signal(SignalKind::interrupt()).map_err(Error::system("ignoring signals"))?,
            signal(SignalKind::terminate()).map_err(Error::system("ignoring signals"))?,
        ];
        let listener = sockets::bind(&self.config.socket)?;
        let listener =
            tokio::net::UnixListener::from_std(listener).map_err(Error::system("serving the socket"))?;
        self.reap();
        let [hangup, interrupt, terminate] = &mut ignored;
        loop {
            tokio::select! {
                _ = ended.recv() => self.reap(),
                _ = hangup.recv() => {}
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = self.shutdown.notified() => return Ok(()),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        tokio::task::spawn_local(self.clone().serve(stream));
                    }
                    // Out of descriptors: the runtime tries again.
                    Err(error) => tracing::warn!(%error, "accepting a connection"),
                },
            }
        }
    }

    /// Collects every process that ended: containers, execs, and orphans that came to us.
    fn reap(self: &Rc<Self>) {
        loop {
            let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), 128 + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(_) => return,
                Ok(_) => continue,
            };
            let waiting = self.waiting.borrow_mut().remove(&pid);
            if let Some(waiting) = waiting {
                // The one who waited may have gone away.
                let _ = waiting.send(code);
            }
        }
    }

    /// The exit code of a child, once it ends. Ask before control returns to the loop.
    fn exit_of(&self, pid: i32) -> oneshot::Receiver<i32> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().insert(pid, sender);
        receiver
    }

    fn container(&self, id: &str) -> Result<Rc<Container>> {
        let found = self.containers.borrow().get(id).cloned();
        found.ok_or_else(|| Error::NotFound { kind: "container", id: id.into() })
    }

    fn describe(&self) -> protocol::Description {
        protocol::Description {
            pid: std::process::id(),
            pause_pid: self.pause_pid,
            containers: self.containers.borrow().values().map(|container| container.state()).collect(),
        }
    }

    fn end_pause(&self) {
        if let Some(pid) = self.pause_pid.and_then(rustix::process::Pid::from_raw) {
            // Gone already is what was wanted.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Nanoseconds since 1970.
fn now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
