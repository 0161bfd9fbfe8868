//! Which reports become a new event, a higher count, or nothing. Pure: time is passed in.
//!
//! The numbers are client-go's: events that differ only in their message are combined after ten within ten
//! minutes; one object may cause 25 events in a burst and one more every five minutes.

use std::{collections::HashMap, hash::Hash};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{EventType, Report};
use crate::{clock, limits};

/// Similar events before they are combined, and seconds after which that count begins anew.
const SIMILAR_MAX: usize = 10;
const SIMILAR_SECONDS: i64 = 600;

pub(super) enum Outcome {
    /// The object had its share.
    Suppressed,
    /// A new event.
    Create(Event),
    /// A known event with a raised count.
    Repeat(Event),
}

pub(super) struct Correlator {
    component: String,
    host: String,
    series: Bounded<Series, Event>,
    similar: Bounded<Similar, Messages>,
    buckets: Bounded<String, Bucket>,
}

type Similar = (String, String, String, EventType, String);
type Series = (Similar, String);

struct Messages {
    since: Timestamp,
    seen: Vec<String>,
}

struct Bucket {
    tokens: f64,
    at: Timestamp,
}

impl Correlator {
    pub(super) fn new(component: &str, host: &str) -> Self {
        Self {
            component: component.to_owned(),
            host: host.to_owned(),
            series: Bounded::default(),
            similar: Bounded::default(),
            buckets: Bounded::default(),
        }
    }

    pub(super) fn observe(&mut self, report: &Report, now: Timestamp) -> Outcome {
        let similar = similar_key(report);
        let message = self.message(&similar, &report.message, now);
        if !self.take_token(&similar.0, now) {
            return Outcome::Suppressed;
        }
        let key = (similar, if message == report.message { message.clone() } else { String::new() });
        if let Some(event) = self.series.get(&key) {
            event.count = Some(event.count.unwrap_or(1).saturating_add(1));
            event.last_timestamp = Some(clock::whole_seconds(now));
            event.message = Some(message);
            return Outcome::Repeat(event.clone());
        }
        let event = self.event(report, message, now);
        self.series.insert(key, event.clone());
        Outcome::Create(event)
    }

    /// The message as it will be shown; combined once there were too many similar ones.
    fn message(&mut self, key: &Similar, message: &str, now: Timestamp) -> String {
        let mut shown = message.to_owned();
        shown.truncate(shown.floor_char_boundary(limits::EVENT_MESSAGE_BYTES_MAX));
        if self.similar.get(key).is_none_or(|m| now.as_second() - m.since.as_second() > SIMILAR_SECONDS) {
            self.similar.insert(key.clone(), Messages { since: now, seen: Vec::new() });
        }
        let Some(messages) = self.similar.get(key) else { return shown };
        if messages.seen.contains(&shown) {
            return shown;
        }
        if messages.seen.len() < SIMILAR_MAX {
            messages.seen.push(shown.clone());
            return shown;
        }
        let mut combined = format!("(combined from similar events): {shown}");
        combined.truncate(combined.floor_char_boundary(limits::EVENT_MESSAGE_BYTES_MAX));
        combined
    }

    fn take_token(&mut self, object: &str, now: Timestamp) -> bool {
        if self.buckets.get(&object.to_owned()).is_none() {
            self.buckets.insert(object.to_owned(), Bucket { tokens: limits::EVENT_BURST, at: now });
        }
        let Some(bucket) = self.buckets.get(&object.to_owned()) else { return true };
        let earned = now.duration_since(bucket.at).as_secs_f64().max(0.0) / limits::EVENT_REFILL_SECONDS;
        bucket.tokens = (bucket.tokens + earned).min(limits::EVENT_BURST);
        bucket.at = now;
        let enough = bucket.tokens >= 1.0;
        if enough {
            bucket.tokens -= 1.0;
        }
        enough
    }

    fn event(&self, report: &Report, message: String, now: Timestamp) -> Event {
        let about = &report.about;
        let namespace =
            about.namespace.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| "default".to_owned());
        let name = about.name.as_deref().unwrap_or("unknown");
        let host = Some(self.host.clone()).filter(|h| !h.is_empty());
        let at = Some(clock::whole_seconds(now));
        Event {
            metadata: ObjectMeta {
                // The random part keeps apart events of one nanosecond.
                name: Some(format!(
                    "{name}.{:016x}",
                    now.as_nanosecond() as u64 ^ u64::from(rand::random::<u16>())
                )),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            involved_object: about.clone(),
            type_: Some(report.kind.as_str().to_owned()),
            reason: Some(report.reason.clone()),
            message: Some(message),
            count: Some(1),
            first_timestamp: at.clone(),
            last_timestamp: at,
            source: Some(EventSource { component: Some(self.component.clone()), host }),
            reporting_component: Some(self.component.clone()),
            reporting_instance: Some(self.host.clone()),
            ..Event::default()
        }
    }
}

fn similar_key(report: &Report) -> Similar {
    let about = &report.about;
    let ObjectReference { kind, namespace, name, uid, .. } = about;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let object = format!("{}/{}/{}/{}", text(kind), text(namespace), text(name), text(uid));
    let revision = text(&about.field_path);
    (object, revision, report.reason.clone(), report.kind, text(&about.api_version))
}

/// A map that forgets its least recently used entry at [`limits::EVENT_SERIES_MAX`].
struct Bounded<K, V> {
    entries: HashMap<K, (u64, V)>,
    clock: u64,
}

impl<K, V> Default for Bounded<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), clock: 0 }
    }
}

impl<K: Hash + Eq + Clone, V> Bounded<K, V> {
    fn get(&mut self, key: &K) -> Option<&mut V> {
        self.clock += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(value)
    }

    fn insert(&mut self, key: K, value: V) {
        self.clock += 1;
        if self.entries.len() >= limits::EVENT_SERIES_MAX && !self.entries.contains_key(&key) {
            let oldest = self.entries.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.entries.remove(&oldest);
            }
        }
        self.entries.insert(key, (self.clock, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(message: &str) -> Report {
        let about =
            ObjectReference { name: Some("p".into()), uid: Some("u".into()), ..ObjectReference::default() };
        Report { about, kind: EventType::Normal, reason: "R".into(), message: message.into() }
    }

    fn trace(correlator: &mut Correlator, messages: impl Iterator<Item = String>, at: i64) -> Vec<String> {
        let now = Timestamp::from_second(at).unwrap();
        let shown = |outcome| match outcome {
            Outcome::Suppressed => "-".to_owned(),
            Outcome::Create(e) => format!("new {}", e.message.unwrap()),
            Outcome::Repeat(e) => format!("{}x {}", e.count.unwrap(), e.message.unwrap()),
        };
        messages.map(|m| shown(correlator.observe(&report(&m), now))).collect()
    }

    #[test]
    fn similar_events_are_combined_and_one_object_has_a_budget() {
        let mut correlator = Correlator::new("c", "");
        let lines = trace(&mut correlator, (0..13).map(|i| format!("m{i}")), 1000);
        assert_eq!(lines[9], "new m9");
        assert_eq!(lines[10], "new (combined from similar events): m10");
        assert_eq!(lines[12], "3x (combined from similar events): m12");
        let lines = trace(&mut correlator, (0..13).map(|_| "m0".to_owned()), 1000);
        assert_eq!((lines[0].as_str(), lines[11].as_str(), lines[12].as_str()), ("2x m0", "13x m0", "-"));
        assert_eq!(trace(&mut correlator, ["m0".to_owned()].into_iter(), 1301), ["14x m0"]);
    }
}
