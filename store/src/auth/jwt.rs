//! Tokens that are signed instead of remembered: JSON Web Tokens as etcd makes them.
//!
//! | claim | |
//! |---|---|
//! | `username` | the user |
//! | `revision` | that of users and roles when the password was compared |
//! | `exp` | when the token ends, in seconds since 1970 UTC |
//!
//! Whoever has the key can make one; members that only have the public key can recognize them. A token of an older revision
//! is refused, so any change of users or roles has everybody log in again. The algorithm is the one that was configured,
//! whatever a token says.
//!
//! This module is told the time; it never asks.

use std::str::FromStr;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RsaKeyPair,
};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation, decode, encode,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

/// How tokens are signed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The algorithm, as JSON Web Signatures name it: `RS256`, `ES256`, `EdDSA`, `HS256`...
    pub method: String,
    /// The public key (PEM), if it is not to be found out from the private one.
    pub public_pem: Option<String>,
    /// The private key (PEM), or the secret of an `HS` algorithm; members without it recognize tokens and make none.
    pub private_pem: Option<String>,
    /// Seconds a token is good; 300, as etcd.
    pub ttl_s: u64,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { method, ttl_s, .. } = self;
        f.debug_struct("Settings").field("method", method).field("ttl_s", ttl_s).finish_non_exhaustive()
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    username: String,
    revision: u64,
    exp: u64,
}

/// Makes and recognizes tokens.
pub struct Signer {
    algorithm: Algorithm,
    signs: Option<EncodingKey>,
    recognizes: DecodingKey,
    ttl_s: u64,
}

impl Signer {
    /// A signer, or why there cannot be one.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let method = &settings.method;
        let algorithm = Algorithm::from_str(method)
            .map_err(|_| format!("{method:?} is not a sign-method that is known"))?;
        let signs = settings.private_pem.as_deref().map(|pem| Pair::read(algorithm, pem)).transpose()?;
        let own = settings.public_pem.as_deref().filter(|_| algorithm.family() != AlgorithmFamily::Hmac);
        let own = own.map(|pem| public(algorithm, pem)).transpose()?;
        let (signs, derived) = signs.map(|pair| (pair.signs, pair.recognizes)).unzip();
        let recognizes = own.or(derived).ok_or("missing key data: pub-key or priv-key is needed")?;
        let signer = Self { algorithm, signs, recognizes, ttl_s: settings.ttl_s };
        if signer.signs.is_some() {
            let probe = signer.sign("probe", 1, 0).ok_or("the private key does not sign")?;
            signer.recognize(&probe, 0).ok_or("public and private keys don't match")?;
        }
        Ok(signer)
    }

    /// Whether it can make tokens.
    pub fn can_sign(&self) -> bool {
        self.signs.is_some()
    }

    /// A token for a user; `None` without a private key.
    pub fn sign(&self, user: &str, revision: u64, now_s: u64) -> Option<String> {
        let exp = now_s.saturating_add(self.ttl_s);
        let claims = Claims { username: user.to_owned(), revision, exp };
        encode(&Header::new(self.algorithm), &claims, self.signs.as_ref()?).ok()
    }

    /// User and revision of a token that is good.
    pub fn recognize(&self, token: &str, now_s: u64) -> Option<(String, u64)> {
        let mut wanted = Validation::new(self.algorithm);
        // The claims are ours to judge, by the time we are told.
        wanted.required_spec_claims.clear();
        wanted.validate_exp = false;
        wanted.validate_aud = false;
        let Claims { username, revision, exp } = decode(token, &self.recognizes, &wanted).ok()?.claims;
        (now_s < exp).then_some((username, revision))
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// A private key and the public one that belongs to it.
struct Pair {
    signs: EncodingKey,
    recognizes: DecodingKey,
}

impl Pair {
    fn read(algorithm: Algorithm, pem: &str) -> Result<Self, String> {
        let wrong = |detail: &dyn std::fmt::Display| format!("priv-key: {detail}");
        if algorithm.family() == AlgorithmFamily::Hmac {
            if pem.is_empty() {
                return Err(wrong(&"the secret is empty"));
            }
            let (signs, recognizes) = (EncodingKey::from_secret(pem.as_bytes()), pem.as_bytes());
            return Ok(Self { signs, recognizes: DecodingKey::from_secret(recognizes) });
        }
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| wrong(&error))?;
        let der = key.secret_der();
        match algorithm.family() {
            AlgorithmFamily::Rsa => {
                let pair = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der));
                let pair = pair.map_err(|error| wrong(&error))?;
                let recognizes = DecodingKey::from_rsa_der(pair.public_key().as_ref());
                let signs = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|error| wrong(&error))?;
                Ok(Self { signs, recognizes })
            }
            AlgorithmFamily::Ec => {
                let curve = match algorithm {
                    Algorithm::ES384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
                    _ => &ECDSA_P256_SHA256_FIXED_SIGNING,
                };
                let pair = EcdsaKeyPair::from_private_key_der(curve, der).map_err(|error| wrong(&error))?;
                let recognizes = DecodingKey::from_ec_der(pair.public_key().as_ref());
                // openssl writes keys of elliptic curves in another form than the signer reads.
                let pkcs8 = pair.to_pkcs8v1().map_err(|error| wrong(&error))?;
                Ok(Self { signs: EncodingKey::from_ec_der(pkcs8.as_ref()), recognizes })
            }
            AlgorithmFamily::Ed => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|error| wrong(&error))?;
                let recognizes = DecodingKey::from_ed_der(pair.public_key().as_ref());
                Ok(Self { signs: EncodingKey::from_ed_der(der), recognizes })
            }
            AlgorithmFamily::Hmac => Err(wrong(&"a secret is no key pair")),
        }
    }
}

fn public(algorithm: Algorithm, pem: &str) -> Result<DecodingKey, String> {
    let read = match algorithm.family() {
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem.as_bytes()),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem.as_bytes()),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(pem.as_bytes()),
        AlgorithmFamily::Hmac => return Err("pub-key: an HS algorithm has none".to_owned()),
    };
    read.map_err(|error| format!("pub-key: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(algorithm: &'static rcgen::SignatureAlgorithm) -> rcgen::KeyPair {
        rcgen::KeyPair::generate_for(algorithm).unwrap()
    }

    fn settings(method: &str, private: Option<String>, public: Option<String>) -> Settings {
        Settings { method: method.to_owned(), public_pem: public, private_pem: private, ttl_s: 60 }
    }

    #[test]
    fn a_token_is_good_for_its_time_with_its_key_and_algorithm() {
        let pairs = [
            ("ES256", &rcgen::PKCS_ECDSA_P256_SHA256),
            ("ES384", &rcgen::PKCS_ECDSA_P384_SHA384),
            ("EdDSA", &rcgen::PKCS_ED25519),
            ("RS256", &rcgen::PKCS_RSA_SHA256),
            ("PS512", &rcgen::PKCS_RSA_SHA512),
        ];
        for (method, kind) in pairs {
            let (pair, other) = (key(kind), key(kind));
            let (private, public) = (pair.serialize_pem(), pair.public_key_pem());
            let whole = Signer::new(&settings(method, Some(private.clone()), None)).unwrap();
            let both = Signer::new(&settings(method, Some(private.clone()), Some(public.clone()))).unwrap();
            let public = Signer::new(&settings(method, None, Some(public))).unwrap();
            let stranger = Signer::new(&settings(method, Some(other.serialize_pem()), None)).unwrap();
            let token = whole.sign("ann", 7, 1000).unwrap();
            for signer in [&whole, &both, &public] {
                assert_eq!(signer.recognize(&token, 1059), Some(("ann".to_owned(), 7)), "{method}");
                assert_eq!(signer.recognize(&token, 1060), None, "{method}: its time is over");
            }
            assert_eq!(stranger.recognize(&token, 1000), None, "{method}: another key");
            assert_eq!(public.sign("ann", 7, 1000), None, "{method}: a public key signs nothing");
            let mismatch =
                Signer::new(&settings(method, Some(private), Some(other.public_key_pem()))).unwrap_err();
            assert!(mismatch.contains("don't match"), "{mismatch}");
        }
        let secret = Signer::new(&settings("HS256", Some("secret".to_owned()), None)).unwrap();
        let token = secret.sign("ann", 7, 0).unwrap();
        assert_eq!(secret.recognize(&token, 0), Some(("ann".to_owned(), 7)));
    }

    #[test]
    fn a_public_key_is_no_secret() {
        // X3: whoever knows the public key signs with it as if it were a shared secret.
        let pair = key(&rcgen::PKCS_RSA_SHA256);
        let public = pair.public_key_pem();
        let member = Signer::new(&settings("RS256", None, Some(public.clone()))).unwrap();
        let forger = Signer::new(&settings("HS256", Some(public), None)).unwrap();
        assert_eq!(member.recognize(&forger.sign("root", 7, 0).unwrap(), 0), None);
        // {"alg":"none"}.{"username":"root","revision":7,"exp":9999999999}.
        let unsigned = "eyJhbGciOiJub25lIn0.\
                        eyJ1c2VybmFtZSI6InJvb3QiLCJyZXZpc2lvbiI6NywiZXhwIjo5OTk5OTk5OTk5fQ.";
        for token in [unsigned, "", "a.b.c", "a.1"] {
            assert_eq!(member.recognize(token, 0), None, "{token}");
        }
    }

    #[test]
    fn what_cannot_sign_is_named() {
        let pem = || Some(key(&rcgen::PKCS_ED25519).serialize_pem());
        let cases = [
            (settings("", pem(), None), "sign-method"),
            (settings("none", pem(), None), "sign-method"),
            (settings("RS256", None, None), "missing key data"),
            (settings("RS256", pem(), None), "priv-key"),
            (settings("ES256", Some("no pem".to_owned()), None), "priv-key"),
            (settings("ES256", None, Some("no pem".to_owned())), "pub-key"),
            (settings("HS256", Some(String::new()), None), "priv-key"),
        ];
        for (settings, expected) in cases {
            let error = Signer::new(&settings).unwrap_err();
            assert!(error.contains(expected), "{settings:?}: {error}");
            assert!(!format!("{settings:?}").contains("PRIVATE"), "keys are not shown");
        }
    }
}
