//! Keeps the RBAC rules in step with the stored roles and bindings.

use std::time::Duration;

use api::{GroupVersionResource, objects::Scope};
use futures::StreamExt;
use registry::{Event, EventKind, Registry, WatchOptions};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Authorizer, rbac::Policy};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Pause before a lost watch is opened again.
const RETRY: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug)]
enum Source {
    Role { namespaced: bool },
    Binding { namespaced: bool },
}

const SOURCES: [(&str, Source); 4] = [
    ("clusterroles", Source::Role { namespaced: false }),
    ("roles", Source::Role { namespaced: true }),
    ("clusterrolebindings", Source::Binding { namespaced: false }),
    ("rolebindings", Source::Binding { namespaced: true }),
];

/// Follows all four resources until `shutdown`. `filled` counts those that were complete once.
pub async fn follow(
    registry: Registry,
    authorizer: Authorizer,
    filled: watch::Sender<usize>,
    shutdown: CancellationToken,
) {
    let each = SOURCES.map(|(resource, source)| {
        let (registry, authorizer, filled) = (registry.clone(), authorizer.clone(), filled.clone());
        async move {
            let mut complete = false;
            loop {
                let done = || filled.send_modify(|n| *n += 1);
                if let Err(error) = once(&registry, &authorizer, resource, source, &mut complete, done).await
                {
                    tracing::debug!(resource, %error, "the watch of the access rules ended");
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    });
    tokio::select! {
        () = shutdown.cancelled() => {}
        _ = futures::future::join_all(each) => {}
    }
}

/// How many resources [`follow`] counts as filled when all are.
pub const FILLED: usize = SOURCES.len();

async fn once(
    registry: &Registry,
    authorizer: &Authorizer,
    resource: &str,
    source: Source,
    complete: &mut bool,
    done: impl Fn(),
) -> Result<(), api::Status> {
    let scope =
        Scope { resource: GroupVersionResource::new(GROUP, "v1", resource), namespace: String::new() };
    let options = WatchOptions { send_initial_events: true, bookmarks: true, ..WatchOptions::default() };
    let mut events = registry.watch(&scope, &options).await?;
    let mut initial = Some(Vec::new());
    while let Some(event) = events.next().await {
        let event = event?;
        match (&mut initial, event.kind) {
            (Some(all), EventKind::InitialEventsEnd) => {
                let all = std::mem::take(all);
                authorizer.change(|policy| {
                    source.clear(policy);
                    all.iter().for_each(|event| source.apply(policy, event));
                });
                initial = None;
                if !std::mem::replace(complete, true) {
                    done();
                }
            }
            (_, EventKind::Bookmark | EventKind::InitialEventsEnd) => {}
            (Some(all), _) => all.push(event),
            (None, _) => authorizer.change(|policy| source.apply(policy, &event)),
        }
    }
    Ok(())
}

impl Source {
    fn clear(self, policy: &mut Policy) {
        match self {
            Self::Role { namespaced } => policy.clear_roles(namespaced),
            Self::Binding { namespaced } => policy.clear_bindings(namespaced),
        }
    }

    fn apply(self, policy: &mut Policy, event: &Event) {
        let Some(object) = &event.object else { return };
        let gone = event.kind == EventKind::Deleted;
        match self {
            Self::Role { .. } => match decode(&object.json).filter(|_| !gone) {
                Some(role) => policy.put_role(role),
                None => policy.remove_role(&object.namespace, &object.name),
            },
            Self::Binding { .. } => match decode(&object.json).filter(|_| !gone) {
                Some(binding) => policy.put_binding(binding),
                None => policy.remove_binding(&object.namespace, &object.name),
            },
        }
    }
}

/// An object that cannot be read grants nothing.
fn decode<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    serde_json::from_slice(json)
        .inspect_err(|error| tracing::warn!(%error, "an access rule cannot be read"))
        .ok()
}
