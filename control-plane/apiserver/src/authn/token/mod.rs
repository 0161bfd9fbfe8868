//! Service account tokens: JWTs that name an account and, usually, the pod or secret they live and die with.
//!
//! [`Issuer`] signs with its first key and accepts all of them, so that keys can be rotated. [`bound`] checks
//! a token against the objects it names; [`request`] answers `serviceaccounts/<name>/token`.

pub mod bound;
pub mod request;

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash},
};
use serde::{Deserialize, Serialize};

/// A reference inside the claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Name of the object.
    #[serde(default)]
    pub name: String,
    /// UID of the object.
    #[serde(default)]
    pub uid: String,
}

/// What a token says about the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubernetes {
    /// Namespace of the account.
    pub namespace: String,
    /// The account.
    pub serviceaccount: Reference,
    /// The pod the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// The secret the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// The node of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
}

/// The claims of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// `system:serviceaccount:<namespace>:<name>`.
    pub sub: String,
    /// Whom it is meant for.
    pub aud: Vec<String>,
    /// Valid until, Unix seconds.
    pub exp: i64,
    /// Issued at, Unix seconds.
    pub iat: i64,
    /// Valid from, Unix seconds.
    pub nbf: i64,
    /// Unique id of the token.
    pub jti: String,
    /// The objects it belongs to.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Kubernetes,
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not one of our tokens.
    #[error("the token is malformed or was not issued here")]
    Malformed,
    /// The signature or a standard claim is wrong.
    #[error("the token is not valid: {0}")]
    Invalid(String),
    /// None of the audiences asked for.
    #[error("token audiences {0:?} is invalid for the target audiences {1:?}")]
    Audience(Vec<String>, Vec<String>),
    /// The object the token belongs to is gone or another one.
    #[error("{0}")]
    Unbound(String),
}

/// Why an issuer cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There must be a key to sign with.
    #[error("no service account key was given")]
    None,
    /// The text is not a private key in PKCS #8 (RSA or ECDSA P-256).
    #[error("reading service account key {index}")]
    Unusable {
        /// Position in the list of keys.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: jsonwebtoken::errors::Error,
    },
}

struct Key {
    id: String,
    algorithm: Algorithm,
    sign: EncodingKey,
    verify: DecodingKey,
    public: Jwk,
}

/// Signs and verifies service account tokens.
pub struct Issuer {
    name: String,
    audiences: Vec<String>,
    keys: Vec<Key>,
}

impl Issuer {
    /// An issuer called `name` (an HTTPS URL) whose own `audiences` the API server accepts. The first key signs.
    pub fn new(name: &str, audiences: &[String], keys_pem: &[String]) -> Result<Self, KeyError> {
        if keys_pem.is_empty() {
            return Err(KeyError::None);
        }
        let keys = keys_pem
            .iter()
            .enumerate()
            .map(|(index, pem)| Key::read(pem).map_err(|source| KeyError::Unusable { index, source }));
        let audiences = if audiences.is_empty() { vec![name.to_owned()] } else { audiences.to_vec() };
        Ok(Self { name: name.to_owned(), audiences, keys: keys.collect::<Result<_, _>>()? })
    }

    /// The issuer's URL.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The audiences the API server itself answers to.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Signs claims.
    pub fn sign(&self, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
        let key = &self.keys[0];
        let mut header = Header::new(key.algorithm);
        header.kid = Some(key.id.clone());
        jsonwebtoken::encode(&header, claims, &key.sign)
    }

    /// Checks signature, issuer, times and audience; not yet the objects the token is bound to.
    pub fn verify(&self, token: &str, audiences: &[String], now: jiff::Timestamp) -> Result<Claims, Refusal> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refusal::Malformed)?;
        let known =
            |key: &&Key| header.kid.as_ref().is_none_or(|kid| *kid == key.id) && header.alg == key.algorithm;
        let key = self.keys.iter().find(known).ok_or(Refusal::Malformed)?;
        let mut rules = Validation::new(key.algorithm);
        rules.set_issuer(&[&self.name]);
        rules.set_required_spec_claims(&["exp", "iss", "sub", "aud"]);
        rules.validate_aud = false;
        rules.validate_exp = false;
        rules.validate_nbf = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &key.verify, &rules)
            .map_err(|error| Refusal::Invalid(error.to_string()))?
            .claims;
        let now = now.as_second();
        if now >= claims.exp {
            return Err(Refusal::Invalid("the token has expired".into()));
        }
        if now + CLOCK_SKEW_S < claims.nbf {
            return Err(Refusal::Invalid("the token is not valid yet".into()));
        }
        if self.audiences_of(&claims, audiences).is_empty() {
            let asked = if audiences.is_empty() { self.audiences.clone() } else { audiences.to_vec() };
            return Err(Refusal::Audience(claims.aud, asked));
        }
        Ok(claims)
    }

    /// The audiences asked for (none: the API's own) that the claims are meant for.
    pub fn audiences_of(&self, claims: &Claims, asked: &[String]) -> Vec<String> {
        let asked = if asked.is_empty() { &self.audiences[..] } else { asked };
        asked.iter().filter(|a| claims.aud.contains(a)).cloned().collect()
    }

    /// The document at `/openid/v1/jwks`.
    pub fn jwks(&self) -> JwkSet {
        JwkSet { keys: self.keys.iter().map(|key| key.public.clone()).collect() }
    }

    /// The document at `/.well-known/openid-configuration`.
    pub fn discovery(&self) -> serde_json::Value {
        let mut algorithms: Vec<String> = self.keys.iter().map(|k| format!("{:?}", k.algorithm)).collect();
        algorithms.dedup();
        serde_json::json!({
            "issuer": self.name,
            "jwks_uri": format!("{}/openid/v1/jwks", self.name.trim_end_matches('/')),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        })
    }
}

/// Seconds another server's clock may be ahead when it issues a token.
const CLOCK_SKEW_S: i64 = 10;

impl Key {
    fn read(pem: &str) -> Result<Self, jsonwebtoken::errors::Error> {
        let bytes = pem.as_bytes();
        let (algorithm, sign) = match EncodingKey::from_ec_pem(bytes) {
            Ok(key) => (Algorithm::ES256, key),
            Err(_) => (Algorithm::RS256, EncodingKey::from_rsa_pem(bytes)?),
        };
        let mut public = Jwk::from_encoding_key(&sign, algorithm)?;
        let id = public.thumbprint(ThumbprintHash::SHA256);
        public.common.key_id = Some(id.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        let verify = DecodingKey::from_jwk(&public)?;
        Ok(Self { id, algorithm, sign, verify, public })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(key: &str) -> Issuer {
        Issuer::new("https://kontiki.test", &[], &[key.to_owned()]).unwrap()
    }

    fn key() -> String {
        crate::pki::signing_key().unwrap()
    }

    fn claims(from: i64, to: i64) -> Claims {
        Claims {
            iss: "https://kontiki.test".into(),
            sub: "system:serviceaccount:ns:sa".into(),
            aud: vec!["https://kontiki.test".into(), "vault".into()],
            exp: to,
            iat: from,
            nbf: from,
            jti: "1".into(),
            kubernetes: Kubernetes { namespace: "ns".into(), ..Kubernetes::default() },
        }
    }

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_is_valid_for_its_time_and_audience_only() {
        let issuer = issuer(&key());
        let token = issuer.sign(&claims(1000, 2000)).unwrap();
        assert_eq!(issuer.verify(&token, &[], at(1500)), Ok(claims(1000, 2000)));
        assert!(issuer.verify(&token, &["vault".into()], at(1500)).is_ok());
        assert!(matches!(issuer.verify(&token, &["other".into()], at(1500)), Err(Refusal::Audience(..))));
        assert!(matches!(issuer.verify(&token, &[], at(2000)), Err(Refusal::Invalid(_))));
        assert!(matches!(issuer.verify(&token, &[], at(900)), Err(Refusal::Invalid(_))));
    }

    #[test]
    fn a_token_of_another_key_or_without_signature_is_refused() {
        let (ours, theirs) = (issuer(&key()), issuer(&key()));
        let token = theirs.sign(&claims(1000, 2000)).unwrap();
        assert!(ours.verify(&token, &[], at(1500)).is_err());
        let parts: Vec<&str> = token.split('.').collect();
        let none = format!("eyJhbGciOiJub25lIn0.{}.", parts[1]);
        assert!(ours.verify(&none, &[], at(1500)).is_err());
        assert!(ours.verify("a.b.c", &[], at(1500)).is_err());
    }

    #[test]
    fn a_rotated_key_is_still_accepted() {
        let (old, new) = (key(), key());
        let token = issuer(&old).sign(&claims(1000, 2000)).unwrap();
        let both = Issuer::new("https://kontiki.test", &[], &[new, old]).unwrap();
        assert!(both.verify(&token, &[], at(1500)).is_ok());
        assert_eq!(both.jwks().keys.len(), 2);
    }
}
