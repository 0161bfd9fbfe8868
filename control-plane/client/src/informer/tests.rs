use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{Client, fake, typed::Deletion};

fn config(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": "ns"}})).unwrap()
}

struct Rig {
    objects: fake::Objects,
    client: Client,
    informer: Informer<ConfigMap>,
    informers: Informers,
    shutdown: CancellationToken,
}

async fn rig() -> Rig {
    let objects = fake::Objects::new();
    let client = Client::new(Arc::new(objects.clone()));
    client.create(&config("a")).await.unwrap();
    let shutdown = CancellationToken::new();
    let informers = Informers::new(Arc::new(objects.clone()), shutdown.clone());
    let informer = informers.get::<ConfigMap>();
    informers.wait_synced().await;
    Rig { objects, client, informer, informers, shutdown }
}

async fn wait_until(changes: &mut Changes, informer: &Informer<ConfigMap>, names: &[&str]) {
    loop {
        let present: Vec<String> = informer.list().iter().map(|c| c.metadata.name.clone().unwrap()).collect();
        if present == names {
            return;
        }
        changes.next().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_store_follows_and_handlers_see_every_change_in_order() {
    let rig = rig().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    rig.informer.on_change(move |change| {
        log.lock().push((change.key().name, change.old.is_some(), change.new.is_some()));
    });
    let mut changes = rig.informer.changes();
    rig.client.create(&config("b")).await.unwrap();
    rig.client.merge::<ConfigMap>("ns", "a", &json!({"data": {"k": "v"}})).await.unwrap();
    rig.client.delete::<ConfigMap>("ns", "a", &Deletion::default()).await.unwrap();
    wait_until(&mut changes, &rig.informer, &["b"]).await;
    let name = |n: &str| n.to_owned();
    let expect = [
        (name("a"), false, true),
        (name("b"), false, true),
        (name("a"), true, true),
        (name("a"), true, false),
    ];
    assert_eq!(*seen.lock(), expect);
    assert_eq!(rig.informer.revision(), rig.objects.revision());
    rig.shutdown.cancel();
    rig.informers.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_resumes_and_an_expired_one_lists_again() {
    let rig = rig().await;
    let mut changes = rig.informer.changes();
    rig.objects.break_watches();
    rig.client.create(&config("b")).await.unwrap();
    wait_until(&mut changes, &rig.informer, &["a", "b"]).await;
    rig.objects.break_watches();
    rig.client.delete::<ConfigMap>("ns", "a", &Deletion::default()).await.unwrap();
    rig.client.create(&config("c")).await.unwrap();
    rig.objects.compact();
    wait_until(&mut changes, &rig.informer, &["b", "c"]).await;
}

#[tokio::test(start_paused = true)]
async fn informers_of_a_resource_are_shared_and_indexed() {
    let rig = rig().await;
    rig.informer.add_index("first-letter", |c| {
        c.metadata.name.iter().filter_map(|n| n.get(..1)).map(str::to_owned).collect()
    });
    let again = rig.informers.get::<ConfigMap>();
    assert_eq!(again.by_index("first-letter", "a").len(), 1);
    assert_eq!(again.in_namespace("ns").len(), 1);
    assert!(again.in_namespace("n").is_empty());
    assert!(again.owned_by("nobody").is_empty());
}
