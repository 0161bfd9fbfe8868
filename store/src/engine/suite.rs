//! What every engine must do, run against each of them.

use std::path::Path;

use bytes::Bytes;

use super::memory::MemoryEngine;
use super::rocks::RocksEngine;
use super::{Batch, Engine, FRONT_BYTES, GROUP_END, Reader, VERSIONS};
use crate::limits::ENGINE_APART_BYTES_MIN;

fn batch(writes: &[(&str, Option<&str>)]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in writes {
        match value {
            Some(value) => batch.put(key.to_string(), value.to_string()),
            None => batch.delete(key.to_string()),
        }
    }
    batch
}

fn scan(engine: &dyn Engine, lower: &str, upper: &str) -> Vec<String> {
    let reader = engine.reader();
    let mut cursor = reader.cursor(lower.as_bytes(), upper.as_bytes());
    cursor.seek(lower.as_bytes()).unwrap();
    let mut found = Vec::new();
    while let Some((key, value)) = cursor.entry() {
        found.push(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
        cursor.next().unwrap();
    }
    found
}

fn suite(engine: &dyn Engine, scratch: &Path) {
    batches_apply_whole_and_in_order(engine);
    cursors_keep_their_view_and_bounds(engine);
    cursors_of_groups_find_all_of_a_group(engine);
    values_are_whole_however_long(engine);
    an_image_brings_back_its_moment(engine, scratch);
}

fn batches_apply_whole_and_in_order(engine: &dyn Engine) {
    engine.write(&batch(&[("a", Some("1")), ("b", Some("1")), ("a", Some("2")), ("b", None)])).unwrap();
    assert_eq!(scan(engine, "a", "z"), ["a=2"]);
    assert_eq!(engine.reader().get(b"a").unwrap().unwrap(), "2");
    assert_eq!(engine.reader().get(b"b").unwrap(), None);
    engine.write(&batch(&[("a", None)])).unwrap();
    assert!(scan(engine, "a", "z").is_empty());
}

fn cursors_keep_their_view_and_bounds(engine: &dyn Engine) {
    engine.write(&batch(&[("b", Some("1")), ("c", Some("1")), ("d", Some("1")), ("e", Some("1"))])).unwrap();
    let reader = engine.reader();
    let mut cursor = reader.cursor(b"c", b"e");
    engine.write(&batch(&[("c", Some("2")), ("cc", Some("1")), ("d", None)])).unwrap();
    cursor.seek(b"a").unwrap();
    assert_eq!(cursor.entry(), Some((&b"c"[..], &b"1"[..])), "not below the lower bound");
    cursor.next().unwrap();
    assert_eq!(cursor.entry(), Some((&b"d"[..], &b"1"[..])), "as it was when the cursor was made");
    cursor.next().unwrap();
    assert_eq!(cursor.entry(), None, "not beyond the upper bound");
    cursor.seek(b"cb").unwrap();
    assert_eq!(cursor.entry(), Some((&b"d"[..], &b"1"[..])), "a cursor may go back");
    assert_eq!(scan(engine, "b", "f"), ["b=1", "c=2", "cc=1", "e=1"]);
    engine.write(&batch(&[("b", None), ("c", None), ("cc", None), ("e", None)])).unwrap();
}

/// What stands in the memtable, in one table, and in many must be found alike.
fn cursors_of_groups_find_all_of_a_group(engine: &dyn Engine) {
    let key = |group: u32, version: u8| [b"g", &group.to_be_bytes()[2..], &GROUP_END, &[version]].concat();
    let mut written = std::collections::BTreeSet::new();
    for version in [3, 2, 1] {
        let mut batch = Batch::default();
        for group in
            (0x0202..0x0202 + 1000).filter(|group| group % 7 == 0 || u32::from(version) == group % 3 + 1)
        {
            batch.put(key(group, version), Bytes::from(vec![version]));
            written.insert(key(group, version));
        }
        engine.write(&batch).unwrap();
        assert!(version == 1 || engine.flush().unwrap());
    }
    let reader = engine.reader();
    let mut of_group = reader.group_cursor(b"g", b"h");
    let mut across = reader.cursor(b"g", b"h");
    for group in (0x0202 - 2..0x0202 + 1002).rev() {
        for version in 0..5 {
            let sought = key(group, version);
            let expected = written.range(sought.clone()..).next();
            across.seek(&sought).unwrap();
            assert_eq!(across.entry().map(|(key, _)| key), expected.map(|key| &key[..]));
            let of_this = |key: &&[u8]| key.starts_with(&sought[..sought.len() - 1]);
            let expected = expected.map(|key| &key[..]).filter(of_this);
            of_group.seek(&sought).unwrap();
            let found = of_group.entry().map(|(key, _)| key).filter(of_this);
            assert_eq!(found, expected, "group {group:x}, version {version}");
        }
    }
    drop((of_group, across));
    let mut batch = Batch::default();
    written.into_iter().for_each(|key| batch.delete(key));
    engine.write(&batch).unwrap();
}

fn version(name: &str, sequence: u64) -> Bytes {
    [&[VERSIONS], name.as_bytes(), &GROUP_END, &(!sequence).to_be_bytes()].concat().into()
}

/// Some that begin as no record does, too.
fn long_values() -> Vec<Bytes> {
    let lengths = [0, 1, FRONT_BYTES, ENGINE_APART_BYTES_MIN - 1, ENGINE_APART_BYTES_MIN, 100_000];
    lengths
        .into_iter()
        .flat_map(|length| [7, 0xfe, 0xff].map(|byte| vec![byte; length]))
        .map(Bytes::from)
        .collect()
}

fn versions(reader: &dyn Reader) -> Vec<Bytes> {
    let mut cursor = reader.passing(&[VERSIONS], &[VERSIONS + 1]);
    cursor.seek(&[VERSIONS]).unwrap();
    let mut found = Vec::new();
    while let Some((key, front)) = cursor.entry() {
        assert!(front.len() >= FRONT_BYTES.min(cursor.value_len()));
        let whole = cursor.value().unwrap();
        assert_eq!((whole.len(), whole.starts_with(front)), (cursor.value_len(), true));
        assert_eq!(reader.get(key).unwrap().as_deref(), Some(&*whole));
        assert_eq!(cursor.value_from(front.len()).unwrap(), whole[front.len()..]);
        assert_eq!(cursor.value_sum().unwrap(), crc32c::crc32c(&whole));
        found.push(Bytes::from(whole.into_owned()));
        cursor.next().unwrap();
    }
    found
}

fn values_are_whole_however_long(engine: &dyn Engine) {
    let values = long_values();
    let mut batch = Batch::default();
    for (value, sequence) in values.iter().zip(1..) {
        batch.put(version(&format!("{sequence:02}"), sequence), value.clone());
    }
    engine.write(&batch).unwrap();
    let reader = engine.reader();
    assert_eq!(versions(reader.as_ref()), values);
    assert!(engine.flush().unwrap());
    assert_eq!(versions(reader.as_ref()), values);
    let mut place = Bytes::new();
    while let Some(next) = reader.inspect(&place, 1000).unwrap() {
        assert!(next > place, "it goes on");
        place = next;
    }

    let mut before = reader.group_cursor(&[VERSIONS], &[VERSIONS + 1]);
    let mut removals = Batch::default();
    for (value, sequence) in values.iter().zip(1..) {
        removals.delete_short(version(&format!("{sequence:02}"), sequence), value.len());
    }
    engine.write(&removals).unwrap();
    assert!(engine.flush().unwrap());
    for (value, sequence) in values.iter().zip(1..) {
        before.seek(&version(&format!("{sequence:02}"), sequence)).unwrap();
        assert_eq!(before.value().unwrap(), value.as_ref(), "as it was when the cursor was made");
    }
    assert!(versions(reader.as_ref()).is_empty());
}

fn an_image_brings_back_its_moment(engine: &dyn Engine, scratch: &Path) {
    let long = Bytes::from(vec![7; 2 * ENGINE_APART_BYTES_MIN]);
    let mut of_versions = Batch::default();
    of_versions.put(version("long", 1), long.clone());
    engine.write(&of_versions).unwrap();
    engine.write(&batch(&[("x", Some("1")), ("y", Some("1"))])).unwrap();
    let image = scratch.join("image");
    assert_eq!(engine.checkpoint(&image, b"y").unwrap().unwrap(), "1");
    engine.write(&batch(&[("x", Some("2")), ("z", Some("1"))])).unwrap();
    let mut removal = Batch::default();
    removal.delete(version("long", 1));
    engine.write(&removal).unwrap();
    let before = engine.reader();
    engine.restore(&image).unwrap();
    assert_eq!(versions(engine.reader().as_ref()), [long]);
    engine.write(&removal).unwrap();
    assert_eq!(scan(engine, "a", "zz"), ["x=1", "y=1"]);
    assert!(!image.exists(), "an image is consumed");
    assert_eq!(before.get(b"x").unwrap().unwrap().len(), 1, "an old reader keeps working");
    engine.write(&batch(&[("x", Some("3"))])).unwrap();
    assert_eq!(scan(engine, "a", "zz"), ["x=3", "y=1"]);
}

#[test]
fn memory_passes_the_suite() {
    let scratch = tempfile::tempdir().unwrap();
    suite(&MemoryEngine::new(), scratch.path());
}

#[test]
fn rocks_passes_the_suite() {
    let scratch = tempfile::tempdir().unwrap();
    let engine = RocksEngine::open(&scratch.path().join("state")).unwrap();
    suite(&engine, scratch.path());
    drop(engine);
    let engine = RocksEngine::open(&scratch.path().join("state")).unwrap();
    assert_eq!(scan(&engine, "a", "zz")[1..], ["y=1"], "the restored content survives a restart");
}

#[test]
fn memory_forgets_what_was_not_flushed() {
    let engine = MemoryEngine::new();
    engine.write(&batch(&[("a", Some("1"))])).unwrap();
    assert!(engine.flush().unwrap());
    engine.write(&batch(&[("a", Some("2"))])).unwrap();
    engine.crash();
    assert_eq!(scan(&engine, "a", "z"), ["a=1"]);
}

#[test]
fn a_database_that_has_lost_its_files_is_not_made_anew() {
    for lost in ["CURRENT", "MANIFEST", ".sst"] {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("state");
        let engine = RocksEngine::open(&directory).unwrap();
        engine.write(&batch(&[("a", Some("1"))])).unwrap();
        assert!(engine.flush().unwrap());
        drop(engine);
        let files = std::fs::read_dir(directory.join("db-0")).unwrap().map(|file| file.unwrap().path());
        let files: Vec<_> = files.filter(|path| path.to_string_lossy().contains(lost)).collect();
        assert!(!files.is_empty());
        files.iter().for_each(|path| std::fs::remove_file(path).unwrap());
        assert!(RocksEngine::open(&directory).is_err(), "without {lost}");
    }
}

#[test]
fn tables_of_versions_that_had_no_filters_of_groups_are_searched() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("state");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("current"), "db-0").unwrap();
    let mut table = rocksdb::BlockBasedOptions::default();
    table.set_bloom_filter(10.0, false);
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    let former = rocksdb::DB::open(&options, directory.join("db-0")).unwrap();
    for group in 0..100_u8 {
        former.put([b"g", &[group][..], &GROUP_END, &[1]].concat(), [group]).unwrap();
    }
    former.flush().unwrap();
    drop(former);
    let engine = RocksEngine::open(&directory).unwrap();
    let reader = engine.reader();
    let mut cursor = reader.group_cursor(b"g", b"h");
    for group in 0..100_u8 {
        cursor.seek(&[b"g", &[group][..], &GROUP_END, &[0]].concat()).unwrap();
        assert_eq!(cursor.entry().map(|(_, value)| value), Some(&[group][..]));
    }
}
