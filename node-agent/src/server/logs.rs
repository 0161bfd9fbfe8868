//! Container logs as CRI writes them, from a file that may grow and be rotated while it is read.
//!
//! A line is `<RFC 3339 time> <stdout|stderr> <F|P> <content>`; `P` means that the line goes on in the next.

use std::{io, os::unix::fs::MetadataExt, path::Path};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt, SeekFrom},
    sync::mpsc,
};

use super::{find::Log, route::Query};
use crate::{
    cri::{Kind, Runtime, v1},
    limits,
};

/// Polls of the file between two looks at the container.
const POLLS_PER_LOOK: u32 = 10;
/// Bytes read at a time.
const BLOCK_BYTES: usize = 64 << 10;

/// What of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on when the end is reached.
    pub follow: bool,
    /// Of the incarnation before.
    pub previous: bool,
    /// With times.
    pub timestamps: bool,
    /// Only the last lines.
    pub tail_lines: Option<u64>,
    /// Only what is newer.
    pub since: Option<Timestamp>,
    /// No more than this.
    pub limit_bytes: Option<u64>,
    /// Only one stream, by its CRI name.
    pub stream: Option<&'static str>,
}

impl LogOptions {
    /// From query parameters.
    pub fn parse(query: &Query, now: Timestamp) -> Result<Self, String> {
        let number = |name: &str| match query.get(name).filter(|v| !v.is_empty()) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| format!("invalid {name}: {text:?}")),
        };
        let since = match (number("sinceSeconds")?, query.get("sinceTime").filter(|v| !v.is_empty())) {
            (Some(seconds), _) => {
                let span = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
                Some(now.checked_sub(span).unwrap_or(Timestamp::MIN))
            }
            (None, Some(text)) => Some(text.parse().map_err(|_| format!("invalid sinceTime: {text:?}"))?),
            (None, None) => None,
        };
        Ok(Self {
            follow: query.is_set(&["follow"]),
            previous: query.is_set(&["previous"]),
            timestamps: query.is_set(&["timestamps"]),
            tail_lines: number("tailLines")?,
            limit_bytes: number("limitBytes")?,
            since,
            stream: match query.get("stream") {
                Some("Stdout") => Some("stdout"),
                Some("Stderr") => Some("stderr"),
                _ => None,
            },
        })
    }
}

/// Copies a log to a reader until its end, or as long as the container runs if it is followed. Ends when the
/// reader goes away.
pub async fn copy(
    log: &Log,
    options: &LogOptions,
    runtime: &dyn Runtime,
    out: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let mut file = File::open(&log.path).await?;
    if let Some(lines) = options.tail_lines {
        let start = tail_start(&mut file, lines).await?;
        file.seek(SeekFrom::Start(start)).await?;
    }
    let mut writer = Writer::new(options);
    let mut pending = Vec::new();
    let mut last_look = false;
    let mut polls = 0u32;
    loop {
        let read = read_block(&mut file, &mut pending).await?;
        if let Some(chunk) = writer.take_lines(&mut pending)
            && out.send(Ok(chunk)).await.is_err()
        {
            return Ok(());
        }
        if writer.is_full() {
            return Ok(());
        }
        if read > 0 {
            continue;
        }
        if !options.follow || last_look {
            return Ok(());
        }
        if let Some(next) = rotated(&file, &log.path).await {
            file = next;
            continue;
        }
        polls += 1;
        if polls.is_multiple_of(POLLS_PER_LOOK) {
            // What was written before it ended is still to be read.
            last_look = !is_running(runtime, &log.container_id).await;
        }
        tokio::select! {
            () = tokio::time::sleep(limits::LOG_POLL) => {}
            () = out.closed() => return Ok(()),
        }
    }
}

async fn read_block(file: &mut File, pending: &mut Vec<u8>) -> io::Result<usize> {
    let mut block = vec![0u8; BLOCK_BYTES];
    let read = file.read(&mut block).await?;
    pending.extend_from_slice(&block[..read]);
    // A line that never ends is not kept for ever.
    if pending.len() > limits::LOG_LINE_BYTES_MAX + BLOCK_BYTES {
        pending.push(b'\n');
    }
    Ok(read)
}

/// The file that took the path's place, if the one being read was moved aside.
async fn rotated(file: &File, path: &Path) -> Option<File> {
    let (open, present) = (file.metadata().await.ok()?, tokio::fs::metadata(path).await.ok()?);
    if open.ino() == present.ino() { None } else { File::open(path).await.ok() }
}

async fn is_running(runtime: &dyn Runtime, id: &str) -> bool {
    match runtime.container_status(id).await {
        Ok(status) => status.state == v1::ContainerState::ContainerRunning as i32,
        Err(e) => e.kind != Kind::NotFound,
    }
}

/// Where the last `lines` lines of a file begin.
async fn tail_start(file: &mut File, lines: u64) -> io::Result<u64> {
    let end = file.metadata().await?.len();
    if lines == 0 {
        return Ok(end);
    }
    let (mut at, mut found) = (end, 0u64);
    let block_max = u64::try_from(BLOCK_BYTES).unwrap_or(u64::MAX);
    while at > 0 {
        let length = at.min(block_max);
        at -= length;
        file.seek(SeekFrom::Start(at)).await?;
        let mut block = vec![0u8; usize::try_from(length).unwrap_or(BLOCK_BYTES)];
        file.read_exact(&mut block).await?;
        for (offset, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = at + u64::try_from(offset).unwrap_or(0) + 1;
            // The newline at the very end closes the last line; it begins none.
            if after < end {
                found += 1;
                if found == lines {
                    return Ok(after);
                }
            }
        }
    }
    Ok(0)
}

/// Turns CRI lines into what the reader sees.
struct Writer<'a> {
    options: &'a LogOptions,
    left: u64,
    line_begins: bool,
}

impl<'a> Writer<'a> {
    fn new(options: &'a LogOptions) -> Self {
        Self { options, left: options.limit_bytes.unwrap_or(u64::MAX), line_begins: true }
    }

    fn is_full(&self) -> bool {
        self.left == 0
    }

    /// Takes the whole lines off what was read.
    fn take_lines(&mut self, pending: &mut Vec<u8>) -> Option<Bytes> {
        let end = pending.iter().rposition(|byte| *byte == b'\n')? + 1;
        let mut out = Vec::with_capacity(end);
        for line in pending[..end].split_inclusive(|byte| *byte == b'\n') {
            self.line(line.strip_suffix(b"\n").unwrap_or(line), &mut out);
        }
        pending.drain(..end);
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        out.truncate(length);
        self.left -= u64::try_from(length).unwrap_or(self.left);
        (!out.is_empty()).then(|| Bytes::from(out))
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let (Some(time), Some(stream), Some(tag)) = (fields.next(), fields.next(), fields.next()) else {
            return;
        };
        let content = fields.next().unwrap_or(&[]);
        if self.options.stream.is_some_and(|wanted| wanted.as_bytes() != stream) || self.is_old(time) {
            return;
        }
        if self.options.timestamps && self.line_begins {
            out.extend_from_slice(time);
            out.push(b' ');
        }
        out.extend_from_slice(content);
        let partial = tag.split(|byte| *byte == b':').next() == Some(b"P");
        if !partial {
            out.push(b'\n');
        }
        self.line_begins = !partial;
    }

    fn is_old(&self, time: &[u8]) -> bool {
        let Some(since) = self.options.since else { return false };
        let written = std::str::from_utf8(time).ok().and_then(|text| text.parse::<Timestamp>().ok());
        written.is_some_and(|written| written < since)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;

    use super::{Log, LogOptions, Query, Timestamp, copy};
    use crate::{cri::fake::Fake, sys::Clock};

    const LOG: &str = "2026-11-20T10:00:00.1Z stdout F one\n\
                       2026-11-20T10:00:01.1Z stderr P tw\n\
                       2026-11-20T10:00:01.2Z stderr F o\n\
                       2026-11-20T10:00:02.1Z stdout F three\n";

    async fn read(query: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let options = LogOptions::parse(&Query::of(Some(query)), Timestamp::UNIX_EPOCH).unwrap();
        let fake = Fake::new(Clock::System, &[]);
        let (sender, mut receiver) = mpsc::channel(16);
        copy(&Log { path, container_id: "gone".into() }, &options, &fake, &sender).await.unwrap();
        drop(sender);
        let mut text = String::new();
        while let Some(chunk) = receiver.recv().await {
            text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
        text
    }

    #[tokio::test]
    async fn what_is_asked_for_is_read() {
        let table = [
            ("", "one\ntwo\nthree\n"),
            ("tailLines=1", "three\n"),
            ("tailLines=0", ""),
            ("tailLines=99", "one\ntwo\nthree\n"),
            ("limitBytes=5", "one\nt"),
            ("sinceTime=2026-11-20T10:00:01.5Z", "three\n"),
            ("stream=Stdout", "one\nthree\n"),
            (
                "timestamps=true",
                "2026-11-20T10:00:00.1Z one\n2026-11-20T10:00:01.1Z two\n2026-11-20T10:00:02.1Z three\n",
            ),
        ];
        for (query, expected) in table {
            assert_eq!(read(query).await, expected, "{query}");
        }
    }

    #[tokio::test]
    async fn a_followed_log_survives_rotation_and_ends_with_its_container() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let fake = Arc::new(Fake::new(Clock::System, &[]));
        let log = Log { path: path.clone(), container_id: "gone".into() };
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let (sender, mut receiver) = mpsc::channel(16);
        let reader = tokio::spawn(async move { copy(&log, &options, &*fake, &sender).await });
        assert_eq!(receiver.recv().await.unwrap().unwrap(), "one\ntwo\nthree\n");
        std::fs::rename(&path, dir.path().join("0.log.old")).unwrap();
        std::fs::write(&path, "2026-11-20T10:00:03Z stdout F four\n").unwrap();
        assert_eq!(receiver.recv().await.unwrap().unwrap(), "four\n");
        reader.await.unwrap().unwrap();
        assert!(receiver.recv().await.is_none());
    }
}
