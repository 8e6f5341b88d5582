//! A listener's certificates, and which of them a client is shown.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::files::{self, Unusable};
use crate::config::Certificate;

/// Certificates by the server name that a client asks for; the first for everybody else.
#[derive(Debug)]
pub(super) struct Certificates(Vec<Named>);

#[derive(Debug)]
struct Named {
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

impl Certificates {
    /// Reads the files. Also gives when each certificate expires, in seconds of Unix time.
    pub(super) fn load(
        files: &[Certificate],
        provider: &CryptoProvider,
    ) -> Result<(Self, Vec<i64>), Unusable> {
        let mut all = Vec::new();
        let mut expiries = Vec::new();
        for file in files {
            let chain = files::certificates(&file.chain)?;
            let (names, expiry) = {
                let (_, leaf) = X509Certificate::from_der(&chain[0])
                    .map_err(|error| Unusable::new(&file.chain, format!("bad certificate: {error}")))?;
                (names(&leaf), leaf.validity().not_after.timestamp())
            };
            let key = files::private_key(&file.key)?;
            let key = provider.key_provider.load_private_key(key).map_err(|error| {
                Unusable::new(&file.key, format!("the private key cannot be used: {error}"))
            })?;
            let key = CertifiedKey::new(chain, key);
            match key.keys_match() {
                Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
                Err(Error::InconsistentKeys(_)) => {
                    let problem = format!("this is not the key of the certificate {}", file.chain.display());
                    return Err(Unusable::new(&file.key, problem));
                }
                Err(error) => {
                    return Err(Unusable::new(
                        &file.chain,
                        format!("the certificate cannot be used: {error}"),
                    ));
                }
            }
            all.push(Named { names, key: Arc::new(key) });
            expiries.push(expiry);
        }
        Ok((Self(all), expiries))
    }

    fn for_name(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let matching = name.and_then(|name| {
            let is_for = |named: &&Named, exact| named.names.iter().any(|ours| is_name(ours, name, exact));
            let exact = self.0.iter().find(|named| is_for(named, true));
            exact.or_else(|| self.0.iter().find(|named| is_for(named, false)))
        });
        matching.or_else(|| self.0.first()).map(|named| Arc::clone(&named.key))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.for_name(client_hello.server_name())
    }
}

/// Whether a certificate for `ours` is one for `name`: the same, or a wildcard for its first label.
fn is_name(ours: &str, name: &str, exact: bool) -> bool {
    if exact {
        return ours.eq_ignore_ascii_case(name);
    }
    let rest = name.split_once('.').map(|(_, rest)| rest);
    ours.strip_prefix("*.").zip(rest).is_some_and(|(ours, rest)| ours.eq_ignore_ascii_case(rest))
}

/// The DNS names that a certificate is for.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let dns_names =
        alternatives.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
    let names: Vec<_> = dns_names.collect();
    if !names.is_empty() {
        return names;
    }
    let common_names = certificate.subject().iter_common_name();
    common_names.filter_map(|name| name.as_str().ok()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(is_name("a.example", "A.Example", true) && !is_name("*.example", "a.example", true));
        assert!(is_name("*.Example", "a.example", false) && is_name("*.b.example", "a.b.example", false));
        assert!(!is_name("*.example", "a.b.example", false) && !is_name("*.example", "example", false));
    }
}
