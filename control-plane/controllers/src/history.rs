//! ControllerRevisions: the templates that DaemonSets and StatefulSets have had, for `kubectl rollout undo`.

use std::{collections::BTreeSet, sync::Arc};

use client::{Client, Error, Informer, Object, ObjectKey, refs, typed::Deletion};
use k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::runtime::RawExtension,
};
use serde_json::{Value, json};

use crate::template::{comparable, template_hash};

/// Label of pods and revisions that names the revision.
pub(crate) const HASH_LABEL: &str = "controller-revision-hash";
/// Names tried when a hash is taken by another template.
const COLLISIONS_MAX: i32 = 8;

/// The revisions of one owner.
pub(crate) struct History {
    /// Of the present template.
    pub(crate) newest: Arc<ControllerRevision>,
    /// The others, oldest first.
    pub(crate) older: Vec<Arc<ControllerRevision>>,
}

impl History {
    /// A revision by its name.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<ControllerRevision>> {
        std::iter::once(&self.newest).chain(&self.older).find(|r| refs::name(&***r) == name)
    }
}

/// The template a revision holds.
pub(crate) fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

/// The hash in a revision's label.
pub(crate) fn hash(revision: &ControllerRevision) -> &str {
    let labels = revision.metadata.labels.as_ref();
    labels.and_then(|l| l.get(HASH_LABEL)).map_or("", String::as_str)
}

/// Finds the revision of the present template, makes it the newest, or creates it.
pub(crate) async fn sync<O: Object>(
    client: &Client,
    revisions: &Informer<ControllerRevision>,
    owner: &O,
    wanted: &PodTemplateSpec,
) -> Result<History, Error> {
    let owned = revisions.owned_by(refs::uid(owner));
    let mut known: Vec<_> =
        owned.into_iter().filter(|r| refs::is_controlled_by(&r.metadata, refs::uid(owner))).collect();
    known.sort_by_key(|r| (r.revision, refs::name(&**r).to_owned()));
    let highest = known.last().map_or(0, |r| r.revision);
    let same =
        |r: &Arc<ControllerRevision>| template(r).is_some_and(|t| comparable(&t) == comparable(wanted));
    let newest = match known.iter().rposition(same) {
        Some(index) => {
            let found = known.remove(index);
            if found.revision < highest {
                let name = refs::name(&*found).to_owned();
                let patch = json!({"revision": highest + 1});
                Arc::new(client.merge::<ControllerRevision>(refs::namespace(owner), &name, &patch).await?)
            } else {
                found
            }
        }
        None => Arc::new(create(client, owner, wanted, highest + 1).await?),
    };
    Ok(History { newest, older: known })
}

async fn create<O: Object>(
    client: &Client,
    owner: &O,
    wanted: &PodTemplateSpec,
    number: i64,
) -> Result<ControllerRevision, Error> {
    let mut refused = None;
    for collisions in 0..COLLISIONS_MAX {
        let revision = new_revision(owner, wanted, number, collisions);
        match client.create(&revision).await {
            Err(error) if error.is_already_exists() => {
                let found: ControllerRevision =
                    client.get(refs::namespace(owner), refs::name(&revision)).await?;
                let ours = refs::is_controlled_by(&found.metadata, refs::uid(owner));
                if ours && template(&found).is_some_and(|t| comparable(&t) == comparable(wanted)) {
                    return Ok(found);
                }
                refused = Some(error);
            }
            other => return other,
        }
    }
    Err(refused
        .unwrap_or_else(|| Error::internal("name a revision of", refs::name(owner), "no name is free")))
}

fn new_revision<O: Object>(
    owner: &O,
    wanted: &PodTemplateSpec,
    number: i64,
    collisions: i32,
) -> ControllerRevision {
    let hash = template_hash(wanted, Some(collisions));
    let mut tree = serde_json::to_value(wanted).expect("a decoded template encodes");
    // Undo applies the data as a strategic patch that must replace the whole template.
    tree["$patch"] = Value::from("replace");
    let mut revision = ControllerRevision { revision: number, ..ControllerRevision::default() };
    revision.data = Some(RawExtension(json!({"spec": {"template": tree}})));
    let mut labels = wanted.metadata.as_ref().and_then(|m| m.labels.clone()).unwrap_or_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    revision.metadata.labels = Some(labels);
    revision.metadata.annotations.clone_from(&owner.metadata().annotations);
    if let Some(annotations) = &mut revision.metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    revision.metadata.name = Some(format!("{}-{hash}", refs::name(owner)));
    revision.metadata.namespace.clone_from(&owner.metadata().namespace);
    revision.metadata.owner_references = Some(vec![refs::controller_reference(owner)]);
    revision
}

/// Deletes the oldest revisions beyond the limit that no pod has.
pub(crate) async fn prune(
    client: &Client,
    history: &History,
    live: &BTreeSet<String>,
    limit: Option<i32>,
) -> Result<(), Error> {
    let limit = limit.and_then(|l| usize::try_from(l).ok()).unwrap_or(10);
    let is_live = |r: &Arc<ControllerRevision>| live.contains(hash(r)) || live.contains(refs::name(&**r));
    let idle: Vec<_> = history.older.iter().filter(|r| !is_live(r)).collect();
    for revision in idle.iter().take(idle.len().saturating_sub(limit)) {
        let key = ObjectKey::of(&revision.metadata);
        let deletion = Deletion::of_uid(refs::uid(&***revision));
        match client.delete::<ControllerRevision>(&key.namespace, &key.name, &deletion).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
