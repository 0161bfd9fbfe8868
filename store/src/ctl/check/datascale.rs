//! `check datascale`: how much more memory a member takes when it has many keys.

use std::future::poll_fn;
use std::io::Write;
use std::pin::Pin;

use bytes::Bytes;
use futures::StreamExt;
use http_body::Body;
use tower::Service;

use super::{Check, put};
use crate::ctl::Error;

/// Bytes of a key's random part and of a value.
const KEY_BYTES: usize = 512;
const VALUE_BYTES: usize = 512;

/// The line of a member's metrics that counts, and how many bytes of metrics are read.
const METRIC: &str = "process_resident_memory_bytes";
const METRICS_BYTES_MAX: usize = 4 << 20;

/// Runs the check.
pub async fn run(
    check: &Check,
    prefix: &str,
    keys: usize,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let clients = check.clients(check.load.clients()).await?;
    let mut first = clients[0].clone();
    check.begin(&mut first, prefix).await?;
    let before = resident_bytes(check).await?;
    writeln!(
        out,
        "Start data scale check for work load [{} key-value pairs, {} bytes per key-value, {} concurrent clients].",
        keys,
        KEY_BYTES + VALUE_BYTES,
        clients.len()
    )?;
    out.flush()?;
    let value = Bytes::from(vec![0; VALUE_BYTES]);
    let places = (0..clients.len()).cycle().take(keys);
    let mut writes = futures::stream::iter(places)
        .map(|place| {
            let mut client = clients[place].clone();
            let request = put(prefix, KEY_BYTES, &value);
            async move { client.put(request).await.map(drop) }
        })
        .buffer_unordered(clients.len());
    let mut written = Ok(());
    while let (Ok(()), Some(write)) = (&written, writes.next().await) {
        written = write;
    }
    drop(writes);
    let after = resident_bytes(check).await;
    check.end(prefix, out).await?;
    written?;
    let used = (after? - before) / f64::from(1 << 20);
    writeln!(out, "PASS: Approximate system memory used : {used:.2} MB.")?;
    Ok(())
}

/// What the first endpoint's member says of itself, on the port for clients.
async fn resident_bytes(check: &Check) -> Result<f64, Error> {
    let failed = |why: String| Error::Failed(format!("FAIL: Could not read {METRIC}: {why}"));
    let connection = check.connection.each().await?.into_iter().next();
    let connection = connection.ok_or_else(|| Error::Usage("--endpoints names no member".to_owned()))?;
    let mut channel = connection.channel(Some(connection.command_timeout)).await?;
    let request = http::Request::get("/metrics").body(tonic::body::Body::empty());
    let request = request.map_err(|error| failed(error.to_string()))?;
    poll_fn(|context| channel.poll_ready(context)).await.map_err(|error| failed(error.to_string()))?;
    let answer = channel.call(request).await.map_err(|error| failed(error.to_string()))?;
    if !answer.status().is_success() {
        return Err(failed(answer.status().to_string()));
    }
    let (mut body, mut text) = (answer.into_body(), Vec::new());
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|status| failed(status.message().to_owned()))?;
        text.extend(frame.into_data().unwrap_or_default());
        if text.len() > METRICS_BYTES_MAX {
            return Err(failed("there is no end of metrics".to_owned()));
        }
    }
    metric(&String::from_utf8_lossy(&text)).ok_or_else(|| failed("it is not among the metrics".to_owned()))
}

fn metric(text: &str) -> Option<f64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(METRIC)?.strip_prefix(' '));
    lines.next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_among_others() {
        let text = "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes_max 1\n\
                    process_resident_memory_bytes 2.5e+07\n";
        assert_eq!(metric(text), Some(2.5e7));
        assert_eq!(metric("# EOF\n"), None);
    }
}
