//! A registry with a namespace, and short ways to use it.

use std::{sync::Arc, time::Duration};

use api::{
    GroupVersionResource, Status,
    objects::{Scope, Target},
};
use futures::StreamExt as _;
use registry::{
    Caller, Deleted, Event, EventKind, FieldValidation, ListOptions, Listed, Options, PatchBody, Registry,
    WatchOptions, WatchStream, WriteOptions,
};
use serde_json::{Value, json};
use store_client::memory::MemoryKv;
use tokio_util::sync::CancellationToken;

pub struct World {
    pub registry: Registry,
    pub kv: MemoryKv,
    pub caller: Caller,
    pub shutdown: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub async fn bare() -> World {
    with_options(Options::default()).await
}

pub async fn with_options(options: Options) -> World {
    let kv = MemoryKv::new();
    let shutdown = CancellationToken::new();
    let registry = Registry::start(Arc::new(kv.clone()), options, shutdown.clone()).await.unwrap();
    registry.ready().await.unwrap();
    let caller = Caller { user: "alice".into(), uid: String::new(), groups: vec!["system:masters".into()] };
    World { registry, kv, caller, shutdown }
}

/// With namespace `d` and its default service account.
pub async fn world() -> World {
    let world = bare().await;
    world.populate().await;
    world
}

pub fn gvr(plural: &str) -> GroupVersionResource {
    let (group, version) = match plural {
        "deployments" | "replicasets" | "statefulsets" | "daemonsets" => ("apps", "v1"),
        "jobs" | "cronjobs" => ("batch", "v1"),
        "leases" => ("coordination.k8s.io", "v1"),
        "ipaddresses" => ("networking.k8s.io", "v1"),
        "poddisruptionbudgets" => ("policy", "v1"),
        _ => ("", "v1"),
    };
    GroupVersionResource::new(group, version, plural)
}

pub fn at(plural: &str, name: &str) -> Target {
    let namespace = if matches!(plural, "namespaces" | "nodes" | "ipaddresses") { "" } else { "d" };
    Target::new(gvr(plural), namespace, name)
}

pub fn scope(plural: &str) -> Scope {
    at(plural, "").scope
}

impl World {
    pub async fn populate(&self) {
        self.create("namespaces", json!({"metadata": {"name": "d"}})).await.unwrap();
        self.create("serviceaccounts", json!({"metadata": {"name": "default"}})).await.unwrap();
    }

    pub fn strict() -> WriteOptions {
        WriteOptions {
            field_validation: FieldValidation::Strict,
            field_manager: "test".into(),
            ..WriteOptions::default()
        }
    }

    pub async fn create(&self, plural: &str, object: Value) -> Result<Value, Status> {
        self.create_at(&at(plural, ""), object).await
    }

    pub async fn create_at(&self, target: &Target, object: Value) -> Result<Value, Status> {
        let written = self.registry.create(&self.caller, target, object, &Self::strict()).await?;
        Ok(serde_json::from_slice(&written.json).unwrap())
    }

    pub async fn update(&self, plural: &str, object: Value) -> Result<Value, Status> {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.update_at(&at(plural, &name), object).await
    }

    pub async fn update_at(&self, target: &Target, object: Value) -> Result<Value, Status> {
        let written = self.registry.update(&self.caller, target, object, &Self::strict()).await?;
        Ok(serde_json::from_slice(&written.json).unwrap())
    }

    pub async fn patch(&self, target: &Target, patch: PatchBody) -> Result<Value, Status> {
        let written = self.registry.patch(&self.caller, target, patch, &Self::strict()).await?;
        Ok(serde_json::from_slice(&written.json).unwrap())
    }

    pub async fn get(&self, plural: &str, name: &str) -> Result<Value, Status> {
        let bytes = self.registry.get(&at(plural, name), "").await?;
        Ok(serde_json::from_slice(&bytes).unwrap())
    }

    pub async fn delete(&self, plural: &str, name: &str, options: Value) -> Result<Deleted, Status> {
        self.registry.delete(&self.caller, &at(plural, name), options, &WriteOptions::default()).await
    }

    pub async fn list(&self, plural: &str, options: ListOptions) -> Result<Listed, Status> {
        self.registry.list(&scope(plural), &options).await
    }

    pub async fn watch(&self, plural: &str, options: WatchOptions) -> Result<WatchStream, Status> {
        self.registry.watch(&scope(plural), &options).await
    }
}

/// The next event of a stream: kind, name, revision.
pub async fn next(stream: &mut WatchStream) -> (EventKind, String, i64) {
    let event = event(stream).await;
    (event.kind, event.object.map(|object| object.name.clone()).unwrap_or_default(), event.revision)
}

pub async fn event(stream: &mut WatchStream) -> Event {
    tokio::time::timeout(Duration::from_secs(120), stream.next())
        .await
        .expect("an event in time")
        .unwrap()
        .unwrap()
}

pub fn names(listed: &Listed) -> Vec<&str> {
    listed.items.iter().map(|object| object.name.as_str()).collect()
}

pub fn config_map(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"k": "v"}})
}

pub fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "x"}},
        "spec": {"containers": [{"name": "c", "image": "nginx:1.0"}]}})
}

pub fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": "nginx:1.0"}, {"name": "side", "image": "side:1"}]}}}})
}

pub fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}
