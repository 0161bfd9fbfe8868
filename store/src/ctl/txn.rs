//! `txn`: comparisons and requests, a line each, as etcdctl reads them.
//!
//! ```text
//! value("a") = "1"        comparisons: of value, version, create, mod or lease
//! mod("b") > "0"
//!                         an empty line ends them
//! put a 2                 what is done when all hold: get, put, del, with their flags
//! get b
//!                         an empty line
//! get a                   what is done when one does not
//! ```
//!
//! With the end of the input everything ends.

use std::io::Write;

use bytes::Bytes;
use clap::Parser;
use proto::etcd::etcdserverpb as pb;
use proto::etcd::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcd::etcdserverpb::request_op::Request;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use super::kv_answers::{self, Style};
use super::requests::{Del, Get, Put};
use super::{Common, Error, Input, quote};
use crate::limits::RECORD_BYTES_MAX;

/// Compare and change keys in one step.
#[derive(Clone, Debug, clap::Args)]
pub struct Txn {
    #[command(flatten)]
    common: Common,
    /// Say what is to be typed.
    #[arg(short = 'i', long)]
    interactive: bool,
}

/// A request of a transaction.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_subcommand = true)]
enum Line {
    Get(Get),
    Put(Put),
    Del(Del),
}

/// Runs the command.
pub async fn run(
    Txn { common, interactive }: Txn,
    input: Input<'_>,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let mut input = input.take(RECORD_BYTES_MAX as u64);
    let mut section = async |title: &str| {
        if interactive {
            writeln!(out, "{title}:")?;
            out.flush()?;
        }
        lines(&mut input).await
    };
    let compare = section("compares").await?.iter().map(|line| compare(line)).collect::<Result<_, _>>()?;
    let requests = |lines: Vec<String>| lines.iter().map(|line| request(line)).collect::<Result<_, _>>();
    let success = requests(section("success requests (get, put, del)").await?)?;
    let failure = requests(section("failure requests (get, put, del)").await?)?;
    let request = common.connection.sendable(pb::TxnRequest { compare, success, failure })?;
    let line = common.connection.connect().await?;
    let answer = common.connection.keys(line).txn(request).await?.into_inner();
    let style = Style { hex: common.hex, ..Style::default() };
    common.print(&kv_answers::txn(&answer, style), out)
}

/// Lines up to an empty one.
async fn lines(input: &mut (impl AsyncBufRead + Unpin)) -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line).await?;
        let line = line.trim();
        if line.is_empty() {
            return Ok(lines);
        }
        lines.push(line.to_owned());
    }
}

fn compare(line: &str) -> Result<pb::Compare, Error> {
    let malformed = || Error::Input(format!("malformed comparison: {line}"));
    let (target, rest) = line.split_once('(').ok_or_else(malformed)?;
    let (key, rest) = quote::unquoted(rest.trim_start()).ok_or_else(malformed)?;
    let rest = rest.strip_prefix(')').ok_or_else(malformed)?.trim_start();
    let (order, rest) = rest.split_once(char::is_whitespace).ok_or_else(malformed)?;
    let result = match order {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        "<" => CompareResult::Less,
        ">" => CompareResult::Greater,
        _ => return Err(malformed()),
    };
    let (value, rest) = quote::unquoted(rest.trim_start()).ok_or_else(malformed)?;
    if !rest.trim().is_empty() {
        return Err(malformed());
    }
    let number = || {
        let number = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| Error::Input(format!("invalid txn compare request: {line} (not a number)")))
    };
    let (target, union) = match target.trim() {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number()?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number()?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number()?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(value.clone().into())),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number()?)),
        other => {
            return Err(Error::Input(format!("malformed comparison: {line} (unknown target {other})")));
        }
    };
    Ok(pb::Compare {
        result: result.into(),
        target: target.into(),
        key: key.into(),
        range_end: Bytes::new(),
        target_union: Some(union),
    })
}

fn request(line: &str) -> Result<pb::RequestOp, Error> {
    let malformed = |why: String| Error::Input(format!("invalid txn request: {line}{why}"));
    let words = quote::words(line).ok_or_else(|| malformed(String::new()))?;
    let parsed = Line::try_parse_from(words).map_err(|error| {
        // Its first line; the rest is about calling a program.
        malformed(error.to_string().lines().next().map(|why| format!(" ({why})")).unwrap_or_default())
    })?;
    let request = match parsed {
        Line::Get(get) => Request::RequestRange(get.request()?),
        Line::Put(put) => {
            Request::RequestPut(put.request(None).map_err(|error| malformed(format!(" ({error})")))?)
        }
        Line::Del(delete) => Request::RequestDeleteRange(delete.request()?),
    };
    Ok(pb::RequestOp { request: Some(request) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_read() {
        let read = compare("mod(\"a\\x00b\") > \"7\"").unwrap();
        assert_eq!((read.key.as_ref(), read.target_union), (&b"a\0b"[..], Some(TargetUnion::ModRevision(7))));
        assert_eq!((read.target, read.result), (CompareTarget::Mod.into(), CompareResult::Greater.into()));
        let read = compare("val(\"k\")  !=  \"two words\"").unwrap();
        assert_eq!(read.target_union, Some(TargetUnion::Value("two words".into())));
        let wrong = [
            ("", "malformed"),
            ("val(\"a\") = 1", "malformed"),
            ("value(a) = \"1\"", "malformed"),
            ("value(\"a\") == \"1\"", "malformed"),
            ("value(\"a\") = \"1\" x", "malformed"),
            ("foo(\"a\") = \"1\"", "unknown target foo"),
            ("mod(\"a\") = \"x\"", "not a number"),
        ];
        for (line, why) in wrong {
            let error = compare(line).unwrap_err().to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn requests_are_read() {
        let Some(Request::RequestPut(put)) = request("put 'a b' \"1\\n\" --prev-kv").unwrap().request else {
            panic!("not a put")
        };
        assert_eq!((put.key.as_ref(), put.value.as_ref(), put.prev_kv), (&b"a b"[..], &b"1\n"[..], true));
        let Some(Request::RequestRange(get)) = request("get a --prefix --limit 2").unwrap().request else {
            panic!("not a get")
        };
        assert_eq!((get.range_end.as_ref(), get.limit), (&b"b"[..], 2));
        for wrong in ["foo a", "put a", "put 'a", "get", "del a b c", "get a --at -1m"] {
            let error = request(wrong).map(drop).unwrap_err().to_string();
            assert!(
                error.contains("invalid txn request") || error.contains("name a key"),
                "{wrong}: {error}"
            );
        }
    }

    #[tokio::test]
    async fn a_section_ends_with_an_empty_line_or_with_the_input() {
        let mut input = "a\nb\n\nc".as_bytes();
        assert_eq!(lines(&mut input).await.unwrap(), ["a", "b"]);
        assert_eq!(lines(&mut input).await.unwrap(), ["c"]);
        assert!(lines(&mut input).await.unwrap().is_empty());
    }
}
