//! Label and field selectors as text, as far as plugins use them: equality, inequality and existence.

use api::{Status, meta};
use serde_json::Value;

#[derive(Clone, Debug, Default)]
pub(super) struct Selectors {
    labels: Vec<Term>,
    fields: Vec<Term>,
}

#[derive(Clone, Debug)]
enum Term {
    Equals(String, String),
    Differs(String, String),
    Exists(String),
    Absent(String),
}

impl Selectors {
    pub(super) fn parse(labels: &str, fields: &str) -> Result<Self, Status> {
        Ok(Self { labels: terms(labels)?, fields: terms(fields)? })
    }

    pub(super) fn select(&self, object: &Value) -> bool {
        let label = |key: &str| meta::label(object, key).map(str::to_owned);
        self.labels.iter().all(|t| t.holds(label))
            && self.fields.iter().all(|t| t.holds(|path| field(object, path)))
    }
}

impl Term {
    fn holds(&self, value: impl Fn(&str) -> Option<String>) -> bool {
        match self {
            Self::Equals(key, wanted) => value(key).as_ref() == Some(wanted),
            Self::Differs(key, unwanted) => value(key).as_ref() != Some(unwanted),
            Self::Exists(key) => value(key).is_some(),
            Self::Absent(key) => value(key).is_none(),
        }
    }
}

fn terms(text: &str) -> Result<Vec<Term>, Status> {
    text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(term).collect()
}

fn term(text: &str) -> Result<Term, Status> {
    if text.contains(['(', ' ']) {
        return Err(Status::bad_request(format!("the fake does not know the selector {text:?}")));
    }
    let owned = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let parsed = if let Some((key, value)) = text.split_once("!=") {
        let (key, value) = owned(key, value);
        Term::Differs(key, value)
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        let (key, value) = owned(key, value);
        Term::Equals(key, value)
    } else if let Some(key) = text.strip_prefix('!') {
        Term::Absent(key.to_owned())
    } else {
        Term::Exists(text.to_owned())
    };
    Ok(parsed)
}

/// A missing field selects as the empty string, as on the server.
fn field(object: &Value, path: &str) -> Option<String> {
    let value = path.split('.').try_fold(object, |value, part| value.get(part));
    Some(value.and_then(Value::as_str).unwrap_or("").to_owned())
}
