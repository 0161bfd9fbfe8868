//! The log file of a container, in the format that kubelets read.
//!
//! ```text
//! 2026-01-02T03:04:05.000000006Z stdout F a complete line
//! 2026-01-02T03:04:05.000000007Z stderr P part of a line longer than 16 KiB
//! ```

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::limits::LOG_LINE_BYTES_MAX;

/// Which output a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard output, and everything of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One log file. Output is never held back for it: what cannot be written, as on a full disk, is lost.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    unfinished: [Vec<u8>; 2],
    failing: bool,
}

impl Log {
    /// Opens the file for appending, creating it and its directory.
    pub fn open(path: PathBuf) -> Result<Self> {
        let file = open(&path)?;
        Ok(Self { path, file, unfinished: [Vec::new(), Vec::new()], failing: false })
    }

    /// Opens the path again, after the file was renamed.
    pub fn reopen(&mut self) -> Result<()> {
        self.file = open(&self.path)?;
        Ok(())
    }

    /// Adds output; lines are written when they are complete or too long.
    pub fn add(&mut self, source: Source, bytes: &[u8], now: &str) {
        let mut text = Vec::with_capacity(bytes.len() + 64);
        let unfinished = &mut self.unfinished[source as usize];
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (line, complete) = piece.strip_suffix(b"\n").map_or((piece, false), |line| (line, true));
            unfinished.extend_from_slice(line);
            while unfinished.len() > LOG_LINE_BYTES_MAX {
                let rest = unfinished.split_off(LOG_LINE_BYTES_MAX);
                format(&mut text, now, source, 'P', unfinished);
                *unfinished = rest;
            }
            if complete {
                format(&mut text, now, source, 'F', unfinished);
                unfinished.clear();
            }
        }
        self.write(&text);
    }

    /// Writes the last line, if it had no end.
    pub fn finish(&mut self, source: Source, now: &str) {
        let line = std::mem::take(&mut self.unfinished[source as usize]);
        if !line.is_empty() {
            let mut text = Vec::new();
            format(&mut text, now, source, 'F', &line);
            self.write(&text);
        }
    }

    fn write(&mut self, text: &[u8]) {
        match self.file.write_all(text) {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::warn!(path = %self.path.display(), %error, "losing container output");
            }
            Err(_) => {}
        }
    }
}

fn open(path: &PathBuf) -> Result<File> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(Error::file("creating", parent))?;
    }
    File::options().create(true).append(true).open(path).map_err(Error::file("opening log", path))
}

fn format(text: &mut Vec<u8>, now: &str, source: Source, tag: char, line: &[u8]) {
    let source = match source {
        Source::Stdout => "stdout",
        Source::Stderr => "stderr",
    };
    // Writing to memory cannot fail.
    let _ = write!(text, "{now} {source} {tag} ");
    text.extend_from_slice(line);
    text.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]], expect: &str) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pod/0.log");
        let mut log = Log::open(path.clone()).unwrap();
        for piece in pieces {
            log.add(Source::Stdout, piece, "T");
        }
        log.finish(Source::Stdout, "T");
        assert_eq!(std::fs::read_to_string(path).unwrap(), expect);
    }

    #[test]
    fn lines_are_written_when_they_are_complete() {
        check(&[b"one\ntw", b"o\n"], "T stdout F one\nT stdout F two\n");
        check(&[b"\n\n"], "T stdout F \nT stdout F \n");
        check(&[b"no end"], "T stdout F no end\n");
    }

    #[test]
    fn long_lines_are_split() {
        let long = vec![b'x'; LOG_LINE_BYTES_MAX + 1];
        let first = "x".repeat(LOG_LINE_BYTES_MAX);
        check(&[&long, b"y\n"], &format!("T stdout P {first}\nT stdout F xy\n"));
    }

    #[test]
    fn a_rotated_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        let mut log = Log::open(path.clone()).unwrap();
        log.add(Source::Stderr, b"a\n", "T");
        std::fs::rename(&path, directory.path().join("0.log.1")).unwrap();
        log.reopen().unwrap();
        log.add(Source::Stderr, b"b\n", "T");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "T stderr F b\n");
    }
}
