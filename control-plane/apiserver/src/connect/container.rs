//! Which container of a pod is meant; pure.

use api::{Status, meta};
use serde_json::Value;

/// The annotation that names the container meant when none is asked for.
const DEFAULT: &str = "kubectl.kubernetes.io/default-container";

fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    let containers = pod.pointer("/spec").and_then(|spec| spec.get(list)).and_then(Value::as_array);
    containers.into_iter().flatten().filter_map(|c| c.get("name")?.as_str()).collect()
}

/// The container `asked` for; with none asked for the only one, or the annotated one.
pub fn choose(pod: &Value, asked: &str) -> Result<String, Status> {
    let (name, main) = (meta::name(pod), names(pod, "containers"));
    let (init, ephemeral) = (names(pod, "initContainers"), names(pod, "ephemeralContainers"));
    if !asked.is_empty() {
        return match main.iter().chain(&init).chain(&ephemeral).any(|n| *n == asked) {
            true => Ok(asked.to_owned()),
            false => Err(Status::bad_request(format!("container {asked} is not valid for pod {name}"))),
        };
    }
    if let [only] = main.as_slice() {
        return Ok((*only).to_owned());
    }
    if let Some(default) = meta::annotation(pod, DEFAULT).filter(|d| main.contains(d)) {
        return Ok(default.to_owned());
    }
    if main.is_empty() {
        return Err(Status::bad_request(format!("a container name must be specified for pod {name}")));
    }
    let mut message =
        format!("a container name must be specified for pod {name}, choose one of: [{}]", main.join(" "));
    if !init.is_empty() {
        message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    if !ephemeral.is_empty() {
        message.push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
    }
    Err(Status::bad_request(message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(containers: &[&str], init: &[&str]) -> Value {
        let list = |names: &[&str]| names.iter().map(|n| json!({"name": n})).collect::<Vec<_>>();
        json!({"metadata": {"name": "p"}, "spec": {"containers": list(containers), "initContainers": list(init)}})
    }

    #[test]
    fn the_container_is_chosen_as_upstream_chooses() {
        assert_eq!(choose(&pod(&["a"], &["i"]), "").unwrap(), "a");
        assert_eq!(choose(&pod(&["a", "b"], &["i"]), "i").unwrap(), "i");
        let ambiguous = choose(&pod(&["a", "b"], &["i"]), "").unwrap_err();
        assert_eq!(
            ambiguous.message,
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
        assert_eq!(choose(&pod(&["a"], &[]), "x").unwrap_err().message, "container x is not valid for pod p");
        let mut annotated = pod(&["a", "b"], &[]);
        annotated["metadata"]["annotations"] = json!({DEFAULT: "b"});
        assert_eq!(choose(&annotated, "").unwrap(), "b");
    }
}
