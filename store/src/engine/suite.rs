//! What every engine must do, run against each of them.

use std::path::Path;

use super::memory::MemoryEngine;
use super::rocks::RocksEngine;
use super::{Batch, Engine};

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

fn an_image_brings_back_its_moment(engine: &dyn Engine, scratch: &Path) {
    engine.write(&batch(&[("x", Some("1")), ("y", Some("1"))])).unwrap();
    let image = scratch.join("image");
    assert_eq!(engine.checkpoint(&image, b"y").unwrap().unwrap(), "1");
    engine.write(&batch(&[("x", Some("2")), ("z", Some("1"))])).unwrap();
    let before = engine.reader();
    engine.restore(&image).unwrap();
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
