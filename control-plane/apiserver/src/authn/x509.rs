//! Users from client certificates: common name is the user, organizations are the groups.

use std::collections::BTreeMap;

use registry::Caller;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Identity;

/// Reads the subject of a certificate that TLS has already verified. `None` when it names nobody.
pub fn identity(der: &[u8]) -> Option<Identity> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    if user.is_empty() {
        return None;
    }
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    let caller = Caller { user, uid: String::new(), groups };
    Some(Identity { caller, extra: BTreeMap::new() }.authenticated())
}
