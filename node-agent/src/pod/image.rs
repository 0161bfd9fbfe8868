//! Getting a container's image: pull policy, credentials, references.

use k8s_openapi::api::core::v1::{Container, Secret};
use serde_json::Value;

use crate::cri::v1;

/// Default registry of names without one.
const REGISTRY_DEFAULT: &str = "docker.io";
/// Key of credentials for the default registry in docker configuration files.
const REGISTRY_DEFAULT_KEY: &str = "index.docker.io";

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Before every start.
    Always,
    /// If it is not there.
    IfNotPresent,
    /// Not at all.
    Never,
}

/// The policy of a container; `latest` (also by default) is always pulled unless it says otherwise.
pub fn policy(container: &Container) -> Policy {
    match container.image_pull_policy.as_deref() {
        Some("Always") => Policy::Always,
        Some("Never") => Policy::Never,
        Some("IfNotPresent") => Policy::IfNotPresent,
        _ => {
            let image = container.image.as_deref().unwrap_or("");
            let (_, tag, digest) = split(image);
            if digest.is_none() && tag.is_none_or(|t| t == "latest") {
                Policy::Always
            } else {
                Policy::IfNotPresent
            }
        }
    }
}

/// Name, tag and digest of a reference.
fn split(image: &str) -> (&str, Option<&str>, Option<&str>) {
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag), digest),
        _ => (rest, None, digest),
    }
}

/// The reference with its default tag; an error in upstream's words if it is none.
pub fn with_tag(image: &str) -> Result<String, String> {
    let (name, tag, digest) = split(image);
    let valid_name = !name.is_empty()
        && name.split('/').enumerate().all(|(i, part)| is_component(part, i == 0 && name.contains('/')));
    let word = |text: &str| {
        !text.is_empty()
            && text.len() <= 128
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    let valid_digest = digest.is_none_or(|d| {
        d.split_once(':').is_some_and(|(algorithm, hex)| {
            word(algorithm) && hex.len() >= 32 && hex.chars().all(|c| c.is_ascii_hexdigit())
        })
    });
    if !valid_name || !tag.is_none_or(word) || !valid_digest {
        return Err(format!(
            "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: invalid reference format"
        ));
    }
    if tag.is_none() && digest.is_none() { Ok(format!("{image}:latest")) } else { Ok(image.to_owned()) }
}

fn is_component(part: &str, first: bool) -> bool {
    let host = first && part.contains([':', '.']) || part == "localhost";
    let valid = |c: char| {
        c.is_ascii_lowercase()
            || c.is_ascii_digit()
            || "._-".contains(c)
            || host && (c == ':' || c.is_ascii_uppercase())
    };
    !part.is_empty() && part.chars().all(valid)
}

/// The registry an image comes from.
pub fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => REGISTRY_DEFAULT,
    }
}

/// Credentials for an image among pull secrets: the most specific entry that matches.
pub fn credentials<'a>(image: &str, secrets: impl Iterator<Item = &'a Secret>) -> Option<v1::AuthConfig> {
    let mut best: Option<(usize, v1::AuthConfig)> = None;
    for (key, entry) in secrets.flat_map(auths) {
        let bare = key.trim_start_matches("https://").trim_start_matches("http://");
        let bare = bare.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
        if matches(image, bare) && best.as_ref().is_none_or(|(length, _)| bare.len() > *length) {
            best = Some((bare.len(), auth(&entry, registry(image))));
        }
    }
    best.map(|(_, auth)| auth)
}

fn matches(image: &str, key: &str) -> bool {
    let registry = registry(image);
    if key == registry || (registry == REGISTRY_DEFAULT && key == REGISTRY_DEFAULT_KEY) {
        return true;
    }
    if let Some(suffix) = key.strip_prefix("*.") {
        return registry.split_once('.').is_some_and(|(_, rest)| rest == suffix);
    }
    key.contains('/')
        && image.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']))
}

fn auths(secret: &Secret) -> Vec<(String, Value)> {
    let data = |key: &str| secret.data.as_ref()?.get(key).map(|bytes| bytes.0.as_slice());
    let parsed = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    let entries = match data(".dockerconfigjson") {
        Some(bytes) => parsed(bytes).and_then(|v| v.get("auths").cloned()),
        None => data(".dockercfg").and_then(parsed),
    };
    match entries {
        Some(Value::Object(map)) => map.into_iter().collect(),
        _ => Vec::new(),
    }
}

fn auth(entry: &Value, registry: &str) -> v1::AuthConfig {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let mut auth = v1::AuthConfig {
        username: text("username"),
        password: text("password"),
        identity_token: text("identitytoken"),
        registry_token: text("registrytoken"),
        server_address: registry.to_owned(),
        auth: String::new(),
    };
    let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text("auth")).ok();
    let pair = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some((user, password)) = pair.as_deref().and_then(|p| p.split_once(':'))
        && auth.username.is_empty()
    {
        auth.username = user.to_owned();
        auth.password = password.to_owned();
    }
    auth
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Container, Secret};
    use serde_json::json;

    use super::{Policy, credentials, policy, registry, with_tag};

    #[test]
    fn references_get_their_default_tag() {
        assert_eq!(with_tag("nginx").unwrap(), "nginx:latest");
        assert_eq!(with_tag("host:5000/a/b:1.2").unwrap(), "host:5000/a/b:1.2");
        assert_eq!(with_tag("host:5000/a/b").unwrap(), "host:5000/a/b:latest");
        for bad in ["", "A B", "a//b", "nginx:", "a@sha256:xyz", "Nginx", "a:b:c"] {
            assert!(with_tag(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn latest_is_always_pulled() {
        let of = |image: &str, policy_text: Option<&str>| {
            let container = json!({"name": "c", "image": image, "imagePullPolicy": policy_text});
            policy(&serde_json::from_value::<Container>(container).unwrap())
        };
        assert_eq!(of("nginx", None), Policy::Always);
        assert_eq!(of("nginx:1.27", None), Policy::IfNotPresent);
        assert_eq!(of("nginx", Some("Never")), Policy::Never);
    }

    #[test]
    fn the_most_specific_credentials_win() {
        let config = json!({"auths": {
            "registry.example": {"username": "a", "password": "x"},
            "registry.example/team": {"auth": "YjpzZWNyZXQ="},
            "https://index.docker.io/v1/": {"username": "c", "password": "y"},
        }});
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, config.to_string());
        let secret: Secret =
            serde_json::from_value(json!({"metadata": {}, "data": {".dockerconfigjson": encoded}})).unwrap();
        let user = |image: &str| credentials(image, [&secret].into_iter()).map(|auth| auth.username);
        assert_eq!(user("registry.example/other/x").as_deref(), Some("a"));
        assert_eq!(user("registry.example/team/x:1").as_deref(), Some("b"));
        assert_eq!(user("registry.example/teammate/x").as_deref(), Some("a"));
        assert_eq!(user("nginx").as_deref(), Some("c"));
        assert_eq!(user("other.example/x"), None);
        assert_eq!(registry("localhost/x"), "localhost");
    }
}
