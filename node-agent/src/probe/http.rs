//! One HTTP GET from the agent to a pod, for probes and hooks. Certificates are not verified: the pod is
//! addressed by its IP, as upstream does.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::{
    api::core::v1::{Container, HTTPGetAction},
    apimachinery::pkg::util::intstr::IntOrString,
};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::limits;

/// A GET to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// `http` or `https`.
    pub scheme: String,
    /// Where to connect.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// Extra headers.
    pub headers: Vec<(String, String)>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status code.
    pub code: u16,
    /// The beginning of the body.
    pub body: String,
}

impl Get {
    /// From an action; `pod_ip` is the host unless the action names one.
    pub fn of(action: &HTTPGetAction, container: &Container, pod_ip: &str) -> Result<Self, String> {
        let host = action.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| pod_ip.to_owned());
        let path = action.path.clone().unwrap_or_default();
        let headers = action.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone()));
        Ok(Self {
            scheme: action.scheme.as_deref().unwrap_or("HTTP").to_lowercase(),
            host,
            port: port(&action.port, container)?,
            path: if path.starts_with('/') { path } else { format!("/{path}") },
            headers: headers.collect(),
        })
    }

    /// As messages show it.
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, authority(&self.host, self.port), self.path)
    }

    /// Makes it, following redirects on the same host.
    pub async fn send(&self, agent: &str, limit: Duration) -> Result<Answer, String> {
        let late = || {
            format!(
                "Get {:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
                self.url()
            )
        };
        tokio::time::timeout(limit, self.follow(agent)).await.map_err(|_| late())?
    }

    async fn follow(&self, agent: &str) -> Result<Answer, String> {
        let mut get = self.clone();
        for _ in 0..=limits::HTTP_REDIRECTS_MAX {
            let (answer, location) = once(&get, agent).await?;
            let next =
                location.filter(|_| (300..400).contains(&answer.code)).and_then(|l| redirected(&get, &l));
            match next {
                Some(next) => get = next,
                None => return Ok(answer),
            }
        }
        Err(format!("Get {:?}: stopped after {} redirects", self.url(), limits::HTTP_REDIRECTS_MAX))
    }
}

/// A port given by number or by the name a container gives it.
pub fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name));
            named.map(|p| p.container_port).or_else(|| name.parse().ok())
        }
    };
    match number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0) {
        Some(number) => Ok(number),
        None => Err(format!("couldn't find port: {port:?}")),
    }
}

/// `host:port`, with brackets where they belong.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Where a redirect leads, if it stays on the same host.
fn redirected(get: &Get, location: &str) -> Option<Get> {
    let uri: Uri = location.parse().ok()?;
    let same = uri.host().is_none_or(|host| host.trim_matches(['[', ']']) == get.host);
    let path = uri.path_and_query()?.as_str().to_owned();
    if !same || !path.starts_with('/') {
        return None;
    }
    let scheme = uri.scheme_str().unwrap_or(&get.scheme).to_owned();
    let port = match (uri.port_u16(), uri.host().is_some()) {
        (Some(port), _) => port,
        (None, false) => get.port,
        (None, true) => {
            if scheme == "https" {
                443
            } else {
                80
            }
        }
    };
    Some(Get { scheme, port, path, ..get.clone() })
}

async fn once(get: &Get, agent: &str) -> Result<(Answer, Option<String>), String> {
    let failed = |e: &dyn std::fmt::Display| format!("Get {:?}: {e}", get.url());
    let address = authority(&get.host, get.port);
    let stream =
        TcpStream::connect(&address).await.map_err(|e| failed(&format!("dial tcp {address}: {e}")))?;
    if get.scheme == "https" {
        let name = ServerName::try_from(get.host.clone()).map_err(|e| failed(&e))?;
        let connector = tokio_rustls::TlsConnector::from(trusting());
        let stream = connector.connect(name, stream).await.map_err(|e| failed(&e))?;
        exchange(get, agent, stream).await.map_err(|e| failed(&e))
    } else {
        exchange(get, agent, stream).await.map_err(|e| failed(&e))
    }
}

async fn exchange<S>(get: &Get, agent: &str, stream: S) -> Result<(Answer, Option<String>), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|e| e.to_string())?;
    let request = request(get, agent)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let location =
            answer.headers().get(header::LOCATION).and_then(|v| v.to_str().ok()).map(ToOwned::to_owned);
        let code = answer.status().as_u16();
        // A body that is too long or breaks off does not change the verdict.
        let body = Limited::new(answer.into_body(), limits::HTTP_BODY_BYTES_MAX).collect().await;
        let body = body.map(|b| String::from_utf8_lossy(&b.to_bytes()).into_owned()).unwrap_or_default();
        Ok((Answer { code, body }, location))
    };
    tokio::pin!(connection, exchange);
    tokio::select! {
        outcome = &mut exchange => outcome,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(e) => Err(e.to_string()),
        },
    }
}

fn request(get: &Get, agent: &str) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = Request::get(&get.path);
    let named = |name: &str| get.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    if !named("host") {
        request = request.header(header::HOST, authority(&get.host, get.port));
    }
    if !named("user-agent") {
        request = request.header(header::USER_AGENT, agent);
    }
    if !named("accept") {
        request = request.header(header::ACCEPT, "*/*");
    }
    request = request.header(header::CONNECTION, "close");
    for (name, value) in &get.headers {
        request = request.header(name, value);
    }
    request.body(Empty::new()).map_err(|e| e.to_string())
}

fn trusting() -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone { schemes }))
        .with_no_client_auth();
    Arc::new(config)
}

/// Accepts every certificate: a probe asks whether the pod answers, not who it is.
#[derive(Debug)]
struct Anyone {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::Container, apimachinery::pkg::util::intstr::IntOrString};

    use super::{Get, port, redirected};

    #[test]
    fn ports_may_be_named() {
        let json = serde_json::json!({"name": "web", "ports": [{"name": "http", "containerPort": 8080}]});
        let container: Container = serde_json::from_value(json).unwrap();
        assert_eq!(port(&IntOrString::String("http".into()), &container), Ok(8080));
        assert_eq!(port(&IntOrString::Int(1), &container), Ok(1));
        assert!(port(&IntOrString::String("none".into()), &container).is_err());
        assert!(port(&IntOrString::Int(70_000), &container).is_err());
    }

    #[test]
    fn redirects_stay_on_the_host() {
        let get = Get {
            scheme: "http".into(),
            host: "10.0.0.2".into(),
            port: 8080,
            path: "/".into(),
            headers: Vec::new(),
        };
        assert_eq!(redirected(&get, "/login").unwrap().path, "/login");
        assert_eq!(redirected(&get, "https://10.0.0.2/x").unwrap().port, 443);
        assert!(redirected(&get, "http://example.com/").is_none());
    }
}
