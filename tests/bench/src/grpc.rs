//! Unary gRPC on top of [`crate::wire`]: the frame, the status, and nothing else.

use anyhow::{Context, bail};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Method, header};
use http_body_util::{BodyExt as _, Full};
use prost::Message;

use crate::wire::Connection;

/// Bytes before a message: whether it is compressed (1), and its length (4, big-endian).
const PREFIX_BYTES: usize = 5;

/// Path of etcd's put.
pub const PUT: &str = "/etcdserverpb.KV/Put";
/// Path of etcd's range.
pub const RANGE: &str = "/etcdserverpb.KV/Range";
/// Path of etcd's transaction.
pub const TXN: &str = "/etcdserverpb.KV/Txn";
/// Path of etcd's compaction.
pub const COMPACT: &str = "/etcdserverpb.KV/Compact";
/// Path of etcd's grant of a lease.
pub const LEASE_GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";

/// Encodes a message with its prefix.
pub fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).expect("our messages are small"));
    message.encode(&mut bytes).expect("the buffer grows");
    bytes.freeze()
}

/// Sends a framed message; the answer is framed too. A status other than OK is an error.
pub async fn call(connection: &Connection, path: &str, message: Bytes) -> anyhow::Result<Bytes> {
    let request = connection.request(Method::POST, path).header(header::CONTENT_TYPE, "application/grpc");
    let request = request.header(header::TE, "trailers").body(Full::new(message))?;
    let response = connection.send(request).await?;
    let (head, body) = response.into_parts();
    anyhow::ensure!(head.status.is_success(), "{path}: {}", head.status);
    let body = body.collect().await.with_context(|| format!("reading {path}"))?;
    // A call that fails at once has its status among the headers.
    check(body.trailers().unwrap_or(&head.headers)).with_context(|| path.to_owned())?;
    Ok(body.to_bytes())
}

/// Sends a message and decodes the answer.
pub async fn unary<T: Message + Default>(
    connection: &Connection,
    path: &str,
    message: &impl Message,
) -> anyhow::Result<T> {
    let answer = call(connection, path, frame(message)).await?;
    let message = answer.get(PREFIX_BYTES..).context("the answer is shorter than its prefix")?;
    Ok(T::decode(message)?)
}

fn check(trailers: &HeaderMap) -> anyhow::Result<()> {
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        Some("0") => Ok(()),
        Some(code) => bail!("gRPC status {code}: {}", text("grpc-message").unwrap_or_default()),
        None => bail!("no gRPC status"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_its_length() {
        let message =
            proto::etcd::etcdserverpb::PutRequest { key: Bytes::from_static(b"k"), ..Default::default() };
        assert_eq!(frame(&message).as_ref(), [0, 0, 0, 0, 3, 10, 1, b'k']);
    }

    #[test]
    fn only_status_zero_is_a_success() {
        let mut trailers = HeaderMap::new();
        assert!(check(&trailers).is_err());
        trailers.insert("grpc-status", "14".parse().unwrap());
        assert!(check(&trailers).is_err());
        trailers.insert("grpc-status", "0".parse().unwrap());
        assert!(check(&trailers).is_ok());
    }
}
