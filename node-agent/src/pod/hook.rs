//! Lifecycle hooks: postStart and preStop.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::{cri, limits, probe::http::Get};

/// Where a hook acts.
pub struct Place<'a> {
    /// To run commands.
    pub runtime: &'a dyn cri::Runtime,
    /// The container's specification.
    pub container: &'a Container,
    /// The incarnation.
    pub container_id: &'a str,
    /// Where the pod is.
    pub pod_ip: &'a str,
}

/// Runs a hook to its end. Cancel-safe: a dropped hook simply ends, as far as the container lets it.
pub async fn run(place: &Place<'_>, hook: &LifecycleHandler) -> Result<(), String> {
    if let Some(action) = &hook.exec {
        let command = action.command.clone().unwrap_or_default();
        let line = command.join(" ");
        let done = place.runtime.exec_sync(place.container_id, command, 0).await.map_err(|e| e.message)?;
        return match done.exit_code {
            0 => Ok(()),
            code => Err(format!("command '{line}' exited with {code}: {}", cri::exec_output(&done))),
        };
    }
    if let Some(action) = &hook.http_get {
        let get = Get::of(action, place.container, place.pod_ip)?;
        // As upstream: any answer at all means that the hook was heard.
        return get.send("kube-lifecycle/1.36", limits::HTTP_HOOK_TIMEOUT).await.map(|_| ());
    }
    if let Some(action) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("invalid handler: nothing to do".into())
}
