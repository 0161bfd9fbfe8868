//! Deletes the content of an ending namespace and lets it go.

use api::{
    Reason, Status, meta,
    objects::{ListOptions, Scope},
};
use bytes::Bytes;
use client::{Error, clock, driver::After, refs, typed};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use serde_json::Value;

use super::{
    Controller,
    plan::{self, Remains},
};
use crate::{kinds::Kind, limits};

/// Resources worked on at the same time.
const CONCURRENCY: usize = 8;

impl Controller {
    pub(super) async fn apply(&self, namespace: &Namespace) -> Result<After, Error> {
        let remains = self.delete_content(refs::name(namespace)).await;
        if remains.is_nothing() {
            return match self.client.replace(&plan::let_go(namespace), "finalize").await {
                Err(error) if !error.is_not_found() => Err(error),
                _ => Ok(After::Change),
            };
        }
        let changed = plan::with_status(namespace, &remains, clock::now());
        if changed != *namespace {
            self.client.update_status(&changed).await?;
        }
        Ok(After::Delay(limits::NAMESPACE_RECHECK))
    }

    async fn delete_content(&self, namespace: &str) -> Remains {
        let kinds = self.kinds.namespaced();
        let outcomes: Vec<(Kind, Result<Vec<Bytes>, Status>)> = futures::stream::iter(kinds)
            .map(|kind| async move {
                let left = self.delete_all(&kind, namespace).await;
                (kind, left)
            })
            .buffered(CONCURRENCY)
            .collect()
            .await;
        let mut remains = Remains::default();
        for (kind, outcome) in outcomes {
            let name = format!("{}.{}", kind.resource.resource, kind.resource.group);
            match outcome {
                Ok(left) if left.is_empty() => {}
                Ok(left) => note(&mut remains, name, &left),
                // A resource that this server does not have holds nothing.
                Err(status) if status.is(Reason::NotFound) || status.is(Reason::MethodNotAllowed) => {}
                Err(status) => remains.failures.push(format!("{name}: {status}")),
            }
        }
        remains
    }

    /// Deletes all objects of a kind; answers those that are still there.
    async fn delete_all(&self, kind: &Kind, namespace: &str) -> Result<Vec<Bytes>, Status> {
        let objects = self.client.objects();
        let scope = Scope { resource: kind.resource.clone(), namespace: namespace.to_owned() };
        let (found, _) = typed::list_all(&**objects, &scope, &ListOptions::default()).await?;
        if found.is_empty() {
            return Ok(found);
        }
        let all = ListOptions::default();
        let body =
            typed::Deletion { propagation: Some(typed::Propagation::Background), ..Default::default() }
                .body();
        objects.delete_collection(&scope, &all, body, self.client.write_options()).await?;
        Ok(typed::list_all(&**objects, &scope, &all).await?.0)
    }
}

fn note(remains: &mut Remains, resource: String, left: &[Bytes]) {
    remains.objects.insert(resource, left.len());
    for body in left {
        let Ok(object) = serde_json::from_slice::<Value>(body) else { continue };
        for finalizer in meta::finalizers(&object) {
            *remains.finalizers.entry(finalizer.to_owned()).or_insert(0) += 1;
        }
    }
}
