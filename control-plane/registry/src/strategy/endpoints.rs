//! Endpoints and EndpointSlices.

use std::net::IpAddr;

use api::status::Cause;
use serde_json::Value;

use super::{
    NameRule, Strategy,
    rules::{immutable, items, one_of, text},
};
use crate::tree::{items_mut, set_default};

/// Addresses of a service, in one object.
pub(super) struct Endpoints;
/// Addresses of a service, a slice of them.
pub(super) struct EndpointSlice;

const ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

impl Strategy for Endpoints {
    fn create_on_update(&self) -> bool {
        true
    }

    fn defaults(&self, object: &mut Value) {
        for subset in items_mut(object, "/subsets") {
            for port in items_mut(subset, "/ports") {
                set_default(port, &["protocol"], "TCP");
            }
        }
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        for (at, subset) in items(object.get("subsets")).enumerate() {
            for list in ["addresses", "notReadyAddresses"] {
                for (index, address) in items(subset.get(list)).enumerate() {
                    if text(address, "/ip").parse::<IpAddr>().is_err() {
                        let path = format!("subsets[{at}].{list}[{index}].ip");
                        causes.push(Cause::invalid(path, &text(address, "/ip").into(), ADDRESS));
                    }
                }
            }
        }
    }
}

impl Strategy for EndpointSlice {
    fn has_generation(&self) -> bool {
        true
    }

    fn name_rule(&self) -> NameRule {
        NameRule::Subdomain
    }

    fn defaults(&self, object: &mut Value) {
        for port in items_mut(object, "/ports") {
            set_default(port, &["name"], "");
            set_default(port, &["protocol"], "TCP");
        }
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        if object.get("addressType").is_none() {
            causes.push(Cause::required("addressType", ""));
        }
        one_of("addressType", object.get("addressType"), &["FQDN", "IPv4", "IPv6"], causes);
        let kind = text(object, "/addressType");
        for (at, endpoint) in items(object.get("endpoints")).enumerate() {
            let addresses: Vec<_> = items(endpoint.get("addresses")).collect();
            if addresses.is_empty() {
                causes.push(Cause::required(
                    format!("endpoints[{at}].addresses"),
                    "must contain at least 1 address",
                ));
            }
            for (index, address) in addresses.into_iter().enumerate() {
                let ip = address.as_str().and_then(|a| a.parse::<IpAddr>().ok());
                let fits = match kind {
                    "IPv4" => ip.is_some_and(|ip| ip.is_ipv4()),
                    "IPv6" => ip.is_some_and(|ip| ip.is_ipv6()),
                    _ => true,
                };
                if !fits {
                    let why = format!("must be a valid {kind} address");
                    causes.push(Cause::invalid(format!("endpoints[{at}].addresses[{index}]"), address, &why));
                }
            }
        }
    }

    fn validate_update(&self, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
        immutable("addressType", "/addressType", old, new, causes);
    }
}
