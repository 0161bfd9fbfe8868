//! From files to chunks.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::Stream;
use proto::raft::SnapshotChunk;

use crate::limits;
use crate::seams::Work;

/// Files of an image still to be sent.
struct Cursor {
    root: PathBuf,
    /// Relative names, the next one last.
    names: Vec<String>,
    count: u64,
    open: Option<Open>,
    finished: bool,
}

struct Open {
    name: String,
    file: File,
    offset: u64,
    size: u64,
    crc: u32,
}

/// The image in `root` as chunks, read as they are asked for. `header` goes before the files.
pub(crate) fn chunks(
    root: PathBuf,
    header: Vec<u8>,
    work: Work,
) -> impl Stream<Item = io::Result<SnapshotChunk>> + Send {
    let first = SnapshotChunk { header: Bytes::from(header), ..SnapshotChunk::default() };
    let files = futures::stream::try_unfold(None, move |cursor: Option<Cursor>| {
        let root = root.clone();
        async move { work.run(move || step(root, cursor)).await.map_err(io::Error::other)? }
    });
    futures::StreamExt::chain(futures::stream::iter([Ok(first)]), files)
}

fn step(root: PathBuf, cursor: Option<Cursor>) -> io::Result<Option<(SnapshotChunk, Option<Cursor>)>> {
    let mut cursor = match cursor {
        Some(cursor) => cursor,
        None => Cursor::new(root)?,
    };
    Ok(cursor.next()?.map(|chunk| (chunk, Some(cursor))))
}

impl Cursor {
    fn new(root: PathBuf) -> io::Result<Self> {
        let mut names = Vec::new();
        list(&root, "", &mut names)?;
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Self { root, count: names.len() as u64, names, open: None, finished: false })
    }

    fn next(&mut self) -> io::Result<Option<SnapshotChunk>> {
        if self.finished {
            return Ok(None);
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => match self.names.pop() {
                Some(name) => Open::new(&self.root, name)?,
                None => {
                    self.finished = true;
                    return Ok(Some(SnapshotChunk {
                        offset: self.count,
                        last: true,
                        ..SnapshotChunk::default()
                    }));
                }
            },
        };
        let chunk = open.next()?;
        if !chunk.last {
            self.open = Some(open);
        }
        Ok(Some(chunk))
    }
}

impl Open {
    fn new(root: &Path, name: String) -> io::Result<Self> {
        let file = File::open(root.join(&name))?;
        let size = file.metadata()?.len();
        Ok(Self { name, file, offset: 0, size, crc: 0 })
    }

    fn next(&mut self) -> io::Result<SnapshotChunk> {
        let length = (self.size - self.offset).min(limits::SNAPSHOT_CHUNK_BYTES as u64);
        let mut data = vec![0; length as usize];
        self.file.read_exact(&mut data)?;
        self.crc = crc32c::crc32c_append(self.crc, &data);
        let offset = self.offset;
        self.offset += length;
        let last = self.offset == self.size;
        let crc32c = if last { self.crc } else { 0 };
        Ok(SnapshotChunk {
            header: Bytes::new(),
            file: self.name.clone(),
            offset,
            data: Bytes::from(data),
            last,
            crc32c,
        })
    }
}

fn list(directory: &Path, prefix: &str, names: &mut Vec<String>) -> io::Result<()> {
    for item in std::fs::read_dir(directory)? {
        let item = item?;
        let name = item
            .file_name()
            .into_string()
            .map_err(|name| io::Error::other(format!("file name {} is not UTF-8", name.display())))?;
        let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        match item.file_type()? {
            kind if kind.is_dir() => list(&item.path(), &name, names)?,
            kind if kind.is_file() => names.push(name),
            _ => return Err(io::Error::other(format!("{name} is neither file nor directory"))),
        }
    }
    Ok(())
}
