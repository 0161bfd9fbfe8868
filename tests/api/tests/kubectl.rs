//! What kubectl shows and says, against a control plane without nodes.

use anyhow::ensure;
use harness::{Cluster, Need, missing, wait_for};

#[test]
fn kubectl_finds_everything_where_it_expects_it() -> anyhow::Result<()> {
    if missing(&[Need::Kubectl]) {
        return Ok(());
    }
    let cluster = Cluster::up(1, 0)?;
    let contains = |arguments: &[&str], expect: &[&str]| -> anyhow::Result<()> {
        let text = cluster.kubectl(arguments)?;
        expect.iter().try_for_each(|part| {
            ensure!(text.contains(part), "kubectl {} says no {part:?}:\n{text}", arguments.join(" "));
            Ok(())
        })
    };
    contains(&["version"], &["Server Version: v1.36"])?;
    contains(
        &["api-resources"],
        &["deployments", "deploy", "apps/v1", "networkpolicies", "customresourcedefinitions"],
    )?;
    contains(
        &["get", "namespaces"],
        &["default", "kube-system", "kube-public", "kube-node-lease", "Active"],
    )?;
    contains(&["get", "service", "kubernetes"], &["ClusterIP", "443/TCP"])?;
    contains(&["explain", "deployment.spec.strategy"], &["rollingUpdate", "FIELDS"])?;
    contains(&["auth", "can-i", "create", "pods"], &["yes"])?;
    contains(
        &["create", "deployment", "web", "--image=x", "--replicas=2"],
        &["deployment.apps/web created"],
    )?;
    wait_for("pods exist", || {
        let pods = cluster.get(&["pods", "-l", "app=web"])?;
        ensure!(pods["items"].as_array().is_some_and(|items| items.len() == 2), "{pods}");
        Ok(())
    })?;
    contains(&["get", "pods", "--field-selector", "status.phase=Pending"], &["Pending"])?;
    contains(&["scale", "deployment/web", "--replicas=1"], &["scaled"])?;
    contains(&["label", "deployment/web", "tier=front"], &["labeled"])?;
    contains(&["get", "deploy", "-l", "tier=front"], &["web"])?;
    contains(&["annotate", "deploy/web", "a=b"], &["annotated"])?;
    contains(
        &["get", "all"],
        &["pod/web-", "deployment.apps/web", "replicaset.apps/web-", "service/kubernetes"],
    )?;
    contains(&["delete", "deployment", "web", "--wait"], &["deleted"])?;
    wait_for("the pods are collected", || {
        let left = cluster.kubectl(&["get", "pods,rs", "-l", "app=web", "-o", "name"])?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

#[test]
fn bad_input_gets_the_errors_people_know() -> anyhow::Result<()> {
    if missing(&[Need::Kubectl]) {
        return Ok(());
    }
    let cluster = Cluster::up(1, 0)?;
    let refused = |arguments: &[&str], input: &str, expect: &str| -> anyhow::Result<()> {
        match cluster.kubectl_with(arguments, input) {
            Ok(text) => anyhow::bail!("kubectl {} was accepted: {text}", arguments.join(" ")),
            Err(error) => {
                ensure!(format!("{error:#}").contains(expect), "expected {expect:?}, got: {error:#}");
                Ok(())
            }
        }
    };
    let apply = ["apply", "-f", "-"];
    let config = |name: &str, more: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n{more}")
    };
    refused(
        &apply,
        "apiVersion: v1\nkind: Nonsense\nmetadata:\n  name: x\n",
        "no matches for kind \"Nonsense\"",
    )?;
    refused(&apply, "kind: [", "error")?;
    refused(&apply, &config("a", "dato: {}\n"), "unknown field \"dato\"")?;
    refused(&apply, &config("Bad_Name", "data: {}\n"), "a lowercase RFC 1123 subdomain must consist of")?;
    refused(&["get", "pod", "nope"], "", "pods \"nope\" not found")?;
    refused(&["-n", "nowhere", "create", "configmap", "x"], "", "namespaces \"nowhere\" not found")?;
    cluster.kubectl(&["create", "deployment", "web", "--image=x"])?;
    let selector = r#"{"spec":{"selector":{"matchLabels":{"app":"other"}}}}"#;
    refused(&["patch", "deployment", "web", "-p", selector], "", "field is immutable")?;
    cluster.kubectl_with(&apply, &config("stale", "data: {a: b}\n"))?;
    let stale = cluster.kubectl(&["get", "configmap", "stale", "-o", "json"])?;
    cluster.kubectl(&["patch", "configmap", "stale", "-p", r#"{"data":{"a":"c"}}"#])?;
    refused(&["replace", "-f", "-"], &stale, "the object has been modified")?;
    let large = config("large", &format!("data:\n  a: {}\n", "x".repeat(3 * 1024 * 1024 + 1)));
    refused(&["create", "-f", "-"], &large, "too large")?;
    ensure!(cluster.get(&["configmap", "stale"])?["data"]["a"] == "c", "the last good write is there");
    Ok(())
}

#[test]
fn server_side_apply_tells_who_owns_a_field() -> anyhow::Result<()> {
    if missing(&[Need::Kubectl]) {
        return Ok(());
    }
    let cluster = Cluster::up(1, 0)?;
    let config = |value: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: shared\ndata:\n  a: \"{value}\"\n")
    };
    let apply = |manager: &str, value: &str, force: &str| {
        let manager = format!("--field-manager={manager}");
        cluster.kubectl_with(&["apply", "--server-side", &manager, force, "-f", "-"], &config(value))
    };
    apply("one", "1", "--force-conflicts=false")?;
    let said = match apply("two", "2", "--force-conflicts=false") {
        Ok(text) => anyhow::bail!("the other manager's field was taken: {text}"),
        Err(refused) => format!("{refused:#}"),
    };
    ensure!(said.contains("conflict with \"one\": .data.a"), "{said}");
    apply("two", "2", "--force-conflicts=true")?;
    ensure!(cluster.get(&["configmap", "shared"])?["data"]["a"] == "2");
    let same =
        cluster.kubectl_with(&["diff", "--server-side", "--field-manager=two", "-f", "-"], &config("2"))?;
    ensure!(same.is_empty(), "{same}");
    Ok(())
}
