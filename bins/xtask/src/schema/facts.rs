//! Facts about fields that OpenAPI does not carry: protobuf numbers, pointers, named types, enums.

use std::collections::HashMap;

use anyhow::Context;

/// What is known of one field.
#[derive(Debug)]
pub struct Fact<'a> {
    /// Field numbers, outer message first, joined with dots; or `-`.
    pub proto: &'a str,
    /// Some of `p`, `e`, `z`; or `-`.
    pub flags: &'a str,
    /// Its type when that does not follow from its shape; else empty.
    pub go_type: &'a str,
    /// Name of its enum; else empty.
    pub enum_name: &'a str,
}

/// All facts, by type and field.
#[derive(Debug, Default)]
pub struct Facts<'a> {
    types: HashMap<&'a str, HashMap<&'a str, Fact<'a>>>,
    enums: HashMap<&'a str, &'a str>,
}

impl<'a> Facts<'a> {
    /// Reads `data/fields.txt`.
    pub fn parse(text: &'a str) -> anyhow::Result<Self> {
        let mut facts = Self::default();
        let mut current = "";
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            if let Some(field) = line.strip_prefix(' ') {
                let mut words = field.split(' ');
                let mut next = || words.next();
                let (name, proto, flags) = (next(), next(), next());
                let name = name.context("a field line is empty")?;
                let fact = Fact {
                    proto: proto.with_context(|| format!("{current}.{name} has no number"))?,
                    flags: flags.with_context(|| format!("{current}.{name} has no flags"))?,
                    go_type: next().unwrap_or(""),
                    enum_name: next().unwrap_or(""),
                };
                facts.types.entry(current).or_default().insert(name, fact);
            } else if let Some(rest) = line.strip_prefix("enum ") {
                let (name, values) =
                    rest.split_once(' ').with_context(|| format!("enum {rest} has no values"))?;
                facts.enums.insert(name, values);
            } else {
                current = line;
            }
        }
        Ok(facts)
    }

    /// The fact about a field.
    pub fn field(&self, type_name: &str, field: &str) -> Option<&Fact<'a>> {
        self.types.get(type_name)?.get(field)
    }

    /// Values of an enum, joined with `|`.
    pub fn enum_values(&self, name: &str) -> anyhow::Result<&'a str> {
        self.enums.get(name).copied().with_context(|| format!("no values for enum {name}"))
    }
}
