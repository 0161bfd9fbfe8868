//! Events for people: what `kubectl describe` shows below an object.
//!
//! Knows aggregation and rates; must not know who reports. Reporting never waits and never fails: what does
//! not fit the queue is dropped and counted. The same event again raises a count; many similar ones are
//! combined; one object cannot flood the cluster.

mod correlate;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::{Event, ObjectReference};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use self::correlate::{Correlator, Outcome};
use crate::{Client, backoff::Backoff, clock, error::chain, limits, refs, typed::Object};

/// Whether an event is bad news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// Something went as it should.
    Normal,
    /// Somebody may have to look.
    Warning,
}

impl EventType {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

#[derive(Clone, Debug)]
struct Report {
    about: ObjectReference,
    kind: EventType,
    reason: String,
    message: String,
}

/// Where events are reported. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Report>,
    dropped: Arc<AtomicU64>,
}

/// Writes what recorders report.
pub struct Writer {
    reports: mpsc::Receiver<Report>,
    client: Client,
    correlator: Correlator,
}

impl Recorder {
    /// A recorder for a component (such as `deployment-controller`) on a host (empty if it has none), and the
    /// writer that must be run for it.
    pub fn new(client: Client, component: &str, host: &str) -> (Self, Writer) {
        let (sender, reports) = mpsc::channel(limits::EVENTS_PENDING_MAX);
        let writer = Writer { reports, client, correlator: Correlator::new(component, host) };
        (Self { sender, dropped: Arc::default() }, writer)
    }

    /// Reports an event about whatever the reference names.
    pub fn event(&self, about: &ObjectReference, kind: EventType, reason: &str, message: impl Into<String>) {
        let report =
            Report { about: about.clone(), kind, reason: reason.to_owned(), message: message.into() };
        if self.sender.try_send(report).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Something went as it should.
    pub fn normal<K: Object>(&self, about: &K, reason: &str, message: impl Into<String>) {
        self.event(&refs::object_reference(about), EventType::Normal, reason, message);
    }

    /// Somebody may have to look.
    pub fn warning<K: Object>(&self, about: &K, reason: &str, message: impl Into<String>) {
        self.event(&refs::object_reference(about), EventType::Warning, reason, message);
    }

    /// How many events did not fit the queue.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Tries per event before it is given up.
const TRIES_MAX: u32 = 4;
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(200), max: Duration::from_secs(5) };

impl Writer {
    /// Writes until shutdown, or until the last recorder is gone.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let work = async {
            while let Some(report) = self.reports.recv().await {
                let outcome = self.correlator.observe(&report, clock::now());
                self.write(outcome).await;
            }
        };
        shutdown.run_until_cancelled(work).await;
    }

    async fn write(&self, outcome: Outcome) {
        for attempt in 1..=TRIES_MAX {
            let result = match &outcome {
                Outcome::Suppressed => return,
                Outcome::Create(event) => self.client.create::<Event>(event).await.map(|_| ()),
                Outcome::Repeat(event) => self.bump(event).await,
            };
            match result {
                Ok(()) => return,
                // Refused for good: the namespace ends, or the event was rejected.
                Err(error) if error.status().is_some_and(|s| (400..429).contains(&s.code)) => {
                    debug!(error = chain(&error), "an event was refused");
                    return;
                }
                Err(error) if attempt == TRIES_MAX => debug!(error = chain(&error), "an event was given up"),
                Err(_) => tokio::time::sleep(BACKOFF.jittered(attempt)).await,
            }
        }
    }

    async fn bump(&self, event: &Event) -> Result<(), crate::Error> {
        let patch =
            json!({"count": event.count, "lastTimestamp": event.last_timestamp, "message": event.message});
        let meta = &event.metadata;
        let (namespace, name) = (meta.namespace.as_deref().unwrap_or(""), meta.name.as_deref().unwrap_or(""));
        match self.client.merge::<Event>(namespace, name, &patch).await {
            // It expired; begin anew.
            Err(error) if error.is_not_found() => self.client.create(event).await.map(|_| ()),
            other => other.map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::*;
    use crate::fake;

    #[tokio::test(start_paused = true)]
    async fn repeats_raise_the_count_of_one_event() {
        let objects = fake::Objects::new();
        let client = Client::new(Arc::new(objects.clone()));
        let (recorder, writer) = Recorder::new(client.clone(), "tester", "");
        let shutdown = CancellationToken::new();
        tokio::spawn(writer.run(shutdown.clone()));
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}}))
                .unwrap();
        for _ in 0..3 {
            recorder.normal(&pod, "Pulled", "image there");
        }
        let event = objects
            .wait_for(async |_| {
                let events = client.list::<Event>("ns", "").await.unwrap();
                events.into_iter().find(|e| e.count == Some(3))
            })
            .await;
        assert_eq!(event.reason.as_deref(), Some("Pulled"));
        assert_eq!(event.source.unwrap().component.as_deref(), Some("tester"));
        assert_eq!(client.list::<Event>("", "").await.unwrap().len(), 1);
    }
}
