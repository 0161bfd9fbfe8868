//! The value of `--auth-token`, as etcd writes it: a kind, and settings separated by commas.

use std::collections::BTreeMap;
use std::path::Path;

use super::{duration, refuse};
use crate::auth::jwt::Settings;
use crate::server::{Error, TokenKind};

/// Seconds a signed token is good unless told otherwise; etcd's value.
const TTL_S: u64 = 300;

/// Reads the value and the files it names.
pub fn kind(text: &str) -> Result<TokenKind, Error> {
    let wrong = |detail: String| refuse("auth-token", &detail);
    let mut parts = text.split(',');
    let kind = parts.next().unwrap_or_default();
    let mut settings = BTreeMap::new();
    for part in parts {
        let (name, value) =
            part.split_once('=').ok_or_else(|| wrong(format!("{part:?} is not NAME=VALUE")))?;
        if settings.insert(name, value).is_some() {
            return Err(wrong(format!("{name} is given twice")));
        }
    }
    let read = |name: &str, path: Option<&str>| {
        let read = path.filter(|path| !path.is_empty()).map(|path| {
            let content = std::fs::read_to_string(Path::new(path));
            content.map_err(|error| wrong(format!("{name}: {path}: {error}")))
        });
        read.transpose()
    };
    let kind = match kind {
        "simple" | "" => TokenKind::Simple,
        "jwt" => TokenKind::Jwt(Settings {
            method: settings.remove("sign-method").unwrap_or_default().to_owned(),
            public_pem: read("pub-key", settings.remove("pub-key"))?,
            private_pem: read("priv-key", settings.remove("priv-key"))?,
            ttl_s: match settings.remove("ttl") {
                None | Some("") => TTL_S,
                Some(ttl) => duration::parse(ttl).map_err(wrong)?.as_secs(),
            },
        }),
        other => return Err(wrong(format!("{other:?} is neither simple nor jwt"))),
    };
    match settings.into_keys().next() {
        None => Ok(kind),
        Some(unknown) => Err(wrong(format!("{unknown} is not a setting"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_token_is_read_as_etcd_writes_it() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("key");
        std::fs::write(&path, "secret").unwrap();
        assert_eq!(kind("simple").unwrap(), TokenKind::Simple);
        let jwt = |ttl_s| {
            let (method, private_pem) = ("HS256".to_owned(), Some("secret".to_owned()));
            TokenKind::Jwt(Settings { method, public_pem: None, private_pem, ttl_s })
        };
        let text = format!("jwt,sign-method=HS256,priv-key={}", path.display());
        assert_eq!(kind(&text).unwrap(), jwt(300));
        assert_eq!(kind(&format!("{text},ttl=10m")).unwrap(), jwt(600));
        for wrong in [
            "bolt".to_owned(),
            "jwt,sign-method".to_owned(),
            "jwt,priv-key=/does/not/exist".to_owned(),
            "simple,ttl=10m".to_owned(),
            format!("{text},ttl=soon"),
            format!("{text},colour=red"),
            format!("{text},ttl=1m,ttl=2m"),
        ] {
            assert!(matches!(kind(&wrong), Err(Error::Options { option: "auth-token", .. })), "{wrong}");
        }
    }
}
