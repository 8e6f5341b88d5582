//! An HTTP client for small answers: kept connections, TLS, time and size limits.

use std::error::Error as _;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Inner;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::time;

/// A client for one back end. It must be used in a tokio runtime with network and time.
pub struct Client {
    inner: Inner<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
    answer_max_bytes: usize,
}

/// A whole answer.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl Client {
    /// A client that trusts the authorities of this file, or those of the system. The error names the file and what is
    /// wrong with it.
    pub fn new(ca_file: Option<&Path>, timeout: Duration, answer_max_bytes: usize) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(authorities(ca_file)?)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let inner = Inner::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self { inner, timeout, answer_max_bytes })
    }

    /// The answer, or why there is none. What went wrong says nothing of what was asked.
    pub async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        match time::timeout(self.timeout, self.answer(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let response = self.inner.request(request).await.map_err(|error| {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(error) = source {
                let _ = write!(text, ": {error}");
                source = error.source();
            }
            text
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), self.answer_max_bytes).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                format!("the answer is longer than {} bytes", self.answer_max_bytes)
            } else {
                format!("the answer ends early: {error}")
            }
        })?;
        Ok(Answer { status, body: body.to_bytes() })
    }
}

/// Whose certificates a server may have.
fn authorities(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        // A system without any is none on which https can be used, but http can.
        let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let text = fs::read(path).map_err(|error: io::Error| wrong(&error))?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() { Err(wrong(&"no certificate in it")) } else { Ok(roots) }
}

/// So long a connection is kept for the next question.
const IDLE: Duration = Duration::from_secs(30);
