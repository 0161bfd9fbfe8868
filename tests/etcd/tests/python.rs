//! A Python client (python3-etcd3) goes through every call it has: `client.py`, against our store, and against etcd
//! where it is installed, so that what is expected there is etcd's word.

use std::path::PathBuf;
use std::process::Command;

use etcd_tests::server::{Running, skipped};

/// Where Debian's packages are importable; another Python may come first on the path.
const PYTHON: &str = "/usr/bin/python3";

async fn run(server: Running) {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let (host, port) = server.address.rsplit_once(':').expect("an address has a port");
    let mut command = Command::new(PYTHON);
    // The client was generated for an older protobuf, whose pure implementation every newer one has.
    command.env("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python");
    command.arg(here.join("tests/client.py")).args([host, port]);
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = output.await.expect("it runs").expect("Python starts");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "passed\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_python_client_finds_what_it_finds_in_etcd() {
    let imported = Command::new(PYTHON)
        .env("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
        .args(["-c", "import etcd3"])
        .output();
    if !imported.is_ok_and(|output| output.status.success()) {
        return skipped("python3-etcd3");
    }
    match Running::etcd().await.expect("etcd starts") {
        Some(etcd) => run(etcd).await,
        None => skipped("etcd"),
    }
    run(Running::ours().await.expect("our store starts")).await;
}
