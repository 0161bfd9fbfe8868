//! One container, from the making to the removing.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use libcontainer::container::Container as Library;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use tokio::sync::{Notify, mpsc};

use super::io::{Stream, pipe, receive_terminal};
use super::log::{Log, Source};
use super::protocol::{Create, Frame, Kind, Phase, State};
use super::{Shim, now_ns};
use crate::error::{Error, Result, chain};
use crate::limits::{ATTACH_QUEUE_FRAMES_MAX, KILL_TIMEOUT, OUTPUT_DRAIN_TIMEOUT};
use crate::sys::{files, mounts, sockets};

/// Bytes read from a pipe at once: its usual capacity.
const READ_BYTES: usize = 64 << 10;

/// A container of this shim.
pub struct Container {
    /// How it was made.
    pub wish: Create,
    state: RefCell<State>,
    /// Its input: a pipe, or its terminal.
    stdin: RefCell<Option<Rc<Stream>>>,
    log: RefCell<Option<Log>>,
    clients: RefCell<Vec<mpsc::Sender<Frame>>>,
    outputs: Cell<usize>,
    drained: Notify,
    ended: Notify,
}

/// The ends of a process's pipes, or its terminal.
pub struct Ends {
    /// Where its input is written.
    pub stdin: Option<Rc<Stream>>,
    /// Where its outputs are read.
    pub outputs: Vec<(Source, Rc<Stream>)>,
}

/// A process about to be made by the library: its side of the pipes, or the socket for its terminal.
pub enum Stdio {
    /// Pipes: theirs and ours.
    Pipes {
        /// Standard input, output and error of the process.
        theirs: [OwnedFd; 3],
        /// Our side.
        ours: Ends,
    },
    /// A terminal will be sent here.
    Terminal {
        /// Where it will be sent.
        path: PathBuf,
        /// Where it will be received.
        listener: UnixListener,
    },
}

impl Stdio {
    /// Prepares them; `socket` is a fresh path for the terminal's socket.
    pub fn prepare(tty: bool, stdin: bool, socket: PathBuf) -> Result<Self> {
        if tty {
            let listener = sockets::bind(&socket)?;
            return Ok(Self::Terminal { path: socket, listener });
        }
        let (out_read, out_write) = pipe()?;
        let (err_read, err_write) = pipe()?;
        let outputs = vec![
            (Source::Stdout, Rc::new(Stream::new(out_read)?)),
            (Source::Stderr, Rc::new(Stream::new(err_read)?)),
        ];
        let (input, ours) = if stdin {
            let (read, write) = pipe()?;
            (read, Some(Rc::new(Stream::new(write)?)))
        } else {
            let null = fs::File::open("/dev/null").map_err(Error::file("opening", "/dev/null"))?;
            (null.into(), None)
        };
        Ok(Self::Pipes { theirs: [input, out_write, err_write], ours: Ends { stdin: ours, outputs } })
    }

    /// Hands the process's side to the library, makes the process, and returns our side.
    pub fn build<T>(
        self,
        builder: ContainerBuilder,
        build: impl FnOnce(ContainerBuilder) -> std::result::Result<T, LibcontainerError>,
    ) -> Result<(T, Ends)> {
        match self {
            Self::Pipes { theirs: [stdin, stdout, stderr], ours } => {
                let made = build(builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr));
                Ok((made.map_err(library)?, ours))
            }
            Self::Terminal { path, listener } => {
                let made = build(builder.with_console_socket(Some(path.clone()))).map_err(library);
                let received =
                    made.and_then(|made| Ok((made, Rc::new(Stream::new(receive_terminal(&listener)?)?))));
                files::remove_all(&path)?;
                let (made, terminal) = received?;
                Ok((made, Ends { stdin: Some(terminal.clone()), outputs: vec![(Source::Stdout, terminal)] }))
            }
        }
    }
}

/// An error of the container library, with its causes.
pub fn library(error: LibcontainerError) -> Error {
    Error::Shim(chain(&error))
}

impl Container {
    /// What is known of it.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Its input.
    pub fn stdin(&self) -> Option<Rc<Stream>> {
        self.stdin.borrow().clone()
    }

    /// Ends its input.
    pub fn close_stdin(&self) {
        if !self.wish.tty {
            self.stdin.borrow_mut().take();
        }
    }

    /// Opens its log anew.
    pub fn reopen_log(&self) -> Result<()> {
        self.log.borrow_mut().as_mut().map_or(Ok(()), Log::reopen)
    }

    /// What it prints from now on, until it ends.
    pub fn attach(&self) -> mpsc::Receiver<Frame> {
        let (sender, receiver) = mpsc::channel(ATTACH_QUEUE_FRAMES_MAX);
        if self.outputs.get() > 0 {
            self.clients.borrow_mut().push(sender);
        }
        receiver
    }

    /// Waits until it has ended.
    pub async fn wait(&self) {
        loop {
            let ended = self.ended.notified();
            if self.state.borrow().phase == Phase::Exited {
                return;
            }
            ended.await;
        }
    }

    fn change(&self, shim: &Shim, change: impl FnOnce(&mut State)) {
        let state = {
            let mut state = self.state.borrow_mut();
            change(&mut state);
            state.clone()
        };
        if let Err(error) = files::write_json(&self.wish.bundle.join("state.json"), &state) {
            tracing::warn!(error = error.chain(), "recording the state of a container");
        }
        // Nobody may be watching.
        let _ = shim.changes.send(state);
    }

    async fn pump(self: Rc<Self>, source: Source, stream: Rc<Stream>) {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            if let Some(log) = self.log.borrow_mut().as_mut() {
                log.add(source, &buffer[..count], &timestamp());
            }
            self.publish(source, &buffer[..count]);
        }
        if let Some(log) = self.log.borrow_mut().as_mut() {
            log.finish(source, &timestamp());
        }
        self.outputs.set(self.outputs.get() - 1);
        if self.outputs.get() == 0 {
            self.clients.borrow_mut().clear();
            self.drained.notify_waiters();
            self.drained.notify_one();
        }
    }

    /// A client that does not keep up is dropped: the container must never wait for it.
    fn publish(&self, source: Source, bytes: &[u8]) {
        let mut clients = self.clients.borrow_mut();
        if clients.is_empty() {
            return;
        }
        let kind = match source {
            Source::Stdout => Kind::Stdout,
            Source::Stderr => Kind::Stderr,
        };
        let bytes = Bytes::copy_from_slice(bytes);
        clients.retain(|client| client.try_send((kind, bytes.clone())).is_ok());
    }

    fn signal(&self, signal: i32) -> Result<()> {
        let state = self.state.borrow();
        if state.phase == Phase::Exited {
            return Ok(());
        }
        let signal = nix::sys::signal::Signal::try_from(signal)
            .map_err(|_| Error::Invalid(format!("there is no signal {signal}")))?;
        match nix::sys::signal::kill(nix::unistd::Pid::from_raw(state.pid), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => Err(Error::system("sending a signal")(error)),
        }
    }
}

fn timestamp() -> String {
    jiff::Timestamp::now().to_string()
}

impl Shim {
    fn builder(&self, id: &str) -> Result<ContainerBuilder> {
        ContainerBuilder::new(id.to_string(), SyscallType::default())
            .with_executor(super::exec::Program)
            .with_root_path(&self.config.library_root)
            .map_err(library)
    }

    /// The builder of a further process.
    pub(super) fn process_builder(&self, id: &str) -> Result<ContainerBuilder> {
        self.builder(id)
    }

    /// Makes a container. What was begun is undone if it fails.
    pub(super) fn create(self: &Rc<Self>, wish: Create) -> Result<()> {
        if self.containers.borrow().contains_key(&wish.id) {
            return Err(Error::State(format!("container {} exists", wish.id)));
        }
        let target = wish.overlay.target.clone();
        wish.overlay.mount_in_place()?;
        let made = self.create_mounted(wish);
        if made.is_err() {
            mounts::unmount_below(&target)?;
        }
        made
    }

    fn create_mounted(self: &Rc<Self>, wish: Create) -> Result<()> {
        make_directory(&wish.overlay.target, &wish.working_directory);
        let log = wish.log.clone().map(Log::open).transpose()?;
        let stdio = Stdio::prepare(wish.tty, wish.stdin, wish.bundle.join("console.sock"))?;
        let (library, ends) = stdio.build(self.builder(&wish.id)?, |builder| {
            builder.as_init(&wish.bundle).with_systemd(false).with_detach(true).build()
        })?;
        let pid =
            library.pid().ok_or_else(|| Error::Shim("the container has no first process".into()))?.as_raw();
        adjust_oom_score(pid, wish.oom_score_adj);
        let state = State {
            id: wish.id.clone(),
            phase: Phase::Created,
            pid,
            started_ns: 0,
            finished_ns: 0,
            exit_code: 0,
            oom_killed: false,
        };
        let container = Rc::new(Container {
            state: RefCell::new(state),
            stdin: RefCell::new(ends.stdin),
            log: RefCell::new(log),
            clients: RefCell::default(),
            outputs: Cell::new(ends.outputs.len()),
            drained: Notify::new(),
            ended: Notify::new(),
            wish,
        });
        for (source, stream) in ends.outputs {
            tokio::task::spawn_local(container.clone().pump(source, stream));
        }
        tokio::task::spawn_local(self.clone().follow(container.clone(), self.exit_of(pid)));
        container.change(self, |_| {});
        self.containers.borrow_mut().insert(container.wish.id.clone(), container);
        Ok(())
    }

    /// Waits for the end of the first process, then for its last output, then says so.
    async fn follow(self: Rc<Self>, container: Rc<Container>, exit: tokio::sync::oneshot::Receiver<i32>) {
        let exit_code = exit.await.unwrap_or(255);
        let finished_ns = now_ns();
        let oom_killed = exit_code != 0 && self.cgroups.was_oom_killed(&container.wish.cgroup);
        // With a process namespace of its own nothing is left; in a shared one something may be.
        self.cgroups.kill(&container.wish.cgroup);
        if container.outputs.get() > 0 {
            // Whoever still holds a pipe is no longer this container.
            let _ = tokio::time::timeout(OUTPUT_DRAIN_TIMEOUT, container.drained.notified()).await;
        }
        container.stdin.borrow_mut().take();
        container.clients.borrow_mut().clear();
        container.change(&self, |state| {
            state.phase = Phase::Exited;
            state.finished_ns = finished_ns;
            state.exit_code = exit_code;
            state.oom_killed = oom_killed;
        });
        container.ended.notify_waiters();
    }

    /// Runs the program of a container.
    pub(super) fn start(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        if container.state().phase != Phase::Created {
            return Err(Error::State(format!("container {id} was started before")));
        }
        let mut library_container = Library::load(self.config.library_root.join(id)).map_err(library)?;
        library_container.start().map_err(library)?;
        container.change(self, |state| {
            state.phase = Phase::Running;
            state.started_ns = now_ns();
        });
        Ok(())
    }

    /// Sends a signal to the first process.
    pub(super) fn kill(&self, id: &str, signal: i32) -> Result<()> {
        self.container(id)?.signal(signal)
    }

    /// Kills a container and removes what is left of it in the kernel. That it is unknown is success.
    pub(super) async fn delete(&self, id: &str) -> Result<()> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        container.signal(nix::sys::signal::Signal::SIGKILL as i32)?;
        tokio::time::timeout(KILL_TIMEOUT, container.wait())
            .await
            .map_err(|_| Error::Timeout(format!("container {id} does not die")))?;
        let state = self.config.library_root.join(id);
        if state.exists() {
            let mut library_container = Library::load(state.clone()).map_err(library)?;
            if let Err(error) = library_container.delete(true) {
                tracing::warn!(id, error = chain(&error), "the library left something behind");
                files::remove_all(&state)?;
            }
        }
        remove_cgroup(self, &container.wish.cgroup).await?;
        mounts::unmount_below(&container.wish.overlay.target)?;
        self.containers.borrow_mut().remove(id);
        Ok(())
    }
}

/// Processes that were just killed keep their cgroup busy for a moment.
async fn remove_cgroup(shim: &Shim, group: &str) -> Result<()> {
    const TRIES: u32 = 50;
    for _ in 0..TRIES {
        if shim.cgroups.remove(group).is_ok() {
            return Ok(());
        }
        shim.cgroups.kill(group);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    shim.cgroups.remove(group)
}

/// Sets a process's score for the out-of-memory killer. A host may refuse to lower it below our own; then our own is
/// as low as it gets, and that is no error.
pub fn adjust_oom_score(pid: i32, wish: i32) {
    let path = format!("/proc/{pid}/oom_score_adj");
    let wish = wish.clamp(-1000, 1000);
    if fs::write(&path, wish.to_string()).is_ok() {
        return;
    }
    let own =
        fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse::<i32>().ok());
    if let Err(error) = fs::write(&path, wish.max(own.unwrap_or(0)).to_string()) {
        tracing::warn!(pid, %error, "leaving the out-of-memory score as it is");
    }
}

/// The working directory must exist; images may name one that does not. Links in the image cannot lead out of it.
fn make_directory(root: &Path, directory: &str) {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let Ok(root) = rustix::fs::open(root, flags, Mode::empty()) else { return };
    let mut walked = PathBuf::from(".");
    for part in
        Path::new(directory).components().filter(|part| matches!(part, std::path::Component::Normal(_)))
    {
        let Ok(parent) = rustix::fs::openat2(&root, &walked, flags, Mode::empty(), resolve) else { return };
        // It usually exists; if it cannot be made, starting the program says why.
        let _ = rustix::fs::mkdirat(&parent, part.as_os_str(), Mode::from_raw_mode(0o755));
        walked.push(part);
    }
}
