//! The continue token of a paginated list, in upstream's form: base64url of a small JSON document.

use api::Status;
use base64::Engine as _;
use serde::{Deserialize, Serialize};

const ENGINE: base64::engine::GeneralPurpose = base64::engine::general_purpose::URL_SAFE_NO_PAD;
const VERSION: &str = "meta.k8s.io/v1";

/// Where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    v: String,
    /// Revision of the first page; -1 for the newest.
    #[serde(default)]
    pub(crate) rv: i64,
    /// First key of the page, within the resource.
    pub(crate) start: String,
}

impl Token {
    /// The page from `start` on, at a revision.
    pub(crate) fn new(rv: i64, start: &str) -> Self {
        Self { v: VERSION.into(), rv, start: start.into() }
    }

    /// As it goes over the wire.
    pub(crate) fn encode(&self) -> String {
        ENGINE.encode(serde_json::to_vec(self).expect("two strings and a number encode"))
    }

    /// Reads what a client sent back.
    pub(crate) fn parse(text: &str) -> Result<Self, Status> {
        let invalid = |why: &str| Status::bad_request(format!("continue key is not valid: {why}"));
        let bytes = ENGINE.decode(text.trim_end_matches('=')).map_err(|why| invalid(&why.to_string()))?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|why| invalid(&why.to_string()))?;
        if token.v != VERSION {
            return Err(invalid(&format!("server does not recognize this encoded version {:?}", token.v)));
        }
        if token.rv == 0 || token.rv < -1 {
            return Err(invalid("incorrect encoded start resourceVersion"));
        }
        if token.start.is_empty() || token.start.starts_with('/') || token.start.contains("..") {
            return Err(invalid(&format!("{:?}", token.start)));
        }
        Ok(token)
    }
}
