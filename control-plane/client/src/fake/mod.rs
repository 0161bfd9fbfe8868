//! The verbs in memory, for tests of plugins.
//!
//! Behaves like the API server where control loops can tell: resource versions, conflicts, preconditions,
//! fences, generation, the status subresource, finalizers, graceful deletion of bound pods, binding, eviction,
//! namespace finalization, watches with history and bookmarks. It does not default, validate or authorize;
//! strategic merge and apply are treated as merge patch, and JSON patch is refused. Owned objects are left
//! alone: that is the garbage collector's work.

mod select;
mod state;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use api::{
    Reason, Status,
    objects::{
        List, ListOptions, PatchType, Scope, Target, WatchEvent, WatchOptions, WatchStream, Write,
        WriteOptions,
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use self::{select::Selectors, state::State};

/// An API server in memory. Clones share it.
#[derive(Clone)]
pub struct Objects {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    revision: watch::Sender<u64>,
}

impl Default for Objects {
    fn default() -> Self {
        Self::new()
    }
}

impl Objects {
    /// Empty.
    pub fn new() -> Self {
        let shared = Shared { state: Mutex::new(State::default()), revision: watch::Sender::new(0) };
        Self { shared: Arc::new(shared) }
    }

    /// The next writes, this many, fail with this status instead of happening.
    pub fn fail_writes(&self, count: u32, status: Status) {
        self.shared.state.lock().failing = Some((count, status));
    }

    /// Forgets the history, so that watches that resume are answered with 410.
    pub fn compact(&self) {
        self.shared.state.lock().compact();
    }

    /// Ends all running watches as a dying server would.
    pub fn break_watches(&self) {
        self.shared.state.lock().epoch += 1;
        self.shared.revision.send_modify(|_| {});
    }

    /// How many writes have succeeded.
    pub fn revision(&self) -> u64 {
        *self.shared.revision.borrow()
    }

    /// Follows the revision, which changes with each write.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.shared.revision.subscribe()
    }

    /// Waits until something holds of this server, trying again after each write.
    pub async fn wait_for<T>(&self, mut check: impl AsyncFnMut(&Self) -> Option<T>) -> T {
        let mut revisions = self.shared.revision.subscribe();
        loop {
            revisions.borrow_and_update();
            if let Some(found) = check(self).await {
                return found;
            }
            revisions.changed().await.expect("the sender lives as long as self");
        }
    }

    fn write<T>(&self, write: impl FnOnce(&mut State) -> Result<T, Status>) -> Result<T, Status> {
        let mut state = self.shared.state.lock();
        let result = write(&mut state);
        let revision = state.revision;
        drop(state);
        self.shared.revision.send_if_modified(|seen| std::mem::replace(seen, revision) != revision);
        result
    }

    fn perform(&self, write: Write, options: &WriteOptions) -> Result<Bytes, Status> {
        self.write(|state| state.perform(write, options)).map(|object| encode(&object))
    }
}

fn encode(object: &Value) -> Bytes {
    Bytes::from(object.to_string())
}

#[async_trait]
impl api::objects::Objects for Objects {
    async fn get(&self, target: &Target) -> Result<Bytes, Status> {
        self.shared.state.lock().get(target).map(encode)
    }

    async fn list(&self, scope: &Scope, options: &ListOptions) -> Result<List, Status> {
        let selectors = Selectors::parse(&options.label_selector, &options.field_selector)?;
        let state = self.shared.state.lock();
        let items = state.list(scope).filter(|o| selectors.select(o)).map(encode).collect();
        Ok(List { resource_version: state.revision.to_string(), continue_token: String::new(), items })
    }

    async fn watch(&self, scope: &Scope, options: &WatchOptions) -> Result<WatchStream, Status> {
        let selectors = Selectors::parse(&options.label_selector, &options.field_selector)?;
        let state = self.shared.state.lock();
        let from_start = matches!(options.resource_version.as_str(), "" | "0") || options.send_initial_events;
        let mut first: Vec<Result<WatchEvent, Status>> = Vec::new();
        let position = if from_start {
            first.extend(
                state.list(scope).filter(|o| selectors.select(o)).map(|o| Ok(WatchEvent::Added(encode(o)))),
            );
            if options.send_initial_events {
                let resource_version = state.revision.to_string();
                first.push(Ok(WatchEvent::Bookmark { resource_version, initial_events_end: true }));
            }
            state.revision
        } else {
            let parse = |_| Status::bad_request("resourceVersion is not a number");
            let position = options.resource_version.parse().map_err(parse)?;
            state.check_position(position)?;
            position
        };
        let watcher = Watcher {
            objects: self.clone(),
            revisions: self.shared.revision.subscribe(),
            scope: scope.clone(),
            selectors,
            position,
            epoch: state.epoch,
            bookmarks: options.bookmarks,
        };
        let later = futures::stream::unfold(Some(watcher), Watcher::next).flat_map(futures::stream::iter);
        Ok(futures::stream::iter(first).chain(later).boxed())
    }

    async fn create(&self, target: &Target, body: Bytes, options: &WriteOptions) -> Result<Bytes, Status> {
        self.perform(Write::Create(target.clone(), body), options)
    }

    async fn update(&self, target: &Target, body: Bytes, options: &WriteOptions) -> Result<Bytes, Status> {
        self.perform(Write::Update(target.clone(), body), options)
    }

    async fn patch(
        &self,
        target: &Target,
        kind: PatchType,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<Bytes, Status> {
        self.perform(Write::Patch(target.clone(), kind, body), options)
    }

    async fn delete(&self, target: &Target, body: Bytes, options: &WriteOptions) -> Result<Bytes, Status> {
        self.perform(Write::Delete(target.clone(), body), options)
    }

    async fn delete_collection(
        &self,
        scope: &Scope,
        selectors: &ListOptions,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<(), Status> {
        let selectors = Selectors::parse(&selectors.label_selector, &selectors.field_selector)?;
        let doomed: Vec<Target> = {
            let state = self.shared.state.lock();
            let target =
                |o: &Value| Target::new(scope.resource.clone(), api::meta::namespace(o), api::meta::name(o));
            state.list(scope).filter(|o| selectors.select(o)).map(target).collect()
        };
        for target in doomed {
            match self.perform(Write::Delete(target, body.clone()), options) {
                Err(status) if !status.is(Reason::NotFound) => return Err(status),
                _ => {}
            }
        }
        Ok(())
    }

    async fn batch(
        &self,
        writes: Vec<Write>,
        options: &WriteOptions,
    ) -> Result<Vec<Result<Bytes, Status>>, Status> {
        Ok(writes.into_iter().map(|write| self.perform(write, options)).collect())
    }
}

struct Watcher {
    objects: Objects,
    revisions: watch::Receiver<u64>,
    scope: Scope,
    selectors: Selectors,
    position: u64,
    epoch: u64,
    bookmarks: bool,
}

impl Watcher {
    async fn next(this: Option<Self>) -> Option<(Vec<Result<WatchEvent, Status>>, Option<Self>)> {
        let mut this = this?;
        this.revisions.borrow_and_update();
        match this.collect() {
            Ok(events) if events.is_empty() => {
                this.revisions.changed().await.ok()?;
                Some((Vec::new(), Some(this)))
            }
            Ok(events) => Some((events.into_iter().map(Ok).collect(), Some(this))),
            Err(status) => Some((vec![Err(status)], None)),
        }
    }

    fn collect(&mut self) -> Result<Vec<WatchEvent>, Status> {
        let state = self.objects.shared.state.lock();
        if state.epoch != self.epoch {
            return Err(Status::unavailable("the server is going away"));
        }
        state.check_position(self.position)?;
        let changes = state.changes_after(self.position).filter(|c| state::in_scope(&c.key, &self.scope));
        let mut events: Vec<WatchEvent> =
            changes.filter_map(|change| change.event(&self.selectors)).collect();
        if self.bookmarks && events.is_empty() && state.revision > self.position {
            let resource_version = state.revision.to_string();
            events.push(WatchEvent::Bookmark { resource_version, initial_events_end: false });
        }
        self.position = state.revision;
        Ok(events)
    }
}
