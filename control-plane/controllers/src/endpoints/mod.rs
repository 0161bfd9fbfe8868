//! EndpointSlices and Endpoints: which pods answer for a Service.
//!
//! Owns the slices labeled as managed by this controller, and the Endpoints object of each Service with a
//! selector.

mod apply;
mod backends;
mod legacy;
mod slices;

use std::sync::Arc;

use async_trait::async_trait;
use client::{
    Client, Error, Informer, ObjectKey, Queue,
    driver::{After, Reconcile},
    events::Recorder,
    informer::Change,
    labels, refs,
};
use k8s_openapi::api::{
    core::v1::{Endpoints, Node, Pod, Service},
    discovery::v1::EndpointSlice,
};

use crate::{
    environment::{Environment, enqueue, enqueue_changes, owners},
    limits, pods,
    written::Written,
};

struct Controller {
    client: Client,
    recorder: Recorder,
    services: Informer<Service>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    slices: Informer<EndpointSlice>,
    endpoints: Informer<Endpoints>,
    written: Written,
}

pub(crate) fn start(env: &Environment) {
    let controller = Controller {
        client: env.client.clone(),
        recorder: env.recorder("endpoint-slice-controller"),
        services: env.informers.get(),
        pods: env.informers.get(),
        nodes: env.informers.get(),
        slices: env.informers.get(),
        endpoints: env.informers.get(),
        written: Written::default(),
    };
    let queue = Queue::default();
    enqueue_changes(&controller.services, &queue);
    enqueue(&controller.slices, &queue, |change| owners(change, "Service"));
    enqueue(&controller.endpoints, &queue, |change| vec![change.key()]);
    enqueue(&controller.pods, &queue, {
        let services = controller.services.clone();
        move |change| concerned(&services, change)
    });
    env.drive("endpoints", controller, queue);
}

/// Services that select the pod before or after the change, if it matters to them.
fn concerned(services: &Informer<Service>, change: &Change<Pod>) -> Vec<ObjectKey> {
    if let (Some(old), Some(new)) = (&change.old, &change.new)
        && facts(old) == facts(new)
    {
        return Vec::new();
    }
    let selects = |service: &Arc<Service>| {
        let selector = service.spec.as_ref().and_then(|s| s.selector.as_ref()).filter(|s| !s.is_empty());
        let states = [change.old.as_ref(), change.new.as_ref()];
        let fits = |pod: &Arc<Pod>| labels::matches_map(selector, pod.metadata.labels.as_ref());
        selector.is_some() && states.into_iter().flatten().any(fits)
    };
    let all = services.in_namespace(refs::namespace(&**change.object()));
    all.iter().filter(|s| selects(s)).map(|s| ObjectKey::of(&s.metadata)).collect()
}

/// What a Service sees of a pod.
fn facts(pod: &Pod) -> impl PartialEq + '_ {
    let status = pod.status.as_ref();
    (
        &pod.metadata.uid,
        &pod.metadata.labels,
        pod.metadata.deletion_timestamp.is_some(),
        pods::node_name(pod),
        (pods::phase(pod), pods::is_ready(pod)),
        status.map(|s| (&s.pod_ip, &s.pod_ips)),
    )
}

#[async_trait]
impl Reconcile for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<After, Error> {
        let Some(service) = self.services.get(key) else {
            self.remove_endpoints(key).await?;
            return Ok(After::Change);
        };
        let spec = service.spec.as_ref();
        let Some(selector) = spec.and_then(|s| s.selector.as_ref()).filter(|s| !s.is_empty()) else {
            return Ok(After::Change);
        };
        if refs::is_terminating(&*service) || spec.and_then(|s| s.type_.as_deref()) == Some("ExternalName") {
            return Ok(After::Change);
        }
        if !self.written.is_seen(key, self.slices.revision()) {
            return Ok(After::Delay(limits::EXPECTATION_RECHECK));
        }
        let pods = self.pods.in_namespace(&key.namespace);
        let selected: Vec<Arc<Pod>> = pods
            .into_iter()
            .filter(|p| labels::matches_map(Some(selector), p.metadata.labels.as_ref()))
            .collect();
        self.apply_slices(key, &service, &selected).await?;
        self.apply_endpoints(key, &service, &selected).await?;
        Ok(After::Change)
    }
}
