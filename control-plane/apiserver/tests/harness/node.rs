//! A node agent that answers as kubelet does: logs as text, and an echo behind every upgrade.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use kontiki_apiserver::pki::Authority;
use rustls::{RootCertStore, ServerConfig, crypto::aws_lc_rs, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{io, net::TcpListener};

/// Starts an agent; answers its port.
pub async fn start(authority: &Authority) -> u16 {
    let issued =
        authority.issue_server("system:node:n1", &["system:nodes"], &[], &[[127, 0, 0, 1].into()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .with_upgrades();
                let _ = connection.await;
            });
        }
    });
    port
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let line = request.uri().to_string();
    let reply = |code: u16, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        response
    };
    if line.starts_with("/containerLogs/default/p/broken") {
        return Ok(reply(
            400,
            "container \"broken\" in pod \"p\" is waiting to start: ContainerCreating".into(),
        ));
    }
    if !request.headers().contains_key("upgrade") {
        return Ok(reply(200, format!("asked for {line}\n")));
    }
    let protocol = request.headers().get("sec-websocket-protocol").cloned();
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (mut read, mut write) = io::split(TokioIo::new(upgrade.await.unwrap()));
        io::AsyncWriteExt::write_all(&mut write, format!("{line}\n").as_bytes()).await.unwrap();
        io::copy(&mut read, &mut write).await.unwrap();
    });
    let mut response = reply(101, String::new());
    response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
    response.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    if let Some(protocol) = protocol {
        response.headers_mut().insert("sec-websocket-protocol", protocol);
    }
    Ok(response)
}
