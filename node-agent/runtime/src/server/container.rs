//! Containers: making, starting, stopping, removing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proto::cri::{ContainerConfig, ContainerEventType, LinuxContainerResources, NamespaceMode};
use tokio::sync::watch;

use super::record::{self, ContainerRecord};
use super::sandbox::Sandbox;
use super::{Runtime, blocking, new_id, now_ns};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::limits::{EXEC_SYNC_OUTPUT_BYTES_MAX, KILL_TIMEOUT};
use crate::shim::protocol::{Create, Exec, Kind, Phase, Request, State, receive_frame};
use crate::spec::user::Accounts;
use crate::spec::{self};
use crate::sys::files;
use crate::sys::mounts::Overlay;

/// A container.
#[derive(Debug)]
pub struct Container {
    pub id: String,
    pub sandbox: String,
    pub config: ContainerConfig,
    pub record: ContainerRecord,
    pub directory: PathBuf,
    /// What the shim said last; none is that nobody knows.
    pub state: watch::Sender<Option<State>>,
    /// Limits that were changed while it runs.
    pub resources: Mutex<Option<LinuxContainerResources>>,
    /// Time and processor time of the last look, both in nanoseconds.
    pub last_usage: Mutex<Option<(i64, u64)>>,
}

impl Container {
    /// First process, while it runs.
    pub fn pid(&self) -> Result<i32> {
        let state = self.state.borrow();
        let running = state.as_ref().filter(|state| state.phase != Phase::Exited);
        running
            .map(|state| state.pid)
            .ok_or_else(|| Error::State(format!("container {} is not running", self.id)))
    }

    /// What makes it unique.
    pub fn name(&self) -> String {
        container_name(&self.config, &self.sandbox)
    }

    /// Takes in what the shim said. True if it is news.
    pub fn learn(&self, state: State) -> bool {
        self.state.send_if_modified(|known| {
            // The shim's word is in order, except that a new connection starts with the past.
            let is_news = known.as_ref() != Some(&state);
            if is_news {
                *known = Some(state);
            }
            is_news
        })
    }

    fn phase(&self) -> Option<Phase> {
        self.state.borrow().as_ref().map(|state| state.phase)
    }

    async fn exited(&self) {
        let mut changes = self.state.subscribe();
        // The sender is ours, so waiting cannot fail.
        let _ =
            changes.wait_for(|state| state.as_ref().is_some_and(|state| state.phase == Phase::Exited)).await;
    }
}

fn container_name(config: &ContainerConfig, sandbox: &str) -> String {
    let metadata = config.metadata.clone().unwrap_or_default();
    format!("{}_{sandbox}_{}", metadata.name, metadata.attempt)
}

impl Runtime {
    /// Makes a container and returns its id. What was begun is undone if it fails.
    pub async fn create_container(
        self: &Arc<Self>,
        sandbox_id: &str,
        config: ContainerConfig,
    ) -> Result<String> {
        let sandbox = self.sandbox(sandbox_id)?;
        if !sandbox.is_ready() {
            return Err(Error::State(format!("sandbox {sandbox_id} is not ready")));
        }
        if config.metadata.as_ref().is_none_or(|metadata| metadata.name.is_empty()) {
            return Err(Error::Invalid("a container needs a name".into()));
        }
        let wanted = config.image.as_ref().map(|image| image.image.clone()).unwrap_or_default();
        let image = self.images.find(&wanted).ok_or(Error::NotFound { kind: "image", id: wanted })?;
        let name = self.reserve_name(container_name(&config, &sandbox.id))?;
        let id = new_id();
        let directory = sandbox.directory.join("containers").join(&id);
        let (runtime, parent, path) = (self.clone(), sandbox.clone(), directory.clone());
        let made = blocking(move || runtime.prepare(id, &parent, config, &image, path)).await;
        let container = match made {
            Ok((container, wish)) => match sandbox.shim.command(&Request::Create(Box::new(wish))).await {
                Ok(()) => container,
                Err(error) => {
                    files::remove_all(&directory)?;
                    return Err(error);
                }
            },
            Err(error) => {
                files::remove_all(&directory)?;
                return Err(error);
            }
        };
        let state: State = files::read_json(&directory.join("state.json"))?;
        container.state.send_replace(Some(state));
        name.keep();
        let id = container.id.clone();
        self.containers.lock().insert(id.clone(), Arc::new(container));
        self.announce(&id, &sandbox.id, ContainerEventType::ContainerCreatedEvent);
        Ok(id)
    }

    /// Decides everything about a container and writes it down.
    fn prepare(
        &self,
        id: String,
        sandbox: &Arc<Sandbox>,
        config: ContainerConfig,
        image: &Image,
        directory: PathBuf,
    ) -> Result<(Container, Create)> {
        files::create_private_dir(&directory)?;
        let security =
            config.linux.as_ref().and_then(|linux| linux.security_context.clone()).unwrap_or_default();
        let user =
            Accounts::read(&self.images.layer_paths(image)).resolve(&security, &image.defaults.user)?;
        let cgroup = format!("{}/{id}", sandbox.record.lock().cgroup);
        let mut namespaces = security.namespace_options.clone().unwrap_or_default();
        if security.namespace_options.is_none() {
            namespaces.pid = NamespaceMode::Container as i32;
        }
        let surroundings = sandbox.surroundings(self, &namespaces, cgroup.clone())?;
        let rootfs = directory.join("rootfs");
        let request = spec::Request {
            config: &config,
            image: &image.defaults,
            user: &user,
            rootfs: &rootfs,
            surroundings: &surroundings,
        };
        let document = request.specification()?;
        files::write_json(&directory.join("config.json"), &document)?;
        let log_directory = &sandbox.config.log_directory;
        let has_log = !log_directory.is_empty() && !config.log_path.is_empty();
        let record = ContainerRecord {
            created_ns: now_ns(),
            image_id: image.id.clone(),
            image_ref: image.digests.first().cloned().unwrap_or_else(|| image.id.clone()),
            layers: image.layers.clone(),
            log_path: has_log.then(|| Path::new(log_directory).join(&config.log_path)),
            user,
            cgroup: cgroup.clone(),
            stop_signal: stop_signal(&image.defaults.stop_signal)?,
        };
        record::save(&directory, &config, &record)?;
        let resources = config.linux.as_ref().and_then(|linux| linux.resources.clone()).unwrap_or_default();
        let wish = Create {
            id: id.clone(),
            bundle: directory.clone(),
            overlay: self.overlay(image, &directory),
            working_directory: document["process"]["cwd"].as_str().unwrap_or("/").to_string(),
            log: record.log_path.clone(),
            tty: config.tty,
            stdin: config.stdin,
            stdin_once: config.stdin_once,
            oom_score_adj: i32::try_from(resources.oom_score_adj.clamp(-1000, 1000)).unwrap_or(0),
            cgroup,
        };
        Ok((container_of(id, sandbox.id.clone(), config, record, directory), wish))
    }

    fn overlay(&self, image: &Image, directory: &Path) -> Overlay {
        Overlay {
            layers_dir: self.images.layers_dir(),
            lower: image.layers.iter().rev().cloned().collect(),
            upper: directory.join("upper"),
            work: directory.join("work"),
            target: directory.join("rootfs"),
        }
    }

    /// Runs the program of a container.
    pub async fn start_container(&self, id: &str) -> Result<()> {
        let container = self.container(id)?;
        let sandbox = self.sandbox(&container.sandbox)?;
        sandbox.shim.command(&Request::Start { id: container.id.clone() }).await?;
        // The caller may ask for the status before the shim's own message is here.
        if let Ok(state) = files::read_json::<State>(&container.directory.join("state.json")) {
            self.learn(&container, state);
        }
        Ok(())
    }

    /// Asks a container to end, and ends it when the time (in seconds) is over. That it is not there is success.
    pub async fn stop_container(&self, id: &str, timeout: i64) -> Result<()> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        if matches!(container.phase(), None | Some(Phase::Exited)) {
            return Ok(());
        }
        let sandbox = self.sandbox(&container.sandbox)?;
        let grace = Duration::from_secs(u64::try_from(timeout).unwrap_or(0));
        // A program that was never run has nothing that could be asked.
        if !grace.is_zero() && container.phase() == Some(Phase::Running) {
            let signal = container.record.stop_signal;
            sandbox.shim.command(&Request::Kill { id: container.id.clone(), signal }).await?;
            if tokio::time::timeout(grace, container.exited()).await.is_ok() {
                return Ok(());
            }
        }
        let kill =
            Request::Kill { id: container.id.clone(), signal: nix::sys::signal::Signal::SIGKILL as i32 };
        match sandbox.shim.command(&kill).await {
            // The shim just died: whoever follows it says that the container ended.
            Ok(()) | Err(Error::ShimGone { .. }) => {}
            Err(error) => return Err(error),
        }
        tokio::time::timeout(KILL_TIMEOUT, container.exited())
            .await
            .map_err(|_| Error::Timeout(format!("container {id} does not die")))
    }

    /// Removes a container, killing it if needed. That it is not there is success.
    pub async fn remove_container(self: &Arc<Self>, id: &str) -> Result<()> {
        let Ok(container) = self.container(id) else { return Ok(()) };
        self.stop_container(&container.id, 0).await?;
        if let Ok(sandbox) = self.sandbox(&container.sandbox)
            && sandbox.is_ready()
        {
            sandbox.shim.command(&Request::Delete { id: container.id.clone() }).await?;
        }
        let directory = container.directory.clone();
        blocking(move || {
            crate::sys::mounts::unmount_below(&directory)?;
            files::remove_all(&directory)
        })
        .await?;
        self.announce(&container.id, &container.sandbox, ContainerEventType::ContainerDeletedEvent);
        self.containers.lock().remove(&container.id);
        self.release_name(&container.name());
        Ok(())
    }

    /// Changes the limits of a container.
    pub fn update_resources(&self, id: &str, resources: LinuxContainerResources) -> Result<()> {
        let container = self.container(id)?;
        if container.phase() == Some(Phase::Exited) {
            return Err(Error::State(format!("container {id} is not running")));
        }
        self.cgroups.update(&container.record.cgroup, &resources)?;
        *container.resources.lock() = Some(resources);
        Ok(())
    }

    /// What an exec in this container has to run.
    pub fn exec_wish(
        &self,
        id: &str,
        command: &[String],
        tty: bool,
        stdin: bool,
        kill_on_disconnect: bool,
    ) -> Result<(Arc<Sandbox>, Exec)> {
        let container = self.container(id)?;
        if container.phase() != Some(Phase::Running) {
            return Err(Error::State(format!("container {id} is not running")));
        }
        let document: serde_json::Value = files::read_json(&container.directory.join("config.json"))?;
        let process = spec::exec_process(&document, command, tty)?;
        let wish = Exec { id: container.id.clone(), process, tty, stdin, kill_on_disconnect };
        Ok((self.sandbox(&container.sandbox)?, wish))
    }

    /// Runs a command to its end and returns its output and exit code. It is killed when the time is over.
    pub async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: i64,
    ) -> Result<(Vec<u8>, Vec<u8>, i32)> {
        let (sandbox, wish) = self.exec_wish(id, command, false, false, true)?;
        let mut stream = sandbox.shim.open(&Request::Exec(Box::new(wish))).await?;
        let collect = async {
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            loop {
                let frame =
                    receive_frame(&mut stream).await.map_err(Error::system("reading from the shim"))?;
                match frame {
                    Some((Kind::Stdout, bytes)) => append(&mut stdout, &bytes),
                    Some((Kind::Stderr, bytes)) => append(&mut stderr, &bytes),
                    Some((Kind::Exit, code)) => {
                        let code = code[..].try_into().map(i32::from_be_bytes).unwrap_or(255);
                        return Ok((stdout, stderr, code));
                    }
                    Some((Kind::Stdin | Kind::StdinEnd | Kind::Resize, _)) => {}
                    None => return Err(Error::State("the process vanished".into())),
                }
            }
        };
        let Ok(seconds @ 1..) = u64::try_from(timeout) else { return collect.await };
        tokio::time::timeout(Duration::from_secs(seconds), collect)
            .await
            .map_err(|_| Error::Timeout(format!("command {command:?} timed out after {seconds}s")))?
    }
}

/// The container object for an id, before or after a restart.
pub fn container_of(
    id: String,
    sandbox: String,
    config: ContainerConfig,
    record: ContainerRecord,
    directory: PathBuf,
) -> Container {
    Container {
        id,
        sandbox,
        config,
        record,
        directory,
        state: watch::Sender::new(None),
        resources: Mutex::default(),
        last_usage: Mutex::default(),
    }
}

fn append(all: &mut Vec<u8>, bytes: &[u8]) {
    let room = EXEC_SYNC_OUTPUT_BYTES_MAX - all.len();
    all.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// The image's stop signal: a name with or without `SIG`, or a number.
fn stop_signal(text: &str) -> Result<i32> {
    use nix::sys::signal::Signal;
    if text.is_empty() {
        return Ok(Signal::SIGTERM as i32);
    }
    if let Ok(number @ 1..=64) = text.parse() {
        return Ok(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    name.parse::<Signal>()
        .map(|signal| signal as i32)
        .map_err(|_| Error::Image(format!("the image's stop signal {text:?} does not exist")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signals_are_names_or_numbers() {
        for (text, expect) in [("", 15), ("SIGQUIT", 3), ("int", 2), ("9", 9)] {
            assert_eq!(stop_signal(text).unwrap(), expect, "{text:?}");
        }
        assert!(stop_signal("SIGNONSENSE").is_err());
    }
}
