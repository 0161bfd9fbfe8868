//! Commands to a store that speaks TLS and demands certificates.

use std::path::Path;

use store::{Listeners, Options, Server};
use store_client::Kv;

use super::{Store, start};
use crate::certificates::{Authority, Files};
use crate::single::quick;

/// A store of `ours`, and the files of a client whose certificate it takes.
async fn start_with_tls(scratch: tempfile::TempDir, ours: &Authority) -> (Store, Files) {
    let files = |name: &str| {
        let files = Files::new(&scratch.path().join(name));
        files.trust(&[ours]);
        files.issue(&ours.issue(name));
        files
    };
    let (member, client) = (files("member"), files("client"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let options = Options { client_tls: Some(member.tls()), ..Options::single(scratch.path().join("data")) };
    let listeners = Listeners { peer: vec![], client: vec![listener] };
    let server = Server::start_on(quick(options), listeners).await.unwrap();
    server.handle().read_revision().await.unwrap();
    (Store { _server: server, _scratch: scratch, url }, client)
}

fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_believed_by_its_certificate_or_because_one_insists() {
    let scratch = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let stranger = Files::new(&scratch.path().join("stranger"));
    stranger.trust(&[&other]);
    let (mut store, client) = start_with_tls(scratch, &ours).await;
    let [ca, cert, key, wrong] =
        [client.path("ca.pem"), client.path("cert.pem"), client.path("key.pem"), stranger.path("ca.pem")];
    let shown = ["--cert", word(&cert), "--key", word(&key)];
    let ask = async |store: &Store, words: &[&str]| store.ask_with(words, "").await;
    let base = [&["kv", "put", "k", "v"], &shown[..]].concat();

    let known = [&base[..], &["--cacert", word(&ca)]].concat();
    assert_eq!(ask(&store, &known).await.as_deref(), Ok("OK\n"));
    let unknown = [&base[..], &["--cacert", word(&wrong)]].concat();
    assert!(ask(&store, &unknown).await.unwrap_err().starts_with("cannot reach https://"));
    let insisting = [&unknown[..], &["--insecure-skip-tls-verify"]].concat();
    assert_eq!(ask(&store, &insisting).await.as_deref(), Ok("OK\n"));
    // It is the member that is not asked for proof; we are.
    let nobody = ["kv", "get", "k", "--insecure-skip-tls-verify"];
    ask(&store, &nobody).await.unwrap_err();

    store.url = store.url.replace("https://", "");
    assert_eq!(ask(&store, &insisting).await.as_deref(), Ok("OK\n"), "TLS is meant without saying https");
    let plain = [&insisting[..], &["--insecure-transport"]].concat();
    ask(&store, &plain).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_is_kept_over_tls() {
    let source = start().await;
    let ours = Authority::new("ours");
    let (destination, client) = start_with_tls(tempfile::tempdir().unwrap(), &ours).await;
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| client.path(name));
    source.check("kv put app/a 1", "OK\n").await;
    let tls = ["--dest-cacert", word(&ca), "--dest-cert", word(&cert), "--dest-key", word(&key)];
    let mirror = [&["make-mirror", &destination.url][..], &tls].concat();
    let watch = ["kv", "watch", "--prefix", "app/", "--rev", "1"];
    let shown = ["--cacert", word(&ca), "--cert", word(&cert), "--key", word(&key)];
    let watch = [&watch[..], &shown].concat();
    tokio::select! {
        ended = source.ask_with(&mirror, "") => panic!("the mirror ended: {ended:?}"),
        copied = destination.see(&watch, |text| text == "PUT\napp/a\n1\n") => drop(copied),
    }
}
