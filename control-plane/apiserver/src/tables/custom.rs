//! Columns of custom resources: the `additionalPrinterColumns` of their definition.

use api::GroupVersionResource;
use registry::{Registry, Resource};
use serde_json::{Value, json};

use super::{Row, cell};

/// One declared column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i64,
    path: Vec<Step>,
}

/// One step of a path through an object.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(usize),
    Each,
    Where(String, String),
}

/// The columns of a custom resource; `None` when nothing defines it or it declares none.
pub fn columns(registry: &Registry, row: &Resource) -> Option<Vec<Column>> {
    let definitions = GroupVersionResource::new("apiextensions.k8s.io", "v1", "customresourcedefinitions");
    let definition =
        registry.cached(&definitions)?.get("", &format!("{}.{}", row.plural, row.group))?.clone();
    let definition: Value = serde_json::from_slice(&definition.json).ok()?;
    let version =
        cell::items(&definition, "/spec/versions").find(|v| cell::text(v, "/name") == row.version)?;
    let declared: Vec<Column> =
        cell::items(version, "/additionalPrinterColumns").filter_map(declared).collect();
    if declared.is_empty() {
        return None;
    }
    let name = Column {
        name: "Name".into(),
        kind: "string".into(),
        format: "name".into(),
        description: super::NAME.description.into(),
        priority: 0,
        path: vec![Step::Field("metadata".into()), Step::Field("name".into())],
    };
    Some(std::iter::once(name).chain(declared).collect())
}

fn declared(column: &Value) -> Option<Column> {
    let text = |field: &str| column.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Column {
        name: text("name"),
        kind: text("type"),
        format: text("format"),
        description: text("description"),
        priority: cell::number(column, "/priority"),
        path: parse(&text("jsonPath"))?,
    })
}

/// Reads `.a.b[0].c`, `.a['b']`, `.a[*].b` and `.a[?(@.type=="x")].b`.
fn parse(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path.trim();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end > 0 {
                steps.push(Step::Field(after[..end].replace('\\', "")));
            }
            rest = &after[end..];
        } else {
            let after = rest.strip_prefix('[')?;
            let end = after.find(']')?;
            steps.push(bracket(&after[..end])?);
            rest = &after[end + 1..];
        }
    }
    Some(steps)
}

fn bracket(inside: &str) -> Option<Step> {
    if inside == "*" {
        return Some(Step::Each);
    }
    if let Some(condition) = inside.strip_prefix("?(@.").and_then(|c| c.strip_suffix(')')) {
        let (field, value) = condition.split_once("==")?;
        return Some(Step::Where(field.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()));
    }
    if let Ok(index) = inside.parse() {
        return Some(Step::Index(index));
    }
    Some(Step::Field(inside.trim_matches(['"', '\'']).to_owned()))
}

fn follow<'a>(value: &'a Value, path: &[Step]) -> Vec<&'a Value> {
    path.iter().fold(vec![value], |found, step| {
        found
            .into_iter()
            .flat_map(|v| match step {
                Step::Field(name) => v.get(name).into_iter().collect::<Vec<_>>(),
                Step::Index(index) => v.get(index).into_iter().collect(),
                Step::Each => v.as_array().into_iter().flatten().collect(),
                Step::Where(field, wanted) => {
                    let matches = |item: &&Value| cell::plain(item.get(field)) == *wanted;
                    v.as_array().into_iter().flatten().filter(matches).collect()
                }
            })
            .collect()
    })
}

impl Column {
    /// What stands in the column.
    pub fn cell(&self, row: Row<'_>) -> Value {
        let found = follow(row.object, &self.path);
        let Some(first) = found.first().filter(|v| !v.is_null()) else { return Value::Null };
        match self.kind.as_str() {
            "date" => match first.as_str() {
                Some(time) => cell::since(row, time).into(),
                None => Value::Null,
            },
            "integer" => first.as_i64().map_or(Value::Null, Value::from),
            "number" => first.as_f64().map_or(Value::Null, Value::from),
            "boolean" => first.as_bool().map_or(Value::Null, Value::from),
            _ => found.iter().map(|v| cell::plain(Some(v))).collect::<Vec<_>>().join(" ").into(),
        }
    }

    /// The column in a table's head.
    pub fn definition(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_reach_what_they_name() {
        let object = json!({"spec": {"a.b": 1, "list": [{"type": "X", "v": "1"}, {"type": "Y", "v": "2"}]}});
        let reach = |path: &str| -> Vec<String> {
            follow(&object, &parse(path).unwrap()).into_iter().map(|v| cell::plain(Some(v))).collect()
        };
        assert_eq!(reach(".spec.list[0].v"), ["1"]);
        assert_eq!(reach(".spec.list[*].v"), ["1", "2"]);
        assert_eq!(reach(r#".spec.list[?(@.type=="Y")].v"#), ["2"]);
        assert_eq!(reach(".spec['a.b']"), ["1"]);
        assert!(reach(".spec.none.x").is_empty());
    }
}
