//! A watch of the Kubernetes API, as a client sees it: one JSON document per line.

use anyhow::{Context, bail, ensure};
use bytes::{Bytes, BytesMut};
use http::Method;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use serde_json::Value;

use crate::{
    limits::{ANSWER_MAX, CHANGE_BYTES_MAX},
    wire::Connection,
};

/// An open watch.
pub struct Watch {
    body: Incoming,
    buffer: BytesMut,
}

/// One change.
#[derive(Debug)]
pub struct Change {
    /// ADDED, MODIFIED or DELETED.
    pub kind: String,
    /// The object.
    pub object: Value,
}

impl Change {
    /// Name of the object.
    pub fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }
}

impl Watch {
    /// Opens a watch on a collection; it begins with what is there.
    pub async fn open(connection: &Connection, collection: &str) -> anyhow::Result<Self> {
        let path = format!("{collection}?watch=true");
        let request = connection.request(Method::GET, &path).body(Full::new(Bytes::new()))?;
        let response = connection.send(request).await?;
        ensure!(response.status().is_success(), "{path}: {}", response.status());
        Ok(Self { body: response.into_body(), buffer: BytesMut::new() })
    }

    /// Waits for the first change that `wanted` says something of.
    pub async fn find<T>(&mut self, mut wanted: impl FnMut(&Change) -> Option<T>) -> anyhow::Result<T> {
        let found = async {
            loop {
                let change = self.next().await?;
                if let Some(value) = wanted(&change) {
                    return anyhow::Ok(value);
                }
            }
        };
        tokio::time::timeout(ANSWER_MAX, found).await.context("the watch never showed what was waited for")?
    }

    async fn next(&mut self) -> anyhow::Result<Change> {
        loop {
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return change(&line);
            }
            ensure!(
                self.buffer.len() <= CHANGE_BYTES_MAX,
                "a change is larger than {CHANGE_BYTES_MAX} bytes"
            );
            let Some(frame) = self.body.frame().await else { bail!("the watch ended") };
            if let Ok(data) = frame?.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

fn change(line: &[u8]) -> anyhow::Result<Change> {
    let mut value: Value = serde_json::from_slice(line)?;
    let kind = value["type"].as_str().unwrap_or_default().to_owned();
    ensure!(kind != "ERROR", "the watch failed: {value}");
    Ok(Change { kind, object: value["object"].take() })
}
