//! Which representation of an answer a client wants.

use api::{Reason, Status};
use http::{HeaderMap, header};

/// How an answer is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// JSON, compact.
    Json,
    /// JSON with two spaces of indentation.
    PrettyJson,
    /// YAML.
    Yaml,
}

/// What of the objects is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All of it.
    Object,
    /// A `meta.k8s.io` Table.
    Table,
    /// Only the metadata.
    PartialMetadata,
}

/// The outcome of the negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How.
    pub encoding: Encoding,
    /// What.
    pub shape: Shape,
    /// Version of `meta.k8s.io` for tables and partial metadata.
    pub meta_version: &'static str,
}

/// One media range of an `Accept` header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Such as `application/json`.
    pub media: String,
    /// Parameters but `q`.
    pub parameters: Vec<(String, String)>,
    quality: u32,
}

impl Range {
    /// A parameter, or empty.
    pub fn parameter(&self, key: &str) -> &str {
        self.parameters.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v)
    }
}

/// The media ranges of the `Accept` headers, most wanted first. None sent means anything.
pub fn accepted(headers: &HeaderMap) -> Vec<Range> {
    let mut ranges: Vec<Range> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter(|part| !part.trim().is_empty())
        .map(range)
        .collect();
    if ranges.is_empty() {
        ranges.push(range("*/*"));
    }
    ranges.sort_by_key(|range| std::cmp::Reverse(range.quality));
    ranges
}

fn range(text: &str) -> Range {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    let mut found = Range { media, parameters: Vec::new(), quality: 1000 };
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        if key == "q" {
            let quality = value.parse::<f64>().unwrap_or(1.0).clamp(0.0, 1.0);
            found.quality = (quality * 1000.0) as u32;
        } else {
            found.parameters.push((key.to_owned(), value.trim_matches('"').to_owned()));
        }
    }
    found
}

/// Picks the first acceptable range that can be served. `shapes` says whether tables and partial metadata can.
pub fn negotiate(headers: &HeaderMap, pretty: bool, shapes: bool) -> Result<Wanted, Status> {
    let ranges = accepted(headers);
    ranges
        .iter()
        .filter(|r| r.quality > 0)
        .find_map(|range| serve(range, pretty, shapes))
        .ok_or_else(not_acceptable)
}

fn serve(range: &Range, pretty: bool, shapes: bool) -> Option<Wanted> {
    let encoding = match range.media.as_str() {
        "*/*" | "application/*" | "application/json" if pretty => Encoding::PrettyJson,
        "*/*" | "application/*" | "application/json" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        _ => return None,
    };
    let shape = match (range.parameter("as"), range.parameter("g")) {
        ("", _) => Shape::Object,
        ("Table", "meta.k8s.io") if shapes => Shape::Table,
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io") if shapes => {
            Shape::PartialMetadata
        }
        _ => return None,
    };
    let meta_version = match range.parameter("v") {
        "v1beta1" => "v1beta1",
        "v1" | "" => "v1",
        _ => return None,
    };
    Some(Wanted { encoding, shape, meta_version })
}

fn not_acceptable() -> Status {
    Status::failure(
        Reason::NotAcceptable,
        "only the following media types are accepted: application/json, application/yaml",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, expect: Option<(Encoding, Shape)>) {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(header::ACCEPT, accept.parse().unwrap());
        }
        let got = negotiate(&headers, false, true).map(|w| (w.encoding, w.shape)).ok();
        assert_eq!(got, expect, "{accept}");
    }

    #[test]
    fn the_first_range_that_can_be_served_wins() {
        check("", Some((Encoding::Json, Shape::Object)));
        check("*/*", Some((Encoding::Json, Shape::Object)));
        check("application/yaml", Some((Encoding::Yaml, Shape::Object)));
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Some((Encoding::Json, Shape::Table)),
        );
        check("application/vnd.kubernetes.protobuf,application/json", Some((Encoding::Json, Shape::Object)));
        check("application/json;q=0.1, application/yaml", Some((Encoding::Yaml, Shape::Object)));
        check(
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Some((Encoding::Json, Shape::PartialMetadata)),
        );
        check("application/json;as=Other;g=meta.k8s.io;v=v1", None);
        check("text/html", None);
        check("application/json;q=0", None);
    }
}
