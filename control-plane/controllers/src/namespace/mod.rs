//! Namespaces that end: everything in them is deleted, then they are let go.
//!
//! Owns the `kubernetes` finalizer in `spec.finalizers` and the conditions of ending namespaces.

mod apply;
mod plan;

use async_trait::async_trait;
use client::{
    Client, Error, Informer, ObjectKey, Queue,
    driver::{After, Reconcile},
    refs,
};
use k8s_openapi::api::core::v1::Namespace;

use crate::{
    environment::{Environment, enqueue_changes},
    kinds::Kinds,
};

struct Controller {
    client: Client,
    namespaces: Informer<Namespace>,
    kinds: Kinds,
}

pub(crate) fn start(env: &Environment) {
    let namespaces = env.informers.get::<Namespace>();
    let queue = Queue::default();
    enqueue_changes(&namespaces, &queue);
    let controller = Controller { client: env.client.clone(), namespaces, kinds: Kinds::new(&env.informers) };
    env.drive("namespace", controller, queue);
}

#[async_trait]
impl Reconcile for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<After, Error> {
        match self.namespaces.get(key) {
            Some(namespace) if refs::is_terminating(&*namespace) && plan::is_held(&namespace) => {
                self.apply(&namespace).await
            }
            _ => Ok(After::Change),
        }
    }
}
