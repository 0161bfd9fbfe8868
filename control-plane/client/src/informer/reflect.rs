//! The loop that keeps a store current: list, watch, resume, back off.

use std::sync::Arc;

use api::{
    Reason, Status,
    objects::{ListOptions, Objects, Scope, WatchEvent, WatchOptions},
};
use bytes::Bytes;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use super::{Cached, Informer, ObjectKey, Selection};
use crate::{backoff::Backoff, limits, refs, typed};

pub(super) struct Reflector<K> {
    pub(super) objects: Arc<dyn Objects>,
    pub(super) scope: Scope,
    pub(super) selection: Selection,
    pub(super) informer: Informer<K>,
}

const BACKOFF: Backoff = Backoff { first: limits::WATCH_RETRY_FIRST, max: limits::WATCH_RETRY_MAX };

impl<K: Cached> Reflector<K> {
    /// Follows the resource until shutdown.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.follow()).await;
    }

    async fn follow(&self) {
        let resource = self.scope.resource.group_resource();
        let mut position: Option<String> = None;
        let mut failures = 0;
        loop {
            let status = match self.step(&mut position, &mut failures).await {
                Ok(()) => continue,
                Err(status) => status,
            };
            if status.is(Reason::NotFound) || status.is(Reason::MethodNotAllowed) {
                // This server does not have the resource (yet): there is nothing to wait for.
                self.informer.shared.synced.send_replace(true);
            }
            if status.is(Reason::Expired) || status.is(Reason::Gone) {
                debug!(%resource, "the watch expired; listing again");
                position = None;
            }
            failures += 1;
            // The first failure is usual: servers restart, watches end. Many in a row are worth a line.
            if failures == 5 {
                info!(%resource, error = %status, "cannot follow the resource; still trying");
            }
            tokio::time::sleep(BACKOFF.jittered(failures)).await;
        }
    }

    /// Lists if there is no position to resume from, then watches until the watch ends.
    async fn step(&self, position: &mut Option<String>, failures: &mut u32) -> Result<(), Status> {
        let from = match position {
            Some(from) => from.clone(),
            None => {
                let from = self.list().await?;
                *failures = 0;
                position.insert(from).clone()
            }
        };
        let options = WatchOptions {
            label_selector: self.selection.labels.clone(),
            field_selector: self.selection.fields.clone(),
            resource_version: from,
            bookmarks: true,
            send_initial_events: false,
        };
        let mut events = self.objects.watch(&self.scope, &options).await?;
        while let Some(event) = events.next().await {
            if let Some(seen) = self.take(event?) {
                *position = Some(seen);
                *failures = 0;
            }
        }
        Err(Status::unavailable("the watch ended"))
    }

    async fn list(&self) -> Result<String, Status> {
        let options = ListOptions {
            label_selector: self.selection.labels.clone(),
            field_selector: self.selection.fields.clone(),
            ..ListOptions::default()
        };
        let (items, position) = typed::list_all(&*self.objects, &self.scope, &options).await?;
        let objects = items.iter().filter_map(|body| self.decode(body)).collect();
        let revision = position.parse().unwrap_or(0);
        self.informer.apply(|store| store.replace(objects, revision));
        self.informer.shared.synced.send_replace(true);
        Ok(position)
    }

    /// Takes one event; answers the resource version to resume from.
    fn take(&self, event: WatchEvent) -> Option<String> {
        match event {
            WatchEvent::Added(body) | WatchEvent::Modified(body) => {
                let object = self.decode(&body)?;
                let seen = object.meta().resource_version.clone();
                self.informer.apply(|store| store.put(object).into_iter().collect());
                seen
            }
            WatchEvent::Deleted(body) => {
                let object = self.decode(&body)?;
                let (key, revision) = (ObjectKey::of(object.meta()), refs::revision(object.meta()));
                let seen = object.meta().resource_version.clone();
                self.informer.apply(|store| store.remove(&key, revision).into_iter().collect());
                seen
            }
            WatchEvent::Bookmark { resource_version, .. } => {
                let revision = resource_version.parse().unwrap_or(0);
                self.informer.apply(|store| {
                    store.advance(revision);
                    Vec::new()
                });
                (!resource_version.is_empty()).then_some(resource_version)
            }
        }
    }

    /// An object that is not of its type is left out: it must not blind us to all others.
    fn decode(&self, body: &Bytes) -> Option<K> {
        match serde_json::from_slice::<K>(body) {
            Ok(mut object) => {
                object.meta_mut().managed_fields = None;
                Some(object)
            }
            Err(failure) => {
                error!(resource = %self.scope.resource.group_resource(), %failure, "an object cannot be decoded");
                None
            }
        }
    }
}
