//! How far a rollout may go now: surge, unavailability, and which old ReplicaSets shrink. Pure.

use jiff::Timestamp;
use k8s_openapi::{
    api::apps::v1::{Deployment, ReplicaSet, RollingUpdateDeployment},
    apimachinery::pkg::util::intstr::IntOrString,
};

/// What the strategy allows, in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Pods wanted.
    pub(super) desired: i32,
    /// Pods allowed above that.
    pub(super) surge: i32,
    /// Pods that may be missing.
    pub(super) unavailable: i32,
}

/// Whether old pods go before new ones come.
pub(super) fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|s| s.strategy.as_ref());
    strategy.and_then(|s| s.type_.as_deref()) == Some("Recreate")
}

/// Surge is rounded up and unavailability down; if both come to nothing, one pod may be missing.
pub(super) fn bounds(deployment: &Deployment) -> Bounds {
    let spec = deployment.spec.as_ref();
    let desired = spec.and_then(|s| s.replicas).unwrap_or(1);
    if is_recreate(deployment) {
        return Bounds { desired, surge: 0, unavailable: 0 };
    }
    let strategy = spec.and_then(|s| s.strategy.as_ref()).and_then(|s| s.rolling_update.clone());
    let RollingUpdateDeployment { max_surge, max_unavailable } = strategy.unwrap_or_default();
    let quarter = || IntOrString::String("25%".to_owned());
    let surge = scaled(&max_surge.unwrap_or_else(quarter), desired, f64::ceil);
    let unavailable = scaled(&max_unavailable.unwrap_or_else(quarter), desired, f64::floor);
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
    Bounds { desired, surge, unavailable: unavailable.min(desired) }
}

fn scaled(value: &IntOrString, total: i32, round: fn(f64) -> f64) -> i32 {
    match value {
        IntOrString::Int(count) => *count,
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|p| p.parse::<i32>().ok()).unwrap_or(0);
            round(f64::from(percent) * f64::from(total) / 100.0) as i32
        }
    }
}

/// The size a ReplicaSet is asked to have.
pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0)
}

pub(super) fn total_size<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>) -> i32 {
    sets.into_iter().map(size).sum()
}

/// Oldest first, by name among equals.
pub(super) fn by_age(set: &ReplicaSet) -> (Timestamp, String) {
    let created = set.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |t| t.0);
    (created, set.metadata.name.clone().unwrap_or_default())
}

/// The size the newest ReplicaSet may have now; `total` is the size of all of them.
pub(super) fn size_of_new(bounds: Bounds, recreate: bool, new: i32, total: i32) -> i32 {
    let Bounds { desired, surge, .. } = bounds;
    if recreate || new >= desired {
        return desired;
    }
    let room = desired + surge - total;
    if room <= 0 { new } else { new + room.min(desired - new) }
}

/// New sizes of the old ReplicaSets, oldest first: broken pods go first, then as many as availability allows.
/// Only those that change are answered, by index.
pub(super) fn shrink_old(bounds: Bounds, new: &ReplicaSet, old: &[ReplicaSet]) -> Vec<(usize, i32)> {
    let mut sizes: Vec<i32> = old.iter().map(size).collect();
    let total: i32 = sizes.iter().sum::<i32>() + size(new);
    let minimum = bounds.desired - bounds.unavailable;
    let mut may_go = total - minimum - (size(new) - available(new));
    if sizes.iter().sum::<i32>() == 0 || may_go <= 0 {
        return Vec::new();
    }
    let mut order: Vec<usize> = (0..old.len()).collect();
    order.sort_by_key(|i| by_age(&old[*i]));
    for i in &order {
        let broken = (sizes[*i] - available(&old[*i])).max(0);
        let go = broken.min(may_go);
        sizes[*i] -= go;
        may_go -= go;
    }
    let available_now: i32 = old.iter().map(available).sum::<i32>() + available(new);
    let mut may_go = (available_now - minimum).max(0);
    for i in &order {
        let go = sizes[*i].min(may_go);
        sizes[*i] -= go;
        may_go -= go;
    }
    order.into_iter().map(|i| (i, sizes[i])).filter(|(i, target)| *target != size(&old[*i])).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn deployment(replicas: i32, surge: Value, unavailable: Value) -> Deployment {
        serde_json::from_value(json!({"spec": {
            "replicas": replicas, "selector": {}, "template": {},
            "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
        }}))
        .unwrap()
    }

    fn set(name: &str, size: i32, available: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"replicas": size, "selector": {}},
            "status": {"replicas": size, "availableReplicas": available}
        }))
        .unwrap()
    }

    #[test]
    fn surge_is_rounded_up_and_unavailability_down() {
        let cases = [
            (10, json!("25%"), json!("25%"), (3, 2)),
            (3, json!("25%"), json!("25%"), (1, 0)),
            (1, json!(0), json!("25%"), (0, 1)),
            (4, json!(2), json!(0), (2, 0)),
            (2, json!(0), json!(5), (0, 2)),
            (0, json!("25%"), json!("25%"), (0, 0)),
        ];
        for (replicas, surge, unavailable, expect) in cases {
            let bounds = bounds(&deployment(replicas, surge.clone(), unavailable.clone()));
            assert_eq!((bounds.surge, bounds.unavailable), expect, "{replicas} {surge} {unavailable}");
        }
    }

    #[test]
    fn the_new_set_grows_into_the_room_there_is() {
        let bounds = Bounds { desired: 10, surge: 3, unavailable: 2 };
        let cases = [(0, 10, 3), (3, 13, 3), (3, 11, 5), (8, 9, 10), (12, 12, 10)];
        for (new, total, expect) in cases {
            assert_eq!(size_of_new(bounds, false, new, total), expect, "{new} of {total}");
        }
        assert_eq!(size_of_new(bounds, true, 0, 10), 10);
    }

    #[test]
    fn old_sets_shrink_broken_pods_first_and_never_below_the_minimum() {
        let bounds = Bounds { desired: 10, surge: 3, unavailable: 2 };
        let cases = [
            (set("new", 3, 0), vec![set("old", 10, 10)], vec![(0, 8)]),
            (set("new", 5, 0), vec![set("old", 8, 8)], vec![]),
            (set("new", 5, 5), vec![set("old", 8, 8)], vec![(0, 3)]),
            (set("new", 3, 0), vec![set("a", 4, 0), set("b", 6, 6)], vec![(0, 2)]),
            (set("new", 10, 10), vec![set("a", 0, 0), set("b", 1, 1)], vec![(1, 0)]),
        ];
        for (new, old, expect) in cases {
            let sizes: Vec<i32> = old.iter().map(size).collect();
            assert_eq!(shrink_old(bounds, &new, &old), expect, "{} and {sizes:?}", size(&new));
        }
    }
}
