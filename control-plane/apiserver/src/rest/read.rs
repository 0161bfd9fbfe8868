//! get and list.

use std::sync::Arc;

use api::Status;
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use registry::{Encoded, Listed, Resource};
use serde_json::{Value, json};

use super::{
    negotiate::{Encoding, Shape, Wanted},
    object, options,
};
use crate::{
    gateway::Context,
    limits,
    reply::{self, BoxError, Response},
    tables::{self, IncludeObject, Printer},
};

/// Reads one object or subresource.
pub async fn get(context: &Context, row: &Resource) -> Result<Response, Status> {
    let wanted = object::wanted(context)?;
    let version = context.query.get("resourceVersion").unwrap_or_default();
    let json = context.gateway.registry.get(&context.what.target(), version).await?;
    object::answer(context, row, wanted, 200, json)
}

/// Reads many.
pub async fn list(context: &Context, row: &Resource) -> Result<Response, Status> {
    let wanted = object::wanted(context)?;
    let options = options::list(&context.query)?;
    let listed = context.gateway.registry.list(&context.what.scope(), &options).await?;
    answer(context, row, wanted, listed)
}

/// Answers a list.
pub fn answer(context: &Context, row: &Resource, wanted: Wanted, listed: Listed) -> Result<Response, Status> {
    let writer = Writer::new(context, row, wanted, &listed)?;
    if wanted.encoding != Encoding::Json {
        let mut whole = BytesMut::new();
        whole.put_slice(&writer.head);
        for (i, item) in listed.items.iter().enumerate() {
            writer.item(&mut whole, i == 0, item);
        }
        whole.put_slice(writer.tail);
        let value: Value = serde_json::from_slice(&whole).map_err(Status::internal)?;
        return object::encode(200, wanted.encoding, &value);
    }
    let mut pieces = Pieces { writer, items: listed.items, next: 0, state: State::Head };
    let first = pieces.next_frame().unwrap_or_default();
    if pieces.state == State::Done {
        return Ok(reply::bytes(200, reply::JSON, first));
    }
    let rest = stream::iter(std::iter::once(first).chain(std::iter::from_fn(move || pieces.next_frame())));
    Ok(reply::stream(reply::JSON, futures::StreamExt::map(rest, Ok::<_, BoxError>)))
}

/// Knows how one item, and what stands around the items, is written.
struct Writer {
    head: Vec<u8>,
    tail: &'static [u8],
    form: Form,
}

enum Form {
    Object,
    PartialMetadata(&'static str),
    Table { printer: Printer, include: IncludeObject, meta_version: &'static str, now: jiff::Timestamp },
}

impl Writer {
    fn new(context: &Context, row: &Resource, wanted: Wanted, listed: &Listed) -> Result<Self, Status> {
        let metadata = metadata(listed);
        let version = wanted.meta_version;
        let (form, head) = match wanted.shape {
            Shape::Object => {
                let head =
                    json!({"kind": row.list_kind, "apiVersion": row.api_version(), "metadata": metadata});
                (Form::Object, open(&head, "items"))
            }
            Shape::PartialMetadata => {
                let kind = "PartialObjectMetadataList";
                let head = json!({"kind": kind, "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata});
                (Form::PartialMetadata(version), open(&head, "items"))
            }
            Shape::Table => {
                let printer = tables::printer(&context.gateway.registry, row, "");
                let include = IncludeObject::parse(context.query.get("includeObject").unwrap_or_default())?;
                let mut head = printer.table(Vec::new(), metadata, version, true);
                head.as_object_mut().map(|head| head.remove("rows"));
                let now = jiff::Timestamp::now();
                (Form::Table { printer, include, meta_version: version, now }, open(&head, "rows"))
            }
        };
        Ok(Self { head, tail: b"]}", form })
    }

    fn item(&self, out: &mut BytesMut, first: bool, item: &Encoded) {
        if !first {
            out.put_u8(b',');
        }
        match &self.form {
            Form::Object => out.put_slice(&item.json),
            Form::PartialMetadata(version) => {
                put(out, &object::partial_metadata(&decode(item), version));
            }
            Form::Table { printer, include, meta_version, now } => {
                put(out, &printer.row(&decode(item), *include, meta_version, *now));
            }
        }
    }
}

fn decode(item: &Encoded) -> Value {
    serde_json::from_slice(&item.json).expect("the registry stores objects as JSON")
}

fn put(out: &mut BytesMut, value: &Value) {
    serde_json::to_writer(out.writer(), value).expect("a tree can be written to memory");
}

/// `{"kind":...,"<list>":[`
fn open(head: &Value, list: &str) -> Vec<u8> {
    let mut text = head.to_string();
    text.truncate(text.len() - 1);
    text.push_str(&format!(",\"{list}\":["));
    text.into_bytes()
}

fn metadata(listed: &Listed) -> Value {
    let mut metadata = json!({"resourceVersion": listed.revision.to_string()});
    if !listed.continue_token.is_empty() {
        metadata["continue"] = listed.continue_token.clone().into();
    }
    if let Some(remaining) = listed.remaining.filter(|n| *n > 0) {
        metadata["remainingItemCount"] = remaining.into();
    }
    metadata
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Items,
    Done,
}

/// Cuts a list into frames of bounded size; made as the client reads, so that only one is in memory.
struct Pieces {
    writer: Writer,
    items: Vec<Arc<Encoded>>,
    next: usize,
    state: State,
}

impl Pieces {
    fn next_frame(&mut self) -> Option<Bytes> {
        if self.state == State::Done {
            return None;
        }
        let mut frame = BytesMut::with_capacity(4096);
        if self.state == State::Head {
            frame.put_slice(&self.writer.head);
            self.state = State::Items;
        }
        while frame.len() < limits::LIST_FRAME_BYTES {
            let Some(item) = self.items.get(self.next) else {
                frame.put_slice(self.writer.tail);
                self.state = State::Done;
                break;
            };
            self.writer.item(&mut frame, self.next == 0, item);
            self.next += 1;
        }
        Some(frame.freeze())
    }
}
