//! The watch cache of one resource: every object, the recent past, the watchers.
//!
//! State changes only under one short lock: a snapshot, the registration of a watcher and the application of
//! the changes of a message are atomic with respect to one another, so no watcher misses or doubles a change
//! (invariant S3).

use std::{collections::VecDeque, sync::Arc, time::Duration};

use api::Status;
use parking_lot::Mutex;
use store_client::{Change as StoreChange, ChangeKind, KeyValue};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{
    codec,
    history::{Change, History},
    selection::Selection,
    snapshot::{Objects, Snapshot, key},
    watchers::Watchers,
};
use crate::{catalog::Place, contract::Encoded, limits, strategy::Selectable};

/// The cache of one place.
pub(crate) struct Cache {
    pub(crate) place: Place,
    pub(super) selectable: &'static [Selectable],
    state: Mutex<State>,
    filled: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    objects: Objects,
    /// Revision of the last change applied here, or of the filling.
    revision: i64,
    history: History,
    watchers: Watchers,
    pins: VecDeque<Pin>,
    /// Changes that arrived while the cache is being filled; `None` when it is not.
    buffer: Option<Vec<StoreChange>>,
    overflowed: bool,
    /// Whether `objects` is complete and changes are applied to it.
    ready: bool,
    /// Which filling is under way.
    ticket: u64,
}

/// How a filling ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filling {
    /// The cache serves.
    Done,
    /// Too much happened meanwhile: read again.
    Overflowed,
    /// Another filling has taken over.
    Superseded,
}

/// A snapshot kept for somebody who reads page by page.
struct Pin {
    at: Instant,
    snapshot: Snapshot,
}

/// What a new watcher starts from.
pub(crate) struct Subscription {
    /// The present, when it was asked for.
    pub(crate) snapshot: Option<Snapshot>,
    /// Past changes to deliver first.
    pub(crate) past: VecDeque<Arc<Change>>,
    /// Changes to come.
    pub(crate) queue: mpsc::Receiver<Arc<Change>>,
    /// The revision of the registration.
    pub(crate) revision: i64,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// With the present objects.
    Present,
    /// After this revision.
    After(i64),
}

impl Cache {
    pub(super) fn new(place: Place, selectable: &'static [Selectable]) -> Self {
        Self { place, selectable, state: Mutex::default(), filled: watch::Sender::new(false) }
    }

    /// Whether there is something to read.
    pub(crate) fn is_filled(&self) -> bool {
        *self.filled.borrow()
    }

    /// Waits until there is something to read.
    pub(crate) async fn wait_filled(&self, patience: Duration) -> Result<(), Status> {
        if self.is_filled() {
            return Ok(());
        }
        let mut filled = self.filled.subscribe();
        match tokio::time::timeout(patience, filled.wait_for(|filled| *filled)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Status::unavailable("shutting down")),
            Err(_) => Err(Status::too_many_requests("storage is (re)initializing", 1)),
        }
    }

    /// The present. `reached` is the revision that the feed has delivered to everyone.
    pub(crate) fn snapshot(&self, reached: i64) -> Snapshot {
        let state = self.state.lock();
        state.snapshot(reached)
    }

    /// The present of one object.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<Encoded>> {
        self.state.lock().objects.get(key(namespace, name).as_str()).cloned()
    }

    /// Keeps a snapshot for the next page.
    pub(crate) fn pin(&self, snapshot: &Snapshot) {
        let mut state = self.state.lock();
        let now = Instant::now();
        state.forget_old_pins(now);
        if state.pins.iter().any(|pin| pin.snapshot.revision == snapshot.revision) {
            return;
        }
        if state.pins.len() == limits::PINNED_SNAPSHOTS_MAX {
            state.pins.pop_front();
        }
        state.pins.push_back(Pin { at: now, snapshot: snapshot.clone() });
    }

    /// The snapshot of exactly this revision, if it is still kept.
    pub(crate) fn pinned(&self, revision: i64, reached: i64) -> Option<Snapshot> {
        let mut state = self.state.lock();
        state.forget_old_pins(Instant::now());
        let present = state.snapshot(reached);
        // Nothing changed here since: the present is that moment, too.
        if state.revision <= revision && revision <= present.revision {
            return Some(Snapshot { revision, ..present });
        }
        state.pins.iter().find(|pin| pin.snapshot.revision == revision).map(|pin| pin.snapshot.clone())
    }

    /// Registers a watcher.
    pub(crate) fn subscribe(
        &self,
        selection: &Selection,
        begin: Begin,
        reached: i64,
    ) -> Result<Subscription, Status> {
        let mut state = self.state.lock();
        let past = match begin {
            Begin::Present => VecDeque::new(),
            Begin::After(revision) => match state.history.since(revision) {
                Ok(changes) => changes.filter(|change| selection.event(change).is_some()).cloned().collect(),
                Err(floor) => return Err(too_old(revision, floor)),
            },
        };
        let Some(queue) = state.watchers.add(selection) else {
            return Err(Status::too_many_requests("too many watchers of this resource", 5));
        };
        let snapshot = state.snapshot(reached);
        let revision = snapshot.revision;
        let snapshot = (begin == Begin::Present).then_some(snapshot);
        Ok(Subscription { snapshot, past, queue, revision })
    }

    /// Takes in changes of the store, in order.
    pub(super) fn apply(&self, changes: Vec<StoreChange>) {
        let mut guard = self.state.lock();
        if let Some(buffer) = &mut guard.buffer {
            if buffer.len() + changes.len() > limits::FILL_BUFFER_MAX {
                buffer.clear();
                guard.overflowed = true;
            } else {
                buffer.extend(changes);
            }
            return;
        }
        if !guard.ready {
            return;
        }
        drop(guard);
        // Only the feed applies, so nothing can slip in between decoding and the lock.
        let decoded: Vec<_> = changes.into_iter().map(|change| self.decode(change)).collect();
        let mut state = self.state.lock();
        for change in decoded {
            state.apply(change);
        }
    }

    fn decode(&self, change: StoreChange) -> Decoded {
        let revision = change.kv.mod_revision.0;
        let name = self.name_of(&change.kv.key);
        match change.kind {
            ChangeKind::Delete => Decoded { name, revision, object: None },
            ChangeKind::Put => Decoded { name, revision, object: self.object(&change.kv) },
        }
    }

    /// Decodes a stored object. A value that is not ours is logged and treated as absent: it must not stop the
    /// others from being served.
    pub(crate) fn object(&self, kv: &KeyValue) -> Option<Arc<Encoded>> {
        match codec::decode(&kv.value, kv.mod_revision.0, self.selectable) {
            Ok(object) => Some(object),
            Err(why) => {
                tracing::error!(key = %String::from_utf8_lossy(&kv.key), %why, "a stored object cannot be read");
                None
            }
        }
    }

    /// The key within the resource.
    pub(crate) fn name_of(&self, key: &[u8]) -> Arc<str> {
        let rest = key.get(self.place.prefix.len()..).unwrap_or_default();
        String::from_utf8_lossy(rest).into()
    }

    /// Begins to buffer changes, before the store is read.
    pub(super) fn begin_filling(&self) -> u64 {
        let mut state = self.state.lock();
        state.buffer = Some(Vec::new());
        state.overflowed = false;
        state.ticket += 1;
        state.ticket
    }

    /// Ends the filling `ticket` with what was read at `revision`.
    pub(super) fn fill(&self, ticket: u64, objects: Objects, revision: i64) -> Filling {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.ticket != ticket {
            return Filling::Superseded;
        }
        if state.overflowed {
            return Filling::Overflowed;
        }
        state.ready = true;
        state.objects = objects;
        state.revision = revision;
        state.history.begin(revision);
        state.pins.clear();
        for change in state.buffer.take().unwrap_or_default() {
            if change.kv.mod_revision.0 > revision {
                let change = self.decode(change);
                state.apply(change);
            }
        }
        self.filled.send_replace(true);
        Filling::Done
    }

    /// Forgets everything: the store lost the history between what we have and what comes.
    pub(super) fn reset(&self) {
        let mut state = self.state.lock();
        let ticket = state.ticket + 1;
        state.watchers.cut_all();
        *state = State { ticket, ..State::default() };
        self.filled.send_replace(false);
    }
}

struct Decoded {
    name: Arc<str>,
    revision: i64,
    object: Option<Arc<Encoded>>,
}

impl State {
    fn snapshot(&self, reached: i64) -> Snapshot {
        Snapshot { revision: self.revision.max(reached), objects: self.objects.clone() }
    }

    fn forget_old_pins(&mut self, now: Instant) {
        while self
            .pins
            .front()
            .is_some_and(|pin| now.duration_since(pin.at) > limits::PINNED_SNAPSHOT_AGE_MAX)
        {
            self.pins.pop_front();
        }
    }

    fn apply(&mut self, change: Decoded) {
        let Decoded { name, revision, object } = change;
        if revision <= self.revision && self.objects.get(&name).is_some_and(|o| o.revision >= revision) {
            return;
        }
        self.revision = self.revision.max(revision);
        let change = match object {
            Some(object) => {
                let before = self.objects.insert(name, Arc::clone(&object));
                Change { revision, object, before, deleted: false }
            }
            None => {
                let Some(before) = self.objects.remove(&name) else { return };
                Change {
                    revision,
                    object: codec::at_revision(&before, revision),
                    before: Some(before),
                    deleted: true,
                }
            }
        };
        let change = Arc::new(change);
        self.history.push(Arc::clone(&change));
        self.watchers.tell(&change);
    }
}

/// Upstream's words when the past asked for is gone.
pub(crate) fn too_old(revision: i64, floor: i64) -> Status {
    Status::expired(format!("too old resource version: {revision} ({floor})"))
}
