//! One run of a probe.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Container, Probe};
use prost::Message;
use tokio::net::TcpStream;
use tonic::codegen::http::uri::PathAndQuery;

use super::http::{Get, authority, port};
use crate::cri;

/// What a run found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The container does what it should.
    Success,
    /// It does not; the words are for an event.
    Failure(String),
    /// The probe itself could not be run.
    Error(String),
}

/// What a probe is run against.
#[derive(Clone)]
pub struct Subject {
    /// To run commands.
    pub runtime: Arc<dyn cri::Runtime>,
    /// The container's specification.
    pub container: Container,
    /// The incarnation that is probed.
    pub container_id: String,
    /// Where the pod is.
    pub pod_ip: String,
}

/// How long a probe may take.
pub fn limit(probe: &Probe) -> Duration {
    Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1))
}

/// Runs a probe once.
pub async fn run(subject: &Subject, probe: &Probe) -> Finding {
    let limit = limit(probe);
    if let Some(action) = &probe.exec {
        return exec(subject, action.command.clone().unwrap_or_default(), limit).await;
    }
    if let Some(action) = &probe.http_get {
        return match Get::of(action, &subject.container, &subject.pod_ip) {
            Ok(get) => http(&get, limit).await,
            Err(why) => Finding::Error(why),
        };
    }
    if let Some(action) = &probe.tcp_socket {
        let host = action.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| subject.pod_ip.clone());
        return match port(&action.port, &subject.container) {
            Ok(port) => tcp(&authority(&host, port), limit).await,
            Err(why) => Finding::Error(why),
        };
    }
    if let Some(action) = &probe.grpc {
        let Ok(port) = u16::try_from(action.port) else {
            return Finding::Error(format!("invalid port number: {}", action.port));
        };
        let service = action.service.clone().unwrap_or_default();
        return grpc(&authority(&subject.pod_ip, port), service, limit).await;
    }
    Finding::Error("missing probe handler".into())
}

async fn exec(subject: &Subject, command: Vec<String>, limit: Duration) -> Finding {
    let seconds = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
    let line = command.join(" ");
    match subject.runtime.exec_sync(&subject.container_id, command, seconds).await {
        Ok(done) if done.exit_code == 0 => Finding::Success,
        Ok(done) => Finding::Failure(cri::exec_output(&done)),
        Err(e) if e.kind == cri::Kind::Timeout => {
            Finding::Failure(format!("command timed out: {line:?} timed out after {}s", limit.as_secs()))
        }
        Err(e) => Finding::Error(e.message),
    }
}

async fn http(get: &Get, limit: Duration) -> Finding {
    match get.send("kube-probe/1.36", limit).await {
        Ok(answer) if (200..400).contains(&answer.code) => Finding::Success,
        Ok(answer) => Finding::Failure(format!("HTTP probe failed with statuscode: {}", answer.code)),
        Err(why) => Finding::Failure(why),
    }
}

async fn tcp(address: &str, limit: Duration) -> Finding {
    match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Finding::Success,
        Ok(Err(e)) => Finding::Failure(format!("dial tcp {address}: {e}")),
        Err(_) => Finding::Failure(format!("dial tcp {address}: i/o timeout")),
    }
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`; 1 is SERVING.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

async fn grpc(address: &str, service: String, limit: Duration) -> Finding {
    let late =
        || Finding::Failure(format!("timeout: health rpc did not complete within {}s", limit.as_secs()));
    match tokio::time::timeout(limit, ask(address, service)).await {
        Ok(Ok(SERVING)) => Finding::Success,
        Ok(Ok(_)) => Finding::Failure("service unhealthy (responded with \"NOT_SERVING\")".into()),
        Ok(Err(why)) => Finding::Failure(why),
        Err(_) => late(),
    }
}

async fn ask(address: &str, service: String) -> Result<i32, String> {
    let endpoint =
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).map_err(|e| e.to_string())?;
    let channel = endpoint.connect().await;
    let channel = channel.map_err(|e| format!("timeout: failed to connect service {address:?}: {e}"))?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|e| e.to_string())?;
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let request = tonic::Request::new(HealthCheckRequest { service });
    let answer = client.unary(request, path, codec).await;
    answer.map(|a| a.into_inner().status).map_err(|e| format!("rpc error: {}", e.message()))
}
