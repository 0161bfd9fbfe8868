//! Lines of `"Name" : value`, for scripts: etcdctl's `-w fields`.

use std::fmt::{Display, Write};

use proto::etcd::etcdserverpb as pb;
use proto::etcd::mvccpb;

use super::quote::quoted;

/// Lines under way.
#[derive(Clone, Debug)]
pub struct Fields {
    hex: bool,
    text: String,
}

impl Fields {
    /// Those of a header; `hex` says whether ids are hexadecimal. Answers without keys may have no revision.
    pub fn of(header: Option<&pb::ResponseHeader>, hex: bool) -> Self {
        let pb::ResponseHeader { cluster_id, member_id, revision, raft_term } =
            header.copied().unwrap_or_default();
        let mut fields = Self { hex, text: String::new() };
        fields.id("ClusterID", cluster_id);
        fields.id("MemberID", member_id);
        if revision > 0 {
            fields.value("Revision", revision);
        }
        fields.value("RaftTerm", raft_term);
        fields
    }

    /// None yet.
    pub fn none(hex: bool) -> Self {
        Self { hex, text: String::new() }
    }

    /// A line with a number, or a word.
    pub fn value(&mut self, name: &str, value: impl Display) {
        writeln!(self.text, "\"{name}\" : {value}").expect("a string takes everything");
    }

    /// A line with bytes between quotes.
    pub fn quoted(&mut self, name: &str, bytes: &[u8]) {
        self.value(name, quoted(bytes));
    }

    /// A line with the id of a cluster or a member.
    pub fn id(&mut self, name: &str, id: u64) {
        match self.hex {
            true => self.value(name, format_args!("{id:x}")),
            false => self.value(name, id),
        }
    }

    /// A line with the number of a lease.
    pub fn lease(&mut self, name: &str, lease: i64) {
        match self.hex {
            true => self.value(name, format_args!("{lease:016x}")),
            false => self.value(name, lease),
        }
    }

    /// Lines with names between quotes.
    pub fn names(&mut self, name: &str, names: &[String]) {
        let names: String = names.iter().map(|name| format!(" {}", quoted(name.as_bytes()))).collect();
        writeln!(self.text, "\"{name}\" :{names}").expect("a string takes everything");
    }

    /// Those of a key; their names begin with `prefix`.
    pub fn key_value(&mut self, prefix: &str, kv: &mvccpb::KeyValue) {
        self.quoted(&format!("{prefix}Key"), &kv.key);
        self.value(&format!("{prefix}CreateRevision"), kv.create_revision);
        self.value(&format!("{prefix}ModRevision"), kv.mod_revision);
        self.value(&format!("{prefix}Version"), kv.version);
        self.quoted(&format!("{prefix}Value"), &kv.value);
        self.lease(&format!("{prefix}Lease"), kv.lease);
    }

    /// An empty line, after each of many.
    pub fn gap(&mut self) {
        self.text.push('\n');
    }

    /// Adds the lines of another answer.
    pub fn append(&mut self, other: &Self) {
        self.text += &other.text;
    }

    /// All lines.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_etcdctl_prints_them() {
        let header = pb::ResponseHeader { cluster_id: 10, member_id: 11, revision: 0, raft_term: 2 };
        let mut fields = Fields::of(Some(&header), false);
        fields.names("Roles", &["a".to_owned(), "b\n".to_owned()]);
        fields.lease("ID", 15);
        fields.gap();
        assert_eq!(
            fields.text(),
            "\"ClusterID\" : 10\n\"MemberID\" : 11\n\"RaftTerm\" : 2\n\"Roles\" : \"a\" \"b\\n\"\n\"ID\" : 15\n\n"
        );
        let mut fields = Fields::of(Some(&pb::ResponseHeader { revision: 3, ..header }), true);
        fields.lease("ID", 15);
        assert_eq!(
            fields.text(),
            "\"ClusterID\" : a\n\"MemberID\" : b\n\"Revision\" : 3\n\"RaftTerm\" : 2\n\"ID\" : 000000000000000f\n"
        );
    }
}
