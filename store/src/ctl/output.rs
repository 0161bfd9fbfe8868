//! One answer in four formats.
//!
//! | format | for | looks like |
//! |---|---|---|
//! | simple | people | etcdctl's lines |
//! | json | programs | the message of the API: bytes in base64, numbers as numbers |
//! | fields | scripts | `"Name" : value`, a line each |
//! | table | people | columns with borders |

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proto::etcd::{etcdserverpb as pb, mvccpb};
use serde_json::{Map, Value, json};

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines for people.
    Simple,
    /// The message as JSON.
    Json,
    /// A line for each field.
    Fields,
    /// A table.
    Table,
}

/// What a command prints.
pub struct Answer {
    /// The simple form.
    pub simple: Vec<u8>,
    /// The message.
    pub message: Value,
    /// Titles and rows; without any, a table looks like the simple form.
    pub table: Option<(&'static [&'static str], Vec<Vec<String>>)>,
    /// Lines of fields; without any, they are those of the message.
    pub fields: Option<String>,
}

impl Answer {
    /// An answer that is no table.
    pub fn new(simple: impl Into<Vec<u8>>, message: Value) -> Self {
        Self { simple: simple.into(), message, table: None, fields: None }
    }

    /// An answer that says nothing but that it is done.
    pub fn done(simple: impl Into<Vec<u8>>, head: Option<&pb::ResponseHeader>) -> Self {
        Self::new(simple, json!({ "header": header(head) }))
    }

    /// Prints it.
    pub fn print(&self, format: Format, out: &mut (dyn Write + Send)) -> io::Result<()> {
        match (format, &self.table) {
            (Format::Simple, _) | (Format::Table, None) => out.write_all(&self.simple),
            (Format::Json, _) => writeln!(out, "{}", self.message),
            (Format::Fields, _) => match &self.fields {
                Some(lines) => out.write_all(lines.as_bytes()),
                None => fields(&self.message, out),
            },
            (Format::Table, Some((titles, rows))) => table(titles, rows, out),
        }
    }
}

fn fields(message: &Value, out: &mut (dyn Write + Send)) -> io::Result<()> {
    match message {
        Value::Object(fields_of) => fields_of.iter().try_for_each(|(name, value)| match value {
            Value::Object(_) | Value::Array(_) => fields(value, out),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                writeln!(out, "{} : {value}", json!(title(name)))
            }
        }),
        Value::Array(items) => items.iter().try_for_each(|item| {
            fields(item, out)?;
            writeln!(out)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => writeln!(out, "{message}"),
    }
}

/// `mod_revision` as etcdctl calls it: `ModRevision`.
fn title(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        first.to_uppercase() + rest
    });
    words.collect()
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
        let answer = Answer {
            simple: b"8e9e, started\n".to_vec(),
            message: json!({ "header": { "revision": 3 }, "members": [{ "name": "a", "is_learner": true }] }),
            table: Some((&["ID", "STATUS"], rows)),
            fields: None,
        };
        let mut out = Vec::new();
        answer.print(format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_answer_has_four_forms() {
        assert_eq!(printed(Format::Simple), "8e9e, started\n");
        assert_eq!(
            printed(Format::Json),
            "{\"header\":{\"revision\":3},\"members\":[{\"is_learner\":true,\"name\":\"a\"}]}\n"
        );
        assert_eq!(printed(Format::Fields), "\"Revision\" : 3\n\"IsLearner\" : true\n\"Name\" : \"a\"\n\n");
        let table = "\
+------+-----------+
|  ID  |  STATUS   |
+------+-----------+
| 8e9e |   started |
|    1 | unstarted |
+------+-----------+
";
        assert_eq!(printed(Format::Table), table);
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
