//! Archives become images become directories. Device nodes (whiteouts) need root; says so otherwise.

#![allow(
    clippy::unwrap_used,
    clippy::large_futures,
    clippy::wildcard_imports,
    reason = "a test fails where it stands"
)]

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use kontiki_runtime::image::build::{Content, Recipe, build};
use kontiki_runtime::image::store::digest_of;
use kontiki_runtime::image::{Store, archive, unpack};

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: owners and device nodes need root");
    }
    root
}

fn tar_of(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_uid(1000);
        header.set_gid(1001);
        header.set_mtime(12345);
        let is_link = matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link);
        header.set_size(if is_link { 0 } else { content.len() as u64 });
        // Written raw: the builder itself refuses names that an attacker would use.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        if is_link {
            header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, if is_link { &[][..] } else { content.as_bytes() }).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn layers_unpack_with_owners_times_and_whiteouts() {
    if !is_root() {
        return;
    }
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let layer = tar_of(&[
        ("./dir/", Directory, ""),
        ("dir/file", Regular, "content"),
        ("dir/hard", Link, "dir/file"),
        ("dir/soft", Symlink, "/etc/passwd"),
        ("dir/.wh.gone", Regular, ""),
        ("opaque/.wh..wh..opq", Regular, ""),
        ("opaque/kept", Regular, "k"),
    ]);
    let directory = tempfile::tempdir().unwrap();
    let unpacked = unpack::unpack(&layer[..], directory.path()).unwrap();
    assert_eq!(unpacked.diff_id, digest_of(&layer));
    let at = |path: &str| directory.path().join(path).symlink_metadata().unwrap();
    assert_eq!((at("dir/file").uid(), at("dir/file").gid(), at("dir/file").mtime()), (1000, 1001, 12345));
    assert_eq!(at("dir").mtime(), 12345, "files put into it came before");
    assert_eq!(at("dir/hard").ino(), at("dir/file").ino());
    assert_eq!(std::fs::read_link(directory.path().join("dir/soft")).unwrap(), Path::new("/etc/passwd"));
    assert!(at("dir/gone").file_type().is_char_device() && at("dir/gone").rdev() == 0);
    let mut value = [0; 8];
    let length =
        rustix::fs::getxattr(directory.path().join("opaque"), "trusted.overlay.opaque", &mut value).unwrap();
    assert_eq!(&value[..length], b"y");
    assert!(!directory.path().join("opaque/.wh..wh..opq").exists());
}

#[test]
fn compressed_layers_are_recognised() {
    if !is_root() {
        return;
    }
    let layer = tar_of(&[("file", tar::EntryType::Regular, "content")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&layer).unwrap();
    for packed in [gzip.finish().unwrap(), zstd::encode_all(&layer[..], 1).unwrap()] {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(unpack::unpack(&packed[..], directory.path()).unwrap().diff_id, digest_of(&layer));
        assert_eq!(std::fs::read_to_string(directory.path().join("file")).unwrap(), "content");
    }
}

#[test]
fn no_archive_writes_outside_of_its_layer() {
    if !is_root() {
        return;
    }
    use tar::EntryType::{Link, Regular, Symlink};
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap().to_string();
    let through_link = [("link", Symlink, target.as_str()), ("link/file", Regular, "evil")];
    let dots = [("../escape", Regular, "evil")];
    let hard = [("hard", Link, "/etc/passwd")];
    for (name, entries) in [("link", &through_link[..]), ("dots", &dots), ("hard", &hard)] {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("layer");
        std::fs::create_dir(&directory).unwrap();
        // Whether it is an error or lands inside is not what matters here.
        let _ = unpack::unpack(&tar_of(entries)[..], &directory);
        assert!(!parent.path().join("escape").exists(), "{name}");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0, "{name}");
        assert!(!directory.join("hard").exists(), "{name}");
    }
}

fn small(name: &str, text: &str) -> Recipe {
    Recipe::new(name).file("etc/text", 0o600, Content::Bytes(text.into())).file(
        "bin/sh",
        0o777,
        Content::Link("busybox".into()),
    )
}

#[test]
fn built_images_are_imported_named_and_removed() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("1.tar"), directory.path().join("2.tar"));
    build(&small("app:1", "one"), &first).unwrap();
    build(&small("app:1", "one"), &second).unwrap();
    assert_eq!(
        std::fs::read(&first).unwrap(),
        std::fs::read(&second).unwrap(),
        "the same recipe, the same bytes"
    );
    build(&small("app:2", "two"), &second).unwrap();

    let store = Store::open(directory.path().join("store")).unwrap();
    let one = archive::import(&store, &first, None).unwrap().remove(0);
    archive::import(&store, &second, None).unwrap();
    for name in ["app:1", "docker.io/library/app:1", &one.id, &one.id[7..20], one.digests.first().unwrap()] {
        assert_eq!(store.find(name).unwrap().id, one.id, "{name}");
    }
    assert!(store.find("app:3").is_none());
    let file = store.layer_paths(&one)[0].join("etc/text");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    // A name moves to the image imported last.
    build(&small("app:2", "three"), &second).unwrap();
    let three = archive::import(&store, &second, None).unwrap().remove(0);
    assert_eq!(store.find("app:2").unwrap().id, three.id);

    // A new store on the same directory knows the same, and a container's layers outlive their image.
    drop(store);
    let store = Store::open(directory.path().join("store")).unwrap();
    assert_eq!(store.find("app:1").unwrap(), one);
    let in_use: BTreeSet<_> = one.layers.iter().cloned().collect();
    store.remove("app:1", &in_use).unwrap();
    assert!(store.find("app:1").is_none() && file.exists());
    store.sweep(&BTreeSet::new()).unwrap();
    assert!(!file.exists());
    store.remove("app:1", &BTreeSet::new()).unwrap();
}

#[test]
fn docker_archives_and_damaged_ones_are_told_apart() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    let layer = tar_of(&[("file", tar::EntryType::Regular, "from docker")]);
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/file"], "Env": null},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(&layer)]},
    });
    let manifest =
        serde_json::json!([{"Config": "c.json", "RepoTags": ["team/app:v1"], "Layers": ["l/layer.tar"]}]);
    let write = |path: &Path, layer: &[u8]| {
        let mut builder = tar::Builder::new(std::fs::File::create(path).unwrap());
        for (name, bytes) in [
            ("manifest.json", manifest.to_string().as_bytes()),
            ("c.json", config.to_string().as_bytes()),
            ("l/layer.tar", layer),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, bytes).unwrap();
        }
        builder.finish().unwrap();
    };
    let path = directory.path().join("docker.tar");
    write(&path, &tar_of(&[("file", tar::EntryType::Regular, "something else")]));
    let error = archive::import(&store, &path, None).unwrap_err().to_string();
    assert!(error.contains("but should be"), "{error}");
    assert!(store.list().is_empty());
    write(&path, &layer);
    let image = archive::import(&store, &path, None).unwrap().remove(0);
    assert_eq!(image.tags.first().unwrap(), "docker.io/team/app:v1");
    assert_eq!(image.defaults.cmd, ["/file"]);
    std::fs::write(&path, "no archive at all").unwrap();
    assert!(archive::import(&store, &path, None).is_err());
}

#[test]
fn layers_that_a_power_cut_may_have_damaged_are_forgotten() {
    if !is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let archive_path = directory.path().join("app.tar");
    build(&small("app:1", "one"), &archive_path).unwrap();
    let root = directory.path().join("store");
    let store = Store::open(root.clone()).unwrap();
    let image = archive::import(&store, &archive_path, None).unwrap().remove(0);
    let record = root.join("layers").join(format!("{}.json", image.layers[0]));
    // The flush ends by taking the mark away; only then may the test put another one there.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while std::fs::read_to_string(&record).unwrap().contains("unflushed_in") {
        assert!(std::time::Instant::now() < deadline, "layers are never flushed");
        std::thread::yield_now();
    }
    assert!(Store::open(root.clone()).unwrap().find("app:1").is_some());
    let mut marked: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    marked["unflushed_in"] = "another boot".into();
    std::fs::write(&record, marked.to_string()).unwrap();
    let store = Store::open(root).unwrap();
    assert!(store.find("app:1").is_none() && !record.exists());
    archive::import(&store, &archive_path, None).unwrap();
    assert!(store.find("app:1").is_some());
}
