//! CRI's ImageService: translation only.

use std::sync::Arc;

use proto::cri::image_service_server::ImageService;
use proto::cri::{
    FilesystemIdentifier, FilesystemUsage, Image, ImageFsInfoRequest, ImageFsInfoResponse, ImageSpec,
    ImageStatusRequest, ImageStatusResponse, Int64Value, ListImagesRequest, ListImagesResponse,
    PullImageRequest, PullImageResponse, RemoveImageRequest, RemoveImageResponse, UInt64Value,
};
use tonic::{Request, Response, Status};

use super::{Runtime, blocking, now_ns};
use crate::error::{Error, Result};
use crate::image::{self, Reference, pull};

/// The service.
pub struct Service {
    pub runtime: Arc<Runtime>,
}

type Reply<T> = std::result::Result<Response<T>, Status>;

fn name_of(spec: Option<ImageSpec>) -> Result<String> {
    let name = spec.map(|spec| spec.image).unwrap_or_default();
    if name.is_empty() { Err(Error::Invalid("no image is named".into())) } else { Ok(name) }
}

fn describe(image: image::Image) -> Image {
    let user = image.defaults.user.split(':').next().unwrap_or_default().to_string();
    let uid = if user.is_empty() { Some(0) } else { user.parse().ok() };
    Image {
        spec: Some(ImageSpec { image: image.id.clone(), ..ImageSpec::default() }),
        id: image.id,
        repo_tags: image.tags.into_iter().collect(),
        repo_digests: image.digests.into_iter().collect(),
        size: image.size,
        username: if uid.is_some() { String::new() } else { user },
        uid: uid.map(|value| Int64Value { value }),
        pinned: false,
    }
}

#[tonic::async_trait]
impl ImageService for Service {
    async fn list_images(&self, request: Request<ListImagesRequest>) -> Reply<ListImagesResponse> {
        let wanted = request.into_inner().filter.and_then(|filter| filter.image).map(|spec| spec.image);
        let images = match wanted.filter(|name| !name.is_empty()) {
            Some(name) => self.runtime.images.find(&name).into_iter().collect(),
            None => self.runtime.images.list(),
        };
        Ok(Response::new(ListImagesResponse { images: images.into_iter().map(describe).collect() }))
    }

    async fn image_status(&self, request: Request<ImageStatusRequest>) -> Reply<ImageStatusResponse> {
        let request = request.into_inner();
        let found = self.runtime.images.find(&name_of(request.image)?);
        let mut info = std::collections::HashMap::new();
        if let (true, Some(image)) = (request.verbose, &found) {
            let document = self.runtime.images.document(&image.id)?;
            info.insert(
                "info".to_string(),
                format!("{{\"imageSpec\":{}}}", String::from_utf8_lossy(&document)),
            );
        }
        Ok(Response::new(ImageStatusResponse { image: found.map(describe), info }))
    }

    async fn pull_image(&self, request: Request<PullImageRequest>) -> Reply<PullImageResponse> {
        let request = request.into_inner();
        let name = Reference::parse(&name_of(request.image)?)?;
        let registries = &self.runtime.options.registries;
        let image = pull::pull(&self.runtime.images, registries, &name, request.auth.as_ref()).await?;
        Ok(Response::new(PullImageResponse { image_ref: image.id }))
    }

    async fn remove_image(&self, request: Request<RemoveImageRequest>) -> Reply<RemoveImageResponse> {
        let name = name_of(request.into_inner().image)?;
        let (images, in_use) = (self.runtime.images.clone(), self.runtime.layers_in_use());
        blocking(move || images.remove(&name, &in_use)).await?;
        Ok(Response::new(RemoveImageResponse {}))
    }

    async fn image_fs_info(&self, _: Request<ImageFsInfoRequest>) -> Reply<ImageFsInfoResponse> {
        let images = self.runtime.images.clone();
        let (bytes, inodes) = blocking(move || Ok(images.usage())).await?;
        let usage = FilesystemUsage {
            timestamp: now_ns(),
            fs_id: Some(FilesystemIdentifier {
                mountpoint: self.runtime.images.root().display().to_string(),
            }),
            used_bytes: Some(UInt64Value { value: bytes }),
            inodes_used: Some(UInt64Value { value: inodes }),
        };
        Ok(Response::new(ImageFsInfoResponse {
            image_filesystems: vec![usage.clone()],
            container_filesystems: vec![usage],
        }))
    }
}
