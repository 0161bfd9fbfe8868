//! What a Node says of itself: a pure function of the machine, the runtime and what was said before.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec,
        NodeStatus, NodeSystemInfo, Taint,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, Time},
    },
};

use crate::{
    cri::v1,
    limits,
    options::Options,
    pod::status::whole_seconds,
    sys::{Facts, facts::Usage},
};

/// Everything a status is made from.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The machine.
    pub facts: Facts,
    /// What is in use.
    pub usage: Usage,
    /// Port of the agent's server; 0 for none.
    pub port: u16,
    /// Name and version of the runtime, as `name://version`.
    pub runtime_version: String,
    /// The runtime's conditions, or why it does not answer.
    pub runtime: Result<v1::RuntimeStatus, String>,
    /// Images present.
    pub images: Vec<v1::Image>,
    /// The time.
    pub now: Timestamp,
}

/// Labels every node has, besides those it was told.
pub fn labels(options: &Options, facts: &Facts) -> BTreeMap<String, String> {
    let well_known = [
        ("kubernetes.io/hostname", options.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", facts.architecture.as_str()),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", facts.architecture.as_str()),
        ("node.kubernetes.io/instance-type", "kontiki"),
    ];
    let well_known = well_known.map(|(key, value)| (key.to_owned(), value.to_owned()));
    well_known.into_iter().chain(options.labels.clone()).collect()
}

/// The Node as it is first registered: not ready, so that nothing is put on it before it can run pods.
pub fn registration(options: &Options, inputs: &Inputs) -> Node {
    let taint =
        Taint { key: "node.kubernetes.io/not-ready".into(), effect: "NoSchedule".into(), ..Taint::default() };
    Node {
        metadata: ObjectMeta {
            name: Some(options.node_name.clone()),
            labels: Some(labels(options, &inputs.facts)),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec { taints: Some(vec![taint]), ..NodeSpec::default() }),
        status: Some(of(options, inputs, &NodeStatus::default())),
    }
}

/// The status. Conditions keep their transition time while they do not change.
pub fn of(options: &Options, inputs: &Inputs, last: &NodeStatus) -> NodeStatus {
    let resources = capacity(options, &inputs.facts);
    NodeStatus {
        capacity: Some(resources.clone()),
        allocatable: Some(resources),
        addresses: Some(addresses(options)),
        conditions: Some(conditions(inputs, last)),
        daemon_endpoints: (inputs.port > 0).then(|| NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(inputs.port) }),
        }),
        node_info: Some(node_info(options, inputs)),
        images: Some(images(&inputs.images)),
        ..NodeStatus::default()
    }
}

/// Whether two statuses differ in more than their heartbeats.
pub fn differs(before: &NodeStatus, after: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    still(before) != still(after)
}

/// Whether a status says that pods can run.
pub fn is_ready(status: &NodeStatus) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn capacity(options: &Options, facts: &Facts) -> BTreeMap<String, Quantity> {
    let kib = |bytes: u64| format!("{}Ki", bytes / 1024);
    [
        ("cpu", facts.cpus.to_string()),
        ("memory", kib(facts.memory_bytes)),
        ("ephemeral-storage", kib(facts.disk_bytes)),
        ("pods", options.pods_max.to_string()),
        ("hugepages-1Gi", "0".to_owned()),
        ("hugepages-2Mi", "0".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), Quantity(value)))
    .collect()
}

fn addresses(options: &Options) -> Vec<NodeAddress> {
    let address = |r#type: &str, address: String| NodeAddress { type_: r#type.to_owned(), address };
    vec![address("InternalIP", options.node_ip.to_string()), address("Hostname", options.node_name.clone())]
}

fn node_info(options: &Options, inputs: &Inputs) -> NodeSystemInfo {
    let facts = &inputs.facts;
    NodeSystemInfo {
        architecture: facts.architecture.clone(),
        boot_id: facts.boot_id.clone(),
        container_runtime_version: inputs.runtime_version.clone(),
        kernel_version: facts.kernel.clone(),
        kube_proxy_version: String::new(),
        kubelet_version: options.kubelet_version.clone(),
        machine_id: facts.machine_id.clone(),
        operating_system: "linux".into(),
        os_image: facts.os_image.clone(),
        system_uuid: facts.system_uuid.clone(),
        ..NodeSystemInfo::default()
    }
}

fn images(images: &[v1::Image]) -> Vec<ContainerImage> {
    let mut sorted: Vec<&v1::Image> = images.iter().collect();
    sorted.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let row = |image: &v1::Image| ContainerImage {
        names: Some(image.repo_digests.iter().chain(&image.repo_tags).cloned().collect()),
        size_bytes: i64::try_from(image.size).ok(),
    };
    sorted.into_iter().take(limits::NODE_IMAGES_MAX).map(row).collect()
}

struct Verdict {
    status: bool,
    reason: &'static str,
    message: String,
}

fn conditions(inputs: &Inputs, last: &NodeStatus) -> Vec<NodeCondition> {
    let usage = inputs.usage;
    let pressure = |percent: u64, limit: u64, yes: &'static str, no: &'static str, words: [&str; 2]| {
        let high = percent >= limit;
        Verdict {
            status: high,
            reason: if high { yes } else { no },
            message: words[usize::from(high)].to_owned(),
        }
    };
    let verdicts = [
        (
            "MemoryPressure",
            pressure(
                usage.memory_percent,
                limits::MEMORY_PRESSURE_PERCENT,
                "KubeletHasInsufficientMemory",
                "KubeletHasSufficientMemory",
                ["kubelet has sufficient memory available", "kubelet has insufficient memory available"],
            ),
        ),
        (
            "DiskPressure",
            pressure(
                usage.disk_percent,
                limits::DISK_PRESSURE_PERCENT,
                "KubeletHasDiskPressure",
                "KubeletHasNoDiskPressure",
                ["kubelet has no disk pressure", "kubelet has disk pressure"],
            ),
        ),
        (
            "PIDPressure",
            pressure(
                usage.pid_percent,
                limits::PID_PRESSURE_PERCENT,
                "KubeletHasInsufficientPID",
                "KubeletHasSufficientPID",
                ["kubelet has sufficient PID available", "kubelet has insufficient PID available"],
            ),
        ),
        ("Ready", ready(&inputs.runtime)),
    ];
    verdicts.into_iter().map(|(r#type, verdict)| condition(r#type, verdict, inputs.now, last)).collect()
}

fn condition(r#type: &str, verdict: Verdict, now: Timestamp, last: &NodeStatus) -> NodeCondition {
    let status = if verdict.status { "True" } else { "False" };
    let before = last.conditions.iter().flatten().find(|c| c.type_ == r#type && c.status == status);
    let since: Option<Time> = before.and_then(|c| c.last_transition_time.clone());
    NodeCondition {
        type_: r#type.to_owned(),
        status: status.to_owned(),
        reason: Some(verdict.reason.to_owned()),
        message: Some(verdict.message),
        last_heartbeat_time: Some(whole_seconds(now)),
        last_transition_time: since.or_else(|| Some(whole_seconds(now))),
    }
}

/// Ready only while the runtime and its network are.
fn ready(runtime: &Result<v1::RuntimeStatus, String>) -> Verdict {
    let fault = match runtime {
        Err(why) => Some(format!("container runtime is down: {why}")),
        Ok(status) => ["RuntimeReady", "NetworkReady"].iter().find_map(|name| {
            let found = status.conditions.iter().find(|c| c.r#type == *name);
            match found {
                Some(c) if c.status => None,
                Some(c) => Some(format!(
                    "container runtime network not ready: {name}=false reason:{} message:{}",
                    c.reason, c.message
                )),
                None => Some(format!("container runtime status check may not have completed yet: no {name}")),
            }
        }),
    };
    match fault {
        None => Verdict {
            status: true,
            reason: "KubeletReady",
            message: "kubelet is posting ready status".into(),
        },
        Some(message) => Verdict { status: false, reason: "KubeletNotReady", message },
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Facts, Inputs, NodeStatus, Options, Timestamp, Usage, differs, is_ready, of, registration, v1,
    };

    fn inputs(network: bool) -> Inputs {
        let condition = |r#type: &str, status: bool| v1::RuntimeCondition {
            r#type: r#type.into(),
            status,
            ..v1::RuntimeCondition::default()
        };
        let conditions = vec![condition("RuntimeReady", true), condition("NetworkReady", network)];
        Inputs {
            facts: Facts { cpus: 2, memory_bytes: 4096, architecture: "amd64".into(), ..Facts::default() },
            usage: Usage::default(),
            port: 10250,
            runtime_version: "kontiki://0.1.0".into(),
            runtime: Ok(v1::RuntimeStatus { conditions }),
            images: Vec::new(),
            now: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_node_is_ready_when_runtime_and_network_are() {
        let options = Options { node_name: "n1".into(), ..Options::default() };
        let ready = |inputs: &Inputs| is_ready(&of(&options, inputs, &NodeStatus::default()));
        assert!(ready(&inputs(true)));
        assert!(!ready(&inputs(false)));
        assert!(!ready(&Inputs { runtime: Err("gone".into()), ..inputs(true) }));
    }

    #[test]
    fn heartbeats_alone_are_no_difference() {
        let options = Options::default();
        let first = of(&options, &inputs(true), &NodeStatus::default());
        let later = Inputs { now: Timestamp::MAX, ..inputs(true) };
        let second = of(&options, &later, &first);
        assert!(!differs(&first, &second));
        let third = of(&options, &Inputs { now: Timestamp::MAX, ..inputs(false) }, &second);
        assert!(differs(&second, &third));
    }

    #[test]
    fn a_registration_says_who_and_where() {
        let options = Options { node_name: "n1".into(), ..Options::default() };
        let node = registration(&options, &inputs(true));
        let labels = node.metadata.labels.unwrap();
        assert_eq!(labels["kubernetes.io/hostname"], "n1");
        assert_eq!(labels["kubernetes.io/arch"], "amd64");
        assert_eq!(node.spec.unwrap().taints.unwrap()[0].key, "node.kubernetes.io/not-ready");
        assert_eq!(node.status.unwrap().capacity.unwrap()["memory"].0, "4Ki");
    }
}
