//! Certificates, good and bad, in files that go when the test does.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use siskin_server::config::{Certificate, ClientCertificates, Listener, Tls};

use super::dial;

/// A folder of one test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("siskin-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes a certificate and its key.
    pub(crate) fn put_issued(&self, name: &str, issued: &Issued) -> Certificate {
        Certificate {
            chain: self.put(&format!("{name}.pem"), &issued.pem),
            key: self.put(&format!("{name}.key"), &issued.key_pem()),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Somebody who signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    der: CertificateDer<'static>,
}

/// A certificate with its key.
pub(crate) struct Issued {
    pub(crate) pem: String,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) serial: u64,
    key: KeyPair,
}

impl Issued {
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { issuer: Issuer::new(params, key), pem, der }
    }

    /// A certificate for `names`, the first of which is its common name too.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_until(names, 2100)
    }

    pub(crate) fn issue_until(&self, names: &[&str], year: i32) -> Issued {
        static SERIAL: AtomicU32 = AtomicU32::new(1);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed).into();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.distinguished_name.push(DnType::CommonName, &names[0]);
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { pem: certificate.pem(), der: certificate.der().clone(), serial, key }
    }

    /// A list of what it takes back.
    pub(crate) fn revoke(&self, revoked: &[&Issued]) -> String {
        let revoked_certs = revoked.iter().map(|issued| RevokedCertParams {
            serial_number: SerialNumber::from(issued.serial),
            revocation_time: date_time_ymd(2002, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2002, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// What a client believes that trusts this authority alone, and shows `certificate`.
    pub(crate) fn client_config(&self, certificate: Option<&Issued>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        match certificate {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let key = PrivateKeyDer::Pkcs8(issued.key.serialize_der().into());
                builder.with_client_auth_cert(vec![issued.der.clone()], key).unwrap()
            }
        }
    }

    /// A connection to `address`, which shall be `localhost`, in one of `versions` of TLS.
    pub(crate) fn dial_with(
        &self,
        address: SocketAddr,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Secure {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        secure(address, "localhost", config)
    }

    /// A connection to `address`, which shall be `localhost`.
    pub(crate) fn dial(&self, address: SocketAddr, certificate: Option<&Issued>) -> Secure {
        secure(address, "localhost", self.client_config(certificate))
    }
}

pub(crate) type Secure = StreamOwned<ClientConnection, TcpStream>;

pub(crate) fn secure(address: SocketAddr, name: &str, config: ClientConfig) -> Secure {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), dial(address))
}

/// A listener on a free port that speaks TLS.
pub(crate) fn tls_listener(certificates: Vec<Certificate>) -> Listener {
    let mut listener = Listener::from(SocketAddr::from(([127, 0, 0, 1], 0)));
    let client_certificates = ClientCertificates::Off;
    listener.tls = Some(Tls { certificates, client_certificates, ca: Vec::new(), crl: Vec::new() });
    listener
}

/// The same, which asks clients for a certificate of `ca`.
pub(crate) fn asking_listener(
    certificates: Vec<Certificate>,
    client_certificates: ClientCertificates,
    ca: &Path,
) -> Listener {
    let mut listener = tls_listener(certificates);
    if let Some(tls) = &mut listener.tls {
        tls.client_certificates = client_certificates;
        tls.ca = vec![ca.to_owned()];
    }
    listener
}
