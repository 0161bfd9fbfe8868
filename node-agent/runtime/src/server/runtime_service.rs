//! CRI's RuntimeService: translation only.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use ipnet::IpNet;
use proto::cri::runtime_service_server::RuntimeService;
use proto::cri::{
    AttachRequest, AttachResponse, CgroupDriver, CheckpointContainerRequest, CheckpointContainerResponse,
    ContainerEventResponse, ContainerFilter, ContainerState, ContainerStateValue, ContainerStatsRequest,
    ContainerStatsResponse, ContainerStatusRequest, ContainerStatusResponse, CreateContainerRequest,
    CreateContainerResponse, ExecRequest, ExecResponse, ExecSyncRequest, ExecSyncResponse, GetEventsRequest,
    LinuxRuntimeConfiguration, ListContainerStatsRequest, ListContainerStatsResponse, ListContainersRequest,
    ListContainersResponse, ListMetricDescriptorsRequest, ListMetricDescriptorsResponse,
    ListPodSandboxMetricsRequest, ListPodSandboxMetricsResponse, ListPodSandboxRequest,
    ListPodSandboxResponse, ListPodSandboxStatsRequest, ListPodSandboxStatsResponse, PodSandboxStatsRequest,
    PodSandboxStatsResponse, PodSandboxStatusRequest, PodSandboxStatusResponse, PortForwardRequest,
    PortForwardResponse, RemoveContainerRequest, RemoveContainerResponse, RemovePodSandboxRequest,
    RemovePodSandboxResponse, ReopenContainerLogRequest, ReopenContainerLogResponse, RunPodSandboxRequest,
    RunPodSandboxResponse, RuntimeCondition, RuntimeConfigRequest, RuntimeConfigResponse, RuntimeFeatures,
    RuntimeHandler, RuntimeHandlerFeatures, RuntimeStatus, StartContainerRequest, StartContainerResponse,
    StatusRequest, StatusResponse, StopContainerRequest, StopContainerResponse, StopPodSandboxRequest,
    StopPodSandboxResponse, UpdateContainerResourcesRequest, UpdateContainerResourcesResponse,
    UpdateRuntimeConfigRequest, UpdateRuntimeConfigResponse, VersionRequest, VersionResponse,
};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::Runtime;
use super::status::has_labels;
use crate::error::{Error, Result};
use crate::shim::protocol::Request as ShimRequest;
use crate::streaming::Session;

/// What we call ourselves to clients.
const NAME: &str = "kontiki";

/// The service.
pub struct Service {
    pub runtime: Arc<Runtime>,
}

type Reply<T> = std::result::Result<Response<T>, Status>;
type Events = Pin<Box<dyn Stream<Item = std::result::Result<ContainerEventResponse, Status>> + Send>>;

fn ok<T>(value: T) -> Reply<T> {
    Ok(Response::new(value))
}

fn required<T>(value: Option<T>, what: &str) -> Result<T> {
    value.ok_or_else(|| Error::Invalid(format!("the request has no {what}")))
}

#[tonic::async_trait]
impl RuntimeService for Service {
    type GetContainerEventsStream = Events;

    async fn version(&self, _: Request<VersionRequest>) -> Reply<VersionResponse> {
        ok(VersionResponse {
            version: "0.1.0".into(),
            runtime_name: NAME.into(),
            runtime_version: env!("CARGO_PKG_VERSION").into(),
            runtime_api_version: "v1".into(),
        })
    }

    async fn run_pod_sandbox(&self, request: Request<RunPodSandboxRequest>) -> Reply<RunPodSandboxResponse> {
        let request = request.into_inner();
        let config = required(request.config, "sandbox configuration")?;
        // A caller that gives up must not leave half a pod: the making goes on, and is undone if it fails.
        let runtime = self.runtime.clone();
        let made = finish(async move { runtime.run_sandbox(config, request.runtime_handler).await }).await?;
        ok(RunPodSandboxResponse { pod_sandbox_id: made })
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<StopPodSandboxRequest>,
    ) -> Reply<StopPodSandboxResponse> {
        let (runtime, id) = (self.runtime.clone(), request.into_inner().pod_sandbox_id);
        finish(async move { runtime.stop_sandbox(&id).await }).await?;
        ok(StopPodSandboxResponse {})
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<RemovePodSandboxRequest>,
    ) -> Reply<RemovePodSandboxResponse> {
        let (runtime, id) = (self.runtime.clone(), request.into_inner().pod_sandbox_id);
        finish(async move { runtime.remove_sandbox(&id).await }).await?;
        ok(RemovePodSandboxResponse {})
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<PodSandboxStatusRequest>,
    ) -> Reply<PodSandboxStatusResponse> {
        let request = request.into_inner();
        let sandbox = self.runtime.sandbox(&request.pod_sandbox_id)?;
        let mut info = HashMap::new();
        if request.verbose {
            let description = sandbox.description.lock().clone();
            let details = serde_json::json!({
                "pid": description.as_ref().map(|description| description.pid),
                "pausePid": description.and_then(|description| description.pause_pid),
                "networkNamespace": sandbox.pins.network(),
                "cgroup": sandbox.record.lock().cgroup,
            });
            info.insert("info".to_string(), details.to_string());
        }
        let containers = self.runtime.containers_of(&sandbox.id);
        ok(PodSandboxStatusResponse {
            status: Some(sandbox.status()),
            info,
            containers_statuses: containers.iter().map(|container| container.status()).collect(),
            timestamp: super::now_ns(),
        })
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<ListPodSandboxRequest>,
    ) -> Reply<ListPodSandboxResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let all = self.runtime.sandboxes.lock();
        let items = all
            .values()
            .filter(|sandbox| sandbox.matches(&filter))
            .map(|sandbox| sandbox.summary())
            .collect();
        ok(ListPodSandboxResponse { items })
    }

    async fn create_container(
        &self,
        request: Request<CreateContainerRequest>,
    ) -> Reply<CreateContainerResponse> {
        let request = request.into_inner();
        let config = required(request.config, "container configuration")?;
        let (runtime, sandbox) = (self.runtime.clone(), request.pod_sandbox_id);
        let made = finish(async move { runtime.create_container(&sandbox, config).await }).await?;
        ok(CreateContainerResponse { container_id: made })
    }

    async fn start_container(
        &self,
        request: Request<StartContainerRequest>,
    ) -> Reply<StartContainerResponse> {
        self.runtime.start_container(&request.into_inner().container_id).await?;
        ok(StartContainerResponse {})
    }

    async fn stop_container(&self, request: Request<StopContainerRequest>) -> Reply<StopContainerResponse> {
        let request = request.into_inner();
        self.runtime.stop_container(&request.container_id, request.timeout).await?;
        ok(StopContainerResponse {})
    }

    async fn remove_container(
        &self,
        request: Request<RemoveContainerRequest>,
    ) -> Reply<RemoveContainerResponse> {
        let (runtime, id) = (self.runtime.clone(), request.into_inner().container_id);
        finish(async move { runtime.remove_container(&id).await }).await?;
        ok(RemoveContainerResponse {})
    }

    async fn list_containers(
        &self,
        request: Request<ListContainersRequest>,
    ) -> Reply<ListContainersResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let all = self.runtime.containers.lock();
        let containers = all
            .values()
            .filter(|container| container.matches(&filter))
            .map(|container| container.summary())
            .collect();
        ok(ListContainersResponse { containers })
    }

    async fn container_status(
        &self,
        request: Request<ContainerStatusRequest>,
    ) -> Reply<ContainerStatusResponse> {
        let request = request.into_inner();
        let container = self.runtime.container(&request.container_id)?;
        let info = if request.verbose { container.details() } else { HashMap::new() };
        ok(ContainerStatusResponse { status: Some(container.status()), info })
    }

    async fn update_container_resources(
        &self,
        request: Request<UpdateContainerResourcesRequest>,
    ) -> Reply<UpdateContainerResourcesResponse> {
        let request = request.into_inner();
        self.runtime.update_resources(&request.container_id, required(request.linux, "limits")?)?;
        ok(UpdateContainerResourcesResponse {})
    }

    async fn reopen_container_log(
        &self,
        request: Request<ReopenContainerLogRequest>,
    ) -> Reply<ReopenContainerLogResponse> {
        let container = self.runtime.container(&request.into_inner().container_id)?;
        let sandbox = self.runtime.sandbox(&container.sandbox)?;
        sandbox.shim.command(&ShimRequest::ReopenLog { id: container.id.clone() }).await?;
        ok(ReopenContainerLogResponse {})
    }

    async fn exec_sync(&self, request: Request<ExecSyncRequest>) -> Reply<ExecSyncResponse> {
        let request = request.into_inner();
        let (stdout, stderr, exit_code) =
            self.runtime.exec_sync(&request.container_id, &request.cmd, request.timeout).await?;
        ok(ExecSyncResponse { stdout: stdout.into(), stderr: stderr.into(), exit_code })
    }

    async fn exec(&self, request: Request<ExecRequest>) -> Reply<ExecResponse> {
        let request = request.into_inner();
        let container = self.runtime.container(&request.container_id)?;
        // Known now rather than when the client comes.
        container.pid()?;
        let session = Session::Exec {
            container: container.id.clone(),
            command: request.cmd,
            tty: request.tty,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        ok(ExecResponse { url: self.runtime.streaming.offer(session)? })
    }

    async fn attach(&self, request: Request<AttachRequest>) -> Reply<AttachResponse> {
        let request = request.into_inner();
        let container = self.runtime.container(&request.container_id)?;
        container.pid()?;
        let session = Session::Attach {
            container: container.id.clone(),
            tty: request.tty,
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        };
        ok(AttachResponse { url: self.runtime.streaming.offer(session)? })
    }

    async fn port_forward(&self, request: Request<PortForwardRequest>) -> Reply<PortForwardResponse> {
        let request = request.into_inner();
        let sandbox = self.runtime.sandbox(&request.pod_sandbox_id)?;
        if !sandbox.is_ready() {
            return Err(Error::State(format!("sandbox {} is not ready", sandbox.id)).into());
        }
        let session = Session::PortForward { sandbox: sandbox.id.clone() };
        ok(PortForwardResponse { url: self.runtime.streaming.offer(session)? })
    }

    async fn container_stats(
        &self,
        request: Request<ContainerStatsRequest>,
    ) -> Reply<ContainerStatsResponse> {
        let container = self.runtime.container(&request.into_inner().container_id)?;
        ok(ContainerStatsResponse { stats: Some(self.runtime.container_stats(&container).await?) })
    }

    async fn list_container_stats(
        &self,
        request: Request<ListContainerStatsRequest>,
    ) -> Reply<ListContainerStatsResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let filter = ContainerFilter {
            id: filter.id,
            pod_sandbox_id: filter.pod_sandbox_id,
            label_selector: filter.label_selector,
            state: Some(ContainerStateValue { state: ContainerState::ContainerRunning.into() }),
        };
        let chosen: Vec<_> = self
            .runtime
            .containers
            .lock()
            .values()
            .filter(|container| container.matches(&filter))
            .cloned()
            .collect();
        let mut stats = Vec::new();
        for container in chosen {
            stats.push(self.runtime.container_stats(&container).await?);
        }
        ok(ListContainerStatsResponse { stats })
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<PodSandboxStatsRequest>,
    ) -> Reply<PodSandboxStatsResponse> {
        let sandbox = self.runtime.sandbox(&request.into_inner().pod_sandbox_id)?;
        ok(PodSandboxStatsResponse { stats: Some(self.runtime.sandbox_stats(&sandbox).await?) })
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<ListPodSandboxStatsRequest>,
    ) -> Reply<ListPodSandboxStatsResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let chosen: Vec<_> = {
            let all = self.runtime.sandboxes.lock();
            let matches = all.values().filter(|sandbox| {
                sandbox.is_ready()
                    && sandbox.id.starts_with(&filter.id)
                    && has_labels(&sandbox.config.labels, &filter.label_selector)
            });
            matches.cloned().collect()
        };
        let mut stats = Vec::new();
        for sandbox in chosen {
            stats.push(self.runtime.sandbox_stats(&sandbox).await?);
        }
        ok(ListPodSandboxStatsResponse { stats })
    }

    async fn update_runtime_config(
        &self,
        request: Request<UpdateRuntimeConfigRequest>,
    ) -> Reply<UpdateRuntimeConfigResponse> {
        let network = request.into_inner().runtime_config.and_then(|config| config.network_config);
        let cidrs = network.map(|network| network.pod_cidr).unwrap_or_default();
        let cidrs = cidrs
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(|text| text.parse::<IpNet>().map_err(|_| Error::Invalid(format!("{text:?} is no CIDR"))))
            .collect::<Result<Vec<_>>>()?;
        if !cidrs.is_empty() {
            self.runtime.network.set_pod_cidrs(cidrs).await.map_err(Error::Network)?;
        }
        ok(UpdateRuntimeConfigResponse {})
    }

    async fn status(&self, request: Request<StatusRequest>) -> Reply<StatusResponse> {
        let reason = self.runtime.network.not_ready();
        let network = RuntimeCondition {
            r#type: "NetworkReady".into(),
            status: reason.is_none(),
            reason: reason.as_ref().map(|_| "NetworkPluginNotReady".to_string()).unwrap_or_default(),
            message: reason.unwrap_or_default(),
        };
        let ready =
            RuntimeCondition { r#type: "RuntimeReady".into(), status: true, ..RuntimeCondition::default() };
        let mut info = HashMap::new();
        if request.into_inner().verbose {
            let options = serde_json::to_string(&self.runtime.options).map_err(Error::parse("options"))?;
            info.insert("config".to_string(), options);
        }
        let features = RuntimeHandlerFeatures { recursive_read_only_mounts: true, user_namespaces: false };
        ok(StatusResponse {
            status: Some(RuntimeStatus { conditions: vec![ready, network] }),
            info,
            runtime_handlers: vec![RuntimeHandler { name: String::new(), features: Some(features) }],
            features: Some(RuntimeFeatures { supplemental_groups_policy: true }),
        })
    }

    async fn checkpoint_container(
        &self,
        _: Request<CheckpointContainerRequest>,
    ) -> Reply<CheckpointContainerResponse> {
        Err(Status::unimplemented("checkpoints are not supported"))
    }

    async fn get_container_events(
        &self,
        _: Request<GetEventsRequest>,
    ) -> Reply<Self::GetContainerEventsStream> {
        let events = BroadcastStream::new(self.runtime.events.subscribe());
        let events = events.map(|event| {
            event.map_err(|_| Status::data_loss("too slow: events were dropped; list, then subscribe again"))
        });
        let stopping = self.runtime.stopping.clone();
        let until_end = futures::StreamExt::take_until(events, async move { stopping.cancelled().await });
        ok(Box::pin(until_end) as Events)
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<ListMetricDescriptorsRequest>,
    ) -> Reply<ListMetricDescriptorsResponse> {
        ok(ListMetricDescriptorsResponse::default())
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<ListPodSandboxMetricsRequest>,
    ) -> Reply<ListPodSandboxMetricsResponse> {
        ok(ListPodSandboxMetricsResponse::default())
    }

    async fn runtime_config(&self, _: Request<RuntimeConfigRequest>) -> Reply<RuntimeConfigResponse> {
        let linux = LinuxRuntimeConfiguration { cgroup_driver: CgroupDriver::Cgroupfs.into() };
        ok(RuntimeConfigResponse { linux: Some(linux) })
    }
}

/// Runs to the end even if the caller gives up waiting.
async fn finish<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work).await.map_err(|_| Error::State("a task panicked".into()))?
}
