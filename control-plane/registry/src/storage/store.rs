//! The storage handle: caches, consistent reads, filling.

use std::{sync::Arc, time::Duration};

use api::Status;
use bytes::Bytes;
use store_client::{Error, KeyRange, KeyValue, Kv, Range, Revision};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    cache::{Cache, Filling},
    error,
    feed::{Caches, Feed, next_pause},
    snapshot::{Objects, Snapshot, key},
};
use crate::{catalog::Place, contract::Encoded, limits, strategy::Selectable};

/// Everything below the verbs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Storage {
    pub(crate) kv: Arc<dyn Kv>,
    caches: Arc<Caches>,
    reached: watch::Receiver<i64>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Storage {
    /// Begins to follow the store.
    pub(crate) fn start(kv: Arc<dyn Kv>, shutdown: CancellationToken) -> Self {
        let caches = Arc::new(Caches::default());
        let (reached_sender, reached) = watch::channel(0);
        let (refill, mut refills) = tokio::sync::mpsc::channel(1);
        let tasks = TaskTracker::new();
        let feed = Feed::new(Arc::clone(&kv), Arc::clone(&caches), reached_sender, refill);
        tasks.spawn(feed.run(shutdown.clone()));
        let storage = Self { kv, caches, reached, tasks: tasks.clone(), shutdown: shutdown.clone() };
        let refiller = storage.clone();
        tasks.spawn(async move {
            while let Some(Some(())) = shutdown.run_until_cancelled(refills.recv()).await {
                let all: Vec<_> = refiller.caches.by_prefix.read().values().cloned().collect();
                all.into_iter().for_each(|cache| refiller.spawn_filling(cache));
            }
        });
        storage
    }

    /// The cache of a place; its filling begins on first use.
    pub(crate) fn cache(&self, place: &Place, selectable: &'static [Selectable]) -> Arc<Cache> {
        if let Some(cache) = self.caches.by_prefix.read().get(place.prefix.as_bytes()) {
            return Arc::clone(cache);
        }
        let mut caches = self.caches.by_prefix.write();
        if let Some(cache) = caches.get(place.prefix.as_bytes()) {
            return Arc::clone(cache);
        }
        let cache = Arc::new(Cache::new(place.clone(), selectable));
        caches.insert(place.prefix.as_bytes().into(), Arc::clone(&cache));
        drop(caches);
        self.spawn_filling(Arc::clone(&cache));
        cache
    }

    /// Everything up to this revision has been applied to every cache.
    pub(crate) fn reached(&self) -> i64 {
        *self.reached.borrow()
    }

    /// Waits until the caches have reached a revision.
    pub(crate) async fn wait_for(&self, revision: i64) -> Result<(), Status> {
        if self.reached() >= revision {
            return Ok(());
        }
        let mut reached = self.reached.clone();
        match tokio::time::timeout(limits::CACHE_WAIT_MAX, reached.wait_for(|at| *at >= revision)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Status::unavailable("shutting down")),
            Err(_) => Err(error::too_large(self.reached())),
        }
    }

    /// Waits until the cache holds every write that was acknowledged before the call (invariant S4).
    pub(crate) async fn be_current(&self, cache: &Cache) -> Result<(), Status> {
        cache.wait_filled(limits::CACHE_FILL_MAX).await?;
        self.catch_up().await
    }

    /// Waits until the caches hold every write that was acknowledged before the call.
    pub(crate) async fn catch_up(&self) -> Result<(), Status> {
        let revision = self.request(self.kv.read_revision()).await?;
        self.wait_for(revision.0).await
    }

    /// A consistent present of a resource.
    pub(crate) async fn current(&self, cache: &Cache) -> Result<Snapshot, Status> {
        self.be_current(cache).await?;
        Ok(cache.snapshot(self.reached()))
    }

    /// One object, not older than any acknowledged write.
    pub(crate) async fn read(
        &self,
        cache: &Cache,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Encoded>>, Status> {
        let read = Range::new(KeyRange::Key(self.key(&cache.place, namespace, name)));
        let found = self.request(self.kv.range(read)).await?;
        Ok(found.kvs.first().and_then(|kv| cache.object(kv)))
    }

    /// The store's key of an object.
    pub(crate) fn key(&self, place: &Place, namespace: &str, name: &str) -> Bytes {
        let mut out = place.prefix.clone();
        out.push_str(&key(namespace, name));
        out.into()
    }

    /// A request to the store, with a bound on its time.
    pub(crate) async fn request<T>(
        &self,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Status> {
        match tokio::time::timeout(limits::STORE_REQUEST_MAX, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(error::status(&why)),
            Err(_) => Err(Status::timeout("the store did not answer in time")),
        }
    }

    /// Reads everything below a prefix, from `start` on, at one revision, chunk by chunk.
    pub(crate) async fn scan(
        &self,
        prefix: &str,
        start: &str,
        revision: Revision,
        mut each: impl FnMut(&KeyValue) -> bool,
    ) -> Result<Revision, Error> {
        let KeyRange::Interval { end, .. } = KeyRange::prefix(prefix.to_owned()) else {
            return Err(Error::Invalid("a prefix must have an end".into()));
        };
        let mut from: Bytes = format!("{prefix}{start}").into();
        let mut at = revision;
        loop {
            let keys = KeyRange::Interval { start: from, end: end.clone() };
            let found =
                self.kv.range(Range { revision: at, limit: limits::RANGE_CHUNK, ..Range::new(keys) }).await?;
            if at.0 == 0 {
                at = found.revision;
            }
            if !found.kvs.iter().all(&mut each) || !found.more {
                return Ok(at);
            }
            let Some(last) = found.kvs.last() else { return Ok(at) };
            from = [last.key.as_ref(), b"\0"].concat().into();
        }
    }

    fn spawn_filling(&self, cache: Arc<Cache>) {
        let storage = self.clone();
        self.tasks.spawn(async move {
            let shutdown = storage.shutdown.clone();
            shutdown.run_until_cancelled(storage.fill(&cache)).await;
        });
    }

    /// Fills a cache, however long the store needs to answer.
    async fn fill(&self, cache: &Cache) {
        let mut pause: Duration = limits::FEED_BACKOFF_MIN;
        loop {
            // The feed must run first: what it delivers from here on is buffered, so nothing falls in between.
            let mut reached = self.reached.clone();
            if reached.wait_for(|at| *at > 0).await.is_err() {
                return;
            }
            drop(reached);
            let ticket = cache.begin_filling();
            let mut objects = Objects::new();
            let read = self.scan(&cache.place.prefix, "", Revision(0), |kv| {
                if let Some(object) = cache.object(kv) {
                    objects.insert(cache.name_of(&kv.key), object);
                }
                true
            });
            match read.await {
                Ok(revision) => match cache.fill(ticket, objects, revision.0) {
                    Filling::Done | Filling::Superseded => return,
                    Filling::Overflowed => {
                        tracing::warn!(
                            prefix = cache.place.prefix,
                            "too much changed while reading; reading again"
                        );
                    }
                },
                Err(why) => tracing::debug!(prefix = cache.place.prefix, %why, "cannot read the store yet"),
            }
            tokio::time::sleep(pause).await;
            pause = next_pause(pause);
        }
    }
}
