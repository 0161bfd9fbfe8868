//! How a change of a Deployment's size is shared between its ReplicaSets while a rollout is under way. Pure.

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::{
    revision::{DESIRED_REPLICAS, MAX_REPLICAS, number},
    rolling::{Bounds, available, by_age, size},
};

/// Whether a ReplicaSet was sized for another size of the Deployment than the present one.
pub(super) fn is_scaling(sets: &[ReplicaSet], bounds: Bounds) -> bool {
    let sized_for = |set: &ReplicaSet| number(set.metadata.annotations.as_ref(), DESIRED_REPLICAS);
    let active = sets.iter().filter(|set| size(set) > 0);
    active.filter_map(sized_for).any(|desired| desired != i64::from(bounds.desired))
}

/// Sizes to set, by index into `sets`; `new` is the index of the newest one. Sets whose size stays are
/// included where their annotations must be renewed.
pub(super) fn share(
    sets: &[ReplicaSet],
    new: Option<usize>,
    bounds: Bounds,
    recreate: bool,
    status_replicas: i32,
) -> Vec<(usize, i32)> {
    let active: Vec<usize> = (0..sets.len()).filter(|i| size(&sets[*i]) > 0).collect();
    let latest = || new.or_else(|| (0..sets.len()).max_by_key(|i| by_age(&sets[*i])));
    match active.as_slice() {
        [] => return latest().map(|i| (i, bounds.desired)).into_iter().collect(),
        [only] => return vec![(*only, bounds.desired)],
        _ => {}
    }
    if let Some(new) = new
        && is_saturated(&sets[new], bounds)
    {
        return active.into_iter().filter(|i| *i != new).map(|i| (i, 0)).collect();
    }
    if recreate { Vec::new() } else { proportionally(sets, active, bounds, status_replicas) }
}

/// Whether the newest ReplicaSet is all the Deployment needs.
fn is_saturated(set: &ReplicaSet, bounds: Bounds) -> bool {
    let sized_for = number(set.metadata.annotations.as_ref(), DESIRED_REPLICAS);
    sized_for == Some(i64::from(bounds.desired))
        && size(set) == bounds.desired
        && available(set) == bounds.desired
}

fn proportionally(
    sets: &[ReplicaSet],
    mut active: Vec<usize>,
    bounds: Bounds,
    status_replicas: i32,
) -> Vec<(usize, i32)> {
    let allowed = if bounds.desired > 0 { bounds.desired + bounds.surge } else { 0 };
    let to_add = allowed - active.iter().map(|i| size(&sets[*i])).sum::<i32>();
    // The biggest first; among equals the newest gains first and the oldest loses first.
    active.sort_by_key(|i| by_age(&sets[*i]));
    if to_add > 0 {
        active.reverse();
    }
    active.sort_by_key(|i| -size(&sets[*i]));
    let mut added = 0;
    let mut sizes = Vec::with_capacity(active.len());
    for i in active {
        let share = share_of(&sets[i], bounds, status_replicas);
        let left = to_add - added;
        let share = if to_add > 0 { share.min(left) } else { share.max(left) };
        let share = if to_add == 0 || left == 0 { 0 } else { share };
        added += share;
        sizes.push((i, size(&sets[i]) + share));
    }
    // What rounding left over goes to the biggest.
    if let Some((_, first)) = sizes.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    sizes
}

/// By how much a ReplicaSet should grow or shrink to keep its part of the whole.
fn share_of(set: &ReplicaSet, bounds: Bounds, status_replicas: i32) -> i32 {
    if bounds.desired == 0 {
        return -size(set);
    }
    let sized_for = number(set.metadata.annotations.as_ref(), MAX_REPLICAS);
    let before =
        sized_for.and_then(|n| i32::try_from(n).ok()).filter(|n| *n > 0).unwrap_or(status_replicas.max(1));
    let target = f64::from(size(set)) * f64::from(bounds.desired + bounds.surge) / f64::from(before);
    target.round() as i32 - size(set)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Name, size, available, desired and maximal size of the Deployment when it was sized.
    fn sets(rows: &[(&str, i32, i32, i32, i32)]) -> Vec<ReplicaSet> {
        let set = |(name, size, available, desired, max): &(&str, i32, i32, i32, i32)| {
            serde_json::from_value(json!({
                "metadata": {"name": name, "annotations": {DESIRED_REPLICAS: desired.to_string(), MAX_REPLICAS: max.to_string()}},
                "spec": {"replicas": size, "selector": {}},
                "status": {"replicas": size, "availableReplicas": available}
            }))
            .unwrap()
        };
        rows.iter().map(set).collect()
    }

    #[test]
    fn a_new_size_is_shared_in_proportion() {
        let bounds = |desired, surge| Bounds { desired, surge, unavailable: 0 };
        let two = sets(&[("a", 5, 5, 10, 10), ("b", 5, 5, 10, 10)]);
        let cases = [
            ("only one", sets(&[("a", 3, 3, 3, 3)]), None, bounds(5, 0), vec![(0, 5)]),
            (
                "none active",
                sets(&[("a", 0, 0, 3, 3), ("b", 0, 0, 3, 3)]),
                Some(1),
                bounds(5, 0),
                vec![(1, 5)],
            ),
            ("up", two.clone(), Some(1), bounds(20, 0), vec![(1, 10), (0, 10)]),
            ("down", two.clone(), Some(1), bounds(4, 0), vec![(0, 2), (1, 2)]),
            ("to nothing", two.clone(), Some(1), bounds(0, 0), vec![(0, 0), (1, 0)]),
            (
                "odd",
                sets(&[("a", 8, 8, 10, 13), ("b", 5, 0, 10, 13)]),
                Some(1),
                bounds(13, 3),
                vec![(0, 10), (1, 6)],
            ),
            ("saturated", sets(&[("a", 2, 2, 5, 5), ("b", 5, 5, 5, 5)]), Some(1), bounds(5, 0), vec![(0, 0)]),
        ];
        for (name, sets, new, bounds, expect) in cases {
            assert_eq!(share(&sets, new, bounds, false, 10), expect, "{name}");
        }
        assert!(is_scaling(&two, bounds(11, 0)) && !is_scaling(&two, bounds(10, 5)));
    }
}
