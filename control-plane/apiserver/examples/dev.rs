//! An API server on in-memory storage, to try kubectl against: nothing is kept, nothing runs.
//!
//! ```text
//! cargo run -p kontiki-apiserver --example dev -- 127.0.0.1:6443 /tmp/kubeconfig
//! kubectl --kubeconfig /tmp/kubeconfig api-resources
//! ```

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use kontiki_apiserver::{ClientCertificate, Options, Pem, Server, pki};
use registry::Registry;
use store_client::memory::MemoryKv;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).init();
    let mut arguments = std::env::args().skip(1);
    let bind: SocketAddr =
        arguments.next().unwrap_or_else(|| "127.0.0.1:6443".into()).parse().context("address")?;
    let kubeconfig = arguments.next().unwrap_or_else(|| "kubeconfig".into());

    let authority = pki::Authority::create("kontiki-dev")?;
    let server = authority.issue_server("kube-apiserver", &[], &["localhost".into()], &[bind.ip()])?;
    let admin = authority.issue_client("admin", &["system:masters"])?;
    let nodes = authority.issue_client("kube-apiserver-kubelet-client", &["system:masters"])?;
    let options = Options {
        bind,
        certificate: Pem::Inline(server.certificate),
        key: Pem::Inline(server.key),
        client_ca: Pem::Inline(authority.certificate().into()),
        service_account_keys: vec![Pem::Inline(pki::signing_key()?)],
        node_client: Some(ClientCertificate {
            certificate: Pem::Inline(nodes.certificate),
            key: Pem::Inline(nodes.key),
        }),
        ..Options::default()
    };

    let shutdown = CancellationToken::new();
    let registry =
        Registry::start(Arc::new(MemoryKv::new()), registry::Options::default(), shutdown.clone()).await?;
    let server = Server::bind(options, registry.clone()).await?;
    let url = format!("https://{}", server.local_addr());
    std::fs::write(&kubeconfig, pki::kubeconfig("dev", &url, authority.certificate(), &admin))?;
    let handle = server.handle();
    let running = tokio::spawn(server.run(shutdown.clone()));
    handle.ready().await?;
    registry::bootstrap::ensure(&registry).await?;
    println!("ready: kubectl --kubeconfig {kubeconfig} get namespaces");
    tokio::signal::ctrl_c().await?;
    shutdown.cancel();
    running.await??;
    Ok(())
}
