//! Termination messages: what a container wrote before it ended.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use super::observed::Container;
use crate::limits;

/// The message of an ended container: its file, or the end of its log if it failed and asked for that.
pub fn of(container: &Container, file: &Path, log: &Path) -> String {
    // A file that cannot be read is one the container never wrote.
    let text = tail(file, limits::TERMINATION_MESSAGE_BYTES_MAX).unwrap_or_default();
    if !text.is_empty() || !container.log_fallback || container.exit_code == 0 {
        return text;
    }
    let raw = tail(log, limits::TERMINATION_LOG_BYTES_MAX * 2).unwrap_or_default();
    let lines: Vec<&str> = raw.lines().filter_map(content).collect();
    let first = lines.len().saturating_sub(limits::TERMINATION_LOG_LINES_MAX);
    let mut text = lines[first..].join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    let cut = text.len().saturating_sub(limits::TERMINATION_LOG_BYTES_MAX);
    text.split_off(text.ceil_char_boundary(cut))
}

/// What a line of a CRI log says: `<time> <stream> <tag> <content>`.
fn content(line: &str) -> Option<&str> {
    line.splitn(4, ' ').nth(3)
}

fn tail(path: &Path, bytes_max: usize) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let max = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    file.seek(SeekFrom::Start(length.saturating_sub(max)))?;
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
