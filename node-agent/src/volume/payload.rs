//! The files a volume shows: computed from ConfigMaps, Secrets, fields and tokens; nothing is written here.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, KeyToPath, ProjectedVolumeSource, Secret, Volume,
};

use crate::env::{Facts, Sources, field};

/// Mode of files when nobody says.
const MODE_DEFAULT: i32 = 0o644;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What is in it.
    pub data: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
}

/// Files by relative path.
pub type Payload = BTreeMap<String, File>;

/// A service account token that a projected volume asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenAsk {
    /// For whom; empty for the API server.
    pub audience: String,
    /// Seconds it shall be good for.
    pub expiration_s: i64,
}

/// What a volume is made from.
pub struct Inputs<'a> {
    /// The pod and its node.
    pub facts: Facts<'a>,
    /// ConfigMaps and Secrets.
    pub sources: &'a dyn Sources,
    /// Tokens that were got for the pod.
    pub tokens: &'a BTreeMap<TokenAsk, String>,
}

/// The tokens a volume needs.
pub fn tokens(volume: &Volume) -> Vec<TokenAsk> {
    let sources = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
    sources.filter_map(|s| s.service_account_token.as_ref()).map(ask).collect()
}

fn ask(token: &k8s_openapi::api::core::v1::ServiceAccountTokenProjection) -> TokenAsk {
    TokenAsk {
        audience: token.audience.clone().unwrap_or_default(),
        expiration_s: token.expiration_seconds.unwrap_or(3_600),
    }
}

/// The files of a volume; `None` if the volume is not made of files.
pub fn of(inputs: &Inputs<'_>, volume: &Volume) -> Option<Result<Payload, String>> {
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode;
        return Some(config_map(inputs, &source.name, source.items.as_deref(), mode, source.optional));
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or("");
        return Some(secret(inputs, name, source.items.as_deref(), source.default_mode, source.optional));
    }
    if let Some(source) = &volume.downward_api {
        return Some(downward(inputs, source.items.as_deref(), source.default_mode));
    }
    volume.projected.as_ref().map(|source| projected(inputs, source))
}

fn projected(inputs: &Inputs<'_>, source: &ProjectedVolumeSource) -> Result<Payload, String> {
    let mode = source.default_mode;
    let mut payload = Payload::new();
    for part in source.sources.iter().flatten() {
        if let Some(map) = &part.config_map {
            payload.extend(config_map(inputs, &map.name, map.items.as_deref(), mode, map.optional)?);
        }
        if let Some(from) = &part.secret {
            payload.extend(secret(inputs, &from.name, from.items.as_deref(), mode, from.optional)?);
        }
        if let Some(from) = &part.downward_api {
            payload.extend(downward(inputs, from.items.as_deref(), mode)?);
        }
        if let Some(token) = &part.service_account_token {
            let text = inputs.tokens.get(&ask(token)).ok_or("the service account token is not there yet")?;
            put(&mut payload, &token.path, text.clone().into_bytes(), token_mode(inputs, mode))?;
        }
        if part.cluster_trust_bundle.is_some() || part.pod_certificate.is_some() {
            return Err(
                "projected volumes with cluster trust bundles or pod certificates are not supported".into()
            );
        }
    }
    Ok(payload)
}

/// A token is for its reader only, unless the pod shares its files with a group (as upstream decides).
fn token_mode(inputs: &Inputs<'_>, default: Option<i32>) -> Option<i32> {
    let spec = crate::pod::spec::of(inputs.facts.pod);
    let context = spec.security_context.as_ref();
    let grouped = context.is_some_and(|c| c.fs_group.is_some());
    if grouped { Some(0o600) } else { default }
}

fn config_map(
    inputs: &Inputs<'_>,
    name: &str,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: Option<bool>,
) -> Result<Payload, String> {
    let optional = optional.unwrap_or(false);
    let Some(map) = inputs.sources.config_map(name)? else {
        return if optional { Ok(Payload::new()) } else { Err(format!("configmap {name:?} not found")) };
    };
    let missing = |key: &str| format!("configmap references non-existent config key: {key}");
    select(&entries_of_map(&map), items, mode, optional, missing)
}

fn entries_of_map(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    text.chain(binary).collect()
}

fn secret(
    inputs: &Inputs<'_>,
    name: &str,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: Option<bool>,
) -> Result<Payload, String> {
    let optional = optional.unwrap_or(false);
    let Some(secret) = inputs.sources.secret(name)? else {
        return if optional { Ok(Payload::new()) } else { Err(format!("secret {name:?} not found")) };
    };
    let missing = |key: &str| format!("references non-existent secret key: {key}");
    select(&entries_of_secret(&secret), items, mode, optional, missing)
}

fn entries_of_secret(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

fn select(
    entries: &BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: bool,
    missing: impl Fn(&str) -> String,
) -> Result<Payload, String> {
    let mut payload = Payload::new();
    match items.filter(|items| !items.is_empty()) {
        None => {
            for (key, data) in entries {
                put(&mut payload, key, data.clone(), mode)?;
            }
        }
        Some(items) => {
            for item in items {
                match entries.get(&item.key) {
                    Some(data) => put(&mut payload, &item.path, data.clone(), item.mode.or(mode))?,
                    None if optional => {}
                    None => return Err(missing(&item.key)),
                }
            }
        }
    }
    Ok(payload)
}

fn downward(
    inputs: &Inputs<'_>,
    items: Option<&[DownwardAPIVolumeFile]>,
    mode: Option<i32>,
) -> Result<Payload, String> {
    let mut payload = Payload::new();
    let nobody = Container::default();
    for item in items.unwrap_or(&[]) {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => field::of_pod(&inputs.facts, &field.field_path)?,
            (None, Some(resource)) => field::of_resources(&inputs.facts, &nobody, resource)?,
            (None, None) => String::new(),
        };
        put(&mut payload, &item.path, text.into_bytes(), item.mode.or(mode))?;
    }
    Ok(payload)
}

fn put(payload: &mut Payload, path: &str, data: Vec<u8>, mode: Option<i32>) -> Result<(), String> {
    if !is_inside(path) {
        return Err(format!("invalid path: {path:?} must be relative and may not contain '..'"));
    }
    let mode = u32::try_from(mode.unwrap_or(MODE_DEFAULT)).unwrap_or(0) & 0o777;
    payload.insert(path.to_owned(), File { data, mode });
    Ok(())
}

/// Whether a relative path stays inside the directory it is relative to.
pub fn is_inside(path: &str) -> bool {
    let parts = || std::path::Path::new(path).components();
    !path.is_empty() && parts().all(|part| matches!(part, std::path::Component::Normal(_)))
}
