//! Which path does what.

use std::sync::Arc;

use bytes::Bytes;
use client::Informer;
use futures::StreamExt;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    find::{self, Fault},
    logs::{self, LogOptions},
    metrics,
    stats::{self, Sampler},
    stream,
    tls::Caller,
};
use crate::{cri::v1, limits, shared::Shared};

/// What an answer carries.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// The paths of the server.
pub struct Routes {
    shared: Arc<Shared>,
    pods: Informer<Pod>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    sampler: Sampler,
}

/// Query parameters in order; repeated names stay repeated.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Of a request.
    pub fn of(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or("").split('&').filter(|p| !p.is_empty());
        let pair = |p: &str| {
            let (name, value) = p.split_once('=').unwrap_or((p, ""));
            (decode(name), decode(value))
        };
        Self(pairs.map(pair).collect())
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// All values of a parameter.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect()
    }

    /// Whether any of these is set to something like yes.
    pub fn is_set(&self, names: &[&str]) -> bool {
        names.iter().any(|name| matches!(self.get(name), Some("1" | "true" | "True" | "TRUE" | "t")))
    }
}

/// Percent-decoding, with `+` for a blank.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (byte, hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(code)) => {
                out.push(code);
                at += 3;
            }
            (b'+', _) => {
                out.push(b' ');
                at += 1;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Routes {
    /// Over what the agent knows.
    pub fn new(
        shared: Arc<Shared>,
        pods: Informer<Pod>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        Self { shared, pods, tasks, shutdown, sampler: Sampler::default() }
    }

    /// Answers a request of a caller.
    pub async fn answer(&self, caller: Option<&Caller>, request: Request<Incoming>) -> Response<Body> {
        if !caller.is_some_and(Caller::is_allowed) {
            return text(StatusCode::UNAUTHORIZED, "Unauthorized");
        }
        let path = request.uri().path().trim_end_matches('/').to_owned();
        let parts: Vec<String> = path.split('/').skip(1).map(decode).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let get = request.method() == Method::GET;
        let outcome = match parts.as_slice() {
            ["healthz"] if get => Ok(text(StatusCode::OK, "ok")),
            ["pods"] if get => Ok(self.list_pods()),
            ["configz"] if get => Ok(self.configz()),
            ["metrics"] if get => Ok(text(StatusCode::OK, metrics::of_agent(&self.shared, &self.pods).await)),
            ["metrics", "resource"] if get => {
                Ok(text(StatusCode::OK, metrics::of_resources(&self.shared).await))
            }
            ["stats", "summary"] if get => {
                Ok(json_answer(&stats::summary(&self.shared, &self.sampler).await))
            }
            ["containerLogs", namespace, pod, container] if get => {
                let query = Query::of(request.uri().query());
                self.logs(namespace, pod, container, &query).await
            }
            ["exec", namespace, pod, container] => self.exec(request, namespace, pod, "", container).await,
            ["exec", namespace, pod, uid, container] => {
                self.exec(request, namespace, pod, uid, container).await
            }
            ["attach", namespace, pod, container] => {
                self.attach(request, namespace, pod, "", container).await
            }
            ["attach", namespace, pod, uid, container] => {
                self.attach(request, namespace, pod, uid, container).await
            }
            ["portForward", namespace, pod] => self.port_forward(request, namespace, pod, "").await,
            ["portForward", namespace, pod, uid] => self.port_forward(request, namespace, pod, uid).await,
            _ => Err(Fault::new(StatusCode::NOT_FOUND, "404 page not found")),
        };
        outcome.unwrap_or_else(|fault| text(fault.code, fault.message))
    }

    fn list_pods(&self) -> Response<Body> {
        let pods: Vec<Arc<Pod>> = self.pods.list();
        let items: Vec<&Pod> = pods.iter().map(AsRef::as_ref).collect();
        json_answer(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
    }

    fn configz(&self) -> Response<Body> {
        let options = &self.shared.options;
        json_answer(&json!({"kubeletconfig": {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "clusterDomain": options.cluster_domain,
            "clusterDNS": options.cluster_dns,
            "maxPods": options.pods_max,
            "containerLogMaxSize": format!("{}Mi", limits::LOG_BYTES_MAX >> 20),
            "containerLogMaxFiles": limits::LOG_FILES_MAX,
            "imageGCHighThresholdPercent": limits::IMAGE_DISK_PERCENT_HIGH,
            "imageGCLowThresholdPercent": limits::IMAGE_DISK_PERCENT_LOW,
            "containerRuntimeEndpoint": options.runtime_endpoint,
        }}))
    }

    async fn logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        query: &Query,
    ) -> Result<Response<Body>, Fault> {
        let options = LogOptions::parse(query, self.shared.clock.now())
            .map_err(|why| Fault::new(StatusCode::BAD_REQUEST, why))?;
        let pod = find::pod(&self.pods, namespace, pod, "")?;
        let log = find::log(&self.shared, &pod, container, options.previous).await?;
        let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(limits::LOG_CHUNKS_MAX);
        let (runtime, shutdown) = (Arc::clone(&self.shared.runtime), self.shutdown.clone());
        self.tasks.spawn(async move {
            let copy = async {
                // The reader went away, or is told by the broken body.
                if let Err(e) = logs::copy(&log, &options, &*runtime, &sender).await {
                    let _ = sender.send(Err(e)).await;
                }
            };
            shutdown.run_until_cancelled(copy).await;
        });
        let frames = ReceiverStream::new(receiver).map(|chunk| chunk.map(Frame::data));
        let mut answer = Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)));
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok(answer)
    }

    async fn exec(
        &self,
        request: Request<Incoming>,
        namespace: &str,
        pod: &str,
        uid: &str,
        container: &str,
    ) -> Result<Response<Body>, Fault> {
        let query = Query::of(request.uri().query());
        let pod = find::pod(&self.pods, namespace, pod, uid)?;
        let id = find::running(&self.shared, &pod, container).await?;
        let tty = query.is_set(&["tty"]);
        let asked = v1::ExecRequest {
            container_id: id,
            cmd: query.all("command"),
            tty,
            stdin: query.is_set(&["input", "stdin"]),
            stdout: query.is_set(&["output", "stdout"]),
            stderr: query.is_set(&["error", "stderr"]) && !tty,
        };
        if !(asked.stdin || asked.stdout || asked.stderr) {
            let why = "you must specify at least 1 of stdin, stdout, stderr";
            return Err(Fault::new(StatusCode::BAD_REQUEST, why));
        }
        let url = self.shared.runtime.exec(asked).await.map_err(Fault::of_runtime)?;
        stream::proxy(request, &url, &self.tasks, &self.shutdown).await
    }

    async fn attach(
        &self,
        request: Request<Incoming>,
        namespace: &str,
        pod: &str,
        uid: &str,
        container: &str,
    ) -> Result<Response<Body>, Fault> {
        let query = Query::of(request.uri().query());
        let pod = find::pod(&self.pods, namespace, pod, uid)?;
        let id = find::running(&self.shared, &pod, container).await?;
        let tty = query.is_set(&["tty"]);
        let asked = v1::AttachRequest {
            container_id: id,
            tty,
            stdin: query.is_set(&["input", "stdin"]),
            stdout: query.is_set(&["output", "stdout"]),
            stderr: query.is_set(&["error", "stderr"]) && !tty,
        };
        let url = self.shared.runtime.attach(asked).await.map_err(Fault::of_runtime)?;
        stream::proxy(request, &url, &self.tasks, &self.shutdown).await
    }

    async fn port_forward(
        &self,
        request: Request<Incoming>,
        namespace: &str,
        pod: &str,
        uid: &str,
    ) -> Result<Response<Body>, Fault> {
        let query = Query::of(request.uri().query());
        let pod = find::pod(&self.pods, namespace, pod, uid)?;
        let pod_sandbox_id = find::sandbox(&self.shared, &pod).await?;
        let named = query.all("port").into_iter().chain(query.all("ports"));
        let port: Vec<i32> = named
            .flat_map(|p| p.split(',').map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|p| p.parse().ok())
            .collect();
        let asked = v1::PortForwardRequest { pod_sandbox_id, port };
        let url = self.shared.runtime.port_forward(asked).await.map_err(Fault::of_runtime)?;
        stream::proxy(request, &url, &self.tasks, &self.shutdown).await
    }
}

/// A whole body.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn text(code: StatusCode, message: impl Into<String>) -> Response<Body> {
    let mut answer = Response::new(full(message.into()));
    *answer.status_mut() = code;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

fn json_answer(value: &serde_json::Value) -> Response<Body> {
    let mut answer = Response::new(full(value.to_string()));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn queries_keep_order_and_repetition() {
        let query = Query::of(Some("command=sh&command=-c&command=echo+a%20b%2Fc&input=1&tty=false"));
        assert_eq!(query.all("command"), ["sh", "-c", "echo a b/c"]);
        assert!(query.is_set(&["stdin", "input"]) && !query.is_set(&["tty"]));
        assert_eq!(query.get("none"), None);
        assert_eq!(Query::of(Some("a=%zz%")).get("a"), Some("%zz%"));
    }
}
