//! get and list.

use api::Status;
use bytes::Bytes;
use proto::objects as wire;
use registry::{Encoded, ListOptions, Listed};
use std::sync::Arc;

use super::{Call, convert};
use crate::{limits, request::Attributes};

/// Reads one object or subresource.
pub async fn get(call: &Call, request: wire::GetRequest) -> Result<Bytes, Status> {
    let wire::GetRequest { resource, namespace, name, subresource, resource_version } = request;
    let target = convert::target(resource, namespace, name, subresource)?;
    let what = Attributes::of("get", &target);
    call.perform(&what, call.gateway.registry.get(&target, &resource_version)).await
}

/// Reads many. The chunks are made as the client takes them; the objects themselves are shared with the cache.
pub async fn list(
    call: &Call,
    request: wire::ListRequest,
) -> Result<impl Iterator<Item = Result<wire::ListChunk, tonic::Status>> + Send + use<>, Status> {
    let scope = convert::scope(request.resource, request.namespace)?;
    let what = Attributes::of_many("list", &scope, &request.field_selector, &request.label_selector);
    let options = ListOptions {
        label_selector: request.label_selector,
        field_selector: request.field_selector,
        limit: usize::try_from(request.limit).unwrap_or(0),
        continue_token: request.r#continue,
        resource_version: request.resource_version,
        resource_version_match: request.resource_version_match,
    };
    let listed = call.perform(&what, call.gateway.registry.list(&scope, &options)).await?;
    Ok(chunks(listed))
}

fn chunks(listed: Listed) -> impl Iterator<Item = Result<wire::ListChunk, tonic::Status>> + Send {
    let Listed { revision, continue_token, remaining, items } = listed;
    let mut head = Some(wire::ListChunk {
        resource_version: revision.to_string(),
        r#continue: continue_token,
        remaining: remaining.and_then(|n| i64::try_from(n).ok()).unwrap_or(0),
        items: Vec::new(),
    });
    let mut items = items.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut chunk = match head.take() {
            Some(head) => head,
            None if items.peek().is_none() => return None,
            None => wire::ListChunk::default(),
        };
        fill(&mut chunk.items, &mut items);
        Some(Ok(chunk))
    })
}

/// Takes items up to the size of a chunk, but at least one.
fn fill(chunk: &mut Vec<Bytes>, items: &mut std::iter::Peekable<impl Iterator<Item = Arc<Encoded>>>) {
    let mut size = 0;
    while let Some(item) = items.next_if(|i| size == 0 || size + i.json.len() <= limits::GRPC_CHUNK_BYTES) {
        size += item.json.len();
        chunk.push(item.json.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_into_chunks_of_bounded_size() {
        let item = |n: usize| {
            Arc::new(Encoded {
                json: Bytes::from(vec![b'x'; n]),
                revision: 1,
                namespace: String::new(),
                name: String::new(),
                uid: String::new(),
                labels: Vec::new(),
                fields: Vec::new(),
            })
        };
        let half = limits::GRPC_CHUNK_BYTES / 2;
        let items = vec![item(half), item(half), item(1), item(3 * half), item(1)];
        let listed = Listed { revision: 7, continue_token: "c".into(), remaining: Some(2), items };
        let chunks: Vec<_> = chunks(listed).map(Result::unwrap).collect();
        assert_eq!(chunks.iter().map(|c| c.items.len()).collect::<Vec<_>>(), [2, 1, 1, 1]);
        assert_eq!((chunks[0].resource_version.as_str(), chunks[1].resource_version.as_str()), ("7", ""));
    }
}
