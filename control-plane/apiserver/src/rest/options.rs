//! Options of the verbs, from query parameters.

use api::{Status, status::Cause};
use http::{HeaderMap, header};
use registry::{FieldValidation, ListOptions, WatchOptions, WriteOptions};
use serde_json::{Value, json};

use crate::query::Query;

/// Bytes of a field manager that are kept, as upstream.
const FIELD_MANAGER_BYTES_MAX: usize = 128;

/// Options of a list.
pub fn list(query: &Query) -> Result<ListOptions, Status> {
    let limit = match query.get("limit").unwrap_or_default() {
        "" => 0,
        text => text
            .parse::<i64>()
            .map(|n| usize::try_from(n).unwrap_or(0))
            .map_err(|_| bad_number("limit", text))?,
    };
    let options = ListOptions {
        label_selector: query.text("labelSelector"),
        field_selector: query.text("fieldSelector"),
        limit,
        continue_token: query.text("continue"),
        resource_version: query.text("resourceVersion"),
        resource_version_match: query.text("resourceVersionMatch"),
    };
    check_match(&options)?;
    Ok(options)
}

fn bad_number(field: &str, text: &str) -> Status {
    Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax in parameter {field}"))
}

fn check_match(options: &ListOptions) -> Result<(), Status> {
    const FIELD: &str = "resourceVersionMatch";
    let cause = match options.resource_version_match.as_str() {
        "" => return Ok(()),
        "NotOlderThan" | "Exact" if !options.continue_token.is_empty() => {
            Cause::forbidden(FIELD, "resourceVersionMatch is forbidden when continue is provided")
        }
        "NotOlderThan" | "Exact" if options.resource_version.is_empty() => {
            Cause::forbidden(FIELD, "resourceVersionMatch is forbidden unless resourceVersion is provided")
        }
        "Exact" if options.resource_version == "0" => {
            Cause::forbidden(FIELD, "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"")
        }
        "NotOlderThan" | "Exact" => return Ok(()),
        other => Cause::not_supported(FIELD, &other.into(), &["Exact", "NotOlderThan", ""]),
    };
    Err(Status::invalid("meta.k8s.io", "ListOptions", "", vec![cause]))
}

/// Options of a watch.
pub fn watch(query: &Query) -> Result<WatchOptions, Status> {
    let send_initial_events = query.flag("sendInitialEvents");
    let matching = query.get("resourceVersionMatch").unwrap_or_default();
    if send_initial_events && matching != "NotOlderThan" {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        return Err(invalid("ListOptions", Cause::forbidden("resourceVersionMatch", why)));
    }
    if query.get("sendInitialEvents").is_none() && !matching.is_empty() {
        let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        return Err(invalid("ListOptions", Cause::forbidden("resourceVersionMatch", why)));
    }
    Ok(WatchOptions {
        label_selector: query.text("labelSelector"),
        field_selector: query.text("fieldSelector"),
        resource_version: query.text("resourceVersion"),
        bookmarks: query.flag("allowWatchBookmarks"),
        send_initial_events,
    })
}

fn invalid(kind: &str, cause: Cause) -> Status {
    Status::invalid("meta.k8s.io", kind, "", vec![cause])
}

/// Options of a write. The field manager falls back to the first word of the user agent.
pub fn write(query: &Query, headers: &HeaderMap, kind: &str) -> Result<WriteOptions, Status> {
    let dry_run = match query.all("dryRun").collect::<Vec<_>>().as_slice() {
        [] | [""] => false,
        all if all.iter().all(|v| *v == "All") => true,
        all => return Err(invalid(kind, Cause::not_supported("dryRun", &json!(all), &["All"]))),
    };
    let field_validation = match query.get("fieldValidation").unwrap_or_default() {
        "" | "Warn" => FieldValidation::Warn,
        "Strict" => FieldValidation::Strict,
        "Ignore" => FieldValidation::Ignore,
        other => {
            let known = ["", "Ignore", "Strict", "Warn"];
            return Err(invalid(kind, Cause::not_supported("fieldValidation", &other.into(), &known)));
        }
    };
    let field_manager = match query.get("fieldManager").unwrap_or_default() {
        "" => manager_of_agent(headers),
        given if given.len() > FIELD_MANAGER_BYTES_MAX => {
            return Err(invalid(kind, Cause::too_long("fieldManager", FIELD_MANAGER_BYTES_MAX)));
        }
        given if given.chars().any(char::is_control) => {
            return Err(invalid(
                kind,
                Cause::invalid("fieldManager", &given.into(), "should only contain printable characters"),
            ));
        }
        given => given.to_owned(),
    };
    Ok(WriteOptions { dry_run, field_manager, field_validation, fence: None })
}

fn manager_of_agent(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    agent.split('/').next().unwrap_or_default().chars().take(FIELD_MANAGER_BYTES_MAX).collect()
}

/// `DeleteOptions`: the body if there is one, else made from query parameters.
pub fn delete(query: &Query, body: Option<Value>) -> Result<Value, Status> {
    if let Some(body) = body.filter(|b| b.as_object().is_some_and(|o| !o.is_empty())) {
        return Ok(body);
    }
    let mut options = serde_json::Map::new();
    if let Some(policy) = query.get("propagationPolicy").filter(|p| !p.is_empty()) {
        options.insert("propagationPolicy".into(), policy.into());
    }
    if let Some(text) = query.get("gracePeriodSeconds").filter(|p| !p.is_empty()) {
        let seconds: i64 = text.parse().map_err(|_| bad_number("gracePeriodSeconds", text))?;
        options.insert("gracePeriodSeconds".into(), seconds.into());
    }
    if query.get("orphanDependents").is_some() {
        options.insert("orphanDependents".into(), query.flag("orphanDependents").into());
    }
    Ok(if options.is_empty() { Value::Null } else { Value::Object(options) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(agent: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::USER_AGENT, agent.parse().unwrap())])
    }

    #[test]
    fn the_user_agent_names_the_field_manager() {
        let agent = headers("kubectl/v1.32 (linux/amd64)");
        assert_eq!(write(&Query::default(), &agent, "CreateOptions").unwrap().field_manager, "kubectl");
        let named = Query::parse("fieldManager=me");
        assert_eq!(write(&named, &agent, "CreateOptions").unwrap().field_manager, "me");
    }

    #[test]
    fn values_outside_the_enumerations_are_invalid() {
        for bad in ["dryRun=Some", "fieldValidation=Maybe", "fieldManager=a%07b"] {
            assert_eq!(
                write(&Query::parse(bad), &HeaderMap::new(), "CreateOptions").unwrap_err().code,
                422,
                "{bad}"
            );
        }
        for bad in ["resourceVersionMatch=Exact", "resourceVersion=1&resourceVersionMatch=X"] {
            assert_eq!(list(&Query::parse(bad)).unwrap_err().code, 422, "{bad}");
        }
        assert_eq!(list(&Query::parse("limit=x")).unwrap_err().code, 400);
        assert_eq!(watch(&Query::parse("sendInitialEvents=true")).unwrap_err().code, 422);
    }

    #[test]
    fn a_body_of_delete_options_wins_over_the_query() {
        let query = Query::parse("propagationPolicy=Orphan&gracePeriodSeconds=3");
        assert_eq!(
            delete(&query, None).unwrap(),
            json!({"propagationPolicy": "Orphan", "gracePeriodSeconds": 3})
        );
        let body = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        assert_eq!(delete(&query, Some(body.clone())).unwrap(), body);
    }
}
