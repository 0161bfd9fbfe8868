//! Further processes in a container, and the streams of clients.

use std::rc::Rc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::default::DefaultExecutor;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use tokio::io::AsyncWrite;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{Mutex, oneshot};

use super::Shim;
use super::container::{Container, Ends, Stdio, adjust_oom_score};
use super::io::Stream;
use super::log::Source;
use super::protocol::{Exec, Kind, Phase, receive_frame, send_frame};
use crate::error::{Error, Result};
use crate::limits::{OUTPUT_DRAIN_TIMEOUT, STREAM_FRAME_BYTES_MAX};
use crate::sys::files;

/// Exit code of a process whose end nobody saw.
const LOST: i32 = 255;

/// Runs a container's program as the library does, with signals as a fresh process has them.
#[derive(Clone)]
pub struct Program;

impl Executor for Program {
    fn exec(&self, spec: &Spec) -> std::result::Result<(), ExecutorError> {
        restore_signals();
        DefaultExecutor {}.exec(spec)
    }

    fn validate(&self, spec: &Spec) -> std::result::Result<(), ExecutorValidationError> {
        DefaultExecutor {}.validate(spec)
    }
}

/// Rust programs ignore SIGPIPE, and ignored signals stay ignored across exec: `yes | head` would never end.
#[expect(
    unsafe_code,
    reason = "restoring a default disposition just before exec, in a process without threads"
)]
fn restore_signals() {
    use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
    // SAFETY: the default disposition runs no code of ours, and exec follows at once.
    let restored = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    if let Err(error) = restored.and_then(|_| SigSet::all().thread_unblock()) {
        tracing::warn!(%error, "the program starts with SIGPIPE ignored");
    }
}

/// A process that an exec started.
pub struct Running {
    pid: i32,
    exit: oneshot::Receiver<i32>,
    ends: Ends,
    /// What a process gets when its client leaves: nothing, unless it was promised an end or has lost its terminal.
    farewell: Option<rustix::process::Signal>,
}

impl Shim {
    /// Starts a process in a running container.
    pub(super) fn exec(&self, wish: Exec) -> Result<Running> {
        let container = self.container(&wish.id)?;
        if container.state().phase != Phase::Running {
            return Err(Error::State(format!("container {} is not running", wish.id)));
        }
        let name = uuid::Uuid::new_v4().simple().to_string();
        let document = container.wish.bundle.join(format!("exec-{}.json", &name[..8]));
        files::write_json(&document, &wish.process)?;
        let stdio =
            Stdio::prepare(wish.tty, wish.stdin, container.wish.bundle.join(format!("{}.tty", &name[..8])))?;
        let made = stdio.build(self.process_builder(&wish.id)?, |builder| {
            builder.as_tenant().with_process(Some(&document)).with_detach(true).build()
        });
        files::remove_all(&document)?;
        let (pid, ends) = made?;
        let pid = pid.as_raw();
        adjust_oom_score(pid, container.wish.oom_score_adj);
        let farewell = match (wish.kill_on_disconnect, wish.tty) {
            (true, _) => Some(rustix::process::Signal::KILL),
            (false, true) => Some(rustix::process::Signal::HUP),
            (false, false) => None,
        };
        Ok(Running { pid, exit: self.exit_of(pid), ends, farewell })
    }
}

impl Running {
    /// Carries frames between a client and the process until the process has ended.
    pub async fn stream(self, mut reader: OwnedReadHalf, writer: impl AsyncWrite + Unpin) {
        let Self { pid, exit, ends, farewell } = self;
        let writer = Rc::new(Mutex::new(writer));
        let terminal = ends.outputs.first().map(|(_, stream)| stream.clone());
        let outputs =
            ends.outputs.into_iter().map(|(source, stream)| copy_output(source, stream, writer.clone()));
        let mut outputs = Box::pin(futures::future::join_all(outputs));
        let input = async {
            feed(&mut reader, ends.stdin, terminal, || {}).await;
            if let (Some(signal), Some(pid)) = (farewell, rustix::process::Pid::from_raw(pid)) {
                // Ended by itself meanwhile: nothing to do.
                let _ = rustix::process::kill_process(pid, signal);
            }
            std::future::pending::<()>().await;
        };
        let code = async {
            let mut exit = exit;
            let code = tokio::select! {
                code = &mut exit => code,
                _ = &mut outputs => return exit.await.unwrap_or(LOST),
            };
            // What it started in the background may hold the pipes.
            let _ = tokio::time::timeout(OUTPUT_DRAIN_TIMEOUT, &mut outputs).await;
            code.unwrap_or(LOST)
        };
        tokio::select! {
            code = code => {
                // The client may be gone; the process was not killed for that.
                let _ = send_frame(&mut *writer.lock().await, Kind::Exit, &code.to_be_bytes()).await;
            }
            () = input => {}
        }
    }
}

/// Sends what a process prints. When the client is gone, reads on, so that the process does not stop at a full pipe.
async fn copy_output(source: Source, stream: Rc<Stream>, writer: Rc<Mutex<impl AsyncWrite + Unpin>>) {
    let kind = match source {
        Source::Stdout => Kind::Stdout,
        Source::Stderr => Kind::Stderr,
    };
    let mut buffer = vec![0; STREAM_FRAME_BYTES_MAX];
    let mut listening = true;
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        if listening {
            listening = send_frame(&mut *writer.lock().await, kind, &buffer[..count]).await.is_ok();
        }
    }
}

/// Passes a client's frames to a process until the client is gone. `on_end` is called when the client ends its input.
async fn feed(
    reader: &mut OwnedReadHalf,
    mut stdin: Option<Rc<Stream>>,
    terminal: Option<Rc<Stream>>,
    on_end: impl Fn(),
) {
    while let Ok(Some((kind, payload))) = receive_frame(reader).await {
        match kind {
            Kind::Stdin => {
                if let Some(stream) = &stdin
                    && stream.write_all(&payload).await.is_err()
                {
                    stdin = None;
                }
            }
            Kind::StdinEnd => {
                // A terminal has no end of input; the client's end of file is a character.
                if stdin.take().is_some() {
                    on_end();
                }
            }
            Kind::Resize => {
                if let (Some(terminal), [c1, c0, r1, r0]) = (&terminal, &payload[..]) {
                    terminal.resize(u16::from_be_bytes([*c1, *c0]), u16::from_be_bytes([*r1, *r0]));
                }
            }
            Kind::Stdout | Kind::Stderr | Kind::Exit => {}
        }
    }
}

/// Carries frames between a client and the first process of a container.
pub async fn attach(
    container: Rc<Container>,
    stdin: bool,
    mut reader: OwnedReadHalf,
    mut writer: impl AsyncWrite + Unpin,
) {
    let mut output = container.attach();
    let input = {
        let container = container.clone();
        async move {
            let stream = container.stdin();
            let terminal = stream.clone();
            let wanted = if stdin { stream } else { None };
            let had_input = wanted.is_some();
            // The container keeps its own handle: this client's end is the end for others only if that was asked for.
            let end = || {
                if had_input && container.wish.stdin_once {
                    container.close_stdin();
                }
            };
            feed(&mut reader, wanted, terminal, end).await;
            end();
        }
    };
    let copy = async {
        while let Some((kind, bytes)) = output.recv().await {
            if send_frame(&mut writer, kind, &bytes).await.is_err() {
                return;
            }
        }
        container.wait().await;
        let code = container.state().exit_code;
        // The client may be gone.
        let _ = send_frame(&mut writer, Kind::Exit, &code.to_be_bytes()).await;
    };
    tokio::select! {
        () = copy => {}
        () = input => {}
    }
}
