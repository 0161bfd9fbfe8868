//! Label and field selectors, parsed once and matched often.
//!
//! The grammar is that of k8s.io/apimachinery `pkg/labels` and `pkg/fields`: `a=b`, `a==b`, `a!=b`, `a in (b,c)`,
//! `a notin (b,c)`, `a`, `!a`, `a>1`, `a<1`, separated by commas; field selectors know only the first three.

use serde_json::Value;

/// A selector that cannot be parsed; the message is shown to the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// Longest selector text that is accepted, in bytes: a selector is matched against every object of a list.
const TEXT_BYTES_MAX: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        match &self.test {
            Test::In(values) => value.is_some_and(|v| values.iter().any(|x| x == v)),
            Test::NotIn(values) => !value.is_some_and(|v| values.iter().any(|x| x == v)),
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Greater(bound) => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v > *bound),
            Test::Less(bound) => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v < *bound),
        }
    }
}

/// A conjunction of requirements on labels. The empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// Parses the text form, as in `kubectl -l` or `?labelSelector=`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Invalid(format!("selector is longer than {TEXT_BYTES_MAX} bytes")));
        }
        let mut parser = Parser { rest: text.trim() };
        let mut requirements = Vec::new();
        while !parser.rest.is_empty() {
            requirements.push(
                parser.requirement().map_err(|why| Invalid(format!("unable to parse requirement: {why}")))?,
            );
            if parser.rest.is_empty() {
                break;
            }
            parser.expect(',').map_err(|why| Invalid(format!("unable to parse requirement: {why}")))?;
            if parser.rest.is_empty() {
                return Err(Invalid(
                    "unable to parse requirement: found '', expected: identifier after ','".into(),
                ));
            }
        }
        Ok(Self { requirements })
    }

    /// Reads the structured form (`matchLabels`, `matchExpressions`) of an object's `spec.selector`.
    pub fn from_object(selector: &Value) -> Result<Self, Invalid> {
        let mut requirements = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value =
                value.as_str().ok_or_else(|| Invalid(format!("value of label {key:?} is no string")))?;
            requirements.push(Requirement { key: key.clone(), test: Test::In(vec![value.to_owned()]) });
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let key = expression.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
            let operator = expression.get("operator").and_then(Value::as_str).unwrap_or_default();
            let values: Vec<String> = expression
                .get("values")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            requirements.push(Requirement { key, test: operator_test(operator, values)? });
        }
        Ok(Self { requirements })
    }

    /// The selector that demands each of these labels, as in a Service's or a replication controller's selector.
    pub fn from_map<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let test = |value: &str| Test::In(vec![value.to_owned()]);
        let requirements =
            labels.into_iter().map(|(k, v)| Requirement { key: k.to_owned(), test: test(v) }).collect();
        Self { requirements }
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether labels, looked up by `get`, satisfy every requirement.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|r| r.matches(get(&r.key)))
    }

    /// Whether labels sorted by key satisfy every requirement.
    pub fn matches(&self, labels: &[(String, String)]) -> bool {
        self.matches_with(|key| {
            labels.binary_search_by(|(k, _)| k.as_str().cmp(key)).ok().map(|at| labels[at].1.as_str())
        })
    }

    /// Whether the labels of an object (the tree of `metadata.labels`, or null) satisfy every requirement.
    pub fn matches_value(&self, labels: &Value) -> bool {
        self.matches_with(|key| labels.get(key).and_then(Value::as_str))
    }
}

fn operator_test(operator: &str, values: Vec<String>) -> Result<Test, Invalid> {
    match operator {
        "In" if !values.is_empty() => Ok(Test::In(values)),
        "NotIn" if !values.is_empty() => Ok(Test::NotIn(values)),
        "In" | "NotIn" => Err(Invalid("for 'in', 'notin' operators, values set can't be empty".into())),
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            Err(Invalid("values set must be empty for exists and does not exist".into()))
        }
        "Exists" => Ok(Test::Exists),
        "DoesNotExist" => Ok(Test::Absent),
        "Gt" | "Lt" => {
            let bound = match values.as_slice() {
                [one] => one.parse().ok(),
                _ => None,
            };
            let bound = bound.ok_or_else(|| {
                Invalid(
                    "for 'Gt', 'Lt' operators, exactly one value is required and it must be an integer"
                        .into(),
                )
            })?;
            Ok(if operator == "Gt" { Test::Greater(bound) } else { Test::Less(bound) })
        }
        other => Err(Invalid(format!("{other:?} is not a valid label selector operator"))),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn expect(&mut self, c: char) -> Result<(), String> {
        self.skip_space();
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest.trim_start();
                Ok(())
            }
            None => Err(format!("found '{}', expected: '{c}'", self.rest)),
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> &'a str {
        self.skip_space();
        let end =
            self.rest.find(|c: char| c.is_whitespace() || "=!(),<>".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.skip_space();
        word
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.eat("!") {
            let key = self.key()?;
            return Ok(Requirement { key, test: Test::Absent });
        }
        let key = self.key()?;
        let test = if self.rest.is_empty() || self.rest.starts_with(',') {
            Test::Exists
        } else if self.eat("!=") {
            Test::NotIn(vec![self.value()?])
        } else if self.eat("==") || self.eat("=") {
            Test::In(vec![self.value()?])
        } else if self.eat(">") {
            Test::Greater(self.integer()?)
        } else if self.eat("<") {
            Test::Less(self.integer()?)
        } else {
            match self.word() {
                "in" => Test::In(self.values()?),
                "notin" => Test::NotIn(self.values()?),
                other => return Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
            }
        };
        Ok(Requirement { key, test })
    }

    fn key(&mut self) -> Result<String, String> {
        let key = self.word();
        if !is_qualified_name(key) {
            return Err(format!("invalid label key {key:?}: must be a qualified name"));
        }
        Ok(key.to_owned())
    }

    fn value(&mut self) -> Result<String, String> {
        let value = self.word();
        if !is_label_value(value) {
            return Err(format!("invalid label value: {value:?}"));
        }
        Ok(value.to_owned())
    }

    fn integer(&mut self) -> Result<i64, String> {
        let word = self.word();
        word.parse()
            .map_err(|_| format!("for 'Gt', 'Lt' operators, the value must be an integer, found '{word}'"))
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        self.expect('(')?;
        let mut values = Vec::new();
        loop {
            values.push(self.value()?);
            if self.eat(")") {
                self.skip_space();
                return Ok(values);
            }
            self.expect(',')?;
        }
    }
}

/// Whether `text` may be a label key: an optional DNS subdomain and slash, then a name of at most 63 characters.
pub fn is_qualified_name(text: &str) -> bool {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    prefix.is_none_or(is_dns_subdomain) && !name.is_empty() && is_label_value(name)
}

/// Whether `text` may be a label value: empty, or at most 63 of `[-A-Za-z0-9_.]` beginning and ending alphanumeric.
pub fn is_label_value(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && edge(bytes.first())
        && edge(bytes.last())
}

/// Whether `text` is a lower-case RFC 1123 subdomain of at most 253 characters.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_chars)
}

/// Whether `text` is a lower-case RFC 1123 label of at most 63 characters.
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_chars(text)
}

fn is_dns_chars(label: &str) -> bool {
    let lower = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = label.as_bytes();
    bytes.first().is_some_and(lower)
        && bytes.last().is_some_and(lower)
        && bytes.iter().all(|b| lower(b) || *b == b'-')
}

/// A conjunction of equalities on fields. The empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

/// One comparison of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Path of the field, such as `status.phase`.
    pub field: String,
    /// The value it is compared with.
    pub value: String,
    /// Whether it must be equal, or must differ.
    pub equal: bool,
}

impl FieldSelector {
    /// Parses the text form, as in `kubectl --field-selector`. Values may escape `\`, `,` and `=`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Invalid(format!("selector is longer than {TEXT_BYTES_MAX} bytes")));
        }
        let mut terms = Vec::new();
        for part in split_unescaped(text) {
            if part.is_empty() {
                continue;
            }
            terms.push(
                field_term(part).ok_or_else(|| {
                    Invalid(format!("invalid selector: '{text}'; can't understand '{part}'"))
                })?,
            );
        }
        Ok(Self { terms })
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The comparisons.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// The value a field is required to equal, if there is one: lets a reader use an index.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.field == field).map(|t| t.value.as_str())
    }

    /// Whether fields, looked up by `get` (missing ones as empty), satisfy every comparison.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> &'a str) -> bool {
        self.terms.iter().all(|t| (get(&t.field) == t.value) == t.equal)
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn field_term(part: &str) -> Option<Term> {
    let at = part.find(['=', '!'])?;
    let (field, operator) = part.split_at(at);
    let (value, equal) = if let Some(value) = operator.strip_prefix("!=") {
        (value, false)
    } else if let Some(value) = operator.strip_prefix("==") {
        (value, true)
    } else {
        (operator.strip_prefix('=')?, true)
    };
    let mut unescaped = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => unescaped.push(chars.next().filter(|c| matches!(c, '\\' | ',' | '='))?),
            '=' => return None,
            c => unescaped.push(c),
        }
    }
    Some(Term { field: field.to_owned(), value: unescaped, equal })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let mut labels: Vec<_> = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        labels.sort();
        LabelSelector::parse(selector).unwrap().matches(&labels)
    }

    #[test]
    fn every_operator_of_a_label_selector_selects() {
        let web = [("app", "web"), ("tier", "front"), ("n", "5")];
        for selector in [
            "",
            "app=web",
            "app==web",
            "app!=db",
            "app in (db, web)",
            "app notin (db)",
            "tier",
            "!gone",
            "n>4",
            "n<6",
            "app=web,tier in (front),!x",
            "absent!=x",
            "app.kubernetes.io/name notin (x)",
            " app = web ",
        ] {
            assert!(matches(selector, &web), "{selector:?}");
        }
        for selector in
            ["app=db", "app!=web", "app notin (web,db)", "!tier", "gone", "n>5", "app=web,x=y", "app="]
        {
            assert!(!matches(selector, &web), "{selector:?}");
        }
    }

    #[test]
    fn nonsense_selectors_are_refused() {
        for text in [
            "app=web,", "=x", "a in", "a in (", "a in (b", "a ~ b", "a>b", "-a=b", "a=b=c", "a/b/c=d",
            "a=b c",
        ] {
            assert!(LabelSelector::parse(text).is_err(), "{text:?}");
        }
        for text in ["status.phase", "a=b=c", "a~b", "a=\\x"] {
            assert!(FieldSelector::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn structured_selectors_equal_their_text() {
        let object = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "tier", "operator": "NotIn", "values": ["back"]}, {"key": "old", "operator": "DoesNotExist"}]});
        let selector = LabelSelector::from_object(&object).unwrap();
        assert!(selector.matches_value(&json!({"app": "web", "tier": "front"})));
        assert!(!selector.matches_value(&json!({"app": "web", "tier": "back"})));
        assert!(!selector.matches_value(&json!({"app": "web", "old": ""})));
        assert!(!selector.matches_value(&Value::Null));
        let bad = json!({"matchExpressions": [{"key": "a", "operator": "Sometimes"}]});
        assert!(LabelSelector::from_object(&bad).is_err());
    }

    #[test]
    fn field_selectors_compare_and_unescape() {
        let selector = FieldSelector::parse("status.phase!=Running,metadata.name=a\\,b").unwrap();
        let get = |field: &str| if field == "metadata.name" { "a,b" } else { "Pending" };
        assert!(selector.matches_with(get));
        assert_eq!(selector.required("metadata.name"), Some("a,b"));
        assert_eq!(selector.required("status.phase"), None);
    }
}
