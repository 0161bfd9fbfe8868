//! What both disks promise, and what only the simulated one can show.

use super::*;

fn suite(disk: &dyn Disk, directory: &Path) {
    disk.create_dir(directory).unwrap();
    let (one, two) = (directory.join("one"), directory.join("two"));
    assert_eq!(disk.open(&one).err().unwrap().kind(), io::ErrorKind::NotFound);
    let file = disk.create(&one).unwrap();
    file.preallocate(1000).unwrap();
    file.preallocate(10).unwrap();
    file.write_at(998, b"abcd").unwrap();
    file.sync().unwrap();
    disk.rename(&one, &two).unwrap();
    disk.sync_dir(directory).unwrap();
    assert_eq!(disk.list(directory).unwrap(), ["two"]);
    let file = disk.open(&two).unwrap();
    assert_eq!(file.size().unwrap(), 1002);
    let mut buffer = [1; 10];
    assert_eq!(file.read_at(996, &mut buffer).unwrap(), 6);
    assert_eq!(&buffer[..6], b"\0\0abcd");
    assert_eq!(file.read_at(5000, &mut buffer).unwrap(), 0);
    let guard = disk.lock(&directory.join("lock")).unwrap();
    assert!(disk.lock(&directory.join("lock")).is_err());
    drop(guard);
    disk.lock(&directory.join("lock")).unwrap();
    assert!(disk.free_bytes(directory).unwrap() > 0);
    disk.remove(&two).unwrap();
    assert!(!disk.list(directory).unwrap().contains(&"two".to_owned()));
}

#[test]
fn both_disks_keep_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    suite(&RealDisk, &directory.path().join("deep/er"));
    suite(&SimDisk::default(), Path::new("/deep/er"));
}

/// A disk with one synced write of `a`, and an unsynced one of `b` over it, in a file with a durable name.
fn half_synced(bytes: usize) -> (SimDisk, Arc<dyn File>) {
    let disk = SimDisk::default();
    disk.create_dir(Path::new("/d")).unwrap();
    let file = disk.create(Path::new("/d/f")).unwrap();
    file.write_at(0, &vec![b'a'; bytes]).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    file.write_at(0, &vec![b'b'; bytes]).unwrap();
    (disk, file)
}

fn content(disk: &SimDisk) -> Vec<u8> {
    let file = disk.open(Path::new("/d/f")).unwrap();
    let mut content = vec![0; file.size().unwrap() as usize];
    file.read_at(0, &mut content).unwrap();
    content
}

#[test]
fn what_a_failed_sync_did_not_write_never_becomes_durable() {
    let (disk, file) = half_synced(10);
    disk.fail_sync();
    file.write_at(9, b"c").unwrap();
    assert!(file.sync().is_err());
    assert_eq!(content(&disk), b"bbbbbbbbbc", "it can still be read");
    assert!(file.sync().is_ok());
    disk.crash(Crash::Everything);
    assert_eq!(content(&disk), b"aaaaaaaaaa");
}

#[test]
fn a_crash_keeps_what_was_synced_and_any_part_of_the_rest() {
    let (disk, before) = half_synced(4000);
    disk.crash(Crash::Nothing);
    assert_eq!(content(&disk), [b'a'; 4000]);
    assert!(before.write_at(0, b"c").is_err(), "a file of a former boot");
    let (disk, _) = half_synced(4000);
    disk.crash(Crash::Everything);
    assert_eq!(content(&disk), [b'b'; 4000]);
    let torn = (0..64).filter(|seed| {
        let (disk, _) = half_synced(4000);
        disk.crash(Crash::Torn(*seed));
        let content = content(&disk);
        assert_eq!(content.len(), 4000);
        content.contains(&b'a') && content.contains(&b'b')
    });
    assert!(torn.count() > 10);
}

#[test]
fn names_are_durable_when_their_directory_is_synced() {
    let disk = SimDisk::default();
    disk.create_dir(Path::new("/d")).unwrap();
    disk.create(Path::new("/d/f")).unwrap().sync().unwrap();
    disk.crash(Crash::Nothing);
    assert!(disk.open(Path::new("/d/f")).is_err());
    let (disk, _) = half_synced(1);
    disk.rename(Path::new("/d/f"), Path::new("/d/g")).unwrap();
    disk.crash(Crash::Nothing);
    assert!(disk.open(Path::new("/d/f")).is_ok());
}

#[test]
fn it_fails_and_fills_up_when_told_to() {
    let (disk, file) = half_synced(100);
    disk.fail_after(1, io::ErrorKind::TimedOut);
    file.write_at(0, b"x").unwrap();
    assert_eq!(file.sync().err().unwrap().kind(), io::ErrorKind::TimedOut);
    file.sync().unwrap();
    disk.set_capacity(Some(150));
    assert_eq!(disk.free_bytes(Path::new("/d")).unwrap(), 50);
    assert_eq!(file.preallocate(151).err().unwrap().kind(), io::ErrorKind::StorageFull);
    file.write_at(99, b"x").unwrap();
    disk.crash_after(disk.operations());
    assert!(file.sync().is_err() && file.sync().is_err());
}
