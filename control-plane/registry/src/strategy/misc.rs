//! Kinds whose strategy is a handful of lines.

use api::status::Cause;
use serde_json::{Value, json};

use super::{
    Context, NameRule, Selectable, Strategy,
    rules::{immutable, items, non_negative, one_of, same, text},
    workload::int_or_percent,
};
use crate::tree::{items_mut, set, set_default, take};

pub(super) struct Lease;

impl Strategy for Lease {
    fn create_on_update(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        if let Some(seconds) = object.pointer("/spec/leaseDurationSeconds")
            && seconds.as_i64().is_none_or(|s| s <= 0)
        {
            causes.push(Cause::invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"));
        }
        non_negative("spec.leaseTransitions", object.pointer("/spec/leaseTransitions"), causes);
    }
}

pub(super) struct PriorityClass;

impl Strategy for PriorityClass {
    fn has_generation(&self) -> bool {
        true
    }

    fn defaults(&self, object: &mut Value) {
        set_default(object, &["preemptionPolicy"], "PreemptLowerPriority");
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        const USER_MAX: i64 = 1_000_000_000;
        let name = api::meta::name(object);
        let value = object.get("value").and_then(Value::as_i64).unwrap_or(0);
        if name.starts_with("system-") {
            if !matches!(
                (name, value),
                ("system-node-critical", 2_000_001_000) | ("system-cluster-critical", 2_000_000_000)
            ) {
                let why = "priority class names with 'system-' prefix are reserved for system use only. error: system priority class is not known";
                causes.push(Cause::forbidden("metadata.name", why));
            }
        } else if value > USER_MAX {
            let why = format!("maximum allowed value of a user defined priority is {USER_MAX}");
            causes.push(Cause::forbidden("value", &why));
        }
        one_of(
            "preemptionPolicy",
            object.get("preemptionPolicy"),
            &["Never", "PreemptLowerPriority"],
            causes,
        );
    }

    fn validate_update(&self, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
        if old.get("value") != new.get("value") {
            causes.push(Cause::forbidden("value", "may not be changed in an update."));
        }
        immutable("preemptionPolicy", "/preemptionPolicy", old, new, causes);
    }
}

pub(super) struct DisruptionBudget;

impl Strategy for DisruptionBudget {
    fn has_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn prepare_create(&self, _: Context<'_>, object: &mut Value) {
        set(
            object,
            &["status"],
            json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}),
        );
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let (available, unavailable) =
            (object.pointer("/spec/minAvailable"), object.pointer("/spec/maxUnavailable"));
        if available.is_some() && unavailable.is_some() {
            let why = "minAvailable and maxUnavailable cannot be both set";
            causes.push(Cause::invalid("spec", object.get("spec").unwrap_or(&Value::Null), why));
        }
        int_or_percent("spec.minAvailable", available, causes);
        int_or_percent("spec.maxUnavailable", unavailable, causes);
    }
}

pub(super) struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn defaults(&self, object: &mut Value) {
        set_default(object, &["spec", "persistentVolumeReclaimPolicy"], "Retain");
        set_default(object, &["spec", "volumeMode"], "Filesystem");
    }

    fn prepare_create(&self, context: Context<'_>, object: &mut Value) {
        set(object, &["status"], json!({"phase": "Pending", "lastPhaseTransitionTime": context.now}));
        finalizer(object, "kubernetes.io/pv-protection");
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        if items(object.pointer("/spec/accessModes")).next().is_none() {
            causes.push(Cause::required("spec.accessModes", ""));
        }
        super::rules::quantities("spec.capacity", object.pointer("/spec/capacity"), causes);
        if object.pointer("/spec/capacity/storage").is_none() {
            causes.push(Cause::required("spec.capacity", ""));
        }
        one_of(
            "spec.persistentVolumeReclaimPolicy",
            object.pointer("/spec/persistentVolumeReclaimPolicy"),
            &["Delete", "Recycle", "Retain"],
            causes,
        );
    }
}

pub(super) struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn defaults(&self, object: &mut Value) {
        set_default(object, &["spec", "volumeMode"], "Filesystem");
    }

    fn prepare_create(&self, _: Context<'_>, object: &mut Value) {
        set(object, &["status"], json!({"phase": "Pending"}));
        finalizer(object, "kubernetes.io/pvc-protection");
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        if items(object.pointer("/spec/accessModes")).next().is_none() {
            causes.push(Cause::required("spec.accessModes", "at least 1 access mode is required"));
        }
        if object.pointer("/spec/resources/requests/storage").is_none() {
            causes.push(Cause::required("spec.resources[storage]", ""));
        }
        super::rules::quantities(
            "spec.resources.requests",
            object.pointer("/spec/resources/requests"),
            causes,
        );
    }

    fn validate_update(&self, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
        let kept = |object: &Value| {
            let mut spec = object.get("spec").cloned().unwrap_or_default();
            take(&mut spec, &["resources", "requests"]);
            take(&mut spec, &["volumeAttributesClassName"]);
            spec
        };
        let (before, mut after) = (kept(old), kept(new));
        // The binder names the volume once.
        if text(old, "/spec/volumeName").is_empty() {
            take(&mut after, &["volumeName"]);
        }
        if !same(Some(&before), Some(&after)) {
            let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            causes.push(Cause::forbidden("spec", why));
        }
    }
}

/// The garbage collector's counterpart removes it when nobody uses the volume any more.
fn finalizer(object: &mut Value, name: &str) {
    set_default(object, &["metadata", "finalizers"], json!([]));
    if let Some(list) = object.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut)
        && !list.iter().any(|f| f == name)
    {
        list.push(name.into());
    }
}

pub(super) struct Ingress;

impl Strategy for Ingress {
    fn has_generation(&self) -> bool {
        true
    }

    fn prepare_create(&self, _: Context<'_>, object: &mut Value) {
        set(object, &["status"], json!({"loadBalancer": {}}));
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let rules: Vec<_> = items(object.pointer("/spec/rules")).collect();
        if rules.is_empty() && object.pointer("/spec/defaultBackend").is_none() {
            let why = "either `defaultBackend` or `rules` must be specified";
            causes.push(Cause::invalid("spec", object.get("spec").unwrap_or(&Value::Null), why));
        }
        for (at, rule) in rules.into_iter().enumerate() {
            for (index, path) in items(rule.pointer("/http/paths")).enumerate() {
                let at = format!("spec.rules[{at}].http.paths[{index}]");
                match text(path, "/pathType") {
                    "" => {
                        causes.push(Cause::required(format!("{at}.pathType"), "pathType must be specified"))
                    }
                    _ => one_of(
                        &format!("{at}.pathType"),
                        path.get("pathType"),
                        &["Exact", "ImplementationSpecific", "Prefix"],
                        causes,
                    ),
                }
                if text(path, "/pathType") != "ImplementationSpecific"
                    && !text(path, "/path").starts_with('/')
                {
                    causes.push(Cause::invalid(
                        format!("{at}.path"),
                        &text(path, "/path").into(),
                        "must be an absolute path",
                    ));
                }
                if path.pointer("/backend/service/name").is_none()
                    && path.pointer("/backend/resource").is_none()
                {
                    causes.push(Cause::required(
                        format!("{at}.backend"),
                        "cannot set both resource and service backends",
                    ));
                }
            }
        }
    }
}

pub(super) struct IpAddress;

impl Strategy for IpAddress {
    fn has_generation(&self) -> bool {
        true
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        let name = api::meta::name(object);
        if name.parse::<std::net::IpAddr>().is_err() {
            causes.push(Cause::invalid(
                "metadata.name",
                &name.into(),
                "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ));
        }
        if object.pointer("/spec/parentRef").is_none() {
            causes.push(Cause::required("spec.parentRef", ""));
        }
    }

    fn validate_update(&self, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
        immutable("spec.parentRef", "/spec/parentRef", old, new, causes);
    }
}

pub(super) struct SigningRequest;

const SIGNER: &[Selectable] = &[Selectable::text("spec.signerName", &["spec", "signerName"])];

impl Strategy for SigningRequest {
    fn selectable(&self) -> &'static [Selectable] {
        SIGNER
    }

    fn prepare_create(&self, context: Context<'_>, object: &mut Value) {
        set(object, &["spec", "username"], context.user);
        set(object, &["status"], json!({}));
        set_default(object, &["spec", "usages"], json!(["digital signature", "key encipherment"]));
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        for field in ["request", "signerName"] {
            if text(object, &format!("/spec/{field}")).is_empty() {
                causes.push(Cause::required(format!("spec.{field}"), ""));
            }
        }
    }

    fn validate_update(&self, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
        immutable("spec", "/spec", old, new, causes);
    }
}

pub(super) struct StorageClass;

impl Strategy for StorageClass {
    fn defaults(&self, object: &mut Value) {
        set_default(object, &["reclaimPolicy"], "Delete");
        set_default(object, &["volumeBindingMode"], "Immediate");
    }

    fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        if text(object, "/provisioner").is_empty() {
            causes.push(Cause::required("provisioner", ""));
        }
    }

    fn validate_update(&self, old: &Value, new: &Value, causes: &mut Vec<Cause>) {
        for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            if !same(old.get(field), new.get(field)) {
                causes.push(Cause::forbidden(field, &format!("updates to {field} are forbidden.")));
            }
        }
    }
}

pub(super) struct ApiService;

impl Strategy for ApiService {
    fn name_rule(&self) -> NameRule {
        NameRule::Path
    }

    fn defaults(&self, object: &mut Value) {
        if object.pointer("/spec/service").is_some_and(Value::is_object) {
            set_default(object, &["spec", "service", "port"], 443);
        }
        for condition in items_mut(object, "/status/conditions") {
            set_default(condition, &["status"], "Unknown");
        }
    }
}
