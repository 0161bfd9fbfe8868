//! Strategic merge patch: a merge patch that knows which lists are maps in disguise.
//!
//! What merges and by which key comes from the schema table (`x-kubernetes-patch-strategy`,
//! `x-kubernetes-patch-merge-key`). The directives are upstream's: `$patch` (`replace`, `merge`, `delete`),
//! `$retainKeys`, `$setElementOrder/<list>` and `$deleteFromPrimitiveList/<list>`; behaviour follows
//! k8s.io/apimachinery `pkg/util/strategicpatch`.

use serde_json::{Map, Value};

use crate::{
    schema::{PatchStrategy, Shape, Table, TypeId},
    status::Status,
};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";

/// Applies `patch` to `object`, an object of type `ty`, and returns the result.
pub fn apply(table: &Table, ty: TypeId, object: &Value, patch: &Value) -> Result<Value, Status> {
    let (Value::Object(object), Value::Object(patch)) = (object, patch) else {
        return Err(Status::bad_request("a strategic merge patch must be a JSON object"));
    };
    Merger { table }.object(Some(ty), object.clone(), patch.clone()).map(Value::Object)
}

/// What the schema says about a field: its type and how patches treat it.
#[derive(Default)]
struct Rule {
    ty: Option<TypeId>,
    strategy: PatchStrategy,
}

struct Merger<'a> {
    table: &'a Table,
}

impl Merger<'_> {
    fn rule(&self, ty: Option<TypeId>, field: &str) -> Rule {
        let Some(ty) = ty else { return Rule::default() };
        if let Some(field) = self.table.field(ty, field) {
            return Rule { ty: Some(field.ty), strategy: field.patch.clone() };
        }
        match &self.table.get(ty).shape {
            Shape::Map { value, .. } => Rule { ty: Some(*value), strategy: PatchStrategy::default() },
            _ => Rule::default(),
        }
    }

    fn item_type(&self, ty: Option<TypeId>) -> Option<TypeId> {
        match &self.table.get(ty?).shape {
            Shape::List { item, .. } => Some(*item),
            _ => None,
        }
    }

    fn object(
        &self,
        ty: Option<TypeId>,
        mut original: Map<String, Value>,
        mut patch: Map<String, Value>,
    ) -> Result<Map<String, Value>, Status> {
        match patch.remove(DIRECTIVE) {
            None => {}
            Some(Value::String(directive)) => match directive.as_str() {
                "replace" => return Ok(cleaned(patch)),
                "delete" => return Ok(Map::new()),
                "merge" => {}
                other => return Err(bad(format!("unknown patch type: {other:?}"))),
            },
            Some(other) => return Err(bad(format!("{DIRECTIVE} must be a string, found {other}"))),
        }
        if let Some(keys) = patch.remove(RETAIN_KEYS) {
            retain(&mut original, &patch, &keys)?;
        }
        let (orders, deletions, fields) = split_directives(patch)?;
        let before: Vec<Value> =
            orders.iter().map(|(name, _)| original.get(name).cloned().unwrap_or_default()).collect();
        for (name, value) in fields {
            self.field(ty, &mut original, name, value)?;
        }
        for (name, values) in deletions {
            if let Some(Value::Array(list)) = original.get_mut(&name) {
                list.retain(|item| !values.contains(item));
            }
        }
        for ((name, order), before) in orders.iter().zip(before) {
            self.reorder(ty, &mut original, name, order, &before);
        }
        Ok(original)
    }

    fn field(
        &self,
        ty: Option<TypeId>,
        original: &mut Map<String, Value>,
        name: String,
        value: Value,
    ) -> Result<(), Status> {
        let rule = self.rule(ty, &name);
        let current = match value {
            Value::Null => {
                original.remove(&name);
                return Ok(());
            }
            _ => original.remove(&name),
        };
        let merged = match (current, value) {
            (Some(Value::Object(current)), Value::Object(value)) if !rule.strategy.replace => {
                Value::Object(self.object(rule.ty, current, value)?)
            }
            (None, Value::Object(value)) => Value::Object(self.object(rule.ty, Map::new(), value)?),
            (current, Value::Array(value)) if rule.strategy.merge => {
                let current = match current {
                    Some(Value::Array(current)) => current,
                    _ => Vec::new(),
                };
                Value::Array(self.list(&rule, current, value)?)
            }
            (_, Value::Object(value)) => Value::Object(cleaned(value)),
            (_, value) => value,
        };
        original.insert(name, merged);
        Ok(())
    }

    fn list(&self, rule: &Rule, current: Vec<Value>, patch: Vec<Value>) -> Result<Vec<Value>, Status> {
        match rule.strategy.merge_key.as_deref() {
            Some(key) if current.iter().chain(&patch).all(Value::is_object) => {
                self.objects(self.item_type(rule.ty), key, current, patch)
            }
            _ => {
                let mut merged = current;
                for item in patch {
                    if !merged.contains(&item) {
                        merged.push(item);
                    }
                }
                Ok(merged)
            }
        }
    }

    fn objects(
        &self,
        ty: Option<TypeId>,
        key: &str,
        mut merged: Vec<Value>,
        patch: Vec<Value>,
    ) -> Result<Vec<Value>, Status> {
        if patch.iter().any(|item| item.get(DIRECTIVE).is_some_and(|d| d == "replace")) {
            let items = patch.into_iter().filter(|item| item.get(DIRECTIVE).is_none());
            return Ok(items
                .map(|item| if let Value::Object(item) = item { Value::Object(cleaned(item)) } else { item })
                .collect());
        }
        for item in patch {
            let Value::Object(item) = item else { continue };
            let id = item.get(key).cloned().ok_or_else(|| {
                bad(format!(
                    "map: {} does not contain declared merge key: {key}",
                    Value::Object(item.clone())
                ))
            })?;
            if item.get(DIRECTIVE).is_some_and(|d| d == "delete") {
                merged.retain(|other| other.get(key) != Some(&id));
                continue;
            }
            match merged.iter_mut().find(|other| other.get(key) == Some(&id)) {
                Some(slot) => {
                    let Value::Object(current) = std::mem::take(slot) else { continue };
                    *slot = Value::Object(self.object(ty, current, item)?);
                }
                None => merged.push(Value::Object(self.object(ty, Map::new(), item)?)),
            }
        }
        Ok(merged)
    }

    /// Brings a merged list into the order the patch asks for. Items that the patch does not name stay behind
    /// those they followed in `before`, the list as it was on the server.
    fn reorder(
        &self,
        ty: Option<TypeId>,
        object: &mut Map<String, Value>,
        name: &str,
        order: &[Value],
        before: &Value,
    ) {
        let rule = self.rule(ty, name);
        let Some(Value::Array(list)) = object.get_mut(name) else { return };
        let id = |item: &Value| match rule.strategy.merge_key.as_deref() {
            Some(key) if item.is_object() => item.get(key).cloned().unwrap_or_default(),
            _ => item.clone(),
        };
        let wanted: Vec<Value> = order.iter().map(id).collect();
        let server: Vec<Value> = before.as_array().into_iter().flatten().map(id).collect();
        let place = |item: &Value| server.iter().position(|s| *s == id(item));
        let (mut named, kept): (Vec<Value>, Vec<Value>) =
            std::mem::take(list).into_iter().partition(|item| wanted.contains(&id(item)));
        named.sort_by_key(|item| wanted.iter().position(|w| *w == id(item)));
        let mut named = named.into_iter().peekable();
        for item in kept {
            let at = place(&item);
            while named
                .peek()
                .is_some_and(|next| place(next).is_none_or(|next| at.is_none_or(|at| at > next)))
            {
                list.extend(named.next());
            }
            list.push(item);
        }
        list.extend(named);
    }
}

type Directives = Vec<(String, Vec<Value>)>;

fn split_directives(
    patch: Map<String, Value>,
) -> Result<(Directives, Directives, Map<String, Value>), Status> {
    let (mut orders, mut deletions, mut fields) = (Vec::new(), Vec::new(), Map::new());
    for (name, value) in patch {
        let (directives, list) = if let Some(list) = name.strip_prefix(SET_ORDER) {
            (&mut orders, list)
        } else if let Some(list) = name.strip_prefix(DELETE_PRIMITIVES) {
            (&mut deletions, list)
        } else {
            fields.insert(name, value);
            continue;
        };
        let Value::Array(values) = value else {
            return Err(bad(format!("{name} must be a list")));
        };
        directives.push((list.to_owned(), values));
    }
    Ok((orders, deletions, fields))
}

fn retain(original: &mut Map<String, Value>, patch: &Map<String, Value>, keys: &Value) -> Result<(), Status> {
    let keys: Vec<&str> = keys.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let stray = patch
        .iter()
        .find(|(name, value)| !value.is_null() && !name.starts_with('$') && !keys.contains(&name.as_str()));
    if let Some((name, _)) = stray {
        return Err(bad(format!("{RETAIN_KEYS} must contain every field of the patch, {name:?} is missing")));
    }
    original.retain(|name, _| keys.contains(&name.as_str()));
    Ok(())
}

/// A subtree that is taken as it is still must not carry directives or nulls into storage.
fn cleaned(map: Map<String, Value>) -> Map<String, Value> {
    map.into_iter()
        .filter(|(name, value)| !name.starts_with('$') && !value.is_null())
        .map(|(name, value)| (name, clean(value)))
        .collect()
}

fn clean(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(cleaned(map)),
        Value::Array(items) => Value::Array(items.into_iter().map(clean).collect()),
        other => other,
    }
}

fn bad(message: String) -> Status {
    Status::bad_request(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::GroupVersionKind;
    use serde_json::json;

    fn check(object: Value, patch: Value, expect: Value) {
        let table = Table::builtin();
        let ty = table.kind(&GroupVersionKind::new("apps", "v1", "Deployment")).unwrap();
        assert_eq!(apply(table, ty, &object, &patch).unwrap(), expect, "{patch}");
    }

    fn containers(list: Value) -> Value {
        json!({"spec": {"template": {"spec": {"containers": list}}}})
    }

    #[test]
    fn lists_with_a_merge_key_merge_by_it() {
        check(
            containers(json!([{"name": "a", "image": "x:1", "tty": true}, {"name": "b", "image": "y"}])),
            containers(json!([{"name": "a", "image": "x:2"}, {"name": "c", "image": "z"}])),
            containers(
                json!([{"name": "a", "image": "x:2", "tty": true}, {"name": "b", "image": "y"}, {"name": "c", "image": "z"}]),
            ),
        );
    }

    #[test]
    fn items_are_deleted_and_lists_replaced_by_directive() {
        let two = json!([{"name": "a"}, {"name": "b"}]);
        check(
            containers(two.clone()),
            containers(json!([{"name": "a", "$patch": "delete"}])),
            containers(json!([{"name": "b"}])),
        );
        check(
            containers(two),
            containers(json!([{"name": "c"}, {"$patch": "replace"}])),
            containers(json!([{"name": "c"}])),
        );
    }

    #[test]
    fn element_order_is_set_and_unnamed_items_keep_their_place() {
        let patch = json!({"spec": {"template": {"spec": {
            "$setElementOrder/containers": [{"name": "new"}, {"name": "b"}, {"name": "a"}],
            "containers": [{"name": "new"}]}}}});
        check(
            containers(json!([{"name": "a"}, {"name": "b"}, {"name": "injected"}])),
            patch,
            containers(json!([{"name": "new"}, {"name": "b"}, {"name": "a"}, {"name": "injected"}])),
        );
    }

    #[test]
    fn primitive_lists_unite_and_lose_what_is_named() {
        let finalizers = |list: Value| json!({"metadata": {"finalizers": list}});
        check(
            finalizers(json!(["a", "b"])),
            finalizers(json!(["b", "c"])),
            finalizers(json!(["a", "b", "c"])),
        );
        check(
            finalizers(json!(["a", "b"])),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}),
            finalizers(json!(["b"])),
        );
    }

    #[test]
    fn retain_keys_clears_the_other_member_of_a_union() {
        check(
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
            json!({"spec": {"strategy": {"type": "Recreate"}}}),
        );
    }

    #[test]
    fn nulls_remove_and_atomic_lists_replace() {
        check(
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"replicas": 3}}),
            json!({"metadata": {"labels": {"a": null, "c": "3"}}, "spec": {"replicas": null}}),
            json!({"metadata": {"labels": {"b": "2", "c": "3"}}, "spec": {}}),
        );
        check(
            containers(json!([{"name": "a", "command": ["x", "y"]}])),
            containers(json!([{"name": "a", "command": ["z"]}])),
            containers(json!([{"name": "a", "command": ["z"]}])),
        );
    }

    #[test]
    fn an_item_without_its_merge_key_is_refused() {
        let table = Table::builtin();
        let ty = table.kind(&GroupVersionKind::new("apps", "v1", "Deployment")).unwrap();
        let status =
            apply(table, ty, &containers(json!([])), &containers(json!([{"image": "x"}]))).unwrap_err();
        assert!(status.message.contains("does not contain declared merge key: name"), "{}", status.message);
    }
}
