//! Writes what the plans say.

use std::{collections::HashMap, sync::Arc};

use client::{Error, ObjectKey, refs, typed::Deletion};
use k8s_openapi::api::{
    core::v1::{Endpoints, Pod, Service},
    discovery::v1::EndpointSlice,
};

use super::{Controller, legacy, slices};
use crate::podcontrol::why;

/// Node label that names the zone.
const ZONE: &str = "topology.kubernetes.io/zone";

impl Controller {
    pub(super) async fn apply_slices(
        &self,
        key: &ObjectKey,
        service: &Service,
        pods: &[Arc<Pod>],
    ) -> Result<(), Error> {
        let plan = slices::plan(service, pods, &self.managed_slices(service), &self.zones());
        let result = self.write_slices(key, plan).await;
        if let Err(error) = &result
            && !error.is_conflict()
            && !error.is_namespace_terminating()
        {
            let message = format!(
                "Error updating Endpoint Slices for Service {}/{}: {}",
                key.namespace,
                key.name,
                why(error)
            );
            self.recorder.warning(service, "FailedToUpdateEndpointSlices", message);
        }
        result
    }

    async fn write_slices(&self, key: &ObjectKey, plan: slices::Plan) -> Result<(), Error> {
        for slice in &plan.create {
            let made = self.client.create(slice).await?;
            self.written.note(key, refs::revision(&made.metadata));
        }
        for slice in &plan.update {
            let made = self.client.update(slice).await?;
            self.written.note(key, refs::revision(&made.metadata));
        }
        for slice in &plan.delete {
            let deletion = Deletion::of_uid(refs::uid(&**slice));
            match self.client.delete::<EndpointSlice>(&key.namespace, refs::name(&**slice), &deletion).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn managed_slices(&self, service: &Service) -> Vec<Arc<EndpointSlice>> {
        let ours = |slice: &Arc<EndpointSlice>| {
            let labels = slice.metadata.labels.as_ref();
            labels.and_then(|l| l.get(slices::MANAGED_BY)).is_some_and(|m| m == slices::MANAGER)
                && !refs::is_terminating(&**slice)
        };
        self.slices.owned_by(refs::uid(service)).into_iter().filter(ours).collect()
    }

    fn zones(&self) -> HashMap<String, String> {
        let zone = |node: &Arc<k8s_openapi::api::core::v1::Node>| {
            let zone = node.metadata.labels.as_ref()?.get(ZONE)?.clone();
            Some((refs::name(&**node).to_owned(), zone))
        };
        self.nodes.list().iter().filter_map(zone).collect()
    }

    pub(super) async fn apply_endpoints(
        &self,
        key: &ObjectKey,
        service: &Service,
        pods: &[Arc<Pod>],
    ) -> Result<(), Error> {
        let known = self.endpoints.get(key);
        let wanted = legacy::wanted(service, pods, known.as_deref());
        match known {
            None => match self.client.create(&wanted).await {
                // The cache is behind; its change brings us back.
                Err(error) if error.is_already_exists() => Ok(()),
                other => other.map(|_| ()),
            },
            Some(known) if *known == wanted => Ok(()),
            Some(_) => self.client.update(&wanted).await.map(|_| ()),
        }
    }

    /// The Service is gone: so is what was written for it.
    pub(super) async fn remove_endpoints(&self, key: &ObjectKey) -> Result<(), Error> {
        let Some(endpoints) = self.endpoints.get(key).filter(|e| legacy::is_managed(e)) else {
            return Ok(());
        };
        let deletion = Deletion::of_uid(refs::uid(&*endpoints));
        match self.client.delete::<Endpoints>(&key.namespace, &key.name, &deletion).await {
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }
}
