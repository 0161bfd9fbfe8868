//! PodDisruptionBudgets: how many pods may be taken away on purpose right now.
//!
//! Owns the status of budgets, which the eviction subresource spends from.

mod plan;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use client::{
    Client, Error, Informer, ObjectKey, Queue, clock,
    driver::{After, Reconcile},
    informer::Change,
    labels, refs,
};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet, StatefulSet},
    core::v1::Pod,
    policy::v1::PodDisruptionBudget,
};

use crate::environment::{Environment, enqueue, enqueue_changes};

struct Controller {
    client: Client,
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
}

pub(crate) fn start(env: &Environment) {
    let controller = Controller {
        client: env.client.clone(),
        budgets: env.informers.get(),
        pods: env.informers.get(),
        deployments: env.informers.get(),
        replica_sets: env.informers.get(),
        stateful_sets: env.informers.get(),
    };
    let queue = Queue::default();
    enqueue_changes(&controller.budgets, &queue);
    enqueue(&controller.pods, &queue, {
        let budgets = controller.budgets.clone();
        move |change| concerned(&budgets, change)
    });
    // A change of size changes what a percentage means.
    enqueue(&controller.deployments, &queue, {
        let budgets = controller.budgets.clone();
        move |change| resized(&budgets, change, |d: &Deployment| d.spec.as_ref().and_then(|s| s.replicas))
    });
    enqueue(&controller.stateful_sets, &queue, {
        let budgets = controller.budgets.clone();
        move |change| resized(&budgets, change, |s: &StatefulSet| s.spec.as_ref().and_then(|s| s.replicas))
    });
    env.drive("disruption", controller, queue);
}

/// Budgets that select the pod before or after the change.
fn concerned(budgets: &Informer<PodDisruptionBudget>, change: &Change<Pod>) -> Vec<ObjectKey> {
    let fits = |budget: &Arc<PodDisruptionBudget>| {
        [change.old.as_ref(), change.new.as_ref()].into_iter().flatten().any(|pod| selects(budget, pod))
    };
    let all = budgets.in_namespace(refs::namespace(&**change.object()));
    all.iter().filter(|b| fits(b)).map(|b| ObjectKey::of(&b.metadata)).collect()
}

fn resized<K: client::Object>(
    budgets: &Informer<PodDisruptionBudget>,
    change: &Change<K>,
    size: fn(&K) -> Option<i32>,
) -> Vec<ObjectKey> {
    let of = |object: &Option<Arc<K>>| object.as_ref().and_then(|o| size(o));
    if of(&change.old) == of(&change.new) {
        return Vec::new();
    }
    let all = budgets.in_namespace(refs::namespace(&**change.object()));
    all.iter().map(|b| ObjectKey::of(&b.metadata)).collect()
}

/// A budget without a selector selects nothing, one with an empty selector everything.
fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
    selector.is_some_and(|s| labels::matches(s, pod.metadata.labels.as_ref()))
}

#[async_trait]
impl Reconcile for Controller {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<After, Error> {
        let Some(budget) = self.budgets.get(key) else { return Ok(After::Change) };
        let pods = self.pods.in_namespace(&key.namespace);
        let selected: Vec<Arc<Pod>> = pods.into_iter().filter(|p| selects(&budget, p)).collect();
        let wanted = self.wanted(&selected);
        let (status, recheck) = plan::plan(&budget, &selected, wanted, clock::now());
        if budget.status.as_ref() != Some(&status) {
            let changed = PodDisruptionBudget { status: Some(status), ..(*budget).clone() };
            self.client.update_status(&changed).await?;
        }
        Ok(recheck.map_or(After::Change, After::Delay))
    }
}

impl Controller {
    /// The pods that the owners of these pods want to have; `None` if one of them has no size.
    fn wanted(&self, pods: &[Arc<Pod>]) -> Option<i32> {
        let mut sizes = BTreeMap::new();
        for pod in pods {
            let owner = refs::controller_of(&pod.metadata)?;
            let (uid, size) = self.size_of(refs::namespace(&**pod), &owner.kind, &owner.name)?;
            sizes.insert(uid, size);
        }
        Some(sizes.values().sum())
    }

    fn size_of(&self, namespace: &str, kind: &str, name: &str) -> Option<(String, i32)> {
        let of = |uid: &str, replicas: Option<i32>| Some((uid.to_owned(), replicas.unwrap_or(1)));
        match kind {
            "ReplicaSet" => {
                let set = self.replica_sets.find(namespace, name)?;
                match refs::controller_of(&set.metadata).filter(|o| o.kind == "Deployment") {
                    Some(owner) => self.size_of(namespace, "Deployment", &owner.name),
                    None => of(refs::uid(&*set), set.spec.as_ref()?.replicas),
                }
            }
            "Deployment" => {
                let deployment = self.deployments.find(namespace, name)?;
                of(refs::uid(&*deployment), deployment.spec.as_ref()?.replicas)
            }
            "StatefulSet" => {
                let set = self.stateful_sets.find(namespace, name)?;
                of(refs::uid(&*set), set.spec.as_ref()?.replicas)
            }
            _ => None,
        }
    }
}
