//! Header blocks: pairs of length-prefixed names and values, compressed with one zlib stream for each direction of
//! the connection, primed with a dictionary that the protocol fixes (SPDY draft 3, section 2.6.10.1).

use std::sync::LazyLock;

use bytes::{Buf, BufMut, Bytes};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::limits::SPDY_HEADERS_BYTES_MAX;

/// The dictionary begins with these words, each after its length in 4 bytes.
const WORDS: &[&str] = &[
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];

/// And ends with this text.
const TAIL: &str = concat!(
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505",
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized",
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable",
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT",
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,",
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.",
);

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = Vec::new();
    for word in WORDS {
        bytes.put_u32(word.len() as u32);
        bytes.put_slice(word.as_bytes());
    }
    bytes.put_slice(TAIL.as_bytes());
    bytes
});

/// Names (in lower case) and values.
pub type Pairs = Vec<(String, String)>;

/// A header block that cannot be read. The connection cannot go on: its compression state is lost.
#[derive(Debug, thiserror::Error)]
#[error("malformed SPDY header block")]
pub struct Malformed;

/// Compresses header blocks of one direction.
#[derive(Debug)]
pub struct Encoder {
    stream: Compress,
}

impl Default for Encoder {
    fn default() -> Self {
        let mut stream = Compress::new(Compression::default(), true);
        stream.set_dictionary(&DICTIONARY).expect("a fresh stream takes a dictionary");
        Self { stream }
    }
}

impl Encoder {
    /// The next block.
    pub fn encode(&mut self, pairs: &[(String, String)]) -> Bytes {
        let mut plain = Vec::new();
        plain.put_u32(pairs.len() as u32);
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(text.len() as u32);
            plain.put_slice(text.as_bytes());
        }
        let mut output = Vec::with_capacity(plain.len() + 64);
        let start = self.stream.total_in();
        loop {
            let consumed = (self.stream.total_in() - start) as usize;
            self.stream
                .compress_vec(&plain[consumed..], &mut output, FlushCompress::Sync)
                .expect("compressing memory into memory cannot fail");
            let done = (self.stream.total_in() - start) as usize == plain.len();
            if done && output.len() < output.capacity() {
                return output.into();
            }
            output.reserve(output.capacity());
        }
    }
}

/// Decompresses header blocks of one direction.
#[derive(Debug)]
pub struct Decoder {
    stream: Decompress,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { stream: Decompress::new(true) }
    }
}

impl Decoder {
    /// The pairs of the next block.
    pub fn decode(&mut self, block: &[u8]) -> Result<Pairs, Malformed> {
        let mut plain = Vec::with_capacity(1024);
        let mut rest = block;
        loop {
            let (read, written) = (self.stream.total_in(), plain.len());
            match self.stream.decompress_vec(rest, &mut plain, FlushDecompress::Sync) {
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.stream.set_dictionary(&DICTIONARY).map_err(|_| Malformed)?;
                }
                Err(_) => return Err(Malformed),
            }
            let consumed = (self.stream.total_in() - read) as usize;
            rest = rest.get(consumed..).ok_or(Malformed)?;
            if plain.len() > SPDY_HEADERS_BYTES_MAX {
                return Err(Malformed);
            }
            let has_room = plain.len() < plain.capacity();
            if rest.is_empty() && has_room {
                return parse(&plain);
            }
            if consumed == 0 && plain.len() == written && has_room {
                return Err(Malformed);
            }
            plain.reserve(plain.capacity());
        }
    }
}

fn parse(mut plain: &[u8]) -> Result<Pairs, Malformed> {
    let count = plain.try_get_u32().map_err(|_| Malformed)?;
    let mut pairs = Vec::new();
    for _ in 0..count {
        let name = text(&mut plain)?.to_ascii_lowercase();
        pairs.push((name, text(&mut plain)?));
    }
    Ok(pairs)
}

fn text(plain: &mut &[u8]) -> Result<String, Malformed> {
    let length = plain.try_get_u32().map_err(|_| Malformed)? as usize;
    let bytes = plain.get(..length).ok_or(Malformed)?;
    let text = String::from_utf8(bytes.to_vec()).map_err(|_| Malformed)?;
    plain.advance(length);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Pairs {
        list.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn the_dictionary_is_the_one_of_the_protocol() {
        assert_eq!(DICTIONARY.len(), 1423);
        // A zlib stream names its dictionary by checksum: this is SPDY/3's.
        let block = Encoder::default().encode(&[]);
        assert_eq!(block[2..6], [0xe3, 0xc6, 0xa7, 0xc2]);
    }

    #[test]
    fn blocks_survive_the_wire_in_order() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let long = "x".repeat(5000);
        for block in [
            pairs(&[]),
            pairs(&[("streamtype", "data"), ("port", "8080"), ("requestid", "0")]),
            pairs(&[("streamtype", "error"), ("long", &long)]),
            pairs(&[("streamtype", "data")]),
        ] {
            assert_eq!(decoder.decode(&encoder.encode(&block)).unwrap(), block);
        }
    }

    #[test]
    fn damaged_blocks_are_errors() {
        assert!(Decoder::default().decode(b"not zlib at all").is_err());
        let mut block = Encoder::default().encode(&pairs(&[("a", "b")])).to_vec();
        block.truncate(block.len() / 2);
        assert!(Decoder::default().decode(&block).is_err());
        assert!(Decoder::default().decode(&[]).is_err());
    }

    #[test]
    fn a_small_block_cannot_become_a_huge_one() {
        let bomb = "a".repeat(SPDY_HEADERS_BYTES_MAX * 2);
        let block = Encoder::default().encode(&pairs(&[("x", &bomb)]));
        assert!(block.len() < 2000 && Decoder::default().decode(&block).is_err());
    }
}
