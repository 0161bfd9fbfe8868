//! The REST API over a real TLS socket.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod harness;

use harness::{ANN, Cluster, wait_for};
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"x": value}}, "data": {"k": value}})
}

#[tokio::test]
async fn an_object_lives_through_all_verbs() {
    let cluster = Cluster::start().await;
    let mut admin = cluster.admin().await;
    let created = admin.post(CONFIG_MAPS, &config_map("a", "1")).await;
    assert_eq!(created.code, 201, "{:?}", created.body);
    assert!(!created.json()["metadata"]["uid"].as_str().unwrap().is_empty());
    assert_eq!(admin.post(CONFIG_MAPS, &config_map("a", "1")).await.json()["reason"], "AlreadyExists");

    let path = format!("{CONFIG_MAPS}/a");
    let got = admin.get(&path).await.json();
    assert_eq!(got["data"]["k"], "1");

    let mut changed = got.clone();
    changed["data"]["k"] = "2".into();
    assert_eq!(admin.put(&path, &changed).await.code, 200);
    let stale = admin.put(&path, &changed).await;
    assert_eq!((stale.code.as_u16(), stale.json()["reason"].as_str()), (409, Some("Conflict")));

    let merge =
        admin.send(Method::PATCH, &path, "application/merge-patch+json", r#"{"data":{"n":"3"}}"#).await;
    assert_eq!(merge.json()["data"], json!({"k": "2", "n": "3"}), "{:?}", merge.body);
    let patch = r#"[{"op":"remove","path":"/data/k"}]"#;
    let patched = admin.send(Method::PATCH, &path, "application/json-patch+json", patch).await;
    assert_eq!(patched.json()["data"], json!({"n": "3"}));
    let applied = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\ndata:\n  y: yes\n";
    let apply = format!("{CONFIG_MAPS}/b?fieldManager=test&force=true");
    let applied = admin
        .send(Method::PATCH, &apply, "application/apply-patch+yaml", applied.replace("yes", "'1'"))
        .await;
    assert_eq!(
        (applied.code.as_u16(), &applied.json()["data"]),
        (201, &json!({"y": "1"})),
        "{:?}",
        applied.body
    );

    let list = admin.get(&format!("{CONFIG_MAPS}?labelSelector=x%3D1")).await.json();
    assert_eq!((list["kind"].as_str(), list["items"].as_array().unwrap().len()), (Some("ConfigMapList"), 1));
    assert_eq!(admin.delete(&path).await.json()["status"], "Success");
    assert_eq!(admin.get(&path).await.message(), "configmaps \"a\" not found");
}

#[tokio::test]
async fn what_cannot_be_understood_is_refused_with_upstreams_codes() {
    let cluster = Cluster::start().await;
    let mut admin = cluster.admin().await;
    let table: [(Method, &str, &str, Vec<u8>, u16); 12] = [
        (Method::POST, CONFIG_MAPS, "application/json", b"{".to_vec(), 400),
        (Method::POST, CONFIG_MAPS, "application/json", b"[]".to_vec(), 400),
        (Method::POST, CONFIG_MAPS, "application/yaml", b"a: [".to_vec(), 400),
        (Method::POST, CONFIG_MAPS, "text/html", b"{}".to_vec(), 415),
        (Method::POST, CONFIG_MAPS, "application/json", vec![b' '; 3 * 1024 * 1024 + 1], 413),
        (Method::PATCH, "/api/v1/namespaces/default/configmaps/x", "application/json", b"{}".to_vec(), 415),
        (Method::GET, "/api/v1/nothing", "", vec![], 404),
        (Method::GET, "/apis/none/v1", "", vec![], 404),
        (Method::GET, "/api/v1/namespaces/%2e%2e/pods", "", vec![], 404),
        (Method::PUT, CONFIG_MAPS, "application/json", b"{}".to_vec(), 405),
        (Method::POST, "/version", "", vec![], 405),
        (Method::GET, "/api/v1/pods?limit=x", "", vec![], 400),
    ];
    for (method, path, media, body, code) in table {
        let mut client = cluster.admin().await;
        let answer = client.send(method.clone(), path, media, body).await;
        assert_eq!(answer.code, code, "{method} {path} {media}: {:?}", answer.body);
        assert_eq!(answer.json()["kind"], "Status");
    }
    let mut picky = cluster.admin().await.with("accept", "text/html");
    assert_eq!(picky.get(CONFIG_MAPS).await.code, 406);
    let force = format!("{CONFIG_MAPS}/x?force=true");
    let answer = admin.send(Method::PATCH, &force, "application/merge-patch+json", "{}").await;
    assert_eq!(answer.code, 422);
    let nameless =
        admin.send(Method::PATCH, &format!("{CONFIG_MAPS}/x"), "application/apply-patch+yaml", "{}").await;
    assert!(nameless.message().contains("fieldManager: Required value"), "{}", nameless.message());
}

#[tokio::test]
async fn who_has_no_credentials_gets_health_only() {
    let cluster = Cluster::start().await;
    let mut nobody = cluster.without_certificate().await;
    for open in ["/healthz", "/livez", "/readyz", "/version", "/readyz?verbose"] {
        assert_eq!(nobody.get(open).await.code, 200, "{open}");
    }
    for closed in ["/api", "/apis", "/metrics", "/openapi/v2", "/api/v1/pods", "/", "/healthzx"] {
        let answer = nobody.get(closed).await;
        assert_eq!((answer.code.as_u16(), answer.message().as_str()), (401, "Unauthorized"), "{closed}");
    }
    let mut wrong = cluster.without_certificate().await.with("authorization", "Bearer nonsense");
    assert_eq!(wrong.get("/version").await.code, 401);
}

#[tokio::test]
async fn rights_come_from_roles_and_refusals_read_as_upstreams() {
    let cluster = Cluster::start().await;
    let (mut admin, mut ann) = (cluster.admin().await, cluster.without_certificate().await);
    ann = ann.with("authorization", &format!("Bearer {ANN}"));
    let refused = ann.get("/api/v1/namespaces/default/pods").await;
    assert_eq!(
        (refused.code.as_u16(), refused.message().as_str()),
        (
            403,
            r#"pods is forbidden: User "ann" cannot list resource "pods" in API group "" in the namespace "default""#
        )
    );
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"}, "rules": [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["create", "patch"]}]});
    assert_eq!(admin.post(roles, &role).await.code, 201);
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "dev"}]});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    assert_eq!(admin.post(bindings, &binding).await.code, 201);
    let ann = tokio::sync::Mutex::new(ann);
    wait_for("the binding to count", || async {
        ann.lock().await.get("/api/v1/namespaces/default/pods").await.code == 200
    })
    .await;
    let mut ann = ann.into_inner();
    assert_eq!(ann.get("/api/v1/pods").await.code, 403, "other namespaces stay closed");

    let mut more = role.clone();
    more["metadata"]["name"] = "more".into();
    more["rules"][0]["verbs"] = json!(["list", "delete"]);
    let escalated = ann.post(roles, &more).await;
    assert_eq!(escalated.code, 403);
    assert!(escalated.message().contains("is attempting to grant RBAC permissions not currently held"));
    let patch = r#"{"rules":[{"apiGroups":["*"],"resources":["*"],"verbs":["*"]}]}"#;
    let patched = ann.send(Method::PATCH, &format!("{roles}/r"), "application/merge-patch+json", patch).await;
    assert_eq!(patched.code, 403, "{:?}", patched.body);
}

#[tokio::test]
async fn impersonation_needs_the_right_to_it() {
    let cluster = Cluster::start().await;
    let who = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let mut admin = cluster.admin().await.with("impersonate-user", "bob").with("impersonate-group", "ops");
    let answer = admin.post(who, &review).await;
    assert_eq!(answer.code, 201, "{:?}", answer.body);
    let user = answer.json()["status"]["userInfo"].clone();
    assert_eq!((&user["username"], &user["groups"][0]), (&json!("bob"), &json!("ops")));
    let ann = cluster.without_certificate().await.with("authorization", &format!("Bearer {ANN}"));
    let mut ann = ann.with("impersonate-user", "bob");
    assert_eq!(
        ann.get("/api").await.message(),
        r#"users "bob" is forbidden: User "ann" cannot impersonate resource "users" in API group "" at the cluster scope"#
    );
}

#[tokio::test]
async fn a_watch_delivers_what_happens() {
    let cluster = Cluster::start().await;
    let (mut admin, mut watcher) = (cluster.admin().await, cluster.admin().await);
    assert_eq!(admin.post(CONFIG_MAPS, &config_map("old", "1")).await.code, 201);
    let version =
        admin.get(CONFIG_MAPS).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let path = format!("{CONFIG_MAPS}?watch=true&resourceVersion={version}&fieldSelector=metadata.name%3Da");
    let mut body = watcher.open(Method::GET, &path, "", "").await.into_body();
    admin.post(CONFIG_MAPS, &config_map("a", "1")).await;
    admin.post(CONFIG_MAPS, &config_map("b", "1")).await;
    admin.delete(&format!("{CONFIG_MAPS}/a")).await;
    let mut text = Vec::new();
    while text.iter().filter(|b| **b == b'\n').count() < 2 {
        let frame =
            tokio::time::timeout(harness::DEADLINE, body.frame()).await.expect("in time").unwrap().unwrap();
        text.extend_from_slice(frame.data_ref().unwrap());
    }
    let events: Vec<Value> = text
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    let seen: Vec<_> =
        events.iter().map(|e| (e["type"].as_str().unwrap(), &e["object"]["metadata"]["name"])).collect();
    assert_eq!(seen, [("ADDED", &json!("a")), ("DELETED", &json!("a"))]);
}

#[tokio::test]
async fn tables_carry_columns_and_metadata() {
    let cluster = Cluster::start().await;
    let mut admin =
        cluster.admin().await.with("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
    admin.post(CONFIG_MAPS, &config_map("a", "1")).await;
    let table = admin.get(&format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Da")).await.json();
    assert_eq!(
        (table["kind"].as_str(), table["apiVersion"].as_str()),
        (Some("Table"), Some("meta.k8s.io/v1"))
    );
    let names: Vec<_> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Name", "Data", "Age"]);
    let cells = &table["rows"][0]["cells"];
    assert_eq!((&cells[0], &cells[1]), (&json!("a"), &json!(1)));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn a_service_account_token_lives_as_long_as_its_account() {
    let cluster = Cluster::start().await;
    let mut admin = cluster.admin().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot"}});
    assert_eq!(admin.post(accounts, &account).await.code, 201);
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    let issued = admin.post(&format!("{accounts}/bot/token"), &request).await;
    assert_eq!(issued.code, 201, "{:?}", issued.body);
    let token = issued.json()["status"]["token"].as_str().unwrap().to_owned();
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let status = admin.post(reviews, &review).await.json()["status"].clone();
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:bot", "{status}");
    let mut bot = cluster.without_certificate().await.with("authorization", &format!("Bearer {token}"));
    assert_eq!(bot.get("/api/v1/pods").await.code, 403);
    admin.delete(&format!("{accounts}/bot")).await;
    let bot = tokio::sync::Mutex::new(bot);
    wait_for("the token to die", || async { bot.lock().await.get("/api/v1/pods").await.code == 401 }).await;
}

#[tokio::test]
async fn a_node_reaches_only_what_its_pods_refer_to() {
    let cluster = Cluster::start().await;
    let mut admin = cluster.admin().await;
    for name in ["used", "other"] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}});
        assert_eq!(admin.post("/api/v1/namespaces/default/secrets", &secret).await.code, 201);
    }
    for node in ["n1", "n2"] {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}});
        assert_eq!(admin.post("/api/v1/nodes", &node).await.code, 201);
    }
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    admin.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n1",
        "containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "secret": {"secretName": "used"}}]}});
    let pods = "/api/v1/namespaces/default/pods";
    let created = admin.post(pods, &pod).await;
    assert_eq!(created.code, 201, "{:?}", created.body);
    let mut n1 = cluster.as_user("system:node:n1", &["system:nodes"]).await;
    let mut n2 = cluster.as_user("system:node:n2", &["system:nodes"]).await;
    let secret = |name: &str| format!("/api/v1/namespaces/default/secrets/{name}");
    assert_eq!(n1.get(&secret("used")).await.code, 200);
    assert_eq!(n1.get(&secret("other")).await.code, 403);
    assert_eq!(n2.get(&secret("used")).await.code, 403);
    assert_eq!(n1.get("/api/v1/secrets").await.code, 403);
    assert_eq!(n1.get(&format!("{pods}?fieldSelector=spec.nodeName%3Dn1")).await.code, 200);
    assert_eq!(n1.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn2").await.code, 403);
    assert_eq!(n1.get("/api/v1/nodes").await.code, 200);
    assert_eq!(n2.get(&format!("{pods}/p")).await.code, 403);
    let status = r#"{"status":{"phase":"Running"}}"#;
    let merge = "application/merge-patch+json";
    assert_eq!(n2.send(Method::PATCH, &format!("{pods}/p/status"), merge, status).await.code, 403);
    let patched = n1.send(Method::PATCH, &format!("{pods}/p/status"), merge, status).await;
    assert_eq!(patched.code, 200, "{:?}", patched.body);
    assert_eq!(n1.send(Method::PATCH, "/api/v1/nodes/n2/status", merge, "{}").await.code, 403);
}
