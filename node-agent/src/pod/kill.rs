//! Stopping one container: preStop hook, then the stop signal, then SIGKILL, all within the grace.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Pod;

use super::{events::Events, hook, spec};
use crate::{cri, limits, shared::Shared};

/// Seconds a container has after its hook used the grace up, as upstream.
const AFTER_HOOK_S: i64 = 2;

/// One container to stop.
pub struct Kill {
    /// What workers share.
    pub shared: Arc<Shared>,
    /// Its pod.
    pub pod: Arc<Pod>,
    /// The incarnation.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Seconds in all.
    pub grace_s: i64,
    /// What the event says.
    pub message: String,
    /// The pod's address.
    pub pod_ip: String,
    /// Whether the hook is to be run: not when an earlier stop with a longer grace already did.
    pub first: bool,
}

impl Kill {
    /// Does it.
    pub async fn run(self) -> cri::Result<()> {
        let events = Events::new(self.shared.recorder.clone(), &self.pod);
        let mut left_s = self.grace_s.max(0);
        if self.first {
            events.container(&self.name, "Killing", self.message.clone());
            left_s = self.pre_stop(left_s, &events).await;
        }
        self.shared.runtime.stop_container(&self.id, left_s).await
    }

    /// Runs the hook, and answers the seconds that are left.
    async fn pre_stop(&self, grace_s: i64, events: &Events) -> i64 {
        let container = spec::container(&self.pod, &self.name).map(|(_, c)| c);
        let hook = container.and_then(|c| Some((c, c.lifecycle.as_ref()?.pre_stop.as_ref()?)));
        let Some((container, hook)) = hook.filter(|_| grace_s > 0) else { return grace_s };
        let place = hook::Place {
            runtime: &*self.shared.runtime,
            container,
            container_id: &self.id,
            pod_ip: &self.pod_ip,
        };
        let begun = tokio::time::Instant::now();
        let limit = Duration::from_secs(u64::try_from(grace_s).unwrap_or(0));
        match tokio::time::timeout(limit, hook::run(&place, hook)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                events.container_warning(
                    &self.name,
                    "FailedPreStopHook",
                    format!("PreStopHook failed: {why}"),
                );
            }
            Err(_) => {
                let text = format!("PreStopHook did not end within the grace period of {grace_s}s");
                events.container_warning(&self.name, "FailedPreStopHook", text);
            }
        }
        let used = i64::try_from(begun.elapsed().as_secs()).unwrap_or(grace_s);
        (grace_s - used).max(AFTER_HOOK_S).max(limits::GRACE_S_MIN)
    }
}
