//! CRI v1 over a unix socket.

use std::{path::Path, path::PathBuf, time::Duration};

use async_trait::async_trait;
use futures::StreamExt;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Uri};
use v1::{image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient};

use super::{Error, Events, Kind, Result, Runtime, Selector, v1};
use crate::limits;

/// The client. Connects when first used and again whenever the connection breaks; cheap to clone.
#[derive(Clone, Debug)]
pub struct Remote {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

impl Remote {
    /// A client of the runtime behind a socket (a path, or a `unix://` address).
    pub fn new(socket: &Path) -> Result<Self> {
        let text = socket.to_string_lossy();
        let path = PathBuf::from(text.strip_prefix("unix://").unwrap_or(&text));
        let endpoint = Endpoint::from_static("http://runtime");
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        }));
        let max = limits::CRI_MESSAGE_BYTES_MAX;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(max),
            images: ImageServiceClient::new(channel).max_decoding_message_size(max),
        })
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        let kind = match status.code() {
            tonic::Code::NotFound => Kind::NotFound,
            tonic::Code::Unimplemented => Kind::Unimplemented,
            tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => Kind::Timeout,
            tonic::Code::Unavailable => Kind::Unavailable,
            _ => Kind::Failed,
        };
        let code = format!("{:?}", status.code());
        Self { kind, message: format!("rpc error: code = {code} desc = {}", status.message()) }
    }
}

/// Awaits a call with a bound on its time.
async fn bounded<T>(
    limit: Duration,
    call: impl Future<Output = std::result::Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T> {
    match tokio::time::timeout(limit, call).await {
        Ok(done) => Ok(done?.into_inner()),
        Err(_) => {
            let message = "rpc error: code = DeadlineExceeded desc = context deadline exceeded";
            Err(Error::new(Kind::Timeout, message))
        }
    }
}

/// A call that should be immediate. Boxed: some requests are large, and futures hold them by value.
async fn quick<T>(
    call: impl Future<Output = std::result::Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T> {
    Box::pin(bounded(limits::CRI_TIMEOUT, call)).await
}

fn missing(what: &str) -> Error {
    Error::new(Kind::Failed, format!("the runtime answered without {what}"))
}

/// What is already gone is as good as stopped or removed.
fn gone_is_done<T: Default>(outcome: Result<T>) -> Result<T> {
    match outcome {
        Err(e) if e.kind == Kind::NotFound => Ok(T::default()),
        other => other,
    }
}

fn image_spec(name: &str) -> Option<v1::ImageSpec> {
    let image = name.to_owned();
    Some(v1::ImageSpec { user_specified_image: image.clone(), image, ..v1::ImageSpec::default() })
}

#[async_trait]
impl Runtime for Remote {
    async fn version(&self) -> Result<v1::VersionResponse> {
        quick(self.runtime.clone().version(v1::VersionRequest { version: "v1".into() })).await
    }

    async fn status(&self) -> Result<v1::RuntimeStatus> {
        let answer = quick(self.runtime.clone().status(v1::StatusRequest { verbose: false })).await?;
        answer.status.ok_or_else(|| missing("a status"))
    }

    async fn update_pod_cidr(&self, cidr: &str) -> Result<()> {
        let network_config = Some(v1::NetworkConfig { pod_cidr: cidr.into() });
        let runtime_config = Some(v1::RuntimeConfig { network_config });
        let request = v1::UpdateRuntimeConfigRequest { runtime_config };
        quick(self.runtime.clone().update_runtime_config(request)).await.map(|_| ())
    }

    async fn run_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String> {
        let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.into() };
        // Upstream doubles the limit here: the network may be slow to set up.
        let call = async { self.runtime.clone().run_pod_sandbox(request).await };
        Ok(Box::pin(bounded(limits::CRI_TIMEOUT * 2, call)).await?.pod_sandbox_id)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: id.into() };
        gone_is_done(quick(self.runtime.clone().stop_pod_sandbox(request)).await).map(|_| ())
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id: id.into() };
        gone_is_done(quick(self.runtime.clone().remove_pod_sandbox(request)).await).map(|_| ())
    }

    async fn sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus> {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: false };
        let answer = quick(self.runtime.clone().pod_sandbox_status(request)).await?;
        answer.status.ok_or_else(|| missing("a sandbox status"))
    }

    async fn list_sandboxes(&self, labels: Selector) -> Result<Vec<v1::PodSandbox>> {
        let filter = Some(v1::PodSandboxFilter { label_selector: labels, ..v1::PodSandboxFilter::default() });
        let request = v1::ListPodSandboxRequest { filter };
        Ok(quick(self.runtime.clone().list_pod_sandbox(request)).await?.items)
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.into(),
            config: Some(config),
            sandbox_config: Some(sandbox),
        };
        let call = async { self.runtime.clone().create_container(request).await };
        Ok(Box::pin(quick(call)).await?.container_id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let request = v1::StartContainerRequest { container_id: id.into() };
        quick(self.runtime.clone().start_container(request)).await.map(|_| ())
    }

    async fn stop_container(&self, id: &str, grace_s: i64) -> Result<()> {
        let request = v1::StopContainerRequest { container_id: id.into(), timeout: grace_s };
        let grace = Duration::from_secs(u64::try_from(grace_s).unwrap_or(0));
        let call = async { self.runtime.clone().stop_container(request).await };
        gone_is_done(bounded(grace + limits::STOP_MARGIN, call).await).map(|_| ())
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let request = v1::RemoveContainerRequest { container_id: id.into() };
        gone_is_done(quick(self.runtime.clone().remove_container(request)).await).map(|_| ())
    }

    async fn list_containers(&self, labels: Selector) -> Result<Vec<v1::Container>> {
        let filter = Some(v1::ContainerFilter { label_selector: labels, ..v1::ContainerFilter::default() });
        let request = v1::ListContainersRequest { filter };
        Ok(quick(self.runtime.clone().list_containers(request)).await?.containers)
    }

    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus> {
        let request = v1::ContainerStatusRequest { container_id: id.into(), verbose: false };
        let answer = quick(self.runtime.clone().container_status(request)).await?;
        answer.status.ok_or_else(|| missing("a container status"))
    }

    async fn reopen_log(&self, id: &str) -> Result<()> {
        let request = v1::ReopenContainerLogRequest { container_id: id.into() };
        quick(self.runtime.clone().reopen_container_log(request)).await.map(|_| ())
    }

    async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout_s: i64,
    ) -> Result<v1::ExecSyncResponse> {
        let request = v1::ExecSyncRequest { container_id: id.into(), cmd: command, timeout: timeout_s };
        let limit = match u64::try_from(timeout_s) {
            Ok(seconds) if seconds > 0 => Duration::from_secs(seconds) + limits::CRI_TIMEOUT,
            _ => limits::PULL_TIMEOUT,
        };
        let call = async { self.runtime.clone().exec_sync(request).await };
        bounded(limit, call).await
    }

    async fn exec(&self, request: v1::ExecRequest) -> Result<String> {
        Ok(quick(self.runtime.clone().exec(request)).await?.url)
    }

    async fn attach(&self, request: v1::AttachRequest) -> Result<String> {
        Ok(quick(self.runtime.clone().attach(request)).await?.url)
    }

    async fn port_forward(&self, request: v1::PortForwardRequest) -> Result<String> {
        Ok(quick(self.runtime.clone().port_forward(request)).await?.url)
    }

    async fn container_stats(&self) -> Result<Vec<v1::ContainerStats>> {
        let request = v1::ListContainerStatsRequest { filter: None };
        Ok(quick(self.runtime.clone().list_container_stats(request)).await?.stats)
    }

    async fn sandbox_stats(&self) -> Result<Vec<v1::PodSandboxStats>> {
        let request = v1::ListPodSandboxStatsRequest { filter: None };
        Ok(quick(self.runtime.clone().list_pod_sandbox_stats(request)).await?.stats)
    }

    async fn events(&self) -> Result<Events> {
        let stream = quick(self.runtime.clone().get_container_events(v1::GetEventsRequest {})).await?;
        Ok(Box::pin(stream.map(|item| item.map_err(Error::from))))
    }

    async fn list_images(&self) -> Result<Vec<v1::Image>> {
        Ok(quick(self.images.clone().list_images(v1::ListImagesRequest { filter: None })).await?.images)
    }

    async fn image(&self, name: &str) -> Result<Option<v1::Image>> {
        let request = v1::ImageStatusRequest { image: image_spec(name), verbose: false };
        Ok(quick(self.images.clone().image_status(request)).await?.image)
    }

    async fn pull_image(
        &self,
        name: &str,
        auth: Option<v1::AuthConfig>,
        sandbox: v1::PodSandboxConfig,
    ) -> Result<String> {
        let request = v1::PullImageRequest { image: image_spec(name), auth, sandbox_config: Some(sandbox) };
        let call = async { self.images.clone().pull_image(request).await };
        Ok(Box::pin(bounded(limits::PULL_TIMEOUT, call)).await?.image_ref)
    }

    async fn remove_image(&self, id: &str) -> Result<()> {
        let request = v1::RemoveImageRequest { image: image_spec(id) };
        gone_is_done(quick(self.images.clone().remove_image(request)).await).map(|_| ())
    }

    async fn image_fs(&self) -> Result<v1::ImageFsInfoResponse> {
        quick(self.images.clone().image_fs_info(v1::ImageFsInfoRequest {})).await
    }
}
