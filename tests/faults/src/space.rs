//! A small disk for one member: a file system in memory that can be filled.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::limits::{DISK_MIB, DISK_NEARLY_FULL_MIB};

/// Unmounted when dropped.
pub struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk at a directory, which it makes; needs root.
    pub fn mount(place: &Path) -> anyhow::Result<Self> {
        fs::create_dir(place)?;
        let size = format!("size={DISK_MIB}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(place).status();
        ensure!(mounted.context("running mount")?.success(), "a small disk cannot be mounted");
        Ok(Self { place: place.to_owned() })
    }

    /// Takes all space but little: less than members want to see free.
    pub fn nearly_fill(&self) -> anyhow::Result<()> {
        let leave = DISK_NEARLY_FULL_MIB << 20;
        while self.free_bytes()? > leave {
            self.grow((self.free_bytes()? - leave).max(BLOCK))?;
        }
        Ok(())
    }

    /// Takes all space that is left.
    pub fn fill(&self) -> anyhow::Result<()> {
        loop {
            let free = self.free_bytes()?;
            if free < BLOCK {
                return Ok(());
            }
            match self.grow(free) {
                Ok(()) => {}
                // The member was faster: less is left now.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Gives everything back.
    pub fn clear(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.place.join("filler")
    }

    fn free_bytes(&self) -> anyhow::Result<u64> {
        let disk = statvfs(&self.place)?;
        Ok(disk.f_bavail * disk.f_frsize)
    }

    fn grow(&self, bytes: u64) -> io::Result<()> {
        let file = File::options().create(true).append(true).open(self.filler())?;
        Ok(fallocate(&file, FallocateFlags::empty(), file.metadata()?.len(), bytes)?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Who waits for the memory sees it in the list of mounts; the test has its verdict.
        let _mounted = Command::new("umount").arg("-l").arg(&self.place).status();
    }
}

/// What such a disk gives away at once.
const BLOCK: u64 = 4096;
