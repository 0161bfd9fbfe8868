//! watch: events as lines of JSON.

use std::{sync::Arc, time::Duration};

use api::Status;
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use registry::{Encoded, Event, EventKind, Resource, WatchStream};
use serde_json::{Value, json};

use super::{
    negotiate::{Encoding, Shape, Wanted},
    object, options,
};
use crate::{
    authn::Identity,
    authz::Authorizer,
    gateway::Context,
    limits,
    reply::{self, BoxError, Response},
    request::Attributes,
    tables::{self, IncludeObject, Printer},
};

/// Begins a watch.
pub async fn watch(context: &Context, row: &Resource) -> Result<Response, Status> {
    let wanted = object::wanted(context)?;
    if wanted.encoding == Encoding::Yaml {
        let message =
            "only the following media types are accepted: application/json;stream=watch, application/json";
        return Err(Status::failure(api::Reason::NotAcceptable, message));
    }
    let options = options::watch(&context.query)?;
    let lifetime = lifetime(context)?;
    let events = context.gateway.registry.watch(&context.what.scope(), &options).await?;
    let writer = Writer::new(context, row, wanted)?;
    let review = Review::new(context.gateway.authorizer.clone(), context.who.clone(), context.what.clone());
    let gauge = Open::new(context.gateway.metrics.watches.clone());
    let closing = context.gateway.closing.clone();
    let end = async move {
        tokio::select! {
            () = tokio::time::sleep(lifetime) => {}
            () = closing.cancelled() => {}
            () = review.refused() => {}
        }
        drop(gauge);
    };
    Ok(reply::stream(reply::JSON, lines(writer, events).take_until(Box::pin(end))))
}

fn lifetime(context: &Context) -> Result<Duration, Status> {
    let asked = context.query.get("timeoutSeconds").unwrap_or_default();
    if !asked.is_empty() {
        let wrong = || Status::bad_request(format!("strconv.ParseInt: parsing {asked:?}: invalid syntax"));
        let seconds: i64 = asked.parse().map_err(|_| wrong())?;
        if let Some(seconds) = u64::try_from(seconds).ok().filter(|s| *s > 0) {
            return Ok(Duration::from_secs(seconds));
        }
    }
    let spread = uuid::Uuid::new_v4().as_u128() % u128::from(limits::WATCH_TIMEOUT_S);
    Ok(Duration::from_secs(limits::WATCH_TIMEOUT_S + u64::try_from(spread).unwrap_or(0)))
}

/// Counts an open watch.
struct Open(prometheus_client::metrics::gauge::Gauge);

impl Open {
    fn new(gauge: prometheus_client::metrics::gauge::Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Asks again, while a stream is open, whether its user may still have it.
pub struct Review {
    authorizer: Authorizer,
    who: Identity,
    what: Attributes,
}

impl Review {
    /// For one stream.
    pub fn new(authorizer: Authorizer, who: Identity, what: Attributes) -> Self {
        Self { authorizer, who, what }
    }

    /// Returns once the rules have changed and no longer allow it.
    pub async fn refused(self) {
        let mut seen = self.authorizer.generation();
        loop {
            tokio::time::sleep(limits::WATCH_REVIEW_INTERVAL).await;
            let now = self.authorizer.generation();
            if now != seen {
                seen = now;
                if !self.authorizer.authorize(&self.who, &self.what).is_allowed() {
                    return;
                }
            }
        }
    }
}

/// Frames of as many events as are ready together.
fn lines(mut writer: Writer, events: WatchStream) -> impl Stream<Item = Result<Bytes, BoxError>> + Send {
    events.ready_chunks(limits::WATCH_BATCH_EVENTS).map(move |events| {
        let mut out = BytesMut::new();
        for event in &events {
            match event {
                Ok(event) => writer.event(&mut out, event),
                Err(status) => put_line(&mut out, "ERROR", &json!(status)),
            }
        }
        Ok(out.freeze())
    })
}

struct Writer {
    kind: String,
    api_version: String,
    form: Form,
}

enum Form {
    Object,
    PartialMetadata(&'static str),
    Table { printer: Printer, include: IncludeObject, meta_version: &'static str, columns_sent: bool },
}

impl Writer {
    fn new(context: &Context, row: &Resource, wanted: Wanted) -> Result<Self, Status> {
        let meta_version = wanted.meta_version;
        let form = match wanted.shape {
            Shape::Object => Form::Object,
            Shape::PartialMetadata => Form::PartialMetadata(meta_version),
            Shape::Table => Form::Table {
                printer: tables::printer(&context.gateway.registry, row, ""),
                include: IncludeObject::parse(context.query.get("includeObject").unwrap_or_default())?,
                meta_version,
                columns_sent: false,
            },
        };
        Ok(Self { kind: row.kind.clone(), api_version: row.api_version(), form })
    }

    fn event(&mut self, out: &mut BytesMut, event: &Event) {
        let kind = match event.kind {
            EventKind::Added => "ADDED",
            EventKind::Modified => "MODIFIED",
            EventKind::Deleted => "DELETED",
            EventKind::Bookmark | EventKind::InitialEventsEnd => "BOOKMARK",
        };
        match (&event.object, &self.form) {
            (Some(object), Form::Object) => put_raw_line(out, kind, object),
            (Some(object), _) => {
                let value =
                    serde_json::from_slice(&object.json).expect("the registry stores objects as JSON");
                self.shaped(out, kind, &value);
            }
            (None, _) => {
                let bookmark = self.bookmark(event);
                self.shaped(out, kind, &bookmark);
            }
        }
    }

    fn shaped(&mut self, out: &mut BytesMut, kind: &str, object: &Value) {
        let shown = match &mut self.form {
            Form::Object => return put_line(out, kind, object),
            Form::PartialMetadata(version) => object::partial_metadata(object, version),
            Form::Table { printer, include, meta_version, columns_sent } => {
                let rows = vec![printer.row(object, *include, meta_version, jiff::Timestamp::now())];
                let version = object.pointer("/metadata/resourceVersion").cloned().unwrap_or_default();
                let columns = !std::mem::replace(columns_sent, true);
                printer.table(rows, json!({"resourceVersion": version}), meta_version, columns)
            }
        };
        put_line(out, kind, &shown);
    }

    fn bookmark(&self, event: &Event) -> Value {
        let mut metadata = json!({"resourceVersion": event.revision.to_string(), "creationTimestamp": null});
        if event.kind == EventKind::InitialEventsEnd {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        json!({"kind": self.kind, "apiVersion": self.api_version, "metadata": metadata})
    }
}

fn put_raw_line(out: &mut BytesMut, kind: &str, object: &Arc<Encoded>) {
    out.put_slice(b"{\"type\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(&object.json);
    out.put_slice(b"}\n");
}

fn put_line(out: &mut BytesMut, kind: &str, object: &Value) {
    serde_json::to_writer(out.writer(), &json!({"type": kind, "object": object}))
        .expect("a tree can be written");
    out.put_u8(b'\n');
}
