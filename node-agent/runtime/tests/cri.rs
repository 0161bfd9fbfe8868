//! The runtime from end to end, through CRI, with real containers. Needs root; says so otherwise.

#![allow(
    clippy::unwrap_used,
    clippy::large_futures,
    clippy::wildcard_imports,
    reason = "a test fails where it stands"
)]

mod support;

use std::time::{Duration, Instant};

use proto::cri::*;
use support::{IMAGE, on_a_node, shell, strings};

#[test]
fn a_container_lives_its_life_through_cri() {
    on_a_node("life", async |node| {
        let images = node.images.list_images(ListImagesRequest::default()).await.unwrap().into_inner().images;
        assert_eq!(images[0].repo_tags, [IMAGE], "the images directory was imported");

        let sandbox = node.pod("life");
        let pod = node.run_pod(&sandbox).await;
        let mut config = shell(
            "main",
            "echo out $GREETING; echo err >&2; trap 'echo bye; exit 7' TERM; while :; do sleep 0.1; done",
        );
        config.envs = vec![KeyValue { key: "GREETING".into(), value: "hello".into() }];
        config.working_dir = "/made/up".into();
        let data = node.path("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("file"), "from the host").unwrap();
        config.mounts = vec![Mount {
            container_path: "/data".into(),
            host_path: data.display().to_string(),
            readonly: true,
            ..Mount::default()
        }];
        let resources = LinuxContainerResources {
            memory_limit_in_bytes: 64 << 20,
            cpu_shares: 512,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            oom_score_adj: -998,
            ..LinuxContainerResources::default()
        };
        config.linux = Some(LinuxContainerConfig { resources: Some(resources), security_context: None });
        let id = node.create(&pod, &sandbox, config).await;
        assert_eq!(node.status(&id).await.state, ContainerState::ContainerCreated as i32);
        node.start_container(&id).await;
        assert_eq!(node.status(&id).await.state, ContainerState::ContainerRunning as i32);

        let log = node.path("logs/life/main/0.log");
        node.wait_for_text(&log, "stdout F out hello").await;
        node.wait_for_text(&log, "stderr F err").await;

        assert_eq!(node.exec(&id, &["cat", "/data/file"]).await, ("from the host".into(), 0));
        assert_eq!(
            node.exec(&id, &["sh", "-c", "pwd; hostname; exit 3"]).await,
            ("/made/up\nlife\n".into(), 3)
        );
        assert_ne!(node.exec(&id, &["touch", "/data/new"]).await.1, 0, "the mount is read-only");
        assert_eq!(node.exec(&id, &["cat", "/etc/resolv.conf"]).await.0, "nameserver 10.96.0.10\n");
        let (processes, _) = node.exec(&id, &["ps", "-o", "pid,args"]).await;
        assert!(processes.contains("    1 sh -c"), "an own process namespace: {processes}");
        let missing =
            ExecSyncRequest { container_id: id.clone(), cmd: strings(&["no-such-program"]), timeout: 5 };
        assert!(node.runtime.exec_sync(missing).await.unwrap_err().message().contains("not found"));
        let slow = ExecSyncRequest { container_id: id.clone(), cmd: strings(&["sleep", "60"]), timeout: 1 };
        assert_eq!(node.runtime.exec_sync(slow).await.unwrap_err().code(), tonic::Code::DeadlineExceeded);

        let request = ContainerStatsRequest { container_id: id.clone() };
        let stats = node.runtime.container_stats(request).await.unwrap().into_inner().stats.unwrap();
        let memory = stats.memory.unwrap();
        assert!(memory.working_set_bytes.unwrap().value > 0);
        assert!(memory.available_bytes.unwrap().value < 64 << 20, "the limit is set");
        assert!(stats.cpu.unwrap().usage_core_nano_seconds.unwrap().value > 0);
        assert!(stats.writable_layer.unwrap().used_bytes.unwrap().value > 0);

        std::fs::rename(&log, log.with_extension("1")).unwrap();
        let reopen = ReopenContainerLogRequest { container_id: id.clone() };
        node.runtime.reopen_container_log(reopen).await.unwrap();

        node.stop_container(&id, 10).await;
        let status = node.status(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (7, "Error"), "asked first, not killed");
        assert!(status.finished_at >= status.started_at && status.started_at > status.created_at);
        assert!(node.wait_for_text(&log, "bye").await.lines().count() == 1, "the rotated log is left alone");

        let remove = RemoveContainerRequest { container_id: id.clone() };
        node.runtime.remove_container(remove.clone()).await.unwrap();
        node.runtime.remove_container(remove).await.unwrap();
        node.remove_pod(&pod).await;
    });
}

#[test]
fn killing_the_runtime_stops_no_container() {
    on_a_node("kill", async |node| {
        let sandbox = node.pod("kill");
        let pod = node.run_pod(&sandbox).await;
        let counter = node
            .run_container(
                &pod,
                &sandbox,
                shell("counter", "i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.05; done"),
            )
            .await;
        let mortal = node
            .run_container(
                &pod,
                &sandbox,
                shell("mortal", "while [ ! -e /stop ]; do sleep 0.05; done; exit 42"),
            )
            .await;
        let before = node.details(&counter).await["pid"].clone();
        let address = node.addresses(&pod).await;

        node.kill_and_restart().await;

        assert_eq!(node.details(&counter).await["pid"], before);
        assert_eq!(node.status(&counter).await.state, ContainerState::ContainerRunning as i32);
        assert_eq!(node.addresses(&pod).await, address);
        let log = node.path("logs/kill/counter/0.log");
        let lines = std::fs::read_to_string(&log).unwrap().lines().count();
        node.wait_for_text(&log, &format!("tick {}", lines + 5)).await;

        // An exit is learned from the shim that the new runtime found.
        let mut events = node.runtime.get_container_events(GetEventsRequest {}).await.unwrap().into_inner();
        assert_eq!(node.exec(&mortal, &["touch", "/stop"]).await.1, 0);
        let event =
            tokio::time::timeout(support::PATIENCE, events.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(event.container_id, mortal);
        assert_eq!(event.container_event_type, ContainerEventType::ContainerStoppedEvent as i32);
        assert_eq!(node.status(&mortal).await.exit_code, 42);

        // One that ends while no runtime is there is known to the next.
        let brief = node.run_container(&pod, &sandbox, shell("brief", "sleep 0.3; exit 5")).await;
        node.kill_and_restart().await;
        assert_eq!(node.wait_exited(&brief).await.exit_code, 5);
        node.remove_pod(&pod).await;
    });
}

#[test]
fn a_lost_shim_is_reported_and_cleaned_up() {
    on_a_node("lost", async |node| {
        let sandbox = node.pod("lost");
        let pod = node.run_pod(&sandbox).await;
        let id = node.run_container(&pod, &sandbox, shell("main", "sleep 1000")).await;
        let request = PodSandboxStatusRequest { pod_sandbox_id: pod.clone(), verbose: true };
        let info = node.runtime.pod_sandbox_status(request).await.unwrap().into_inner().info;
        let shim = serde_json::from_str::<serde_json::Value>(&info["info"]).unwrap()["pid"].as_i64().unwrap();
        let shim = rustix::process::Pid::from_raw(shim as i32).unwrap();
        rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
        let status = node.wait_exited(&id).await;
        assert_eq!(status.exit_code, 255, "nobody knows how it ended");
        node.remove_pod(&pod).await;
    });
}

#[test]
fn pods_reach_each_other_and_the_node() {
    on_a_node("net", async |node| {
        let (first, mut second) = (node.pod("first"), node.pod("second"));
        second.port_mappings =
            vec![PortMapping { container_port: 8080, host_port: 18080, ..PortMapping::default() }];
        let (one, two) = (node.run_pod(&first).await, node.run_pod(&second).await);
        let (from, to) = (node.addresses(&one).await, node.addresses(&two).await);
        assert_ne!(from, to);
        let client = node.run_container(&one, &first, shell("client", "sleep 1000")).await;
        let mut web = shell("web", "");
        web.command.clear();
        let server = node.run_container(&two, &second, web).await;
        assert_eq!(node.exec(&client, &["ping", "-c", "1", "-W", "5", &to]).await.1, 0);
        assert_eq!(node.exec(&client, &["ping", "-c", "1", "-W", "5", "10.77.0.1"]).await.1, 0, "the node");
        node.wait_for_text(&node.path("logs/second/web/0.log"), "listening").await;
        let url = format!("http://{to}:8080/hostname");
        let deadline = Instant::now() + support::PATIENCE;
        while node.exec(&client, &["wget", "-qO-", &url]).await != ("second\n".into(), 0) {
            assert!(Instant::now() < deadline, "the web server never answers");
        }
        assert!(support::run("busybox", &["ping", "-c", "1", "-W", "5", &to]), "from the node");
        let through_host_port = ["wget", "-qO-", "http://10.77.0.1:18080/version"];
        assert!(support::run("busybox", &through_host_port), "the host port leads to the pod");
        assert_eq!(node.exec(&client, &through_host_port).await, ("1\n".into(), 0), "also for other pods");
        // Its script ends at once when asked.
        let asked = Instant::now();
        node.stop_container(&server, 20).await;
        assert!(asked.elapsed() < Duration::from_secs(10));
        node.remove_pod(&one).await;
        node.remove_pod(&two).await;
    });
}

#[test]
fn pods_share_what_they_are_told_to_share() {
    on_a_node("share", async |node| {
        let mut sandbox = node.pod("share");
        let options = NamespaceOption { pid: NamespaceMode::Pod.into(), ..NamespaceOption::default() };
        sandbox.linux.as_mut().unwrap().security_context.as_mut().unwrap().namespace_options =
            Some(options.clone());
        sandbox.linux.as_mut().unwrap().sysctls =
            [("net.ipv4.ip_unprivileged_port_start".into(), "80".into())].into();
        let pod = node.run_pod(&sandbox).await;
        let with_options = |mut config: ContainerConfig| {
            let security = LinuxContainerSecurityContext {
                namespace_options: Some(options.clone()),
                run_as_user: Some(Int64Value { value: 1000 }),
                ..LinuxContainerSecurityContext::default()
            };
            config.linux = Some(LinuxContainerConfig { resources: None, security_context: Some(security) });
            config
        };
        let one = node.run_container(&pod, &sandbox, with_options(shell("one", "sleep 4711"))).await;
        let two = node.run_container(&pod, &sandbox, with_options(shell("two", "sleep 4712"))).await;
        let (processes, _) = node.exec(&two, &["ps", "-o", "user,args"]).await;
        assert!(processes.contains("sleep 4711") && processes.contains("1000"), "{processes}");
        let (value, _) = node.exec(&one, &["cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"]).await;
        assert_eq!(value, "80\n");
        node.stop_container(&one, 1).await;
        node.remove_pod(&pod).await;

        let mut on_host = node.pod("host");
        let options = NamespaceOption {
            network: NamespaceMode::Node.into(),
            pid: NamespaceMode::Node.into(),
            ipc: NamespaceMode::Node.into(),
            ..NamespaceOption::default()
        };
        on_host.linux.as_mut().unwrap().security_context.as_mut().unwrap().namespace_options =
            Some(options.clone());
        let pod = node.run_pod(&on_host).await;
        let mut config = shell("main", "sleep 4713");
        config.linux = Some(LinuxContainerConfig {
            resources: None,
            security_context: Some(LinuxContainerSecurityContext {
                namespace_options: Some(options),
                privileged: true,
                ..LinuxContainerSecurityContext::default()
            }),
        });
        let id = node.run_container(&pod, &on_host, config).await;
        let (links, _) = node.exec(&id, &["ip", "link"]).await;
        assert!(links.contains(&format!("kt-{}", node.name)), "the node's bridge is visible: {links}");
        assert!(node.exec(&id, &["ps", "-o", "args"]).await.0.contains("kontiki-cri serve"));
        node.remove_pod(&pod).await;
    });
}

#[test]
fn running_out_of_memory_has_a_reason() {
    on_a_node("oom", async |node| {
        let sandbox = node.pod("oom");
        let pod = node.run_pod(&sandbox).await;
        let mut config = shell("main", "x=0123456789; while :; do x=$x$x; done");
        let resources =
            LinuxContainerResources { memory_limit_in_bytes: 16 << 20, ..LinuxContainerResources::default() };
        config.linux = Some(LinuxContainerConfig { resources: Some(resources), security_context: None });
        let id = node.run_container(&pod, &sandbox, config).await;
        let status = node.wait_exited(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
        node.remove_pod(&pod).await;
    });
}

#[test]
fn mistakes_have_messages() {
    on_a_node("err", async |node| {
        let sandbox = node.pod("err");
        let pod = node.run_pod(&sandbox).await;
        let again = RunPodSandboxRequest { config: Some(sandbox.clone()), runtime_handler: String::new() };
        let error = node.runtime.run_pod_sandbox(again).await.unwrap_err();
        assert!(error.message().contains("is reserved"), "{error}");
        let mut config = shell("main", "true");
        config.image = Some(ImageSpec { image: "no-such-image".into(), ..ImageSpec::default() });
        assert_eq!(node.try_create(&pod, &sandbox, config).await.unwrap_err().code(), tonic::Code::NotFound);
        let mut config = shell("main", "true");
        config.command = strings(&["/no/such/program"]);
        let error = node.try_create(&pod, &sandbox, config).await.unwrap_err();
        assert!(error.message().contains("/no/such/program"), "{error}");
        // The failed ones left the name free.
        let id = node.run_container(&pod, &sandbox, shell("main", "exit 0")).await;
        let status = node.wait_exited(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
        let request = PullImageRequest {
            image: Some(ImageSpec { image: "127.0.0.1:1/app:1".into(), ..ImageSpec::default() }),
            ..PullImageRequest::default()
        };
        let error = node.images.pull_image(request).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::Unavailable, "{error}");
        assert!(error.message().contains("failed to pull and unpack image \"127.0.0.1:1/app:1\""), "{error}");
        node.remove_pod(&pod).await;
    });
}

#[test]
fn purging_removes_every_pod_and_the_network() {
    on_a_node("purge", async |node| {
        let sandbox = node.pod("purge");
        let pod = node.run_pod(&sandbox).await;
        node.run_container(&pod, &sandbox, shell("main", "sleep 1000")).await;
        node.purge();
        let links = std::process::Command::new("ip").args(["-o", "link"]).output().unwrap().stdout;
        assert!(!String::from_utf8_lossy(&links).contains("kt-"), "the bridge is gone");
    });
}
