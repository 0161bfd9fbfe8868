//! Typed access: which resource a Rust type is, and the verbs with encoding and decoding around them.
//!
//! The types are k8s-openapi's. They drop fields they do not know, so whoever changes an object that users
//! write should [`Client::patch`] the fields it owns rather than replace the whole.

use std::sync::Arc;

use api::{
    GroupVersionResource, Status,
    objects::{Fence, ListOptions, Objects, PatchType, Scope, Target, Write, WriteOptions},
};
use bytes::Bytes;
use k8s_openapi::{Metadata, Resource, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Error, limits};

/// A type of k8s-openapi that is stored: it has metadata and a plural name.
pub trait Object:
    Metadata<Ty = ObjectMeta> + Serialize + DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static
{
}

impl<K> Object for K where
    K: Metadata<Ty = ObjectMeta>
        + Serialize
        + DeserializeOwned
        + Clone
        + std::fmt::Debug
        + Send
        + Sync
        + 'static
{
}

/// The resource of a type, from k8s-openapi's constants.
pub fn resource_of<K: Resource>() -> GroupVersionResource {
    GroupVersionResource::new(K::GROUP, K::VERSION, K::URL_PATH_SEGMENT)
}

/// Decodes an object.
pub fn decode<K: DeserializeOwned>(body: &[u8]) -> Result<K, Error> {
    let what = || std::any::type_name::<K>().rsplit("::").next().unwrap_or("object").to_owned();
    serde_json::from_slice(body).map_err(|source| Error::Shape { doing: "decode", what: what(), source })
}

/// Encodes an object with its kind and apiVersion.
pub fn encode<K: Serialize>(object: &K) -> Result<Bytes, Error> {
    let what = || std::any::type_name::<K>().rsplit("::").next().unwrap_or("object").to_owned();
    serde_json::to_vec(object).map(Bytes::from).map_err(|source| Error::Shape {
        doing: "encode",
        what: what(),
        source,
    })
}

/// What happens to the objects that are owned by a deleted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted afterwards.
    Background,
    /// They are deleted first.
    Foreground,
    /// They are left alone.
    Orphan,
}

impl Propagation {
    /// As `DeleteOptions` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

/// Conditions and manner of a deletion.
#[derive(Clone, Debug, Default)]
pub struct Deletion {
    /// Refuse unless the object still has this UID.
    pub uid: Option<String>,
    /// Refuse unless the object still has this resource version.
    pub resource_version: Option<String>,
    /// `None` leaves it to the resource's default.
    pub propagation: Option<Propagation>,
    /// Seconds until it is gone; `Some(0)` for at once.
    pub grace_seconds: Option<i64>,
}

impl Deletion {
    /// Of exactly this object.
    pub fn of_uid(uid: &str) -> Self {
        Self { uid: Some(uid.to_owned()), ..Self::default() }
    }

    /// `DeleteOptions` as JSON.
    pub fn body(&self) -> Bytes {
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        if self.uid.is_some() || self.resource_version.is_some() {
            options["preconditions"] = json!({});
        }
        if let Some(uid) = &self.uid {
            options["preconditions"]["uid"] = json!(uid);
        }
        if let Some(version) = &self.resource_version {
            options["preconditions"]["resourceVersion"] = json!(version);
        }
        if let Some(propagation) = self.propagation {
            options["propagationPolicy"] = json!(propagation.as_str());
        }
        if let Some(seconds) = self.grace_seconds {
            options["gracePeriodSeconds"] = json!(seconds);
        }
        Bytes::from(options.to_string())
    }
}

/// The verbs on typed objects. Cheap to clone. Every write carries the fence and field manager it was given.
#[derive(Clone)]
pub struct Client {
    objects: Arc<dyn Objects>,
    options: WriteOptions,
}

impl Client {
    /// Over any implementation of the verbs.
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        Self { objects, options: WriteOptions::default() }
    }

    /// Writes are refused once this leadership is lost.
    pub fn fenced(mut self, fence: Option<Fence>) -> Self {
        self.options.fence = fence;
        self
    }

    /// Names who owns the fields written.
    pub fn managed_by(mut self, manager: &str) -> Self {
        self.options.field_manager = manager.to_owned();
        self
    }

    /// The verbs on encoded objects.
    pub fn objects(&self) -> &Arc<dyn Objects> {
        &self.objects
    }

    /// What every write is sent with.
    pub fn write_options(&self) -> &WriteOptions {
        &self.options
    }

    /// Reads one object.
    pub async fn get<K: Object>(&self, namespace: &str, name: &str) -> Result<K, Error> {
        let target = Target::new(resource_of::<K>(), namespace, name);
        decode(&self.objects.get(&target).await.map_err(|s| failed("get", &target, s))?)
    }

    /// Reads one object, or `None` if there is no such object.
    pub async fn find<K: Object>(&self, namespace: &str, name: &str) -> Result<Option<K>, Error> {
        match self.get(namespace, name).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads all objects of a namespace (empty: of the cluster) that match a label selector (empty: all).
    pub async fn list<K: Object>(&self, namespace: &str, label_selector: &str) -> Result<Vec<K>, Error> {
        let options = ListOptions { label_selector: label_selector.to_owned(), ..ListOptions::default() };
        let scope = Scope { resource: resource_of::<K>(), namespace: namespace.to_owned() };
        let (items, _) = list_all(&*self.objects, &scope, &options).await.map_err(|s| {
            let target = Target { scope: scope.clone(), name: String::new(), subresource: String::new() };
            failed("list", &target, s)
        })?;
        items.iter().map(|body| decode(body)).collect()
    }

    /// Creates an object in the namespace its metadata names.
    pub async fn create<K: Object>(&self, object: &K) -> Result<K, Error> {
        let target = target_of(object);
        let body = self.objects.create(&target, encode(object)?, &self.options).await;
        decode(&body.map_err(|s| failed("create", &target, s))?)
    }

    /// Replaces an object; refused with a conflict if its resourceVersion is stale.
    pub async fn update<K: Object>(&self, object: &K) -> Result<K, Error> {
        self.replace(object, "").await
    }

    /// Replaces an object's status; refused with a conflict if its resourceVersion is stale.
    pub async fn update_status<K: Object>(&self, object: &K) -> Result<K, Error> {
        self.replace(object, "status").await
    }

    /// Replaces a subresource whose body is the object itself, such as `status` or `finalize`.
    pub async fn replace<K: Object>(&self, object: &K, subresource: &str) -> Result<K, Error> {
        let target = target_of(object).subresource(subresource);
        let body = self.objects.update(&target, encode(object)?, &self.options).await;
        decode(&body.map_err(|s| failed("update", &target, s))?)
    }

    /// Patches an object, or a subresource of it.
    pub async fn patch<K: Object>(
        &self,
        namespace: &str,
        name: &str,
        subresource: &str,
        kind: PatchType,
        patch: &Value,
    ) -> Result<K, Error> {
        let target = Target::new(resource_of::<K>(), namespace, name).subresource(subresource);
        let body = self.objects.patch(&target, kind, Bytes::from(patch.to_string()), &self.options).await;
        decode(&body.map_err(|s| failed("patch", &target, s))?)
    }

    /// JSON merge patch of an object.
    pub async fn merge<K: Object>(&self, namespace: &str, name: &str, patch: &Value) -> Result<K, Error> {
        self.patch(namespace, name, "", PatchType::Merge, patch).await
    }

    /// Deletes an object. That it does not exist is an error; see [`Error::is_not_found`].
    pub async fn delete<K: Object>(
        &self,
        namespace: &str,
        name: &str,
        deletion: &Deletion,
    ) -> Result<(), Error> {
        let target = Target::new(resource_of::<K>(), namespace, name);
        self.objects
            .delete(&target, deletion.body(), &self.options)
            .await
            .map_err(|s| failed("delete", &target, s))?;
        Ok(())
    }

    /// Creates many objects in one call; each has its own outcome, in order.
    pub async fn create_many<K: Object>(&self, objects: &[K]) -> Result<Vec<Result<K, Error>>, Error> {
        let mut writes = Vec::with_capacity(objects.len());
        for object in objects {
            writes.push(Write::Create(target_of(object), encode(object)?));
        }
        let outcomes = self.batch::<K>("create", writes).await?;
        Ok(outcomes.into_iter().map(|outcome| outcome.and_then(|body| decode(&body))).collect())
    }

    /// Deletes many objects of one namespace, named with their UIDs, in one call; each has its own outcome.
    pub async fn delete_many<K: Object>(
        &self,
        namespace: &str,
        doomed: &[(String, String)],
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let target = |name: &str| Target::new(resource_of::<K>(), namespace, name);
        let delete =
            |(name, uid): &(String, String)| Write::Delete(target(name), Deletion::of_uid(uid).body());
        let outcomes = self.batch::<K>("delete", doomed.iter().map(delete).collect()).await?;
        Ok(outcomes.into_iter().map(|outcome| outcome.map(|_| ())).collect())
    }

    async fn batch<K: Object>(
        &self,
        doing: &'static str,
        writes: Vec<Write>,
    ) -> Result<Vec<Result<Bytes, Error>>, Error> {
        let targets: Vec<Target> = writes.iter().map(|w| written(w).clone()).collect();
        let all = Target::new(resource_of::<K>(), "", "");
        let outcomes = self.objects.batch(writes, &self.options).await.map_err(|s| failed(doing, &all, s))?;
        if outcomes.len() != targets.len() {
            return Err(failed(doing, &all, Status::internal("a batch has as many outcomes as writes")));
        }
        let pairs = outcomes.into_iter().zip(targets);
        Ok(pairs.map(|(outcome, target)| outcome.map_err(|s| failed(doing, &target, s))).collect())
    }
}

/// Where an object lives, by its type and metadata.
pub fn target_of<K: Object>(object: &K) -> Target {
    let meta = object.metadata();
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or(""), meta.name.as_deref().unwrap_or(""));
    Target::new(resource_of::<K>(), namespace, name)
}

/// Reads all pages of a list; answers the objects and the resource version to watch from.
pub async fn list_all(
    objects: &dyn Objects,
    scope: &Scope,
    options: &ListOptions,
) -> Result<(Vec<Bytes>, String), Status> {
    let mut options = ListOptions { limit: limits::LIST_PAGE, ..options.clone() };
    let mut items = Vec::new();
    loop {
        let page = objects.list(scope, &options).await?;
        items.extend(page.items);
        if page.continue_token.is_empty() {
            return Ok((items, page.resource_version));
        }
        options.continue_token = page.continue_token;
        options.resource_version.clear();
    }
}

fn written(write: &Write) -> &Target {
    match write {
        Write::Create(target, _)
        | Write::Update(target, _)
        | Write::Patch(target, _, _)
        | Write::Delete(target, _) => target,
    }
}

fn failed(doing: &'static str, target: &Target, source: Status) -> Error {
    let mut what = target.scope.resource.group_resource().to_string();
    if !target.subresource.is_empty() {
        what = format!("{what}/{}", target.subresource);
    }
    for part in [&target.scope.namespace, &target.name] {
        if !part.is_empty() {
            what = format!("{what} {part}");
        }
    }
    Error::Api { doing, what, source: Box::new(source) }
}
