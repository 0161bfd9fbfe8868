//! What a worker's actions do, besides starting and stopping containers. Thin: decisions are in the plan.

use std::{io, path::PathBuf, sync::Arc};

use client::typed::Deletion;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::Mutex;
use tracing::warn;

use super::{sandbox as sandbox_config, spec, start, worker::Outcome};
use crate::{
    env,
    references::Hold,
    shared::Shared,
    volume::{self, Failure, payload, token::Tokens},
};

/// Sets all volumes up, or brings them up to date.
pub(super) async fn volumes(
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    hold: Arc<Hold>,
    tokens: Arc<Mutex<Tokens>>,
    pod_ips: Vec<String>,
) -> Outcome {
    Outcome::Volumes(set_up(shared, pod, &hold, &tokens, &pod_ips).await)
}

async fn set_up(
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    hold: &Hold,
    tokens: &Mutex<Tokens>,
    pod_ips: &[String],
) -> Result<Option<jiff::Timestamp>, Failure> {
    let now = shared.clock.now();
    let volumes = spec::of(&pod).volumes.clone().unwrap_or_default();
    let first = volumes.first().map(|v| v.name.clone()).unwrap_or_default();
    hold.synced().await.map_err(|message| Failure { volume: first, message })?;
    let mut tokens = tokens.lock().await;
    for volume in &volumes {
        let asks = payload::tokens(volume);
        let got = tokens.refresh(&shared.client, &pod, &asks, now).await;
        got.map_err(|message| Failure { volume: volume.name.clone(), message })?;
    }
    let (texts, due) = (tokens.texts(), tokens.due());
    drop(tokens);
    let (host_ips, allocatable) = (shared.host_ips(), shared.allocatable());
    let mut works = Vec::with_capacity(volumes.len());
    {
        let facts = env::Facts { pod: &pod, pod_ips, host_ips: &host_ips, allocatable: &allocatable };
        let inputs = payload::Inputs { facts, sources: hold, tokens: &texts };
        for volume in volumes {
            let work = volume::work(&inputs, &volume)?;
            works.push((volume, work));
        }
    }
    let pod_dir = shared.options.pod_dir(spec::uid(&pod));
    volume::set_up(Arc::clone(&shared.kernel), Arc::clone(&pod), pod_dir, works, now).await?;
    Ok(due)
}

/// Creates the sandbox, with the directories it needs.
pub(super) async fn sandbox(shared: Arc<Shared>, pod: Arc<Pod>, attempt: u32) -> Outcome {
    let failed = |e: io::Error| crate::cri::Error::new(crate::cri::Kind::Failed, e.to_string());
    // A host without a resolver configuration has none to pass on.
    let resolv_conf = tokio::fs::read_to_string(&shared.options.resolv_conf).await.unwrap_or_default();
    let config = sandbox_config::config(&pod, &shared.options, attempt, &resolv_conf);
    if let Err(e) = tokio::fs::create_dir_all(&config.log_directory).await {
        return Outcome::Sandbox(Err(failed(e)));
    }
    let handler = spec::of(&pod).runtime_class_name.clone().unwrap_or_default();
    Outcome::Sandbox(shared.runtime.run_sandbox(config, &handler).await.map(|_| ()))
}

/// Stops a sandbox.
pub(super) async fn stop_sandbox(shared: Arc<Shared>, id: String) -> Outcome {
    let outcome = shared.runtime.stop_sandbox(&id).await;
    Outcome::StoppedSandbox(id, outcome)
}

/// Removes a sandbox.
pub(super) async fn remove_sandbox(shared: Arc<Shared>, id: String) -> Outcome {
    Outcome::Removed(shared.runtime.remove_sandbox(&id).await)
}

/// Removes a dead container and what it wrote.
pub(super) async fn remove_container(
    shared: Arc<Shared>,
    pod: Arc<Pod>,
    id: String,
    name: String,
    restarts: u32,
) -> Outcome {
    let outcome = shared.runtime.remove_container(&id).await;
    if outcome.is_ok() {
        let options = &shared.options;
        let logs = options.pod_log_dir(spec::namespace(&pod), spec::name(&pod), spec::uid(&pod));
        let words = start::termination_file(&options.pod_dir(spec::uid(&pod)), &name, restarts);
        for path in [logs.join(start::log_path(&name, restarts)), words] {
            remove_file(path).await;
        }
    }
    Outcome::Removed(outcome)
}

async fn remove_file(path: PathBuf) {
    match tokio::fs::remove_file(&path).await {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            warn!(path = %path.display(), error = %e, "a file of a removed container stays");
        }
        _ => {}
    }
}

/// Takes the volumes down.
pub(super) async fn tear_down(shared: Arc<Shared>, pod: Arc<Pod>) -> Outcome {
    let pod_dir = shared.options.pod_dir(spec::uid(&pod));
    Outcome::TornDown(volume::tear_down(Arc::clone(&shared.kernel), pod_dir).await)
}

/// Tells the API that the pod is gone, once it knows the last status.
pub(super) async fn delete(shared: Arc<Shared>, pod: Arc<Pod>) -> Outcome {
    shared.reporter.flushed(spec::uid(&pod)).await;
    let deletion = Deletion { grace_seconds: Some(0), ..Deletion::of_uid(spec::uid(&pod)) };
    let outcome = shared.client.delete::<Pod>(spec::namespace(&pod), spec::name(&pod), &deletion).await;
    Outcome::Deleted(match outcome {
        // Somebody was faster, or the name belongs to another pod by now.
        Err(e) if e.is_not_found() || e.is_conflict() => Ok(()),
        other => other,
    })
}

/// Removes directories; what stays is reported and found again by the next clean-up.
pub(super) async fn remove_dirs(dirs: Vec<PathBuf>) {
    for dir in dirs {
        match tokio::fs::remove_dir_all(&dir).await {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                warn!(path = %dir.display(), error = %e, "a directory of a gone pod stays");
            }
            _ => {}
        }
    }
}
