//! Follows the definitions of the cluster: serves what they say, writes their status, clears away what goes.

use std::{collections::HashMap, time::Duration};

use api::{
    GroupVersionResource, Status, meta,
    objects::{Scope, Target},
};
use futures::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    FINALIZER, definitions,
    names::Taken,
    rows,
    status::{Outcome, with_status},
};
use crate::{
    Registry, clock,
    contract::{Caller, ListOptions, WatchOptions, WatchStream, WriteOptions},
    limits,
    storage::codec,
    strategy::rules::items,
    tree::set,
};

/// What is served of one definition.
struct Served {
    /// Uid, generation, whether it is going, and its stored versions: rows change with these only.
    state: (String, i64, bool, Value),
    resources: Vec<GroupVersionResource>,
}

/// The task that every server runs.
pub(crate) struct Follower {
    registry: Registry,
    served: HashMap<String, Served>,
}

impl Follower {
    pub(crate) fn new(registry: Registry) -> Self {
        Self { registry, served: HashMap::new() }
    }

    /// Follows until it is dropped at shutdown.
    pub(crate) async fn run(mut self) {
        loop {
            let scope = Target::new(definitions(), "", "").scope;
            match self.registry.watch(&scope, &WatchOptions::default()).await {
                Ok(stream) => self.follow(stream).await,
                Err(why) => {
                    tracing::debug!(%why, "the definitions of custom resources cannot be watched yet")
                }
            }
            tokio::time::sleep(limits::DEFINITIONS_PAUSE).await;
        }
    }

    async fn follow(&mut self, mut stream: WatchStream) {
        loop {
            let unfinished = self.apply().await;
            let patience = if unfinished { limits::DEFINITIONS_PAUSE } else { limits::DEFINITIONS_RESYNC };
            if !next(&mut stream, patience).await {
                return;
            }
        }
    }

    /// Makes the catalog and the statuses agree with the definitions. Answers whether to come back soon.
    async fn apply(&mut self) -> bool {
        let Some(snapshot) = self.registry.cached(&definitions()) else { return true };
        let mut present: Vec<Value> = Vec::new();
        for object in snapshot.iter() {
            match codec::tree(&object.json) {
                Ok(tree) => present.push(tree),
                Err(why) => tracing::error!(name = object.name, %why, "a definition cannot be read"),
            }
        }
        // Who has its names already keeps them; after that, the older one.
        present.sort_by_cached_key(|d| {
            let created = d["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
            (!has_names(d), created, meta::name(d).to_owned())
        });
        self.forget(&present);
        let mut taken = Taken::builtin();
        let mut unfinished = false;
        for definition in &present {
            let outcome = match taken.take(definition) {
                Ok(()) => self.serve(definition),
                Err(name) => {
                    self.withdraw(meta::name(definition));
                    Outcome::NameTaken(name)
                }
            };
            let done = match meta::is_terminating(definition) {
                true => self.clear(definition).await,
                false => self.report(definition, &outcome).await.map(|()| true),
            };
            unfinished |= !done.unwrap_or_else(|why| {
                tracing::debug!(definition = meta::name(definition), %why, "to be tried again");
                false
            });
        }
        unfinished
    }

    fn serve(&mut self, definition: &Value) -> Outcome {
        let name = meta::name(definition);
        let state = (
            meta::uid(definition).to_owned(),
            meta::generation(definition),
            meta::is_terminating(definition),
            definition["status"]["storedVersions"].clone(),
        );
        if self.served.get(name).is_some_and(|served| served.state == state) {
            return Outcome::Served;
        }
        let rows = match rows::rows(definition) {
            Ok(rows) => rows,
            Err(why) => {
                self.withdraw(name);
                return Outcome::Refused(why.to_string());
            }
        };
        let resources: Vec<_> = rows.iter().map(crate::Resource::gvr).collect();
        let before = self.served.insert(name.to_owned(), Served { state, resources: resources.clone() });
        rows.into_iter().for_each(|row| self.registry.serve(row));
        for gone in before.into_iter().flat_map(|b| b.resources).filter(|r| !resources.contains(r)) {
            self.registry.withdraw(&gone);
        }
        Outcome::Served
    }

    fn withdraw(&mut self, name: &str) {
        for resource in self.served.remove(name).into_iter().flat_map(|served| served.resources) {
            self.registry.withdraw(&resource);
        }
    }

    fn forget(&mut self, present: &[Value]) {
        let gone: Vec<String> = self
            .served
            .keys()
            .filter(|name| !present.iter().any(|d| meta::name(d) == name.as_str()))
            .cloned()
            .collect();
        gone.iter().for_each(|name| self.withdraw(name));
    }

    /// Writes the status where it says something else.
    async fn report(&self, definition: &Value, outcome: &Outcome) -> Result<(), Status> {
        let wanted = with_status(definition, outcome, &clock::now());
        if wanted == *definition {
            return Ok(());
        }
        let target = Target { subresource: "status".into(), ..at(definition) };
        self.registry.update(&caller(), &target, wanted, &options()).await.map(drop)
    }

    /// Deletes the objects of a definition that goes, and lets it go when there are none. Answers whether it went.
    async fn clear(&self, definition: &Value) -> Result<bool, Status> {
        if !meta::finalizers(definition).any(|f| f == FINALIZER) {
            return Ok(true);
        }
        let served = self.served.get(meta::name(definition));
        if let Some(resource) = served.and_then(|served| served.resources.first()) {
            let scope = Scope { resource: resource.clone(), ..at(definition).scope };
            let all = ListOptions::default();
            self.registry.delete_collection(&caller(), &scope, &all, Value::Null, &options()).await?;
            if !self.registry.list(&scope, &all).await?.items.is_empty() {
                return Ok(false);
            }
        }
        let mut released = definition.clone();
        let left: Vec<Value> =
            items(definition.pointer("/metadata/finalizers")).filter(|f| **f != FINALIZER).cloned().collect();
        set(&mut released, &["metadata", "finalizers"], left);
        self.registry.update(&caller(), &at(definition), released, &options()).await.map(|_| true)
    }
}

/// Waits for something to happen, and takes in whatever else has happened by then. False: the watch has ended.
async fn next(stream: &mut WatchStream, patience: Duration) -> bool {
    if let Ok(None | Some(Err(_))) = timeout(patience, stream.next()).await {
        return false;
    }
    loop {
        match stream.next().now_or_never() {
            None => return true,
            Some(Some(Ok(_))) => {}
            Some(None | Some(Err(_))) => return false,
        }
    }
}

fn has_names(definition: &Value) -> bool {
    items(definition.pointer("/status/conditions"))
        .any(|c| c["type"] == "NamesAccepted" && c["status"] == json!("True"))
}

fn at(definition: &Value) -> Target {
    Target::new(definitions(), "", meta::name(definition))
}

fn caller() -> Caller {
    Caller { user: "system:apiserver".into(), uid: String::new(), groups: vec!["system:masters".into()] }
}

fn options() -> WriteOptions {
    WriteOptions { field_manager: "kube-apiserver".into(), ..WriteOptions::default() }
}
