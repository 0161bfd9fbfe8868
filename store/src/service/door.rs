//! Who sends a request, and whether it may be answered at all.
//!
//! Every call begins with [`Api::admit`], which names what it needs and gives the [`Api`] that acts for the sender. The one
//! that stands at the door acts for nobody: a call that forgot to ask would be refused as soon as auth is on.
//!
//! | from | stands for |
//! |---|---|
//! | metadata `token`, or else `authorization` with or without `Bearer ` | the user it was issued to |
//! | a client certificate, where clients must show one | the user that its common name names |
//!
//! A token wins over a certificate. The certificate of a gateway is not its client's, so a request that came through one
//! (it has `grpcgateway-accept`) has no common name.

use std::borrow::Cow;
use std::future::Future;

use tonic::metadata::MetadataMap;
use tonic::{Request, Status};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Api, error};
use crate::auth::Credentials;
use crate::auth::caller::Secret;

/// What the sender of a request must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Anybody.
    Nothing,
    /// Some user.
    Somebody,
    /// A user with the role root.
    Root,
    /// Some user, and what the keys and leases it names need: that is found out where they are read or written.
    Keys,
}

impl Api {
    /// What stands in the place of this one for the sender of a request. Costs nothing while auth is off.
    pub(super) fn admit<T>(
        &self,
        request: &Request<T>,
        need: Need,
    ) -> impl Future<Output = Result<Cow<'_, Self>, Status>> + Send + use<'_, T> {
        let credentials = self.handle.must_identify().then(|| self.credentials(request));
        async move {
            let Some(credentials) = credentials else { return Ok(Cow::Borrowed(self)) };
            let api = self.acting_for(credentials).await?;
            let allowed = match need {
                Need::Nothing => Ok(()),
                Need::Somebody | Need::Keys => api.handle.require_somebody(),
                Need::Root => api.handle.require_root(),
            };
            allowed.map_err(error::status)?;
            Ok(Cow::Owned(api))
        }
    }

    /// The same for one of many requests of a stream.
    pub(super) async fn admit_again(&self, credentials: &Credentials) -> Result<Cow<'_, Self>, Status> {
        if !self.handle.must_identify() {
            return Ok(Cow::Borrowed(self));
        }
        Ok(Cow::Owned(self.acting_for(credentials.clone()).await?))
    }

    async fn acting_for(&self, credentials: Credentials) -> Result<Self, Status> {
        let caller = self.handle.identify(credentials).await.map_err(error::status)?;
        Ok(Self { handle: self.handle.acting_for(caller), ..self.clone() })
    }

    /// What a request brings to say who sent it.
    pub(super) fn credentials<T>(&self, request: &Request<T>) -> Credentials {
        if let Some(token) = token(request.metadata()) {
            return Credentials::Token(Secret(token));
        }
        if !self.names_in_certificates || request.metadata().contains_key("grpcgateway-accept") {
            return Credentials::None;
        }
        let certificates = request.peer_certs();
        let name = certificates.as_ref().and_then(|chain| common_name(chain.first()?));
        name.map_or(Credentials::None, Credentials::CommonName)
    }
}

fn token(metadata: &MetadataMap) -> Option<String> {
    let value = metadata.get("token").or_else(|| metadata.get("authorization"))?;
    // What is not text is no token of ours, and is refused as such.
    let text = value.to_str().unwrap_or_default();
    Some(text.strip_prefix("Bearer ").unwrap_or(text).to_owned())
}

fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?;
    Some(name.as_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_where_etcds_clients_put_it() {
        let found = |pairs: &[(&'static str, &'static str)]| {
            let mut metadata = MetadataMap::new();
            for (name, value) in pairs {
                metadata.insert(*name, value.parse().unwrap());
            }
            token(&metadata)
        };
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[("token", "a.1")]).as_deref(), Some("a.1"));
        assert_eq!(found(&[("authorization", "a.1")]).as_deref(), Some("a.1"));
        assert_eq!(found(&[("authorization", "Bearer a.1")]).as_deref(), Some("a.1"));
        assert_eq!(found(&[("token", "a.1"), ("authorization", "b.2")]).as_deref(), Some("a.1"));
    }

    #[test]
    fn the_common_name_of_a_certificate_is_read() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["host".to_owned()]).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "org");
        let nameless = parameters.self_signed(&key).unwrap();
        assert_eq!(common_name(nameless.der()), None);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "ann");
        let named = parameters.self_signed(&key).unwrap();
        assert_eq!(common_name(named.der()).as_deref(), Some("ann"));
        assert_eq!(common_name(b"no certificate"), None);
    }
}
