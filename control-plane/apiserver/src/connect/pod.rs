//! Logs, exec, attach and port-forward of a pod.

use api::{Status, meta, objects::Target};
use http::{Method, Request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use super::{container, node, tunnel};
use crate::{
    gateway::Context,
    limits,
    query::{self, Query},
    reply::{self, BoxError, Response},
};

async fn read(context: &Context) -> Result<Value, Status> {
    let what = &context.what;
    let target = Target::new(what.gvr(), &what.namespace, &what.name);
    let json = context.gateway.registry.get(&target, "").await?;
    serde_json::from_slice(&json).map_err(Status::internal)
}

fn node_of(pod: &Value) -> &str {
    pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default()
}

fn path(kind: &str, pod: &Value, container: Option<&str>) -> String {
    let segments = [Some(meta::namespace(pod)), Some(meta::name(pod)), container];
    let encoded = segments.into_iter().flatten().map(query::encode).collect::<Vec<_>>();
    format!("/{kind}/{}", encoded.join("/"))
}

/// `pods/log`.
pub async fn log(context: &Context) -> Result<Response, Status> {
    let pod = read(context).await?;
    let asked = &context.query;
    let container = container::choose(&pod, asked.get("container").unwrap_or_default())?;
    let query = log_query(asked)?;
    if node_of(&pod).is_empty() {
        return Ok(reply::text(200, ""));
    }
    let address = node::locate(&context.gateway.registry, node_of(&pod)).await?;
    let uri = format!("{}?{}", path("containerLogs", &pod, Some(&container)), query.encode());
    let mut sender = context.gateway.nodes.connect(address).await?;
    let request = tunnel::request(Method::GET, &uri, &address.ip.to_string())?;
    let answer = node::send(&mut sender, request).await?;
    if !answer.status().is_success() {
        return Err(failure(answer).await);
    }
    let body = answer.into_body().map_err(BoxError::from).boxed_unsync();
    let mut response = reply::text(200, "");
    *response.body_mut() = body;
    Ok(response)
}

fn log_query(asked: &Query) -> Result<Query, Status> {
    let mut query = Query::default();
    for flag in ["follow", "previous", "timestamps"] {
        if asked.flag(flag) {
            query.push(flag, "true");
        }
    }
    for number in ["tailLines", "limitBytes", "sinceSeconds"] {
        if let Some(text) = asked.get(number).filter(|t| !t.is_empty()) {
            let value: i64 = text
                .parse()
                .ok()
                .filter(|n| *n >= 0)
                .ok_or_else(|| Status::bad_request(format!("{number}: Invalid value: {text:?}")))?;
            query.push(number, value.to_string());
        }
    }
    for text in ["sinceTime", "stream"] {
        if let Some(value) = asked.get(text).filter(|t| !t.is_empty()) {
            query.push(text, value);
        }
    }
    if asked.get("sinceTime").is_some() && asked.get("sinceSeconds").is_some() {
        return Err(Status::bad_request("at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    Ok(query)
}

/// The failure of a node agent as a Status of its own kind.
async fn failure(answer: http::Response<Incoming>) -> Status {
    let code = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), limits::NODE_ANSWER_BYTES_MAX).collect().await;
    let text = body.map(|b| String::from_utf8_lossy(&b.to_bytes()).trim().to_owned()).unwrap_or_default();
    if let Ok(status) = serde_json::from_str::<Status>(&text) {
        return status;
    }
    match code {
        400 => Status::bad_request(text),
        404 => Status::failure(api::Reason::NotFound, text),
        401 | 403 => Status::internal(format!("the node refused the server: {text}")),
        500 => Status::internal(text),
        _ => Status::internal(format!("the node answered {code}: {text}")),
    }
}

/// `pods/exec`, `pods/attach` and `pods/portforward`.
pub async fn stream(context: &Context, request: Request<Incoming>) -> Result<Response, Status> {
    let pod = read(context).await?;
    let subresource = context.what.subresource.as_str();
    let (path, query) = match subresource {
        "portforward" => (path("portForward", &pod, None), forward_query(&context.query)),
        kind => {
            let container = container::choose(&pod, context.query.get("container").unwrap_or_default())?;
            (path(kind, &pod, Some(&container)), exec_query(&context.query, kind == "exec")?)
        }
    };
    if node_of(&pod).is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", meta::name(&pod))));
    }
    let address = node::locate(&context.gateway.registry, node_of(&pod)).await?;
    let sender = context.gateway.nodes.connect(address).await?;
    let uri = format!("{path}?{}", query.encode());
    tunnel::upgrade(context, request, sender, &uri, &address.ip.to_string()).await
}

fn forward_query(asked: &Query) -> Query {
    let mut query = Query::default();
    for port in asked.all("ports").flat_map(|p| p.split(',')) {
        query.push("port", port);
    }
    query
}

fn exec_query(asked: &Query, exec: bool) -> Result<Query, Status> {
    let mut query = Query::default();
    for (theirs, ours) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if asked.flag(theirs) {
            query.push(ours, "1");
        }
    }
    if !["stdin", "stdout", "stderr"].iter().any(|s| asked.flag(s)) {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    if exec {
        if asked.get("command").is_none() {
            return Err(Status::bad_request("you must specify at least 1 command for the container"));
        }
        for word in asked.all("command") {
            query.push("command", word);
        }
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_put_in_the_agents_words() {
        let asked = Query::parse("command=sh&command=-c&stdin=true&stdout=true&tty=true&container=c");
        assert_eq!(
            exec_query(&asked, true).unwrap().encode(),
            "input=1&output=1&tty=1&command=sh&command=-c"
        );
        assert!(exec_query(&Query::parse("command=sh"), true).is_err());
        assert!(exec_query(&Query::parse("stdout=1"), true).is_err());
        let log = Query::parse("follow=true&tailLines=5&previous=false&container=c");
        assert_eq!(log_query(&log).unwrap().encode(), "follow=true&tailLines=5");
        assert!(log_query(&Query::parse("tailLines=-1")).is_err());
    }
}
