//! Services: families, cluster IPs, node ports.

use std::{collections::BTreeSet, net::IpAddr};

use api::{Status, status::Cause};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    Context, NameRule, Strategy,
    claims::{Claim, Claims, Held},
    container::port_name,
    rules::{dns_subdomain, immutable, items, labels, one_of, port, text},
};
use crate::{
    Options, clock,
    tree::{copy, items_mut, set, set_default, take},
};

/// See the module.
pub(super) struct Service;

const NONE: &str = "None";

impl Strategy for Service {
    fn name_rule(&self) -> NameRule {
        NameRule::Label1035
    }

    fn defaults(&self, object: &mut Value) {
        set_default(object, &["spec", "sessionAffinity"], "None");
        set_default(object, &["spec", "type"], "ClusterIP");
        if text(object, "/spec/sessionAffinity") == "ClientIP" {
            set_default(object, &["spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds"], 10_800);
        }
        for exposed in items_mut(object, "/spec/ports") {
            set_default(exposed, &["protocol"], "TCP");
            if exposed.get("targetPort").is_none_or(|t| t.as_i64() == Some(0) || t.as_str() == Some(""))
                && let Some(number) = exposed.get("port").cloned()
            {
                set(exposed, &["targetPort"], number);
            }
        }
        if text(object, "/spec/type") != "ExternalName" {
            set_default(object, &["spec", "internalTrafficPolicy"], "Cluster");
        }
        if is_external(object) {
            set_default(object, &["spec", "externalTrafficPolicy"], "Cluster");
        }
        if text(object, "/spec/type") == "LoadBalancer" {
            set_default(object, &["spec", "allocateLoadBalancerNodePorts"], true);
        }
    }

    fn prepare_create(&self, _: Context<'_>, object: &mut Value) {
        set(object, &["status"], json!({"loadBalancer": {}}));
        mirror_addresses(object);
    }

    fn prepare_update(&self, _: Context<'_>, old: &Value, new: &mut Value) {
        let kind = text(new, "/spec/type").to_owned();
        if kind == "ExternalName" {
            // What it had goes with the type, unless the writer asks for it: that is a mistake to report.
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]
            {
                if new.pointer(&format!("/spec/{field}")) == old.pointer(&format!("/spec/{field}")) {
                    take(new, &["spec", field]);
                }
            }
            return;
        }
        keep_addresses(old, new);
        keep_node_ports(old, new);
        if !is_external(new) {
            take(new, &["spec", "externalTrafficPolicy"]);
        }
        mirror_addresses(new);
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        validate(object, causes);
    }

    fn validate_update(&self, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
        let (before, after) = (text(old, "/spec/type"), text(new, "/spec/type"));
        if before != "ExternalName" && after != "ExternalName" && !text(old, "/spec/clusterIP").is_empty() {
            immutable("spec.clusterIPs[0]", "/spec/clusterIP", old, new, causes);
        }
    }

    fn claims(&self) -> Option<&'static dyn Claims> {
        Some(&ServiceClaims)
    }
}

fn is_external(object: &Value) -> bool {
    matches!(text(object, "/spec/type"), "NodePort" | "LoadBalancer")
}

/// `clusterIP` is the first of `clusterIPs`, whichever the writer used.
fn mirror_addresses(object: &mut Value) {
    let first = object.pointer("/spec/clusterIPs/0").cloned();
    let single = object.pointer("/spec/clusterIP").filter(|ip| ip.as_str() != Some("")).cloned();
    match (single, first) {
        (Some(single), None) => set(object, &["spec", "clusterIPs"], json!([single])),
        (None, Some(first)) => set(object, &["spec", "clusterIP"], first),
        (Some(_), Some(_)) | (None, None) => {}
    }
}

/// An update that leaves the addresses out keeps them.
fn keep_addresses(old: &Value, new: &mut Value) {
    if text(old, "/spec/type") == "ExternalName" {
        return;
    }
    if text(new, "/spec/clusterIP").is_empty() && items(new.pointer("/spec/clusterIPs")).next().is_none() {
        copy(old, new, &["spec", "clusterIP"]);
        copy(old, new, &["spec", "clusterIPs"]);
    }
    for field in ["ipFamilies", "ipFamilyPolicy"] {
        if new.pointer(&format!("/spec/{field}")).is_none() {
            copy(old, new, &["spec", field]);
        }
    }
}

/// A port that leaves its node port out keeps it.
fn keep_node_ports(old: &Value, new: &mut Value) {
    if !is_external(old) {
        return;
    }
    if !is_external(new) {
        for exposed in items_mut(new, "/spec/ports") {
            take(exposed, &["nodePort"]);
        }
        return;
    }
    let same =
        |a: &Value, b: &Value| text(a, "/protocol") == text(b, "/protocol") && a.get("port") == b.get("port");
    for exposed in items_mut(new, "/spec/ports") {
        if exposed.get("nodePort").is_some_and(|n| n.as_i64() != Some(0)) {
            continue;
        }
        let before = items(old.pointer("/spec/ports")).find(|other| same(other, exposed));
        if let Some(number) = before.and_then(|other| other.get("nodePort")).cloned() {
            set(exposed, &["nodePort"], number);
        }
    }
}

fn validate(object: &Value, causes: &mut Vec<Cause>) {
    let kind = text(object, "/spec/type");
    one_of(
        "spec.type",
        object.pointer("/spec/type"),
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        causes,
    );
    one_of("spec.sessionAffinity", object.pointer("/spec/sessionAffinity"), &["ClientIP", "None"], causes);
    labels("spec.selector", object.pointer("/spec/selector"), causes);
    let headless = text(object, "/spec/clusterIP") == NONE;
    if kind == "ExternalName" {
        external_name(object, causes);
    } else if items(object.pointer("/spec/ports")).next().is_none() && !headless {
        causes.push(Cause::required("spec.ports", ""));
    }
    if headless && is_external(object) {
        let why = format!("may not be set to 'None' for {kind} services");
        causes.push(Cause::invalid("spec.clusterIPs[0]", &NONE.into(), &why));
    }
    for (at, address) in items(object.pointer("/spec/clusterIPs")).enumerate() {
        let value = address.as_str().unwrap_or("");
        if value != NONE && value.parse::<IpAddr>().is_err() {
            let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            causes.push(Cause::invalid(format!("spec.clusterIPs[{at}]"), address, why));
        }
    }
    let first = object.pointer("/spec/clusterIPs/0").and_then(Value::as_str).unwrap_or("");
    if first != text(object, "/spec/clusterIP") {
        let why = "first value must match `clusterIP`";
        causes.push(Cause::invalid(
            "spec.clusterIPs",
            object.pointer("/spec/clusterIPs").unwrap_or(&Value::Null),
            why,
        ));
    }
    for field in ["externalTrafficPolicy", "internalTrafficPolicy"] {
        one_of(
            &format!("spec.{field}"),
            object.pointer(&format!("/spec/{field}")),
            &["Cluster", "Local"],
            causes,
        );
    }
    ports(object, kind, causes);
}

fn external_name(object: &Value, causes: &mut Vec<Cause>) {
    let name = object.pointer("/spec/externalName").unwrap_or(&Value::Null);
    let trimmed = Value::from(name.as_str().unwrap_or("").trim_end_matches('.'));
    dns_subdomain("spec.externalName", &trimmed, causes);
    if !text(object, "/spec/clusterIP").is_empty() {
        causes.push(Cause::forbidden("spec.clusterIPs", "may not be set for ExternalName services"));
    }
}

fn ports(object: &Value, kind: &str, causes: &mut Vec<Cause>) {
    let all: Vec<_> = items(object.pointer("/spec/ports")).collect();
    let (mut names, mut numbers, mut node_ports) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (at, exposed) in all.iter().enumerate() {
        let path = format!("spec.ports[{at}]");
        let name = exposed.get("name").unwrap_or(&Value::Null);
        match name.as_str().unwrap_or("") {
            "" if all.len() > 1 => causes.push(Cause::required(format!("{path}.name"), "")),
            "" => {}
            text if !names.insert(text) => causes.push(Cause::duplicate(format!("{path}.name"), name)),
            _ => super::rules::dns_label(&format!("{path}.name"), name, causes),
        }
        port(&format!("{path}.port"), exposed.get("port"), causes);
        one_of(&format!("{path}.protocol"), exposed.get("protocol"), &["SCTP", "TCP", "UDP"], causes);
        match exposed.get("targetPort") {
            Some(Value::String(_)) => {
                port_name(&format!("{path}.targetPort"), &exposed["targetPort"], causes)
            }
            number => port(&format!("{path}.targetPort"), number, causes),
        }
        let protocol = text(exposed, "/protocol");
        if !numbers.insert((protocol, exposed.get("port").and_then(Value::as_i64))) {
            let shown = json!({"port": exposed["port"], "protocol": protocol});
            causes.push(Cause::duplicate(path.clone(), &shown));
        }
        let Some(number) = exposed.get("nodePort").and_then(Value::as_i64).filter(|n| *n != 0) else {
            continue;
        };
        if !matches!(kind, "NodePort" | "LoadBalancer") {
            let why = "may not be used when `type` is 'ClusterIP'";
            causes.push(Cause::forbidden(format!("{path}.nodePort"), why));
        } else if !node_ports.insert((protocol, number)) {
            causes.push(Cause::duplicate(format!("{path}.nodePort"), &number.into()));
        }
    }
}

/// Addresses and node ports.
struct ServiceClaims;

impl Claims for ServiceClaims {
    fn of(&self, object: &Value) -> BTreeSet<Claim> {
        let addresses = items(object.pointer("/spec/clusterIPs")).filter_map(Value::as_str);
        let addresses = addresses.filter_map(|ip| ip.parse().ok()).map(Claim::Address);
        let ports = items(object.pointer("/spec/ports")).filter_map(|p| p.get("nodePort")?.as_u64());
        let ports = ports.chain(object.pointer("/spec/healthCheckNodePort").and_then(Value::as_u64));
        let ports = ports.filter_map(|n| u16::try_from(n).ok()).filter(|n| *n != 0).map(Claim::Port);
        addresses.chain(ports).collect()
    }

    fn choose(
        &self,
        options: &Options,
        held: &Held,
        old: Option<&Value>,
        object: &mut Value,
    ) -> Result<(), Status> {
        if text(object, "/spec/type") == "ExternalName" {
            return Ok(());
        }
        let own = old.map(|old| self.of(old)).unwrap_or_default();
        families(options, object)?;
        if text(object, "/spec/clusterIP") != NONE {
            addresses(options, held, &own, object)?;
        }
        if is_external(object)
            && object.pointer("/spec/allocateLoadBalancerNodePorts") != Some(&Value::Bool(false))
        {
            node_ports(options, held, &own, object)?;
        } else if is_external(object) {
            check_node_ports(options, object)?;
        }
        Ok(())
    }

    fn taken(&self, object: &Value, claim: &Claim) -> Status {
        let cause = match claim {
            Claim::Address(ip) => {
                let shown = Value::from(ip.to_string());
                let why = format!("failed to allocate IP {ip}: provided IP is already allocated");
                Cause::invalid("spec.clusterIPs", &json!([shown]), &why)
            }
            Claim::Port(number) => {
                let at = items(object.pointer("/spec/ports"))
                    .position(|p| p.get("nodePort").and_then(Value::as_u64) == Some(u64::from(*number)));
                let path = at.map_or_else(
                    || "spec.healthCheckNodePort".to_owned(),
                    |at| format!("spec.ports[{at}].nodePort"),
                );
                Cause::invalid(path, &(*number).into(), "provided port is already allocated")
            }
        };
        invalid(object, cause)
    }
}

fn invalid(object: &Value, cause: Cause) -> Status {
    Status::invalid("", "Service", api::meta::name(object), vec![cause])
}

fn family(cidr: &IpNet) -> &'static str {
    if cidr.addr().is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Fills in `ipFamilies` and `ipFamilyPolicy` from what the cluster has and what was asked.
fn families(options: &Options, object: &mut Value) -> Result<(), Status> {
    let available: Vec<_> = options.service_cidrs.iter().map(family).collect();
    let mut wanted: Vec<String> =
        items(object.pointer("/spec/ipFamilies")).filter_map(Value::as_str).map(str::to_owned).collect();
    if wanted.is_empty() {
        let given =
            items(object.pointer("/spec/clusterIPs")).filter_map(|ip| ip.as_str()?.parse::<IpAddr>().ok());
        wanted = given.map(|ip| if ip.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned()).collect();
    }
    let policy = match text(object, "/spec/ipFamilyPolicy") {
        "" => if wanted.len() > 1 { "RequireDualStack" } else { "SingleStack" }.to_owned(),
        given => given.to_owned(),
    };
    if policy == "RequireDualStack" && available.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        return Err(invalid(object, Cause::invalid("spec.ipFamilyPolicy", &policy.into(), why)));
    }
    if let Some(missing) = wanted.iter().find(|family| !available.contains(&family.as_str())) {
        let cause =
            Cause::invalid("spec.ipFamilies[0]", &missing.as_str().into(), "not configured on this cluster");
        return Err(invalid(object, cause));
    }
    let count = if policy == "SingleStack" { 1 } else { available.len() };
    for family in &available {
        if wanted.len() < count && !wanted.iter().any(|w| w == family) {
            wanted.push((*family).to_owned());
        }
    }
    set(object, &["spec", "ipFamilies"], json!(wanted));
    set(object, &["spec", "ipFamilyPolicy"], policy);
    Ok(())
}

fn addresses(
    options: &Options,
    held: &Held,
    own: &BTreeSet<Claim>,
    object: &mut Value,
) -> Result<(), Status> {
    let wanted: Vec<String> =
        items(object.pointer("/spec/ipFamilies")).filter_map(Value::as_str).map(str::to_owned).collect();
    let mut chosen: Vec<String> =
        items(object.pointer("/spec/clusterIPs")).filter_map(Value::as_str).map(str::to_owned).collect();
    for given in &chosen {
        let Ok(ip) = given.parse::<IpAddr>() else { continue };
        if !options.service_cidrs.iter().any(|cidr| is_usable(cidr, ip)) {
            let range = options.service_cidrs.first().map(ToString::to_string).unwrap_or_default();
            let why = format!(
                "failed to allocate IP {ip}: the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"
            );
            return Err(invalid(object, Cause::invalid("spec.clusterIPs", &json!(chosen), &why)));
        }
    }
    for family_wanted in wanted.iter().skip(chosen.len()) {
        let cidr = options.service_cidrs.iter().find(|cidr| family(cidr) == family_wanted);
        let ip = cidr.and_then(|cidr| free_address(cidr, held, own));
        let Some(ip) = ip else {
            return Err(Status::internal("failed to allocate a serviceIP: range is full"));
        };
        chosen.push(ip.to_string());
    }
    set(object, &["spec", "clusterIP"], chosen.first().cloned().unwrap_or_default());
    set(object, &["spec", "clusterIPs"], json!(chosen));
    Ok(())
}

/// Neither the address of the network nor, in IPv4, the broadcast address.
fn is_usable(cidr: &IpNet, ip: IpAddr) -> bool {
    cidr.contains(&ip) && ip != cidr.network() && !(ip.is_ipv4() && ip == cidr.broadcast())
}

/// Addresses at the start of the range, left to those who ask for one by name (upstream's formula).
fn reserved(size: u64) -> u64 {
    if size < 16 { 0 } else { (size / 16).clamp(16, 256) }
}

/// A free address, at random from the upper part of the range; from the lower part when that is full.
fn free_address(cidr: &IpNet, held: &Held, own: &BTreeSet<Claim>) -> Option<IpAddr> {
    let bits = u32::from(cidr.max_prefix_len() - cidr.prefix_len()).min(20);
    let size = 1u64 << bits;
    let low = reserved(size).max(1);
    let free = |offset: u64| {
        let ip = nth(cidr, offset)?;
        let claim = Claim::Address(ip);
        (is_usable(cidr, ip) && (!held.has(&claim) || own.contains(&claim))).then_some(ip)
    };
    let start = clock::pick(size - low);
    let upper = (0..size - low).map(|step| low + (start + step) % (size - low));
    upper.chain(1..low).find_map(free)
}

fn nth(cidr: &IpNet, offset: u64) -> Option<IpAddr> {
    match cidr.network() {
        IpAddr::V4(base) => {
            Some(IpAddr::V4(u32::from(base).checked_add(u32::try_from(offset).ok()?)?.into()))
        }
        IpAddr::V6(base) => Some(IpAddr::V6(u128::from(base).checked_add(u128::from(offset))?.into())),
    }
}

fn check_node_ports(options: &Options, object: &Value) -> Result<(), Status> {
    for (at, exposed) in items(object.pointer("/spec/ports")).enumerate() {
        let Some(number) = exposed.get("nodePort").and_then(Value::as_i64).filter(|n| *n != 0) else {
            continue;
        };
        if !(i64::from(options.node_port_min)..=i64::from(options.node_port_max)).contains(&number) {
            let why = format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                options.node_port_min, options.node_port_max
            );
            return Err(invalid(
                object,
                Cause::invalid(format!("spec.ports[{at}].nodePort"), &number.into(), &why),
            ));
        }
    }
    Ok(())
}

fn node_ports(
    options: &Options,
    held: &Held,
    own: &BTreeSet<Claim>,
    object: &mut Value,
) -> Result<(), Status> {
    check_node_ports(options, object)?;
    let (low, count) = (options.node_port_min, u64::from(options.node_port_max - options.node_port_min) + 1);
    let mut here: BTreeSet<u16> = items(object.pointer("/spec/ports"))
        .filter_map(|p| u16::try_from(p.get("nodePort")?.as_u64()?).ok())
        .collect();
    let mut exhausted = false;
    for exposed in items_mut(object, "/spec/ports") {
        if exposed.get("nodePort").is_some_and(|n| n.as_i64() != Some(0)) {
            continue;
        }
        let start = clock::pick(count);
        let number = (0..count)
            .filter_map(|step| u16::try_from(u64::from(low) + (start + step) % count).ok())
            .find(|number| {
                let claim = Claim::Port(*number);
                !here.contains(number) && (!held.has(&claim) || own.contains(&claim))
            });
        match number {
            Some(number) => {
                here.insert(number);
                set(exposed, &["nodePort"], number);
            }
            None => exhausted = true,
        }
    }
    if exhausted {
        return Err(Status::internal("failed to allocate a nodePort: range is full"));
    }
    Ok(())
}
