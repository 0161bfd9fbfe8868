//! Where we are in a document: a list on the stack, turned into text only when there is something to report.

use std::fmt;

/// A position in a document.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    /// The document itself.
    Root,
    /// A field of the object that is at the parent.
    Key(&'a Path<'a>, &'a str),
    /// An entry of the map that is at the parent.
    Entry(&'a Path<'a>, &'a str),
    /// An item of the list that is at the parent.
    Index(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    /// A field below this.
    pub(super) fn key(&'a self, name: &'a str) -> Path<'a> {
        Path::Key(self, name)
    }

    /// An entry of a map below this.
    pub(super) fn entry(&'a self, key: &'a str) -> Path<'a> {
        Path::Entry(self, key)
    }

    /// An item below this.
    pub(super) fn index(&'a self, at: usize) -> Path<'a> {
        Path::Index(self, at)
    }

    /// Only the fields, without indices and keys of maps: Go's decoder names places so.
    pub(super) fn fields(&self) -> String {
        match self {
            Path::Root => String::new(),
            Path::Entry(parent, _) | Path::Index(parent, _) => parent.fields(),
            Path::Key(parent, name) => match parent.fields() {
                above if above.is_empty() => (*name).to_owned(),
                above => format!("{above}.{name}"),
            },
        }
    }
}

impl fmt::Display for Path<'_> {
    /// `spec.containers[0].name`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, name) | Path::Entry(Path::Root, name) => f.write_str(name),
            Path::Key(parent, name) | Path::Entry(parent, name) => write!(f, "{parent}.{name}"),
            Path::Index(parent, at) => write!(f, "{parent}[{at}]"),
        }
    }
}
