//! Watch: the present, the past since a revision, and what comes.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use api::{Status, objects::Scope};
use futures::stream;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::{Core, core::check_scope, list::parse_version};
use crate::{
    Resource,
    contract::{Encoded, Event, EventKind, WatchOptions, WatchStream},
    limits,
    storage::{Begin, Change, Storage, Subscription, codec, selection::Selection},
};

/// See [`crate::Registry::watch`].
pub(crate) async fn watch(core: &Core, scope: &Scope, options: &WatchOptions) -> Result<WatchStream, Status> {
    let row = core.row(scope)?;
    if row.place.is_none() || !row.serves("watch") {
        return Err(Status::method_not_allowed(&row.group_resource(), "watch"));
    }
    check_scope(&row, &scope.namespace, false)?;
    let selection =
        Selection::parse(&row, &scope.namespace, &options.label_selector, &options.field_selector)?;
    let version = parse_version(&options.resource_version)?;
    let cache = core.cache(&row)?;
    match version {
        None => core.storage.be_current(&cache).await?,
        Some(revision) => {
            cache.wait_filled(limits::CACHE_FILL_MAX).await?;
            core.storage.wait_for(revision).await?;
        }
    }
    let begin = match version {
        Some(revision) if revision > 0 && !options.send_initial_events => Begin::After(revision),
        _ => Begin::Present,
    };
    let subscription = cache.subscribe(&selection, begin, core.storage.reached())?;
    let period = Duration::from_millis(core.options.bookmark_period_ms.max(1));
    let watcher = Watcher::new(row, selection, core.storage.clone(), subscription, options, period);
    Ok(Box::pin(stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        watcher.ended |= event.is_err();
        Some((event, watcher))
    })))
}

struct Watcher {
    row: Arc<Resource>,
    selection: Selection,
    storage: Storage,
    /// Events known already.
    present: VecDeque<Arc<Encoded>>,
    end_of_present: Option<i64>,
    past: VecDeque<Arc<Change>>,
    queue: tokio::sync::mpsc::Receiver<Arc<Change>>,
    bookmarks: Option<Interval>,
    /// A bookmark that is due once everything up to its revision has been delivered.
    due: Option<i64>,
    /// The newest revision that was delivered or skipped.
    delivered: i64,
    ended: bool,
}

impl Watcher {
    fn new(
        row: Arc<Resource>,
        selection: Selection,
        storage: Storage,
        subscription: Subscription,
        options: &WatchOptions,
        period: Duration,
    ) -> Self {
        let Subscription { snapshot, past, queue, revision } = subscription;
        let present: VecDeque<_> = snapshot
            .iter()
            .flat_map(|snapshot| snapshot.after(&selection.namespace, ""))
            .filter(|(_, object)| selection.matches(object))
            .map(|(_, object)| Arc::clone(object))
            .collect();
        let bookmarks = options.bookmarks.then(|| {
            let mut interval = tokio::time::interval_at(Instant::now() + period, period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        let end_of_present = (options.send_initial_events && snapshot.is_some()).then_some(revision);
        Self {
            row,
            selection,
            storage,
            present,
            end_of_present,
            past,
            queue,
            bookmarks,
            due: None,
            delivered: revision,
            ended: false,
        }
    }

    async fn next(&mut self) -> Option<Result<Event, Status>> {
        if self.ended {
            return None;
        }
        if let Some(object) = self.present.pop_front() {
            let revision = object.revision;
            return Some(self.event(EventKind::Added, object, revision));
        }
        if let Some(revision) = self.end_of_present.take() {
            return Some(Ok(Event { kind: EventKind::InitialEventsEnd, object: None, revision }));
        }
        loop {
            if let Some(change) = self.past.pop_front().or_else(|| self.queue.try_recv().ok()) {
                if let Some(event) = self.show(&change) {
                    return Some(event);
                }
                continue;
            }
            if let Some(revision) = self.due.take() {
                return Some(Ok(Event { kind: EventKind::Bookmark, object: None, revision }));
            }
            let change = match &mut self.bookmarks {
                None => self.queue.recv().await,
                Some(bookmarks) => tokio::select! {
                    biased;
                    change = self.queue.recv() => change,
                    _ = bookmarks.tick() => {
                        // Changes up to here are in the queue already; it is drained before the bookmark goes.
                        self.due = Some(self.storage.reached().max(self.delivered));
                        continue;
                    }
                },
            };
            match change {
                Some(change) => {
                    if let Some(event) = self.show(&change) {
                        return Some(event);
                    }
                }
                None => {
                    return Some(Err(Status::expired(format!(
                        "too old resource version: {} (cut off)",
                        self.delivered
                    ))));
                }
            }
        }
    }

    fn show(&mut self, change: &Change) -> Option<Result<Event, Status>> {
        self.delivered = self.delivered.max(change.revision);
        let kind = self.selection.event(change)?;
        let object = match kind {
            // It ceased to match: the last state that did, at the revision of the change.
            EventKind::Deleted if !change.deleted => {
                change.before.as_ref().map(|before| codec::at_revision(before, change.revision))?
            }
            _ => Arc::clone(&change.object),
        };
        Some(self.event(kind, object, change.revision))
    }

    fn event(&self, kind: EventKind, object: Arc<Encoded>, revision: i64) -> Result<Event, Status> {
        let object = if self.row.is_converted() { super::list::served(&self.row, &object)? } else { object };
        Ok(Event { kind, object: Some(object), revision })
    }
}
