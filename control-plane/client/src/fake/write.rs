//! The writing verbs: what the API server does to an object between the request and the store.

use api::{
    Status, meta,
    objects::{Fence, Target, Write, WriteOptions},
};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::state::{State, key};
use crate::clock;

/// Characters of a generated name's suffix, without vowels, as upstream.
const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Seconds a bound pod has to end unless it says otherwise.
const GRACE_SECONDS: i64 = 30;

impl State {
    pub(super) fn perform(&mut self, write: Write, options: &WriteOptions) -> Result<Value, Status> {
        if let Some((left, status)) = &mut self.failing
            && *left > 0
        {
            *left -= 1;
            return Err(status.clone());
        }
        if let Some(fence) = &options.fence {
            self.check_fence(fence)?;
        }
        match write {
            Write::Create(target, body) => self.create(target, parse(&body)?),
            Write::Update(target, body) => self.update(&target, parse(&body)?),
            Write::Patch(target, kind, body) => {
                if kind == api::objects::PatchType::Json {
                    return Err(Status::bad_request("the fake does not apply JSON patches"));
                }
                self.patch(&target, &parse(&body)?)
            }
            Write::Delete(target, body) => self.delete(&target, &body),
        }
    }

    fn check_fence(&self, fence: &Fence) -> Result<(), Status> {
        let leases = api::GroupVersionResource::new("coordination.k8s.io", "v1", "leases");
        let target = Target::new(leases.clone(), &fence.namespace, &fence.name);
        let spec = self.get(&target).ok().and_then(|lease| lease.get("spec"));
        let holder = spec.and_then(|s| s.get("holderIdentity")).and_then(Value::as_str).unwrap_or("");
        let transitions = spec.and_then(|s| s.get("leaseTransitions")).and_then(Value::as_i64).unwrap_or(0);
        if holder == fence.holder && transitions == fence.transitions {
            return Ok(());
        }
        Err(Status::conflict(&leases.group_resource(), &fence.name, "the writer is no longer the leader"))
    }

    fn create(&mut self, mut target: Target, mut object: Value) -> Result<Value, Status> {
        match target.subresource.as_str() {
            "" => {}
            "binding" => return self.bind(&target, &object),
            "eviction" => {
                target.subresource.clear();
                return self.delete(&target, b"");
            }
            other => return Err(Status::bad_request(format!("the fake cannot create {other}"))),
        }
        self.check_namespace(&target)?;
        name_object(&mut target, &mut object)?;
        if self.objects.contains_key(&key(&target)) {
            return Err(Status::already_exists(&target.scope.resource.group_resource(), &target.name));
        }
        let metadata = metadata_mut(&mut object)?;
        metadata.insert("uid".into(), json!(uuid::Uuid::new_v4().to_string()));
        metadata.insert("creationTimestamp".into(), json!(clock::time()));
        metadata.insert("generation".into(), json!(1));
        if target.scope.resource.resource == "namespaces" {
            object["spec"]["finalizers"] = json!(["kubernetes"]);
            object["status"]["phase"] = json!("Active");
        }
        if target.scope.resource.resource == "pods" && object.pointer("/status/phase").is_none() {
            object["status"]["phase"] = json!("Pending");
        }
        self.store(&target, object)
    }

    fn check_namespace(&self, target: &Target) -> Result<(), Status> {
        let namespaces = api::GroupVersionResource::new("", "v1", "namespaces");
        let namespace = &target.scope.namespace;
        let Ok(found) = self.get(&Target::new(namespaces, "", namespace)) else { return Ok(()) };
        if !namespace.is_empty() && meta::is_terminating(found) {
            let why = format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            );
            return Err(Status::forbidden(&target.scope.resource.group_resource(), &target.name, &why));
        }
        Ok(())
    }

    fn bind(&mut self, target: &Target, binding: &Value) -> Result<Value, Status> {
        let mut pod = self.get(target)?.clone();
        if pod.pointer("/spec/nodeName").and_then(Value::as_str).is_some_and(|n| !n.is_empty()) {
            let resource = target.scope.resource.group_resource();
            return Err(Status::conflict(&resource, &target.name, "pod is already assigned to a node"));
        }
        pod["spec"]["nodeName"] = binding.pointer("/target/name").cloned().unwrap_or_default();
        self.store(target, pod)
    }

    fn update(&mut self, target: &Target, new: Value) -> Result<Value, Status> {
        let old = self.get(target)?.clone();
        check_preconditions(target, &old, meta::uid(&new), meta::resource_version(&new))?;
        let merged = match target.subresource.as_str() {
            "" => updated_main(&old, new),
            "status" => updated_part(&old, &new, "status"),
            "finalize" => updated_part(&old, &new, "spec"),
            other => return Err(Status::bad_request(format!("the fake cannot update {other}"))),
        };
        self.finish(target, &old, merged)
    }

    fn patch(&mut self, target: &Target, patch: &Value) -> Result<Value, Status> {
        let mut new = self.get(target)?.clone();
        merge(&mut new, patch);
        if patch.pointer("/metadata/resourceVersion").is_none() {
            let current = self.get(target)?;
            new["metadata"]["resourceVersion"] = json!(meta::resource_version(current));
        }
        self.update(target, new)
    }

    fn delete(&mut self, target: &Target, body: &[u8]) -> Result<Value, Status> {
        let options: Value = if body.is_empty() { json!({}) } else { parse_slice(body)? };
        let old = self.get(target)?.clone();
        let wanted = |path: &str| options.pointer(path).and_then(Value::as_str).unwrap_or("");
        let (uid, version) = (wanted("/preconditions/uid"), wanted("/preconditions/resourceVersion"));
        check_preconditions(target, &old, uid, version)?;
        let mut new = old.clone();
        let mut finalizers: Vec<String> = meta::finalizers(&old).map(str::to_owned).collect();
        let wanted = match options.get("propagationPolicy").and_then(Value::as_str) {
            Some("Foreground") => Some("foregroundDeletion"),
            Some("Orphan") => Some("orphan"),
            _ => None,
        };
        if let Some(finalizer) = wanted
            && !finalizers.iter().any(|f| f == finalizer)
        {
            finalizers.push(finalizer.to_owned());
        }
        let grace = grace_seconds(target, &old, &options);
        let held = !finalizers.is_empty() || is_namespace(target) && has_spec_finalizers(&old);
        if !held && grace == 0 {
            self.remove(target)?;
            return Ok(old);
        }
        if !finalizers.is_empty() {
            new["metadata"]["finalizers"] = json!(finalizers);
        }
        if !meta::is_terminating(&old) {
            new["metadata"]["deletionTimestamp"] = json!(clock::time());
        }
        new["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        if is_namespace(target) {
            new["status"]["phase"] = json!("Terminating");
        }
        if new == old { Ok(old) } else { self.store(target, new) }
    }

    /// Stores an updated object, or removes it if this was the last thing that kept it.
    fn finish(&mut self, target: &Target, old: &Value, new: Value) -> Result<Value, Status> {
        let held =
            meta::finalizers(&new).next().is_some() || is_namespace(target) && has_spec_finalizers(&new);
        let graceful =
            new.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0) > 0;
        if meta::is_terminating(&new) && !held && !graceful {
            self.remove(target)?;
            return Ok(new);
        }
        if new == *old { Ok(new) } else { self.store(target, new) }
    }

    fn store(&mut self, target: &Target, object: Value) -> Result<Value, Status> {
        let stored = self.commit(key(target), Some(object))?;
        Ok(stored.expect("a stored object is answered"))
    }

    fn remove(&mut self, target: &Target) -> Result<(), Status> {
        self.commit(key(target), None).map(|_| ())
    }
}

fn parse(body: &Bytes) -> Result<Value, Status> {
    parse_slice(body)
}

fn parse_slice(body: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(body).map_err(|e| Status::bad_request(format!("undecodable body: {e}")))
}

fn metadata_mut(object: &mut Value) -> Result<&mut Map<String, Value>, Status> {
    let object = object.as_object_mut().ok_or_else(|| Status::bad_request("an object is a map"))?;
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    metadata.as_object_mut().ok_or_else(|| Status::bad_request("metadata is a map"))
}

fn name_object(target: &mut Target, object: &mut Value) -> Result<(), Status> {
    let metadata = metadata_mut(object)?;
    let text = |field: &str| metadata.get(field).and_then(Value::as_str).unwrap_or("").to_owned();
    let (name, prefix) = (text("name"), text("generateName"));
    if !name.is_empty() {
        target.name = name;
    } else if !prefix.is_empty() {
        let letter = |_| char::from(SUFFIX[rand::random_range(0..SUFFIX.len())]);
        target.name = format!("{prefix}{}", (0..5).map(letter).collect::<String>());
    }
    if target.name.is_empty() {
        return Err(Status::bad_request("name or generateName is required"));
    }
    metadata.insert("name".into(), json!(target.name));
    if !target.scope.namespace.is_empty() {
        metadata.insert("namespace".into(), json!(target.scope.namespace));
    }
    Ok(())
}

fn check_preconditions(target: &Target, object: &Value, uid: &str, version: &str) -> Result<(), Status> {
    let resource = target.scope.resource.group_resource();
    if !uid.is_empty() && uid != meta::uid(object) {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta::uid(object)
        );
        return Err(Status::conflict(&resource, &target.name, &why));
    }
    if !version.is_empty() && version != meta::resource_version(object) {
        return Err(Status::modified(&resource, &target.name));
    }
    Ok(())
}

/// The new object with the status and the server's metadata of the old one.
fn updated_main(old: &Value, mut new: Value) -> Value {
    for field in
        ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"]
    {
        match old["metadata"].get(field) {
            Some(value) => new["metadata"][field] = value.clone(),
            None => {
                if let Some(metadata) = new["metadata"].as_object_mut() {
                    metadata.remove(field);
                }
            }
        }
    }
    if let Some(status) = old.get("status") {
        new["status"] = status.clone();
    }
    let changed = old.get("spec") != new.get("spec");
    new["metadata"]["generation"] = json!(meta::generation(old) + i64::from(changed));
    new
}

fn updated_part(old: &Value, new: &Value, part: &str) -> Value {
    let mut merged = old.clone();
    merged[part] = new.get(part).cloned().unwrap_or_else(|| json!({}));
    merged
}

fn grace_seconds(target: &Target, object: &Value, options: &Value) -> i64 {
    let bound = object.pointer("/spec/nodeName").and_then(Value::as_str).is_some_and(|n| !n.is_empty());
    let phase = object.pointer("/status/phase").and_then(Value::as_str).unwrap_or("");
    if target.scope.resource.resource != "pods" || !bound || matches!(phase, "Succeeded" | "Failed") {
        return 0;
    }
    let own = object
        .pointer("/spec/terminationGracePeriodSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(GRACE_SECONDS);
    options.get("gracePeriodSeconds").and_then(Value::as_i64).unwrap_or(own).max(0)
}

fn is_namespace(target: &Target) -> bool {
    target.scope.resource.resource == "namespaces" && target.scope.resource.group.is_empty()
}

fn has_spec_finalizers(object: &Value) -> bool {
    object.pointer("/spec/finalizers").and_then(Value::as_array).is_some_and(|f| !f.is_empty())
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let fields = target.as_object_mut().expect("made an object above");
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.as_str()).or_insert(Value::Null), value);
        }
    }
}
