//! Counters in the Prometheus text format, under kube-apiserver's names.

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry as Metered, Unit},
};
use registry::Registry;

use crate::request::Attributes;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LatencyLabels {
    verb: &'static str,
    group: String,
    resource: String,
    subresource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    request_kind: &'static str,
}

/// All counters of the server.
pub struct Metrics {
    registry: Metered,
    requests: Family<RequestLabels, Counter>,
    latency: Family<LatencyLabels, Histogram, fn() -> Histogram>,
    inflight: Family<KindLabels, Gauge>,
    /// Watches that are open.
    pub watches: Gauge,
    /// Handlers that panicked.
    pub panics: Counter,
}

fn buckets() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Counters at zero.
    pub fn new() -> Self {
        let mut registry = Metered::default();
        let requests = Family::default();
        registry.register("apiserver_request", "Requests by verb, resource and code", requests.clone());
        let latency: Family<LatencyLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(buckets);
        let help = "Time from the request to the begin of its answer";
        registry.register_with_unit("apiserver_request_duration", help, Unit::Seconds, latency.clone());
        let inflight = Family::default();
        registry.register(
            "apiserver_current_inflight_requests",
            "Short requests under way",
            inflight.clone(),
        );
        let watches = Gauge::default();
        registry.register("apiserver_longrunning_requests", "Open watches", watches.clone());
        let panics = Counter::default();
        registry.register("apiserver_handler_panics", "Handlers that panicked", panics.clone());
        Self { registry, requests, latency, inflight, watches, panics }
    }

    /// Counts a finished request. Labels come from closed sets only: what is not served counts as `other`.
    pub fn request(&self, known: &Registry, what: &Attributes, code: u16, took: Duration) {
        let row = known.catalog().get(&what.gvr()).cloned();
        let (group, version, resource, subresource) = match row {
            Some(row) => {
                let subresource =
                    row.subresource(&what.subresource).map(|s| s.name.clone()).unwrap_or_default();
                (row.group.clone(), row.version.clone(), row.plural.clone(), subresource)
            }
            None => (String::new(), String::new(), String::new(), String::new()),
        };
        let verb = verb(&what.verb);
        let latency = LatencyLabels {
            verb,
            group: group.clone(),
            resource: resource.clone(),
            subresource: subresource.clone(),
        };
        if !what.is_long_running() {
            self.latency.get_or_create(&latency).observe(took.as_secs_f64());
        }
        self.requests
            .get_or_create(&RequestLabels { verb, group, version, resource, subresource, code })
            .inc();
    }

    /// The text of `/metrics`.
    pub fn text(&self, (reads, writes): (usize, usize)) -> String {
        let set = |request_kind, value: usize| {
            self.inflight
                .get_or_create(&KindLabels { request_kind })
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set("readOnly", reads);
        set("mutating", writes);
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a String does not fail");
        out
    }
}

fn verb(verb: &str) -> &'static str {
    const VERBS: [(&str, &str); 8] = [
        ("get", "GET"),
        ("list", "LIST"),
        ("watch", "WATCH"),
        ("create", "POST"),
        ("update", "PUT"),
        ("patch", "PATCH"),
        ("delete", "DELETE"),
        ("deletecollection", "DELETECOLLECTION"),
    ];
    VERBS.iter().find(|(word, _)| *word == verb).map_or("OTHER", |(_, shown)| shown)
}
