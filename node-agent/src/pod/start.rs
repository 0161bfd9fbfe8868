//! Starting one container: image, environment, mounts, creation, start, postStart hook.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Container, Pod};
use tokio_util::sync::CancellationToken;

use super::{
    events::Events,
    hook, hosts,
    image::{self, Policy},
    resources, sandbox,
    security::{self, ImageUser},
    spec,
};
use crate::{
    cri::{self, labels, v1},
    env::{self, Sources},
    references::Hold,
    shared::Shared,
    sys::clock::remaining,
    volume,
};

/// Why a container did not start: the reason its status shows, and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Such as `ErrImagePull`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Failure {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// One container to start.
pub struct Start {
    /// What workers share.
    pub shared: Arc<Shared>,
    /// What the pod refers to.
    pub hold: Arc<Hold>,
    /// Its pod.
    pub pod: Arc<Pod>,
    /// Its name.
    pub name: String,
    /// Where.
    pub sandbox_id: String,
    /// How many sandboxes the pod had before this one.
    pub sandbox_attempt: u32,
    /// The pod's addresses.
    pub pod_ips: Vec<String>,
    /// How often it was restarted before.
    pub restarts: u32,
    /// The pod is to stop: do not begin anything new.
    pub cancel: CancellationToken,
}

impl Start {
    /// Does it, with events.
    pub async fn run(self) -> Result<(), Failure> {
        let events = Events::new(self.shared.recorder.clone(), &self.pod);
        let outcome = self.steps(&events).await;
        if let Err(failure) = &outcome
            && failure.reason != CANCELLED
        {
            let text = match failure.reason {
                "ErrImagePull" | "ErrImageNeverPull" => format!("Error: {}", failure.reason),
                "InvalidImageName" => "Error: InvalidImageName".to_owned(),
                _ => format!("Error: {}", failure.message),
            };
            if failure.reason != "PostStartHookError" {
                events.container_warning(&self.name, "Failed", text);
            }
        }
        outcome
    }

    async fn steps(&self, events: &Events) -> Result<(), Failure> {
        let spec = spec::container(&self.pod, &self.name);
        let (_, container) = spec.ok_or_else(|| Failure::new("CreateContainerError", "no such container"))?;
        let pulled = self.cancel.run_until_cancelled(self.image(container, events)).await;
        let image = pulled.ok_or_else(cancelled)??;
        let config = self.config(container, &image).await?;
        if self.cancel.is_cancelled() {
            return Err(cancelled());
        }
        let runtime = &self.shared.runtime;
        let sandbox = self.sandbox_config();
        let created = runtime.create_container(&self.sandbox_id, config, sandbox).await;
        let id = created.map_err(|e| Failure::new("CreateContainerError", e.message))?;
        events.container(&self.name, "Created", format!("Created container: {}", self.name));
        runtime.start_container(&id).await.map_err(|e| Failure::new("RunContainerError", e.message))?;
        events.container(&self.name, "Started", format!("Started container {}", self.name));
        self.post_start(container, &id, events).await
    }

    async fn post_start(&self, container: &Container, id: &str, events: &Events) -> Result<(), Failure> {
        let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else {
            return Ok(());
        };
        let pod_ip = self.pod_ips.first().map_or("", String::as_str);
        let place = hook::Place { runtime: &*self.shared.runtime, container, container_id: id, pod_ip };
        let done = self.cancel.run_until_cancelled(hook::run(&place, hook)).await;
        match done {
            None => Err(cancelled()),
            Some(Ok(())) => Ok(()),
            Some(Err(why)) => {
                events.container_warning(
                    &self.name,
                    "FailedPostStartHook",
                    format!("PostStartHook failed: {why}"),
                );
                let killing = "FailedPostStartHook".to_owned();
                events.container(&self.name, "Killing", killing);
                // The outcome shows in the container's state; a failure here is seen and repeated there.
                let stopped = self.shared.runtime.stop_container(id, spec::grace_s(&self.pod)).await;
                let more = stopped.err().map(|e| format!("; {}", e.message)).unwrap_or_default();
                Err(Failure::new("PostStartHookError", format!("PostStartHook failed: {why}{more}")))
            }
        }
    }

    async fn image(&self, container: &Container, events: &Events) -> Result<v1::Image, Failure> {
        let asked = container.image.as_deref().unwrap_or("");
        let name = image::with_tag(asked).map_err(|why| {
            events.container_warning(&self.name, "InspectFailed", why.clone());
            Failure::new("InvalidImageName", why)
        })?;
        let runtime = &self.shared.runtime;
        let inspect = |e: cri::Error| Failure::new("ImageInspectError", e.message);
        let present = runtime.image(&name).await.map_err(inspect)?;
        match (present, image::policy(container)) {
            (Some(image), Policy::IfNotPresent | Policy::Never) => {
                let text = format!("Container image {asked:?} already present on machine");
                events.container(&self.name, "Pulled", text);
                return Ok(image);
            }
            (None, Policy::Never) => {
                let text = format!("Container image {asked:?} is not present with pull policy of Never");
                events.container_warning(&self.name, "ErrImageNeverPull", text.clone());
                return Err(Failure::new("ErrImageNeverPull", text));
            }
            (None, Policy::IfNotPresent) | (_, Policy::Always) => {}
        }
        self.pull(asked, &name, events).await?;
        let pulled = runtime.image(&name).await.map_err(inspect)?;
        pulled.ok_or_else(|| {
            Failure::new("ErrImagePull", format!("image {asked:?} is not there after its pull"))
        })
    }

    async fn pull(&self, asked: &str, name: &str, events: &Events) -> Result<(), Failure> {
        events.container(&self.name, "Pulling", format!("Pulling image {asked:?}"));
        let waiting = self.shared.clock.now();
        let permit = self.shared.pulls.acquire().await;
        let _permit = permit.map_err(|_| cancelled())?;
        let begun = self.shared.clock.now();
        let secrets: Vec<_> = {
            let names = spec::of(&self.pod).image_pull_secrets.iter().flatten();
            names.filter_map(|r| self.hold.secret(&r.name).ok().flatten()).collect()
        };
        let auth = image::credentials(name, secrets.iter().map(AsRef::as_ref));
        let outcome = self.shared.runtime.pull_image(name, auth, self.sandbox_config()).await;
        if let Err(e) = outcome {
            let text = format!("Failed to pull image {asked:?}: {}", e.message);
            events.container_warning(&self.name, "Failed", text);
            return Err(Failure::new("ErrImagePull", e.message));
        }
        let size = self.shared.runtime.image(name).await.ok().flatten().map_or(0, |i| i.size);
        let text = format!(
            "Successfully pulled image {asked:?} in {} ({} including waiting). Image size: {size} bytes.",
            short(self.since(begun)),
            short(self.since(waiting))
        );
        events.container(&self.name, "Pulled", text);
        Ok(())
    }

    fn since(&self, begun: jiff::Timestamp) -> std::time::Duration {
        remaining(begun, self.shared.clock.now())
    }

    async fn config(&self, container: &Container, image: &v1::Image) -> Result<v1::ContainerConfig, Failure> {
        let failed = |why: String| Failure::new("CreateContainerConfigError", why);
        self.hold.synced().await.map_err(failed)?;
        let variables = self.variables(container).map_err(failed)?;
        let security = security::container(&self.pod, container, &ImageUser::of(image)).map_err(failed)?;
        let mounts = self.mounts(container, &variables).map_err(failed)?;
        let expand = |list: &Option<Vec<String>>| {
            let lookup = |name: &str| variables.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
            list.iter().flatten().map(|text| env::expand::expand(text, lookup)).collect::<Vec<_>>()
        };
        let reference =
            if image.id.is_empty() { container.image.clone().unwrap_or_default() } else { image.id.clone() };
        Ok(v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: self.name.clone(), attempt: self.restarts }),
            image: Some(v1::ImageSpec {
                image: reference,
                user_specified_image: container.image.clone().unwrap_or_default(),
                ..v1::ImageSpec::default()
            }),
            command: expand(&container.command),
            args: expand(&container.args),
            working_dir: container.working_dir.clone().unwrap_or_default(),
            labels: self.labels(),
            annotations: self.annotations(container),
            log_path: log_path(&self.name, self.restarts),
            stdin: container.stdin.unwrap_or(false),
            stdin_once: container.stdin_once.unwrap_or(false),
            tty: container.tty.unwrap_or(false),
            linux: Some(v1::LinuxContainerConfig {
                resources: Some(resources::of_container(
                    &self.pod,
                    container,
                    self.shared.facts.memory_bytes,
                )),
                security_context: Some(security),
            }),
            envs: variables.into_iter().map(|(key, value)| v1::KeyValue { key, value }).collect(),
            mounts,
            ..v1::ContainerConfig::default()
        })
    }

    fn variables(&self, container: &Container) -> Result<Vec<(String, String)>, String> {
        let allocatable = self.shared.allocatable();
        let host_ips = self.shared.host_ips();
        let facts = env::Facts {
            pod: &self.pod,
            pod_ips: &self.pod_ips,
            host_ips: &host_ips,
            allocatable: &allocatable,
        };
        let links = spec::of(&self.pod).enable_service_links.unwrap_or(true);
        let known = self.shared.services.list();
        let services =
            env::services::variables(spec::namespace(&self.pod), links, known.iter().map(AsRef::as_ref));
        env::of(&facts, container, services, &*self.hold)
    }

    fn mounts(
        &self,
        container: &Container,
        variables: &[(String, String)],
    ) -> Result<Vec<v1::Mount>, String> {
        let pod_dir = self.shared.options.pod_dir(spec::uid(&self.pod));
        let mut mounts = volume::mounts::of(&self.pod, container, &pod_dir, variables)?;
        let taken = |mounts: &[v1::Mount], path: &str| mounts.iter().any(|m| m.container_path == path);
        if !taken(&mounts, "/etc/hosts") {
            let path = self.hosts_file(&pod_dir).map_err(|e| format!("write the pod's hosts file: {e}"))?;
            mounts.push(file_mount("/etc/hosts", &path));
        }
        let message_path = termination_path(container);
        if !taken(&mounts, &message_path) {
            let path = termination_file(&pod_dir, &self.name, self.restarts);
            make_termination_file(&path).map_err(|e| format!("make the termination message file: {e}"))?;
            mounts.push(file_mount(&message_path, &path));
        }
        Ok(mounts)
    }

    fn hosts_file(&self, pod_dir: &Path) -> io::Result<PathBuf> {
        let path = pod_dir.join("etc-hosts");
        // A host without a hosts file has nothing to add to the pod's.
        let host = fs::read_to_string("/etc/hosts").unwrap_or_default();
        let text = hosts::file(&self.pod, &self.pod_ips, &self.shared.options.cluster_domain, &host);
        fs::create_dir_all(pod_dir)?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        Ok(path)
    }

    fn labels(&self) -> HashMap<String, String> {
        let own = [
            (labels::POD_NAME, spec::name(&self.pod)),
            (labels::POD_NAMESPACE, spec::namespace(&self.pod)),
            (labels::POD_UID, spec::uid(&self.pod)),
            (labels::CONTAINER_NAME, self.name.as_str()),
        ];
        own.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    fn annotations(&self, container: &Container) -> HashMap<String, String> {
        let policy = container.termination_message_policy.clone().unwrap_or_else(|| "File".into());
        [
            (labels::HASH, spec::hash(container)),
            (labels::RESTART_COUNT, self.restarts.to_string()),
            (labels::TERMINATION_PATH, termination_path(container)),
            (labels::TERMINATION_POLICY, policy),
            (labels::GRACE, spec::grace_s(&self.pod).to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    fn sandbox_config(&self) -> v1::PodSandboxConfig {
        // The runtime takes the resolver from the sandbox that is already there.
        sandbox::config(&self.pod, &self.shared.options, self.sandbox_attempt, "")
    }
}

/// The reason of a start that was given up because the pod is to stop; never shown.
pub const CANCELLED: &str = "Cancelled";

fn cancelled() -> Failure {
    Failure::new(CANCELLED, "the pod is being stopped")
}

/// Log of an incarnation, relative to the pod's log directory.
pub fn log_path(name: &str, restarts: u32) -> String {
    format!("{name}/{restarts}.log")
}

/// Where an incarnation's last words are kept on the host.
pub fn termination_file(pod_dir: &Path, name: &str, restarts: u32) -> PathBuf {
    pod_dir.join("containers").join(name).join(restarts.to_string())
}

fn termination_path(container: &Container) -> String {
    container
        .termination_message_path
        .clone()
        .filter(|p| !p.is_empty())
        .unwrap_or_else(|| "/dev/termination-log".into())
}

fn make_termination_file(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, b"")?;
    // Whoever the container runs as may write here.
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))
}

fn file_mount(container_path: &str, host: &Path) -> v1::Mount {
    v1::Mount {
        container_path: container_path.to_owned(),
        host_path: host.to_string_lossy().into_owned(),
        ..v1::Mount::default()
    }
}

fn short(duration: std::time::Duration) -> String {
    if duration.as_secs() >= 1 {
        format!("{:.3}s", duration.as_secs_f64())
    } else {
        format!("{}ms", duration.as_millis())
    }
}
