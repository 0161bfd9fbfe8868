//! Fetching images from registries: mirrors first, then the registry itself.
//!
//! Errors become what a kubelet expects: `NotFound` for a name that does not exist, `PermissionDenied` for
//! missing rights, `Unavailable` (with the text kubelet shows as `ErrImagePull`) when nobody answers.

use std::path::Path;

use base64::Engine;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError as PullError;
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use proto::cri::AuthConfig;
use tokio::io::AsyncWriteExt;
use tokio_stream::StreamExt;

use super::config::Manifest;
use super::reference::Reference;
use super::store::{Image, Store, WorkDir, check_layer_count, digest_of};
use crate::error::{Error, Result, chain};
use crate::limits::{IMAGE_DOCUMENT_BYTES_MAX, IMAGE_LAYERS_MAX, PULL_ENDPOINTS_MAX};
use crate::options::Registries;

/// Fetches an image and adds it to the store under its name.
pub async fn pull(
    store: &std::sync::Arc<Store>,
    registries: &Registries,
    name: &Reference,
    auth: Option<&AuthConfig>,
) -> Result<Image> {
    let mut failure = None;
    for endpoint in endpoints(registries, name) {
        match pull_from(store, registries, name, &endpoint, auth).await {
            Ok(image) => return Ok(image),
            Err(error) => {
                tracing::debug!(image = %name, endpoint, error = error.chain(), "pull failed");
                failure = Some(error);
            }
        }
    }
    Err(failure.unwrap_or_else(|| Error::Image(format!("no registry to pull {name} from"))))
}

fn endpoints(registries: &Registries, name: &Reference) -> Vec<String> {
    let mirrors = registries.mirrors.get(&name.registry).into_iter().flatten().cloned();
    mirrors.take(PULL_ENDPOINTS_MAX).chain([name.registry.clone()]).collect()
}

async fn pull_from(
    store: &std::sync::Arc<Store>,
    registries: &Registries,
    name: &Reference,
    endpoint: &str,
    auth: Option<&AuthConfig>,
) -> Result<Image> {
    let failed = |error: PullError| translate(name, error);
    let client = oci_client::Client::new(ClientConfig {
        protocol: ClientProtocol::HttpsExcept(registries.plain_http.clone()),
        ..ClientConfig::default()
    });
    let remote = remote(name, endpoint);
    let credentials = credentials(auth)?;
    let (_, digest) = client.pull_image_manifest(&remote, &credentials).await.map_err(failed)?;
    let exact = remote.clone_with_digest(digest);
    let accepted = [super::config::MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"];
    let (manifest_bytes, _) =
        client.pull_manifest_raw(&exact, &credentials, &accepted).await.map_err(failed)?;
    let manifest: Manifest =
        serde_json::from_slice(&manifest_bytes).map_err(Error::parse("image manifest"))?;
    if manifest.layers.len() > IMAGE_LAYERS_MAX || manifest.config.size > IMAGE_DOCUMENT_BYTES_MAX {
        return Err(Error::Image(format!("{name} has too many layers or too large a configuration")));
    }
    let work = store.work_dir()?;
    let config_path = work.path().join("config");
    fetch(&client, &exact, &manifest.config, &config_path).await.map_err(failed)?;
    for (position, layer) in manifest.layers.iter().enumerate() {
        tracing::info!(image = %name, layer = position + 1, of = manifest.layers.len(), bytes = layer.size, "pulling");
        fetch(&client, &exact, layer, &work.path().join(position.to_string())).await.map_err(failed)?;
    }
    let config_bytes = std::fs::read(&config_path).map_err(Error::file("reading", &config_path))?;
    if digest_of(&config_bytes) != manifest.config.digest {
        return Err(Error::Image(format!(
            "{name}: the registry sent another configuration than the manifest names"
        )));
    }
    check_layer_count(&manifest, &config_bytes)?;
    let (store, name) = (store.clone(), name.clone());
    let add = move || add(&store, &manifest_bytes, &config_bytes, &name, &work);
    tokio::task::spawn_blocking(add).await.map_err(|_| Error::State("unpacking the image panicked".into()))?
}

fn add(store: &Store, manifest: &[u8], config: &[u8], name: &Reference, work: &WorkDir) -> Result<Image> {
    store.add(manifest, config, std::slice::from_ref(name), |layer| {
        let path = work.path().join(layer.to_string());
        Ok(Box::new(std::fs::File::open(&path).map_err(Error::file("opening", path))?))
    })
}

async fn fetch(
    client: &oci_client::Client,
    image: &oci_client::Reference,
    blob: &super::config::Descriptor,
    path: &Path,
) -> std::result::Result<(), PullError> {
    let descriptor = OciDescriptor {
        media_type: blob.media_type.clone(),
        digest: blob.digest.clone(),
        size: i64::try_from(blob.size).unwrap_or(i64::MAX),
        ..OciDescriptor::default()
    };
    // The stream checks the digest as it goes and ends with an error if it is another.
    let mut stream = client.pull_blob_stream(image, &descriptor).await?;
    let mut file = tokio::fs::File::create(path).await?;
    while let Some(chunk) = stream.next().await {
        file.write_all(&chunk?).await?;
    }
    file.flush().await?;
    Ok(())
}

fn remote(name: &Reference, endpoint: &str) -> oci_client::Reference {
    let (registry, repository) = (endpoint.to_string(), name.repository.clone());
    match (&name.digest, &name.tag) {
        (Some(digest), _) => oci_client::Reference::with_digest(registry, repository, digest.clone()),
        (None, tag) => oci_client::Reference::with_tag(
            registry,
            repository,
            tag.clone().unwrap_or_else(|| "latest".into()),
        ),
    }
}

/// What a pod's pull secret says, in any of the forms the kubelet hands it over.
fn credentials(auth: Option<&AuthConfig>) -> Result<RegistryAuth> {
    let Some(auth) = auth else { return Ok(RegistryAuth::Anonymous) };
    if !auth.registry_token.is_empty() {
        return Ok(RegistryAuth::Bearer(auth.registry_token.clone()));
    }
    if !auth.username.is_empty() {
        return Ok(RegistryAuth::Basic(auth.username.clone(), auth.password.clone()));
    }
    if auth.auth.is_empty() {
        return Ok(RegistryAuth::Anonymous);
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(&auth.auth).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    text.as_deref()
        .and_then(|text| text.trim_end_matches('\0').split_once(':'))
        .map(|(user, password)| RegistryAuth::Basic(user.into(), password.into()))
        .ok_or_else(|| Error::Invalid("the registry credentials are not base64 of user:password".into()))
}

fn translate(name: &Reference, error: PullError) -> Error {
    let text = format!("failed to pull and unpack image {:?}: {}", name.to_string(), chain(&error));
    match &error {
        PullError::ImageManifestNotFoundError(_) => Error::NotFound { kind: "image", id: name.to_string() },
        PullError::UnauthorizedError { .. } | PullError::AuthenticationFailure(_) => {
            Error::Unauthorized(text)
        }
        PullError::RequestError(_) | PullError::IoError(_) => Error::RegistryUnavailable(text),
        PullError::ServerError { code: 404, .. } => Error::NotFound { kind: "image", id: name.to_string() },
        PullError::ServerError { code: 401 | 403, .. } => Error::Unauthorized(text),
        PullError::ServerError { code: 429 | 500.., .. } => Error::RegistryUnavailable(text),
        _ => Error::Image(text),
    }
}
