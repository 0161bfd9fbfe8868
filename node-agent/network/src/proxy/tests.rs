//! Plans as tables of services and slices; transactions as text; and, as root, real packets.

use serde_json::{Value, json};

use super::{nft, plan::Planner, *};

fn options() -> Options {
    Options {
        table: "kontiki-test".into(),
        node_name: "n1".into(),
        service_cidr: "10.96.0.0/16".parse().unwrap(),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

fn put_service(planner: &mut Planner, name: &str, spec: Value) {
    let service =
        serde_json::from_value(json!({"metadata": {"namespace": "default", "name": name}, "spec": spec}))
            .unwrap();
    planner.put_service(&key(name), Some(&service));
}

fn put_slice(planner: &mut Planner, service: &str, port: u16, endpoints: Value) {
    let slice = serde_json::from_value(json!({
        "metadata": {"namespace": "default", "name": service, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "ports": [{"name": "", "protocol": "TCP", "port": port}], "endpoints": endpoints,
    }))
    .unwrap();
    planner.put_slice(&key(service), Some(&slice));
}

fn web(planner: &mut Planner, extra: Value) {
    let mut spec = json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80, "protocol": "TCP"}]});
    for (name, value) in extra.as_object().unwrap() {
        spec[name] = value.clone();
    }
    put_service(planner, "web", spec);
}

#[test]
fn only_ready_endpoints_get_traffic_and_terminating_ones_when_none_is_ready() {
    let mut planner = Planner::new(options());
    web(&mut planner, json!({}));
    let terminating = json!({"addresses": ["10.244.1.3"], "conditions": {"ready": false, "serving": true, "terminating": true}});
    let unready = json!({"addresses": ["10.244.1.4"], "conditions": {"ready": false}});
    put_slice(
        &mut planner,
        "web",
        8080,
        json!([{"addresses": ["10.244.1.2"], "conditions": {"ready": true}}, terminating, unready]),
    );
    let backs = |planner: &Planner| {
        planner.desired().endpoints.values().map(|(ip, port)| format!("{ip}:{port}")).collect::<Vec<_>>()
    };
    assert_eq!(backs(&planner), ["10.244.1.2:8080"]);
    put_slice(&mut planner, "web", 8080, json!([terminating, unready]));
    assert_eq!(backs(&planner), ["10.244.1.3:8080"]);
}

#[test]
fn node_ports_without_endpoints_are_refused_and_policies_keep_traffic_local() {
    let mut planner = Planner::new(options());
    let node_port = json!({"ports": [{"port": 80, "nodePort": 30080}], "externalTrafficPolicy": "Local"});
    web(&mut planner, node_port);
    put_slice(&mut planner, "web", 80, json!([{"addresses": ["10.244.2.2"], "nodeName": "n2"}]));
    let desired = planner.desired();
    assert_eq!((desired.services.len(), desired.node_ports.len(), desired.dead_node_ports.len()), (1, 0, 1));
    put_slice(
        &mut planner,
        "web",
        80,
        json!([{"addresses": ["10.244.2.2"], "nodeName": "n2"}, {"addresses": ["10.244.1.2"], "nodeName": "n1"}]),
    );
    let desired = planner.desired();
    assert_eq!(
        (desired.endpoints.len(), desired.node_endpoints.len(), desired.dead_node_ports.len()),
        (2, 1, 0)
    );
}

#[test]
fn headless_and_external_services_need_no_rules() {
    let mut planner = Planner::new(options());
    put_service(&mut planner, "a", json!({"clusterIP": "None", "ports": [{"port": 80}]}));
    put_service(&mut planner, "b", json!({"type": "ExternalName", "externalName": "example.com"}));
    put_slice(&mut planner, "a", 80, json!([{"addresses": ["10.244.1.2"]}]));
    assert_eq!(planner.desired(), Desired::default());
}

#[test]
fn a_change_writes_only_what_changed() {
    let mut planner = Planner::new(options());
    web(&mut planner, json!({"sessionAffinity": "ClientIP"}));
    put_slice(&mut planner, "web", 80, json!([{"addresses": ["10.244.1.2"]}]));
    let before = planner.desired();
    assert_eq!(nft::difference(&options(), &before, &before), "");
    put_slice(&mut planner, "web", 80, json!([{"addresses": ["10.244.1.2"]}, {"addresses": ["10.244.1.3"]}]));
    let expect = "\
delete element ip kontiki-test services { 10.96.0.5 . tcp . 80 : goto hash-1 }
add element ip kontiki-test endpoints { 10.96.0.5 . tcp . 80 . 1 : 10.244.1.3 . 80 }
add element ip kontiki-test hairpin { 10.244.1.3 . 10.244.1.3 }
add element ip kontiki-test services { 10.96.0.5 . tcp . 80 : goto hash-2 }
";
    assert_eq!(nft::difference(&options(), &before, &planner.desired()), expect);
}

/// Runs nft inside a network namespace of the test's own.
struct InNamespace(String);

#[async_trait]
impl Loader for InNamespace {
    async fn load(&self, transaction: String) -> Result<(), nft::Error> {
        use tokio::io::AsyncWriteExt;
        let mut child = tokio::process::Command::new("ip")
            .args(["netns", "exec", &self.0, "nft", "-f", "-"])
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .map_err(nft::Error::Run)?;
        child.stdin.take().unwrap().write_all(transaction.as_bytes()).await.map_err(nft::Error::Run)?;
        let output = child.wait_with_output().await.map_err(nft::Error::Run)?;
        if output.status.success() {
            Ok(())
        } else {
            Err(nft::Error::Refused(String::from_utf8_lossy(&output.stderr).into()))
        }
    }
}

impl Drop for InNamespace {
    fn drop(&mut self) {
        let _ = std::process::Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn namespace(name: &str) -> Option<InNamespace> {
    let name = format!("{name}-{}", std::process::id());
    let made = std::process::Command::new("ip").args(["netns", "add", &name]).status();
    let nft = std::process::Command::new("nft").arg("--version").output();
    if !made.is_ok_and(|status| status.success()) || nft.is_err() {
        eprintln!("skipped: needs root, ip and nft");
        return None;
    }
    Some(InNamespace(name))
}

#[tokio::test]
async fn the_kernel_takes_every_transaction() {
    let Some(kernel) = namespace("kontiki-nft") else { return };
    let mut planner = Planner::new(options());
    kernel.load(nft::whole(&options(), &planner.desired())).await.unwrap();
    web(
        &mut planner,
        json!({"ports": [{"port": 80, "nodePort": 30080}, {"port": 53, "protocol": "UDP", "name": "dns"}]}),
    );
    let mut before = Desired::default();
    for endpoints in [
        json!([{"addresses": ["10.244.1.2"]}]),
        json!([{"addresses": ["10.244.1.2"]}, {"addresses": ["10.244.1.3"]}, {"addresses": ["10.244.1.4"]}]),
        json!([]),
        (2..100).map(|n| json!({"addresses": [format!("10.244.3.{n}")]})).collect(),
        json!([{"addresses": ["10.244.1.9"]}, {"addresses": ["10.244.1.3"]}]),
    ] {
        put_slice(&mut planner, "web", 80, endpoints);
        let after = planner.desired();
        kernel.load(nft::difference(&options(), &before, &after)).await.unwrap();
        before = after;
    }
    kernel.load(nft::whole(&options(), &before)).await.unwrap();
    kernel.load(nft::removal(&options())).await.unwrap();
    kernel.load(nft::removal(&options())).await.unwrap();
}
