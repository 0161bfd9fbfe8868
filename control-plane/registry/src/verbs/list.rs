//! List: one page of one snapshot.

use std::sync::Arc;

use api::{Status, objects::Scope, status::Cause};
use store_client::{Error, Revision};

use super::{Core, core::check_scope};
use crate::{
    Resource, Snapshot,
    catalog::conversion,
    contract::{Encoded, ListOptions, Listed},
    limits,
    storage::{Cache, codec, selection::Selection, store_status, token::Token},
};

/// See [`crate::Registry::list`].
pub(crate) async fn list(core: &Core, scope: &Scope, options: &ListOptions) -> Result<Listed, Status> {
    let row = core.row(scope)?;
    if row.place.is_none() || !row.serves("list") {
        return Err(Status::method_not_allowed(&row.group_resource(), "list"));
    }
    check_scope(&row, &scope.namespace, false)?;
    let mut listed = stored(core, &row, scope, options).await?;
    if row.is_converted() {
        for item in &mut listed.items {
            *item = served(&row, item)?;
        }
    }
    Ok(listed)
}

/// A list in the stored version.
pub(super) async fn stored(
    core: &Core,
    row: &Resource,
    scope: &Scope,
    options: &ListOptions,
) -> Result<Listed, Status> {
    let selection =
        Selection::parse(row, &scope.namespace, &options.label_selector, &options.field_selector)?;
    let cache = core.cache(row)?;
    let position = Position::parse(options)?;
    cache.wait_filled(limits::CACHE_FILL_MAX).await?;
    let snapshot = match position.at {
        At::Newest => core.storage.current(&cache).await?,
        At::NotOlderThan(revision) => {
            core.storage.wait_for(revision).await?;
            cache.snapshot(core.storage.reached())
        }
        At::Exactly(revision) => {
            core.storage.wait_for(revision).await?;
            match cache.pinned(revision, core.storage.reached()) {
                Some(snapshot) => snapshot,
                None => {
                    return at_revision(core, &cache, &selection, &position, revision, options.limit).await;
                }
            }
        }
    };
    let listed = page(&snapshot, &selection, &position.start, options.limit);
    if !listed.continue_token.is_empty() {
        cache.pin(&snapshot);
    }
    Ok(listed)
}

/// Which moment is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Newest,
    NotOlderThan(i64),
    Exactly(i64),
}

struct Position {
    at: At,
    start: String,
}

impl Position {
    fn parse(options: &ListOptions) -> Result<Self, Status> {
        let version = parse_version(&options.resource_version)?;
        let invalid = |field: &str, value: &str, why: &str| {
            let cause = Cause::invalid(field, &value.into(), why);
            Err(Status::invalid("meta.k8s.io", "ListOptions", "", vec![cause]))
        };
        if !options.continue_token.is_empty() {
            if version.is_some_and(|v| v != 0) {
                return Err(Status::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let token = Token::parse(&options.continue_token)?;
            let at = if token.rv < 0 { At::Newest } else { At::Exactly(token.rv) };
            return Ok(Self { at, start: token.start });
        }
        let at = match (options.resource_version_match.as_str(), version) {
            ("", None) => At::Newest,
            ("", Some(0)) => At::NotOlderThan(0),
            // Upstream: the first page of a limited list is exact, without a limit it is the cache's.
            ("", Some(revision)) if options.limit > 0 => At::Exactly(revision),
            ("" | "NotOlderThan", Some(revision)) => At::NotOlderThan(revision),
            ("Exact", Some(0)) => {
                return invalid(
                    "resourceVersionMatch",
                    "Exact",
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                );
            }
            ("Exact", Some(revision)) => At::Exactly(revision),
            (_, None) => {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                return invalid("resourceVersionMatch", &options.resource_version_match, why);
            }
            (other, _) => {
                return invalid(
                    "resourceVersionMatch",
                    other,
                    "supported values: \"Exact\", \"NotOlderThan\"",
                );
            }
        };
        Ok(Self { at, start: String::new() })
    }
}

/// A resource version of a request; `None` when it is empty.
pub(super) fn parse_version(text: &str) -> Result<Option<i64>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<i64>() {
        Ok(revision) if revision >= 0 => Ok(Some(revision)),
        _ => {
            let cause = Cause::invalid("resourceVersion", &text.into(), "strconv.ParseUint: invalid syntax");
            Err(Status::invalid("meta.k8s.io", "ListOptions", "", vec![cause]))
        }
    }
}

fn page(snapshot: &Snapshot, selection: &Selection, start: &str, limit: usize) -> Listed {
    let mut objects = snapshot.after(&selection.namespace, start);
    let mut items: Vec<Arc<Encoded>> = Vec::new();
    if limit == 0 {
        items.extend(
            objects.filter(|(_, object)| selection.matches(object)).map(|(_, object)| Arc::clone(object)),
        );
        return Listed {
            revision: snapshot.revision(),
            continue_token: String::new(),
            remaining: None,
            items,
        };
    }
    let mut matching = objects.by_ref().filter(|(_, object)| selection.matches(object));
    items.extend(matching.by_ref().take(limit).map(|(_, object)| Arc::clone(object)));
    let next = matching.next().map(|(key, _)| Arc::clone(key));
    let Some(next) = next else {
        return Listed {
            revision: snapshot.revision(),
            continue_token: String::new(),
            remaining: None,
            items,
        };
    };
    let remaining = selection.is_everything().then(|| objects.count() + 1);
    let continue_token = Token::new(snapshot.revision(), &next).encode();
    Listed { revision: snapshot.revision(), continue_token, remaining, items }
}

/// A page of a moment that only the store still knows.
async fn at_revision(
    core: &Core,
    cache: &Cache,
    selection: &Selection,
    position: &Position,
    revision: i64,
    limit: usize,
) -> Result<Listed, Status> {
    let namespace = match selection.namespace.as_str() {
        "" => String::new(),
        namespace => format!("{namespace}/"),
    };
    let prefix = format!("{}{namespace}", cache.place.prefix);
    let start = position.start.strip_prefix(&namespace).unwrap_or_default();
    let mut items = Vec::new();
    let mut next = None;
    let read = core.storage.scan(&prefix, start, Revision(revision), |kv| {
        let Some(object) = cache.object(kv).filter(|object| selection.matches(object)) else { return true };
        if limit > 0 && items.len() == limit {
            next = Some(cache.name_of(&kv.key));
            return false;
        }
        items.push(object);
        true
    });
    match tokio::time::timeout(limits::STORE_REQUEST_MAX, read).await {
        Ok(Ok(_)) => {}
        Ok(Err(Error::Compacted { .. })) if !position.start.is_empty() => {
            return Err(Status::expired(
                "The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter, or use the inconsistent continuation token provided.",
            ));
        }
        Ok(Err(why)) => return Err(store_status(&why)),
        Err(_) => return Err(Status::timeout("the store did not answer in time")),
    }
    let continue_token = next.map(|next| Token::new(revision, &next).encode()).unwrap_or_default();
    Ok(Listed { revision, continue_token, remaining: None, items })
}

/// A stored object in the version that `row` serves.
pub(super) fn served(row: &Resource, object: &Encoded) -> Result<Arc<Encoded>, Status> {
    let mut tree = codec::tree(&object.json)?;
    conversion::to_served(row, &mut tree);
    Ok(Arc::new(Encoded {
        json: codec::unstored(&tree)?,
        revision: object.revision,
        namespace: object.namespace.clone(),
        name: object.name.clone(),
        uid: object.uid.clone(),
        labels: object.labels.clone(),
        fields: object.fields.clone(),
    }))
}
