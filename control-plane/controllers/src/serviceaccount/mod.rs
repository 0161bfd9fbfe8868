//! What every namespace has: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`.

use async_trait::async_trait;
use client::{
    Client, Error, Informer, ObjectKey, Queue,
    driver::{After, Reconcile},
    informer::{Cached, Change, Selection},
    refs,
};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::environment::{Environment, enqueue, enqueue_changes};

const ACCOUNT: &str = "default";
const ROOT_CA: &str = "kube-root-ca.crt";
const ROOT_CA_KEY: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const DESCRIPTION_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
                                endpoints such as the internal service IP or kubernetes.default.svc. No other usage is \
                                guaranteed across distributions of Kubernetes clusters.";

struct Controller {
    client: Client,
    namespaces: Informer<Namespace>,
    accounts: Informer<ServiceAccount>,
    bundles: Informer<ConfigMap>,
    root_ca: String,
}

pub(crate) fn start(env: &Environment) {
    let controller = Controller {
        client: env.client.clone(),
        namespaces: env.informers.get(),
        accounts: env.informers.select(Selection::of_fields(&format!("metadata.name={ACCOUNT}"))),
        bundles: env.informers.select(Selection::of_fields(&format!("metadata.name={ROOT_CA}"))),
        root_ca: env.options.root_ca.clone(),
    };
    let queue = Queue::default();
    enqueue_changes(&controller.namespaces, &queue);
    enqueue(&controller.accounts, &queue, namespace_of);
    enqueue(&controller.bundles, &queue, namespace_of);
    env.drive("serviceaccount", controller, queue);
}

fn namespace_of<K: Cached>(change: &Change<K>) -> Vec<ObjectKey> {
    vec![ObjectKey::new("", &change.key().namespace)]
}

#[async_trait]
impl Reconcile for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<After, Error> {
        let Some(namespace) = self.namespaces.get(key).filter(|n| !refs::is_terminating(&**n)) else {
            return Ok(After::Change);
        };
        let name = refs::name(&*namespace);
        if self.accounts.find(name, ACCOUNT).is_none() {
            let account = ServiceAccount { metadata: named(name, ACCOUNT), ..ServiceAccount::default() };
            tolerant(self.client.create(&account).await)?;
        }
        if !self.root_ca.is_empty() {
            self.publish_root_ca(name).await?;
        }
        Ok(After::Change)
    }
}

impl Controller {
    async fn publish_root_ca(&self, namespace: &str) -> Result<(), Error> {
        let known = self.bundles.find(namespace, ROOT_CA);
        let current = known.as_ref().and_then(|b| b.data.as_ref()).and_then(|d| d.get(ROOT_CA_KEY));
        if current == Some(&self.root_ca) {
            return Ok(());
        }
        let mut metadata = known.as_ref().map_or_else(|| named(namespace, ROOT_CA), |b| b.metadata.clone());
        metadata
            .annotations
            .get_or_insert_default()
            .insert(DESCRIPTION.to_owned(), DESCRIPTION_TEXT.to_owned());
        let data = Some([(ROOT_CA_KEY.to_owned(), self.root_ca.clone())].into());
        let bundle = ConfigMap { metadata, data, ..ConfigMap::default() };
        match known {
            None => tolerant(self.client.create(&bundle).await),
            Some(_) => self.client.update(&bundle).await.map(|_| ()),
        }
    }
}

fn named(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta { namespace: Some(namespace.to_owned()), name: Some(name.to_owned()), ..ObjectMeta::default() }
}

/// Somebody else made it, or the namespace ends: both are fine.
fn tolerant<K>(outcome: Result<K, Error>) -> Result<(), Error> {
    match outcome {
        Err(error) if !error.is_already_exists() && !error.is_namespace_terminating() => Err(error),
        _ => Ok(()),
    }
}
