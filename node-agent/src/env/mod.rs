//! The environment of a container: services, ConfigMaps, Secrets, fields of the pod, and what refers to what.
//!
//! Resolution is pure: everything it needs is in [`Sources`]. Order and precedence are upstream's: service
//! variables give way to `envFrom`, which gives way to `env`; later entries override earlier ones.

pub mod expand;
pub mod field;
pub mod services;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};

/// What variables can refer to.
pub trait Sources {
    /// A ConfigMap of the pod's namespace; an error if it cannot be known now.
    fn config_map(&self, name: &str) -> Result<Option<std::sync::Arc<ConfigMap>>, String>;
    /// A Secret of the pod's namespace; an error if it cannot be known now.
    fn secret(&self, name: &str) -> Result<Option<std::sync::Arc<Secret>>, String>;
}

/// Facts a variable can show.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The pod, with the addresses it has now.
    pub pod: &'a Pod,
    /// Addresses of the pod.
    pub pod_ips: &'a [String],
    /// Addresses of the node.
    pub host_ips: &'a [String],
    /// What containers without limits may use.
    pub allocatable: &'a field::Allocatable,
}

/// The variables of a container, in the order they are handed over.
pub fn of(
    facts: &Facts<'_>,
    container: &Container,
    services: BTreeMap<String, String>,
    sources: &dyn Sources,
) -> Result<Vec<(String, String)>, String> {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut ordered: Vec<String> = Vec::new();
    for (name, value) in from_whole_objects(container, sources)? {
        set(&mut known, &mut ordered, name, value);
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(text), _) if !text.is_empty() => {
                let lookup = |name: &str| known.get(name).or_else(|| services.get(name)).cloned();
                Some(expand::expand(text, lookup))
            }
            (_, Some(source)) => from_source(facts, container, source, sources)?,
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            set(&mut known, &mut ordered, variable.name.clone(), value);
        }
    }
    let mut all: Vec<(String, String)> = Vec::with_capacity(ordered.len() + services.len());
    for name in ordered {
        let value = known.get(&name).cloned().unwrap_or_default();
        all.push((name, value));
    }
    all.extend(services.into_iter().filter(|(name, _)| !known.contains_key(name)));
    Ok(all)
}

fn set(known: &mut BTreeMap<String, String>, ordered: &mut Vec<String>, name: String, value: String) {
    if known.insert(name.clone(), value).is_none() {
        ordered.push(name);
    }
}

fn from_whole_objects(container: &Container, sources: &dyn Sources) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or("");
        if let Some(r#ref) = &source.config_map_ref {
            let map = sources.config_map(&r#ref.name)?;
            let map = present(map, r#ref.optional, "configmap", &r#ref.name)?;
            let data = map.iter().filter_map(|m| m.data.as_ref()).flatten();
            found.extend(data.map(|(key, value)| (format!("{prefix}{key}"), value.clone())));
        }
        if let Some(r#ref) = &source.secret_ref {
            let secret = sources.secret(&r#ref.name)?;
            let secret = present(secret, r#ref.optional, "secret", &r#ref.name)?;
            let data = secret.iter().filter_map(|s| s.data.as_ref()).flatten();
            found.extend(data.map(|(key, value)| (format!("{prefix}{key}"), text(&value.0))));
        }
    }
    Ok(found)
}

fn from_source(
    facts: &Facts<'_>,
    container: &Container,
    source: &EnvVarSource,
    sources: &dyn Sources,
) -> Result<Option<String>, String> {
    if let Some(field) = &source.field_ref {
        return field::of_pod(facts, &field.field_path).map(Some);
    }
    if let Some(resource) = &source.resource_field_ref {
        return field::of_resources(facts, container, resource).map(Some);
    }
    if let Some(selector) = &source.config_map_key_ref {
        let map =
            present(sources.config_map(&selector.name)?, selector.optional, "configmap", &selector.name)?;
        let Some(map) = map else { return Ok(None) };
        let value = map.data.as_ref().and_then(|d| d.get(&selector.key)).cloned();
        return key(value, selector.optional, &selector.key, "ConfigMap", facts, &selector.name);
    }
    if let Some(selector) = &source.secret_key_ref {
        let secret = present(sources.secret(&selector.name)?, selector.optional, "secret", &selector.name)?;
        let Some(secret) = secret else { return Ok(None) };
        let value = secret.data.as_ref().and_then(|d| d.get(&selector.key)).map(|v| text(&v.0));
        return key(value, selector.optional, &selector.key, "Secret", facts, &selector.name);
    }
    Ok(Some(String::new()))
}

fn present<T>(found: Option<T>, optional: Option<bool>, what: &str, name: &str) -> Result<Option<T>, String> {
    if found.is_none() && !optional.unwrap_or(false) {
        return Err(format!("{what} {name:?} not found"));
    }
    Ok(found)
}

fn key(
    value: Option<String>,
    optional: Option<bool>,
    key: &str,
    kind: &str,
    facts: &Facts<'_>,
    name: &str,
) -> Result<Option<String>, String> {
    if value.is_none() && !optional.unwrap_or(false) {
        let namespace = crate::pod::spec::namespace(facts.pod);
        return Err(format!("couldn't find key {key} in {kind} {namespace}/{name}"));
    }
    Ok(value)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests;
