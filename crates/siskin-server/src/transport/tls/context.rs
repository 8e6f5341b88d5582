//! What a listener's TLS is made of, and how it is replaced when its files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use super::certificates::Certificates;
use super::files::{self, Mark, Unusable};
use crate::config::{ClientCertificates, Tls};

/// The TLS of one listener.
#[derive(Debug)]
pub(crate) struct Context {
    /// The listener, for the log.
    name: String,
    options: Tls,
    is_websocket: bool,
    /// What new connections are given; those there are keep what they have.
    current: RwLock<Arc<ServerConfig>>,
    watch: Mutex<Watch>,
}

/// When something in a file of a listener expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The file.
    pub path: PathBuf,
    /// The moment, in seconds of Unix time.
    pub unix_s: i64,
    /// Whether it is a certificate, and not a revocation list.
    pub is_certificate: bool,
}

#[derive(Debug)]
struct Watch {
    marks: Vec<Mark>,
    expiries: Vec<Expiry>,
    /// The last warning given for each of them.
    warned_days: Vec<Option<i64>>,
}

impl Context {
    /// Reads all files. An error names the file and what is wrong with it.
    pub(crate) fn load(name: String, options: &Tls, is_websocket: bool) -> Result<Self, String> {
        let marks = marks(options);
        let (config, expiries) = load(options, is_websocket).map_err(|unusable| unusable.to_string())?;
        let mut watch = Watch { marks, warned_days: vec![None; expiries.len()], expiries };
        watch.warn(&name);
        Ok(Self {
            name,
            options: options.clone(),
            is_websocket,
            current: RwLock::new(Arc::new(config)),
            watch: Mutex::new(watch),
        })
    }

    /// What a new connection is given.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the files anew if one of them has changed, and warns of what expires soon.
    pub(crate) fn check(&self) {
        if marks(&self.options) != self.watch().marks {
            self.reload();
        }
        self.watch().warn(&self.name);
    }

    /// Reads the files anew. If one of them cannot be used, all stays as it is.
    pub(crate) fn reload(&self) {
        let mut watch = self.watch();
        watch.marks = marks(&self.options);
        match load(&self.options, self.is_websocket) {
            Ok((config, expiries)) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                watch.warned_days = vec![None; expiries.len()];
                watch.expiries = expiries;
                tracing::info!("new certificates are in force for {}", self.name);
            }
            Err(unusable) => {
                tracing::error!("the old certificates stay in force for {}: {unusable}", self.name);
            }
        }
    }

    /// What expires when.
    pub(crate) fn expiries(&self) -> Vec<Expiry> {
        self.watch().expiries.clone()
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Warns of what expires within 30, 7 and 1 days, once each, and of what has expired.
    fn warn(&mut self, name: &str) {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
        for (expiry, warned_days) in self.expiries.iter().zip(&mut self.warned_days) {
            let days = (expiry.unix_s - now_s).div_euclid(DAY_S);
            let Some(due) = WARNING_DAYS.into_iter().find(|warning| days < *warning) else { continue };
            if warned_days.replace(due).is_some_and(|warned| warned <= due) {
                continue;
            }
            let path = expiry.path.display();
            let what = if expiry.is_certificate { "certificate" } else { "revocation list" };
            match days {
                ..0 => tracing::warn!("{name}: the {what} in {path} has expired"),
                0 => tracing::warn!("{name}: the {what} in {path} expires within a day"),
                days => tracing::warn!("{name}: the {what} in {path} expires in {days} days"),
            }
        }
    }
}

fn load(options: &Tls, is_websocket: bool) -> Result<(ServerConfig, Vec<Expiry>), Unusable> {
    let provider = Arc::new(ring::default_provider());
    let (certificates, moments) = Certificates::load(&options.certificates, &provider)?;
    let paths = options.certificates.iter().map(|file| file.chain.clone());
    let expiry = |(path, unix_s)| Expiry { path, unix_s, is_certificate: true };
    let mut expiries: Vec<_> = paths.zip(moments).map(expiry).collect();

    let first = options.certificates.first().map_or(Path::new(""), |file| &file.chain);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Unusable::new(first, error))?;
    let asks_clients = options.client_certificates != ClientCertificates::Off;
    let builder = if asks_clients {
        builder.with_client_cert_verifier(verifier(options, provider, &mut expiries)?)
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = if is_websocket { &ALPN_WEBSOCKET[..] } else { &ALPN_MQTT[..] }
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    if asks_clients {
        // A session taken up again skips the certificate, which may have been revoked since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        // What is remembered of a session stays with the client, and is worth nothing after a reload.
        config.ticketer = ring::Ticketer::new().map_err(|error| Unusable::new(first, error))?;
        config.send_tls13_tickets = 1;
    }
    Ok((config, expiries))
}

fn verifier(
    options: &Tls,
    provider: Arc<CryptoProvider>,
    expiries: &mut Vec<Expiry>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, Unusable> {
    let first = options.ca.first().map_or(Path::new(""), PathBuf::as_path);
    let mut roots = RootCertStore::empty();
    for path in &options.ca {
        for certificate in files::certificates(path)? {
            roots
                .add(certificate)
                .map_err(|error| Unusable::new(path, format!("bad certificate: {error}")))?;
        }
    }
    let mut lists = Vec::new();
    for path in &options.crl {
        for list in files::revocation_lists(path)? {
            let bad = |error| Unusable::new(path, format!("bad revocation list: {error}"));
            let (_, parsed) = CertificateRevocationList::from_der(&list).map_err(bad)?;
            if let Some(next) = parsed.next_update() {
                let (path, unix_s) = (path.clone(), next.timestamp());
                expiries.push(Expiry { path, unix_s, is_certificate: false });
            }
            lists.push(list);
        }
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).with_crls(lists);
    let builder = match options.client_certificates {
        ClientCertificates::Optional => builder.allow_unauthenticated(),
        ClientCertificates::Off | ClientCertificates::Required => builder,
    };
    builder.build().map_err(|error| Unusable::new(options.crl.first().map_or(first, PathBuf::as_path), error))
}

fn marks(options: &Tls) -> Vec<Mark> {
    let pairs = options.certificates.iter().flat_map(|file| [&file.chain, &file.key]);
    pairs.chain(&options.ca).chain(&options.crl).map(|path| Mark::of(path)).collect()
}

/// Less than so many days are left: the fewest first.
const WARNING_DAYS: [i64; 4] = [0, 1, 7, 30];

const DAY_S: i64 = 24 * 60 * 60;

/// What a client that offers protocols must offer one of; the second is AWS's name for MQTT.
const ALPN_MQTT: [&str; 2] = ["mqtt", "x-amzn-mqtt-ca"];

/// A browser offers HTTP, and a WebSocket begins with it.
const ALPN_WEBSOCKET: [&str; 2] = ["http/1.1", "mqtt"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expires_is_warned_of_once_for_each_step() {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        let mut warned = Vec::new();
        let expiry = Expiry { path: PathBuf::new(), unix_s: 0, is_certificate: true };
        let mut watch = Watch { marks: Vec::new(), expiries: vec![expiry], warned_days: vec![None] };
        for days in [40, 29, 20, 6, 2, 0, -1, -2] {
            watch.expiries[0].unix_s = now_s + days * DAY_S + DAY_S / 2;
            watch.warn("test");
            warned.push(watch.warned_days[0]);
        }
        assert_eq!(warned, [None, Some(30), Some(30), Some(7), Some(7), Some(1), Some(0), Some(0)]);
    }
}
