//! From names in a path to what the runtime has, with kubelet's words for what is not there.

use std::{path::PathBuf, sync::Arc};

use client::Informer;
use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;

use crate::{
    cri,
    pod::{
        observed::{Observed, State},
        spec,
    },
    shared::Shared,
};

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// HTTP status code.
    pub code: StatusCode,
    /// For people.
    pub message: String,
}

impl Fault {
    /// A refusal.
    pub fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The runtime failed.
    pub fn of_runtime(error: cri::Error) -> Self {
        let code = match error.kind {
            cri::Kind::NotFound => StatusCode::NOT_FOUND,
            cri::Kind::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            cri::Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            cri::Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            cri::Kind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(code, error.message)
    }
}

/// A log to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its file.
    pub path: PathBuf,
    /// The incarnation that writes it.
    pub container_id: String,
}

/// A pod of this node; `uid` may be empty.
pub fn pod(pods: &Informer<Pod>, namespace: &str, name: &str, uid: &str) -> Result<Arc<Pod>, Fault> {
    let found = pods.find(namespace, name).filter(|pod| uid.is_empty() || spec::uid(pod) == uid);
    found.ok_or_else(|| Fault::new(StatusCode::NOT_FOUND, format!("pod {name:?} does not exist")))
}

async fn observe(shared: &Shared, pod: &Pod) -> Result<Observed, Fault> {
    Observed::of(&*shared.runtime, spec::uid(pod)).await.map_err(Fault::of_runtime)
}

/// The running incarnation of a container.
pub async fn running(shared: &Shared, pod: &Pod, container: &str) -> Result<String, Fault> {
    let observed = observe(shared, pod).await?;
    let found = observed.newest(container).filter(|c| c.state == State::Running).map(|c| c.id.clone());
    found.ok_or_else(|| Fault::new(StatusCode::NOT_FOUND, format!("container not found ({container:?})")))
}

/// The sandbox of a pod that runs.
pub async fn sandbox(shared: &Shared, pod: &Pod) -> Result<String, Fault> {
    let observed = observe(shared, pod).await?;
    let found = observed.sandboxes.first().filter(|s| s.ready).map(|s| s.id.clone());
    let name = spec::full_name(pod);
    found.ok_or_else(|| Fault::new(StatusCode::NOT_FOUND, format!("sandbox of pod {name:?} not found")))
}

/// The log of a container: of its newest incarnation that has one, or of the one before.
pub async fn log(shared: &Shared, pod: &Pod, container: &str, previous: bool) -> Result<Log, Fault> {
    let name = spec::name(pod);
    let bad = |message: String| Fault::new(StatusCode::BAD_REQUEST, message);
    if spec::container(pod, container).is_none() {
        return Err(Fault::new(
            StatusCode::NOT_FOUND,
            format!("container {container:?} not found in pod {name:?}"),
        ));
    }
    let observed = observe(shared, pod).await?;
    let mut started =
        observed.containers.iter().filter(|c| c.name == container && !matches!(c.state, State::Created));
    let newest = started.next();
    let waits = waiting_reason(pod, container);
    let chosen = match (previous, newest) {
        // While it waits to be restarted, the incarnation that ended is the previous one as well.
        (true, Some(ended)) if ended.state == State::Exited && waits.is_some() => Some(ended),
        (true, _) => started.next(),
        (false, newest) => newest,
    };
    let Some(chosen) = chosen else {
        return Err(bad(match (previous, waits) {
            (true, _) => format!("previous terminated container {container:?} in pod {name:?} not found"),
            (false, Some(reason)) => {
                format!("container {container:?} in pod {name:?} is waiting to start: {reason}")
            }
            (false, None) => format!("container {container:?} in pod {name:?} is not available"),
        }));
    };
    let status = shared.runtime.container_status(&chosen.id).await.map_err(Fault::of_runtime)?;
    Ok(Log { path: PathBuf::from(status.log_path), container_id: chosen.id.clone() })
}

fn waiting_reason(pod: &Pod, container: &str) -> Option<String> {
    let status = spec::status(pod);
    let mut rows = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let state = rows.find(|s| s.name == container)?.state.as_ref()?;
    state.waiting.as_ref()?.reason.clone()
}
