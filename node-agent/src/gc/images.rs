//! Unused images go when their file system fills up: the longest unused first, until there is room.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    cri::{self, Selector, v1},
    limits,
    shared::Shared,
    sys::{clock::after, facts},
};

/// When images were last seen in use. Pure.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    seen: BTreeMap<String, (Timestamp, Timestamp)>,
}

impl Ledger {
    /// Takes note of what is there and what is in use.
    pub fn note(&mut self, present: &[v1::Image], used: &BTreeSet<String>, now: Timestamp) {
        self.seen.retain(|id, _| present.iter().any(|image| image.id == *id));
        for image in present {
            let entry = self.seen.entry(image.id.clone()).or_insert((now, now));
            let in_use = |name: &String| used.contains(name);
            if in_use(&image.id)
                || image.repo_tags.iter().any(in_use)
                || image.repo_digests.iter().any(in_use)
            {
                entry.1 = now;
            }
        }
    }

    /// The images to remove to free some bytes: unused and old enough, the longest unused first.
    pub fn choose(&self, present: &[v1::Image], bytes: u64, now: Timestamp) -> Vec<String> {
        let mut free: Vec<(Timestamp, &v1::Image)> = Vec::new();
        for image in present.iter().filter(|image| !image.pinned) {
            let Some((first, used)) = self.seen.get(&image.id) else { continue };
            if *used < now && after(*first, limits::IMAGE_AGE_MIN) <= now {
                free.push((*used, image));
            }
        }
        free.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.id.cmp(&b.1.id)));
        let mut freed = 0u64;
        let mut chosen = Vec::new();
        for (_, image) in free {
            if freed >= bytes {
                break;
            }
            freed = freed.saturating_add(image.size);
            chosen.push(image.id.clone());
        }
        chosen
    }
}

/// Looks now and then until shutdown.
pub async fn run(shared: Arc<Shared>, shutdown: CancellationToken) {
    let work = async {
        let mut ledger = Ledger::default();
        loop {
            tokio::time::sleep(limits::IMAGE_GC).await;
            if let Err(e) = collect(&shared, &mut ledger).await {
                warn!(error = %e, "images could not be looked at");
            }
        }
    };
    shutdown.run_until_cancelled(work).await;
}

async fn collect(shared: &Shared, ledger: &mut Ledger) -> cri::Result<()> {
    let present = shared.runtime.list_images().await?;
    let containers = shared.runtime.list_containers(Selector::new()).await?;
    let names = |c: v1::Container| [c.image_ref, c.image_id, c.image.map(|i| i.image).unwrap_or_default()];
    let used: BTreeSet<String> = containers.into_iter().flat_map(names).collect();
    let now = shared.clock.now();
    ledger.note(&present, &used, now);
    for id in ledger.choose(&present, excess(shared).await?, now) {
        info!(image = id, "removing an unused image to make room");
        shared.runtime.remove_image(&id).await?;
    }
    Ok(())
}

/// Bytes to free on the images' file system; 0 while there is room.
async fn excess(shared: &Shared) -> cri::Result<u64> {
    let info = shared.runtime.image_fs().await?;
    let mountpoint = info.image_filesystems.into_iter().find_map(|fs| fs.fs_id).map(|id| id.mountpoint);
    let path = mountpoint.filter(|p| !p.is_empty());
    let root = shared.options.root_dir.clone();
    let path = path.map_or(root, |p| Path::new(&p).to_owned());
    let Some((total, available)) = facts::disk(&path) else { return Ok(0) };
    let used = total.saturating_sub(available);
    if total == 0 || used.saturating_mul(100) / total < limits::IMAGE_DISK_PERCENT_HIGH {
        return Ok(0);
    }
    Ok(used.saturating_sub(total / 100 * limits::IMAGE_DISK_PERCENT_LOW))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::{Ledger, Timestamp, after, v1};

    #[test]
    fn the_longest_unused_go_first_and_used_ones_stay() {
        let image = |id: &str| v1::Image { id: id.into(), size: 10, ..v1::Image::default() };
        let present = [image("a"), image("b"), image("c"), v1::Image { pinned: true, ..image("d") }];
        let at = |minutes: u64| after(Timestamp::UNIX_EPOCH, Duration::from_secs(minutes * 60));
        let used = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
        let mut ledger = Ledger::default();
        ledger.note(&present, &used(&["a", "b"]), at(0));
        ledger.note(&present, &used(&["b"]), at(5));
        ledger.note(&present, &used(&["b"]), at(10));
        assert_eq!(ledger.choose(&present, 15, at(10)), ["a", "c"]);
        assert_eq!(ledger.choose(&present, 1, at(10)), ["a"]);
        assert!(ledger.choose(&present, 0, at(10)).is_empty());
    }
}
