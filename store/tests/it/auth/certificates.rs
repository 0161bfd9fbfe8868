//! Common names of client certificates, and signed tokens.

use proto::etcd::authpb;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::auth_client::AuthClient;
use store::auth::jwt::Settings;
use store::{Listeners, Options, Server, TokenKind};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::{BOTH, DENIED, Line, NOBODY, Store, Token, add_role, cheap, get, grant_role, login, put, told};
use crate::certificates::{Authority, Files, client_config};

struct Secure {
    _server: Server,
    authority: Authority,
    url: String,
}

impl Secure {
    async fn start(directory: &std::path::Path, names: bool) -> Self {
        let authority = Authority::new("authority");
        let files = Files::new(&directory.join("keys"));
        files.issue(&authority.issue("server"));
        files.trust(&[&authority]);
        let client = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}", client.local_addr().unwrap().port());
        let options = Options {
            client_urls: vec![url.clone()],
            client_tls: Some(files.tls()),
            client_cert_names: names,
            ..cheap(Options::single(directory.join("data")))
        };
        let listeners = Listeners { peer: vec![], client: vec![client] };
        Self { _server: Server::start_on(options, listeners).await.unwrap(), authority, url }
    }

    /// The line of whom a certificate with a name was issued to.
    async fn line(&self, name: &str, token: Option<String>) -> Line {
        let own = self.authority.issue(name);
        let endpoint = Channel::from_shared(self.url.clone()).unwrap();
        let endpoint = endpoint.tls_config(client_config(&self.authority, &own)).unwrap();
        InterceptedService::new(endpoint.connect().await.unwrap(), Token(token))
    }

    async fn enable(&self) {
        let line = self.line("setup", None).await;
        super::add_user(&line, "root", "root").await;
        grant_role(&line, "root", "root").await.unwrap();
        let no_password = Some(authpb::UserAddOptions { no_password: true });
        let ann = pb::AuthUserAddRequest { name: "ann".into(), options: no_password, ..Default::default() };
        let mut auth = AuthClient::new(line.clone());
        auth.user_add(ann).await.unwrap();
        add_role(&line, "app", &[(BOTH, "a", "")]).await;
        grant_role(&line, "ann", "app").await.unwrap();
        auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_of_a_certificate_stands_for_a_user() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Secure::start(scratch.path(), true).await;
    store.enable().await;
    let ann = store.line("ann", None).await;
    put(&ann, "a", "1").await.unwrap();
    assert_eq!(get(&ann, "a").await.unwrap().as_deref(), Some("1"));
    assert_eq!(told(&put(&ann, "b", "1").await.unwrap_err()), DENIED);
    let stranger = store.line("bob", None).await;
    assert_eq!(told(&get(&stranger, "a").await.unwrap_err()), DENIED);
    let root = store.line("root", None).await;
    put(&root, "b", "1").await.unwrap();
    // A token wins.
    let token = login(ann.clone(), "root", "root").await.unwrap();
    let both = store.line("ann", Some(token)).await;
    put(&both, "b", "2").await.unwrap();
    let wrong = store.line("root", Some("abc.1".into())).await;
    assert_eq!(told(&get(&wrong, "b").await.unwrap_err()), super::BAD_TOKEN);
    // A change of roles does not hinder who keeps the right.
    add_role(&root, "other", &[]).await;
    put(&ann, "a", "2").await.unwrap();
    super::revoke_role(&root, "ann", "app").await.unwrap();
    assert_eq!(told(&put(&ann, "a", "3").await.unwrap_err()), DENIED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_in_certificates_mean_nothing_unless_asked_for() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Secure::start(scratch.path(), false).await;
    store.enable().await;
    let root = store.line("root", None).await;
    assert_eq!(told(&get(&root, "a").await.unwrap_err()), NOBODY);
    let token = login(root, "root", "root").await.unwrap();
    put(&store.line("nobody", Some(token)).await, "a", "1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_token_is_good_until_users_change() {
    let scratch = tempfile::tempdir().unwrap();
    let pem = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    let settings =
        Settings { method: "ES256".to_owned(), private_pem: Some(pem), public_pem: None, ttl_s: 300 };
    let options = Options {
        auth_token: TokenKind::Jwt(settings.clone()),
        ..cheap(Options::single(scratch.path().join("a")))
    };
    let store = Store::start_with(options).await;
    let root = store.with_users(&[("ann", &[(BOTH, "a", "")])]).await;
    let ann = store.user("ann").await;
    put(&ann, "a", "1").await.unwrap();
    assert_eq!(told(&put(&ann, "b", "1").await.unwrap_err()), DENIED);
    assert_eq!(store.server.handle().tokens(), 0, "nothing is remembered");
    add_role(&root, "other", &[]).await;
    let old = (tonic::Code::InvalidArgument, "etcdserver: revision of auth store is old");
    assert_eq!(told(&put(&ann, "a", "2").await.unwrap_err()), old);
    assert_eq!(told(&get(&ann, "a").await.unwrap_err()), old);
    put(&store.user("ann").await, "a", "2").await.unwrap();
    // Root manages users with one login, as with etcd.
    super::add_user(&root, "bob", "bob").await;
    super::add_user(&root, "eve", "eve").await;
    // Another of the same name does not inherit what was signed for the first.
    let eve = store.user("eve").await;
    grant_role(&root, "eve", "root").await.unwrap();
    add_role(&eve, "by-eve", &[]).await;
    let mut auth = AuthClient::new(root.clone());
    auth.user_delete(pb::AuthUserDeleteRequest { name: "eve".into() }).await.unwrap();
    super::add_user(&root, "eve", "eve").await;
    grant_role(&root, "eve", "root").await.unwrap();
    let refused = AuthClient::new(eve).role_add(pb::AuthRoleAddRequest { name: "again".into() }).await;
    assert_eq!(told(&refused.unwrap_err()), old);

    // Another store does not know the key.
    let other = Store::start(&scratch.path().join("b")).await;
    other.with_users(&[]).await;
    let token = login(store.nobody().await, "root", "root").await.unwrap();
    let foreign = super::line(&other.url, Some(token)).await;
    assert_eq!(told(&get(&foreign, "a").await.unwrap_err()), super::BAD_TOKEN);

    let wrong = TokenKind::Jwt(Settings { method: "none".to_owned(), ..settings });
    let options = Options { auth_token: wrong, ..cheap(Options::single(scratch.path().join("c"))) };
    let refused = Server::start(options).await;
    assert!(matches!(&refused, Err(store::Error::Options { option: "auth_token", .. })), "{refused:?}");
}
