//! One answer in five formats.
//!
//! | format | for | looks like |
//! |---|---|---|
//! | simple | people | etcdctl's lines |
//! | json | programs | the message of the API: bytes in base64, numbers as numbers |
//! | fields | scripts | `"Name" : value`, a line each |
//! | protobuf | programs | the message as it was on the wire |
//! | table | people | columns with borders |

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use proto::etcd::{etcdserverpb as pb, mvccpb};
use serde_json::{Map, Value, json};

use super::Error;
use super::fields::Fields;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines for people.
    Simple,
    /// The message as JSON.
    Json,
    /// A line for each field.
    Fields,
    /// The message as bytes.
    Protobuf,
    /// A table.
    Table,
}

impl Format {
    /// As it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Json => "json",
            Self::Fields => "fields",
            Self::Protobuf => "protobuf",
            Self::Table => "table",
        }
    }
}

/// What a command prints.
pub struct Answer {
    simple: Vec<u8>,
    message: Value,
    fields: Fields,
    table: Option<(&'static [&'static str], Vec<Vec<String>>)>,
    protobuf: Option<Vec<u8>>,
}

impl Answer {
    /// An answer that is no table, and no message on the wire.
    pub fn new(simple: impl Into<Vec<u8>>, message: Value, fields: Fields) -> Self {
        Self { simple: simple.into(), message, fields, table: None, protobuf: None }
    }

    /// An answer that says nothing but that it is done.
    pub fn done(simple: impl Into<Vec<u8>>, head: Option<&pb::ResponseHeader>, hex: bool) -> Self {
        // All messages that are only a header have it in the same place.
        let sent = pb::LeaseRevokeResponse { header: head.copied() };
        Self::new(simple, json!({ "header": header(head) }), Fields::of(head, hex)).sent(&sent)
    }

    /// It came as this message.
    pub fn sent(self, message: &impl Message) -> Self {
        Self { protobuf: Some(message.encode_to_vec()), ..self }
    }

    /// It has a table with these titles and rows. Without any, a table looks like the simple form.
    pub fn table(self, titles: &'static [&'static str], rows: Vec<Vec<String>>) -> Self {
        Self { table: Some((titles, rows)), ..self }
    }

    /// Its parts, for an answer that holds others: the simple form, the message and the fields.
    pub fn parts(self) -> (Vec<u8>, Value, Fields) {
        (self.simple, self.message, self.fields)
    }

    /// Prints it.
    pub fn print(&self, format: Format, out: &mut (dyn Write + Send)) -> Result<(), Error> {
        match format {
            Format::Simple => out.write_all(&self.simple)?,
            Format::Json => writeln!(out, "{}", self.message)?,
            Format::Fields => out.write_all(self.fields.text().as_bytes())?,
            Format::Protobuf => out.write_all(self.protobuf.as_ref().ok_or(Error::Format(format))?)?,
            Format::Table => match &self.table {
                None => out.write_all(&self.simple)?,
                Some((titles, rows)) => table(titles, rows, out)?,
            },
        }
        Ok(())
    }
}

fn table(titles: &[&str], rows: &[Vec<String>], out: &mut (dyn Write + Send)) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(titles.get(column).map(|title| title.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let border: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
    writeln!(out, "{border}+")?;
    let centered: String =
        titles.iter().zip(&widths).map(|(title, width)| format!("| {title:^width$} ")).collect();
    writeln!(out, "{centered}|")?;
    writeln!(out, "{border}+")?;
    for row in rows {
        let cells: String =
            row.iter().zip(&widths).map(|(cell, width)| format!("| {cell:>width$} ")).collect();
        writeln!(out, "{cells}|")?;
    }
    writeln!(out, "{border}+")
}

/// A header with a list, which is left out when there is nothing in it.
pub fn listed(head: Option<&pb::ResponseHeader>, name: &str, list: Value) -> Value {
    let mut message = json!({ "header": header(head) });
    if list.as_array().is_some_and(|items| !items.is_empty()) {
        message[name] = list;
    }
    message
}

/// Bytes as JSON has them.
pub fn base64(bytes: &[u8]) -> Value {
    STANDARD.encode(bytes).into()
}

/// A header as JSON: what is zero is left out.
pub fn header(header: Option<&pb::ResponseHeader>) -> Value {
    let Some(pb::ResponseHeader { cluster_id, member_id, revision, raft_term }) = header else {
        return json!({});
    };
    let fields = [
        ("cluster_id", json!(cluster_id)),
        ("member_id", json!(member_id)),
        ("revision", json!(revision)),
        ("raft_term", json!(raft_term)),
    ];
    fields
        .into_iter()
        .filter(|(_, number)| *number != 0)
        .map(|(name, number)| (name.to_owned(), number))
        .collect()
}

/// A key with its value as JSON: what is zero is left out.
pub fn key_value(kv: &mvccpb::KeyValue) -> Value {
    let mut fields = Map::from_iter([("key".to_owned(), base64(&kv.key))]);
    let numbers = [
        ("create_revision", kv.create_revision),
        ("mod_revision", kv.mod_revision),
        ("version", kv.version),
        ("lease", kv.lease),
    ];
    fields.extend(
        numbers
            .into_iter()
            .filter(|(_, number)| *number != 0)
            .map(|(name, number)| (name.into(), number.into())),
    );
    if !kv.value.is_empty() {
        fields.insert("value".to_owned(), base64(&kv.value));
    }
    fields.into()
}

/// A number of bytes in a few characters, as etcdctl has it: 20 kB, 1.6 MB.
pub fn size(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    match value < 10.0 && unit > 0 {
        true => format!("{value:.1} {}", UNITS[unit]),
        false => format!("{value:.0} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: Format) -> String {
        let rows =
            vec![vec!["8e9e".to_owned(), "started".to_owned()], vec!["1".to_owned(), "unstarted".to_owned()]];
        let head = pb::ResponseHeader { revision: 3, ..Default::default() };
        let message =
            json!({ "header": { "revision": 3 }, "members": [{ "name": "a", "is_learner": true }] });
        let answer = Answer::new("8e9e, started\n", message, Fields::of(Some(&head), false))
            .sent(&pb::MemberListResponse { header: Some(head), members: Vec::new() })
            .table(&["ID", "STATUS"], rows);
        let mut out = Vec::new();
        answer.print(format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_answer_has_five_forms() {
        assert_eq!(printed(Format::Simple), "8e9e, started\n");
        assert_eq!(
            printed(Format::Json),
            "{\"header\":{\"revision\":3},\"members\":[{\"is_learner\":true,\"name\":\"a\"}]}\n"
        );
        assert_eq!(
            printed(Format::Fields),
            "\"ClusterID\" : 0\n\"MemberID\" : 0\n\"Revision\" : 3\n\"RaftTerm\" : 0\n"
        );
        assert_eq!(printed(Format::Protobuf), "\n\u{2}\u{18}\u{3}");
        let table = "\
+------+-----------+
|  ID  |  STATUS   |
+------+-----------+
| 8e9e |   started |
|    1 | unstarted |
+------+-----------+
";
        assert_eq!(printed(Format::Table), table);
        let none = Answer::new("", json!({}), Fields::none(false));
        let error = none.print(Format::Protobuf, &mut Vec::new()).unwrap_err();
        assert_eq!(
            (error.exit_code(), error.to_string().starts_with("protobuf is not supported")),
            (4, true)
        );
    }

    #[test]
    fn sizes_are_short() {
        let sizes =
            [(0, "0 B"), (999, "999 B"), (20_480, "20 kB"), (1_638_400, "1.6 MB"), (25_000_000_000, "25 GB")];
        for (bytes, expected) in sizes {
            assert_eq!(size(bytes), expected);
        }
    }
}
