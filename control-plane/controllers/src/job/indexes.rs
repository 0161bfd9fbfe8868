//! Completion indexes: which are done, how that is written, and which come next. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// The index of a pod.
pub(super) fn index(pod: &Pod) -> Option<i32> {
    pod.metadata.annotations.as_ref()?.get(INDEX)?.parse().ok()
}

/// Reads `0-2,5`. Indexes of `limit` and above are left out; so is what is no index.
pub(super) fn parse(text: &str, limit: i32) -> BTreeSet<i32> {
    let mut indexes = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
            indexes.extend(first.max(0)..=last.min(limit - 1));
        }
    }
    indexes
}

/// Writes `0-2,5`.
pub(super) fn format(indexes: &BTreeSet<i32>) -> String {
    let mut ranges: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => ranges.push((*index, *index)),
        }
    }
    let range = |(first, last): &(i32, i32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

/// The first free indexes below `completions`.
pub(super) fn next(completions: i32, taken: &BTreeSet<i32>, count: usize) -> Vec<i32> {
    (0..completions).filter(|i| !taken.contains(i)).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_written_as_ranges_and_read_back() {
        for (text, expect) in
            [("", ""), ("0-2,5", "0-2,5"), ("3,1,2", "1-3"), ("1,0", "0,1"), ("x,7,90", "7")]
        {
            let indexes = parse(text, 50);
            assert_eq!(format(&indexes), expect, "{text}");
            assert_eq!(parse(expect, 50), indexes);
        }
        assert_eq!(next(5, &parse("0,2", 5), 2), [1, 3]);
    }
}
