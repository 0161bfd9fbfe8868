//! Variables that name the services a pod can see, in the form Docker links had.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort};

/// The namespace whose API service every pod sees.
const MASTER_NAMESPACE: &str = "default";
/// The API service.
const MASTER_NAME: &str = "kubernetes";

/// The variables for a pod of a namespace. Without `links` only the API service is shown.
pub fn variables<'a>(
    namespace: &str,
    links: bool,
    services: impl IntoIterator<Item = &'a Service>,
) -> BTreeMap<String, String> {
    let mut chosen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let name = service.metadata.name.as_deref().unwrap_or("");
        let from = service.metadata.namespace.as_deref().unwrap_or("");
        let master = from == MASTER_NAMESPACE && name == MASTER_NAME;
        // A service of the pod's own namespace hides the API service of the same name.
        if from == namespace && (links || master) {
            chosen.insert(name, service);
        } else if master {
            chosen.entry(name).or_insert(service);
        }
    }
    let mut variables = BTreeMap::new();
    for (name, service) in chosen {
        of_service(name, service, &mut variables);
    }
    variables
}

fn of_service(name: &str, service: &Service, out: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let ports = spec.ports.as_deref().unwrap_or(&[]);
    let (Some(ip), Some(first)) = (spec.cluster_ip.as_deref(), ports.first()) else { return };
    if ip.is_empty() || ip == "None" {
        return;
    }
    let prefix = upper(name);
    out.insert(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    out.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
    for port in ports.iter().filter(|p| p.name.as_deref().is_some_and(|n| !n.is_empty())) {
        let named = upper(port.name.as_deref().unwrap_or(""));
        out.insert(format!("{prefix}_SERVICE_PORT_{named}"), port.port.to_string());
    }
    let address = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    out.insert(format!("{prefix}_PORT"), url(&address, first));
    for port in ports {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let link = format!("{prefix}_PORT_{}_{protocol}", port.port);
        out.insert(link.clone(), url(&address, port));
        out.insert(format!("{link}_PROTO"), protocol.to_lowercase());
        out.insert(format!("{link}_PORT"), port.port.to_string());
        out.insert(format!("{link}_ADDR"), ip.to_owned());
    }
}

fn url(address: &str, port: &ServicePort) -> String {
    let protocol = port.protocol.as_deref().unwrap_or("TCP").to_lowercase();
    format!("{protocol}://{address}:{}", port.port)
}

fn upper(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    use super::variables;

    fn service(namespace: &str, name: &str, ip: &str) -> Service {
        serde_json::from_value(json!({
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"clusterIP": ip, "ports": [{"port": 80, "name": "http", "protocol": "TCP"}]},
        }))
        .unwrap()
    }

    #[test]
    fn services_of_the_namespace_and_the_api_are_shown() {
        let services = [
            service("shop", "my-db", "10.0.0.1"),
            service("other", "db", "10.0.0.2"),
            service("shop", "headless", "None"),
            service("default", "kubernetes", "10.0.0.3"),
        ];
        let shown = variables("shop", true, &services);
        assert_eq!(shown["MY_DB_SERVICE_HOST"], "10.0.0.1");
        assert_eq!(shown["MY_DB_SERVICE_PORT_HTTP"], "80");
        assert_eq!(shown["MY_DB_PORT_80_TCP"], "tcp://10.0.0.1:80");
        assert_eq!(shown["KUBERNETES_SERVICE_HOST"], "10.0.0.3");
        assert!(!shown.keys().any(|k| k.starts_with("DB_") || k.starts_with("HEADLESS_")));
        let without = variables("shop", false, &services);
        assert!(without.keys().all(|k| k.starts_with("KUBERNETES_")));
    }
}
