//! Static defaults, as recorded by hand from upstream's behaviour.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::{Map, Value, json};

/// Rules of each (type, field), in order; each is `{"value":…, "when":{field:[…]}, "within":type}`.
#[derive(Debug, Default)]
pub struct Defaults {
    rules: BTreeMap<(String, String), Vec<Value>>,
}

impl Defaults {
    /// Reads `data/defaults.json`.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let document: Map<String, Value> = serde_json::from_str(text).context("reading the defaults")?;
        let mut defaults = Self::default();
        for (key, fields) in document {
            let (type_name, within) = match key.split_once('@') {
                Some((name, within)) => (full(name), Some(full(within))),
                None => (full(&key), None),
            };
            let Value::Object(fields) = fields else { anyhow::bail!("{key} is not an object") };
            for (field, value) in fields {
                let mut rules = match value.get("$rules") {
                    Some(Value::Array(rules)) => rules.clone(),
                    _ => vec![json!({ "value": value })],
                };
                if let Some(within) = &within {
                    rules.iter_mut().for_each(|rule| rule["within"] = json!(within));
                }
                defaults.rules.entry((type_name.clone(), field)).or_default().append(&mut rules);
            }
        }
        Ok(defaults)
    }

    /// The rules of a field, as compact JSON; empty when there are none.
    pub fn of(&self, type_name: &str, field: &str) -> String {
        match self.rules.get(&(type_name.to_owned(), field.to_owned())) {
            Some(rules) => Value::Array(rules.clone()).to_string(),
            None => String::new(),
        }
    }

    /// Every field that has a rule.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rules.keys().map(|(type_name, field)| (type_name.as_str(), field.as_str()))
    }
}

fn full(name: &str) -> String {
    if name.starts_with("io.k8s.") { name.to_owned() } else { format!("io.k8s.api.{name}") }
}
