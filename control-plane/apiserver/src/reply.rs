//! Answers: bodies, content types, and the one translation of a [`Status`] to HTTP.

use api::Status;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{HeaderValue, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};

/// What can go wrong while a body is sent.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of every answer.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
/// Every answer.
pub type Response = http::Response<Body>;

/// `application/json`.
pub const JSON: &str = "application/json";
/// `application/yaml`.
pub const YAML: &str = "application/yaml";
/// `text/plain`.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// An answer from bytes.
pub fn bytes(code: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    assemble(code, content_type, Full::new(body.into()).map_err(|never| match never {}).boxed_unsync())
}

/// An answer from a serializable value as JSON.
pub fn json(code: u16, value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => bytes(code, JSON, body),
        Err(error) => status(&Status::internal(error)),
    }
}

/// An answer of plain text.
pub fn text(code: u16, body: impl Into<Bytes>) -> Response {
    bytes(code, TEXT, body)
}

/// An answer whose body comes in pieces.
pub fn stream(
    content_type: &'static str,
    pieces: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
) -> Response {
    assemble(200, content_type, StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync())
}

/// An answer without a body.
pub fn empty(code: u16) -> Response {
    assemble(code, TEXT, Full::default().map_err(|never| match never {}).boxed_unsync())
}

/// A failure, or a success without an object.
pub fn status(status: &Status) -> Response {
    let body = serde_json::to_vec(status).expect("a Status is made of strings and numbers");
    let mut response = bytes(if status.code == 0 { 500 } else { status.code }, JSON, body);
    if let Some(seconds) = status.details.as_ref().and_then(|d| d.retry_after_seconds) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status.code == 401 {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn assemble(code: u16, content_type: &'static str, body: Body) -> Response {
    let mut response = http::Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Adds `Warning` headers as RFC 7234 writes them: code 299, no agent, quoted text.
pub fn warn(response: &mut Response, warnings: &[String]) {
    for warning in warnings.iter().take(crate::limits::WARNINGS_MAX) {
        let quoted: String = warning
            .chars()
            .filter(|c| !c.is_control())
            .take(crate::limits::WARNING_BYTES_MAX)
            .flat_map(|c| if matches!(c, '"' | '\\') { vec!['\\', c] } else { vec![c] })
            .collect();
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted() {
        let mut response = empty(200);
        warn(&mut response, &["unknown field \"a\\b\"\n".into()]);
        assert_eq!(response.headers()[header::WARNING], r#"299 - "unknown field \"a\\b\"""#);
    }

    #[test]
    fn a_refused_client_is_told_when_to_come_back() {
        let response = status(&Status::too_many_requests("slow down", 7));
        assert_eq!(
            (response.status().as_u16(), &response.headers()[header::RETRY_AFTER]),
            (429, &HeaderValue::from(7))
        );
    }
}
