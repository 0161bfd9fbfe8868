//! Tables of configuration: config maps, secrets, accounts, quotas.

use serde_json::Value;

use super::{
    AGE, CREATED_AT, Column, NAME, Row, Tables,
    cell::{self, entries, items, text},
    number as numeric, text as column,
};

pub(super) const TABLES: Tables = &[
    ("", "configmaps", CONFIG_MAPS),
    ("", "secrets", SECRETS),
    ("", "serviceaccounts", SERVICE_ACCOUNTS),
    ("", "resourcequotas", QUOTAS),
    ("", "limitranges", &[NAME, CREATED_AT]),
];

fn count<T>(items: impl Iterator<Item = T>) -> i64 {
    i64::try_from(items.count()).unwrap_or(i64::MAX)
}

const CONFIG_MAPS: &[Column] = &[
    NAME,
    numeric("Data", "Number of entries.", |row| {
        (count(entries(row.object, "/data")) + count(entries(row.object, "/binaryData"))).into()
    }),
    AGE,
];

const SECRETS: &[Column] = &[
    NAME,
    column("Type", "Used to facilitate programmatic handling of secret data.", |row| {
        text(row.object, "/type").into()
    }),
    numeric("Data", "Number of entries.", |row| count(entries(row.object, "/data")).into()),
    AGE,
];

const SERVICE_ACCOUNTS: &[Column] = &[
    NAME,
    numeric("Secrets", "Number of secrets that pods of this account may use.", |row| {
        count(items(row.object, "/secrets")).into()
    }),
    AGE,
];

const QUOTAS: &[Column] = &[
    NAME,
    column("Request", "Used and allowed requests.", |row| quota(row, false).into()),
    column("Limit", "Used and allowed limits.", |row| quota(row, true).into()),
    AGE,
];

fn quota(row: Row<'_>, limits: bool) -> String {
    let used = |name: &str| {
        let found = row.object.pointer("/status/used").and_then(|used| used.get(name));
        if found.is_none() { "0".to_owned() } else { cell::plain(found) }
    };
    let mut all: Vec<(&String, &Value)> = entries(row.object, "/status/hard").collect();
    all.sort_by_key(|(name, _)| name.as_str());
    let shown = all.into_iter().filter(|(name, _)| name.starts_with("limits.") == limits);
    shown
        .map(|(name, hard)| format!("{name}: {}/{}", used(name), cell::plain(Some(hard))))
        .collect::<Vec<_>>()
        .join(", ")
}
