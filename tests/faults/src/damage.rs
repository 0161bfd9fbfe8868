//! Damage on the medium: whatever is hit, the member finds it, ends, does not start again, and the others go on.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::cluster::Cluster;
use crate::fault::Scene;
use crate::limits::{BALLAST, DAMAGE, DAMAGE_READS, POLL, READY};
use crate::membership;

/// What is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A segment of the log that is full.
    Log,
    /// A table of the state.
    Table,
    /// The file that says which tables make up the state.
    Manifest,
    /// The file that says which of those files counts.
    Current,
}

/// How it is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// One bit in its middle is flipped.
    Flip,
    /// Its second half is lost.
    Truncate,
    /// It is lost.
    Remove,
}

/// When it is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// While its member does not run.
    Stopped,
    /// While its member runs.
    Running,
}

/// Damages a file of a member, waits until the member has found it, and replaces the member.
pub async fn strike(
    scene: &mut Scene,
    at: usize,
    (target, blow, when): (Target, Blow, When),
) -> anyhow::Result<()> {
    prepare(scene, at, target).await?;
    let old = scene.cluster.id(at).await?;
    if when == When::Stopped {
        scene.cluster.kill(at)?;
    }
    let file = find(&scene.cluster, at, target)?;
    hit(&file, target, blow).with_context(|| format!("damaging {}", file.display()))?;
    if target == Target::Table && blow == Blow::Flip {
        // A start does not read the content of tables; whoever reads it finds the damage.
        found_by_reads(scene, at, file.clone()).await?;
    }
    scene.cluster.kill(at)?;
    // Whatever it noticed while it ran, it must not come back.
    refuses_to_start(scene, at).await.with_context(|| format!("after damage to {}", file.display()))?;
    scene.seen.add("damaged members found", 1);
    membership::replace_lost(scene, at, old).await
}

/// Makes sure that there is something to hit.
async fn prepare(scene: &Scene, at: usize, target: Target) -> anyhow::Result<()> {
    if target == Target::Log {
        for _ in 0..BALLAST.1 {
            scene.cluster.try_write(at, BALLAST.0).await.context("filling a segment of the log")?;
        }
    }
    let deadline = Instant::now() + READY;
    while let Err(error) = find(&scene.cluster, at, target) {
        ensure!(Instant::now() < deadline, "nothing to damage: {error}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Where in a table there is content for sure.
const TABLE_CONTENT: u64 = 40;
/// What RocksDB ends a table with.
const TABLE_END: [u8; 8] = 0x88e2_41b7_85f4_cff7_u64.to_le_bytes();

pub(crate) fn find(cluster: &Cluster, at: usize, target: Target) -> anyhow::Result<PathBuf> {
    let data = cluster.data(at);
    let state = data.join("state").join(fs::read_to_string(data.join("state/current"))?.trim());
    let mut files = match target {
        Target::Log => named(&data.join("raft/log"), |name| name.ends_with(".log"))?,
        Target::Table => named(&state, |name| name.ends_with(".sst"))?,
        Target::Manifest => named(&state, |name| name.starts_with("MANIFEST"))?,
        Target::Current => named(&state, |name| name == "CURRENT")?,
    };
    files.sort();
    if target == Target::Table {
        // One may be being written.
        files.retain(|file| fs::read(file).is_ok_and(|bytes| bytes.ends_with(&TABLE_END)));
    }
    // The newest segment is not full yet, and the first is.
    ensure!(target != Target::Log || files.len() > 1, "no segment is full");
    files.into_iter().next().context("no such file")
}

fn named(directory: &Path, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    let fits = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(&wanted);
    Ok(paths.into_iter().filter(fits).collect())
}

fn hit(path: &Path, target: Target, blow: Blow) -> anyhow::Result<()> {
    let middle = fs::metadata(path)?.len() / 2;
    match blow {
        Blow::Flip => {
            // Content comes first in a table.
            let place = if target == Target::Table { TABLE_CONTENT } else { middle };
            let mut file = File::options().read(true).write(true).open(path)?;
            let mut byte = [0];
            file.seek(SeekFrom::Start(place))?;
            file.read_exact(&mut byte)?;
            file.seek(SeekFrom::Start(place))?;
            file.write_all(&[byte[0] ^ 1])?;
            Ok(file.sync_all()?)
        }
        Blow::Truncate => Ok(File::options().write(true).open(path)?.set_len(middle)?),
        Blow::Remove => Ok(fs::remove_file(path)?),
    }
}

/// Reads the past until the member ends. What it held in memory it reads again after another start.
async fn found_by_reads(scene: &mut Scene, at: usize, mut table: PathBuf) -> anyhow::Result<()> {
    if !scene.cluster.has_ended(at)? && ends_by_reads(scene, at).await? {
        scene.seen.add("damage found while running", 1);
        return Ok(());
    }
    scene.cluster.kill(at)?;
    if !table.exists() {
        // A compaction has replaced it before anybody read it.
        table = find(&scene.cluster, at, Target::Table)?;
        hit(&table, Target::Table, Blow::Flip)?;
    }
    scene.cluster.spawn(at)?;
    ensure!(ends_by_reads(scene, at).await?, "nobody notices that {} is damaged", table.display());
    scene.seen.add("damage found after a start", 1);
    Ok(())
}

async fn ends_by_reads(scene: &mut Scene, at: usize) -> anyhow::Result<bool> {
    let begin = Instant::now();
    while begin.elapsed() < DAMAGE_READS {
        let newest = scene.cluster.status(at).await.ok().and_then(|status| status.header);
        for revision in 1..=newest.map_or(0, |header| header.revision) {
            if scene.cluster.read(at, true, revision).await.is_err() {
                break;
            }
        }
        if scene.cluster.has_ended(at)? {
            return Ok(true);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(false)
}

async fn refuses_to_start(scene: &mut Scene, at: usize) -> anyhow::Result<()> {
    scene.cluster.forget_words(at)?;
    scene.cluster.spawn(at)?;
    let begin = Instant::now();
    while !scene.cluster.has_ended(at)? {
        if begin.elapsed() > DAMAGE {
            anyhow::bail!("the damaged member goes on: {}", scene.cluster.last_words(at));
        }
        tokio::time::sleep(POLL).await;
    }
    let words = scene.cluster.last_words(at);
    ensure!(words.contains("rror"), "it says why it does not start: {words}");
    Ok(())
}
