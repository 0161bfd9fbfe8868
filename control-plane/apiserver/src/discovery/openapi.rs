//! `/openapi/v2` and `/openapi/v3`: documents made from the schema table, once per catalog.

use api::Status;

use crate::{gateway::Context, reply::Response};

/// Documents that were made, for one catalog.
#[derive(Default)]
pub struct Documents;

/// `/openapi/v2`.
pub async fn v2(_context: &Context) -> Result<Response, Status> {
    Err(Status::unavailable("the schema table is not filled"))
}

/// `/openapi/v3`.
pub fn v3_index(_context: &Context) -> Result<Response, Status> {
    Err(Status::unavailable("the schema table is not filled"))
}

/// `/openapi/v3/api/v1` and `/openapi/v3/apis/<group>/<version>`.
pub async fn v3(_context: &Context, _group: &str, _version: &str) -> Result<Response, Status> {
    Err(Status::unavailable("the schema table is not filled"))
}
