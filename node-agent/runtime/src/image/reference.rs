//! Names of images, normalised the way every Kubernetes runtime does it.

use std::fmt;

use crate::error::{Error, Result};

/// A complete image name: registry, repository, and a tag or a digest or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Registry host, with a port if any.
    pub registry: String,
    /// Path inside the registry.
    pub repository: String,
    /// Tag; `latest` when neither tag nor digest was given.
    pub tag: Option<String>,
    /// `sha256:...`; wins over the tag.
    pub digest: Option<String>,
}

impl Reference {
    /// Parses a name as people write it.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| Error::Invalid(format!("invalid image name {text:?}: {why}"));
        if text.is_empty() || text.len() > 1024 {
            return Err(invalid("it is empty or longer than 1024 bytes"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_string())),
            Some(_) => return Err(invalid("what follows @ is no sha256 digest")),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid("the tag has characters a tag cannot have"));
        }
        let (registry, repository) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
                (host, path.to_string())
            }
            Some(_) => ("docker.io", name.to_string()),
            None => ("docker.io", format!("library/{name}")),
        };
        if !repository.split('/').all(is_component) {
            return Err(invalid(
                "a path component must be lower-case letters, digits, dots, dashes and underscores",
            ));
        }
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        let tag = tag.map(str::to_string).or_else(|| digest.is_none().then(|| "latest".to_string()));
        Ok(Self { registry: registry.to_string(), repository, tag, digest })
    }

    /// Registry and repository without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The name with the tag, if there is one.
    pub fn tagged(&self) -> Option<String> {
        self.tag.as_ref().map(|tag| format!("{}:{tag}", self.name()))
    }

    /// The name with a digest.
    pub fn at(&self, digest: &str) -> String {
        format!("{}@{digest}", self.name())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.name())?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

/// Whether this is a sha256 digest as it is written.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn is_component(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    !text.is_empty()
        && text.bytes().all(allowed)
        && !text.starts_with(['.', '_', '-'])
        && !text.ends_with(['.', '_', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_mean_docker_hub() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, expect) in [
            ("busybox", "docker.io/library/busybox:latest".to_string()),
            ("nginx:1.25", "docker.io/library/nginx:1.25".into()),
            ("team/app:v1", "docker.io/team/app:v1".into()),
            ("localhost:5000/app", "localhost:5000/app:latest".into()),
            ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9".into()),
            (&format!("app@{digest}"), format!("docker.io/library/app@{digest}")),
            (&format!("quay.io/app:1@{digest}"), format!("quay.io/app:1@{digest}")),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), expect, "{text}");
        }
    }

    #[test]
    fn names_no_registry_accepts_are_refused() {
        for text in ["", "Upper/case", "a:b:c d", "app@sha256:12", "app:", "a//b", "app:-x", "https://x/y"] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
