//! Whether a request is let through.
//!
//! An API that only this machine can reach needs no password, but the browser of whoever sits at it can reach it too,
//! and runs the pages of strangers. Two things keep these out: the name that a request was sent to must be one of
//! this machine's (else a stranger's name may have been pointed here), and a request that a page sent must come from
//! a page of our own.

mod credentials;

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

pub(crate) use credentials::Credentials;

use crate::app::App;
use crate::failure::Failure;

/// Lets `request` through, or answers it.
pub(crate) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    if let Err(failure) = admit(&app, request.headers(), request.uri().path()).await {
        return failure.into_response();
    }
    match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::unavailable("this took too long").into_response(),
    }
}

async fn admit(app: &App, headers: &HeaderMap, path: &str) -> Result<(), Failure> {
    let host =
        text(headers, header::HOST.as_str()).ok_or_else(|| Failure::bad_request("a request needs a Host"))?;
    if app.is_local() && !is_local_name(host) {
        return Err(Failure::forbidden(format!(
            "`{host}` is not a name of this machine: the admin API is for this machine alone"
        )));
    }
    // One that cannot be read is somebody else's.
    let is_ours = |origin: &HeaderValue| origin.to_str().is_ok_and(|origin| is_same(origin, host));
    if !headers.get_all(header::ORIGIN).iter().all(is_ours) {
        return Err(Failure::forbidden("a page of another site may not use the admin API"));
    }
    // Browsers send no Origin with what an image or a script of a page asks for, but say whose the page is. A link may be
    // followed from anywhere.
    let is_foreign =
        text(headers, "sec-fetch-site").is_some_and(|site| !["same-origin", "none"].contains(&site));
    if is_foreign && is_protected(path) && text(headers, "sec-fetch-dest") != Some("document") {
        return Err(Failure::forbidden("a page of another site may not use the admin API"));
    }
    if app.credentials().is_empty() || is_open(path) {
        return Ok(());
    }
    let Some(given) = text(headers, header::AUTHORIZATION.as_str()) else {
        return Err(Failure::unauthorized("this needs a token (Bearer) or a user and password (Basic)"));
    };
    if app.credentials().accept(given).await {
        return Ok(());
    }
    app.credentials().report_wrong();
    Err(Failure::unauthorized("wrong token, user or password"))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    std::str::from_utf8(headers.get(name)?.as_bytes()).ok()
}

/// Paths that tell nothing about clients: whether the broker is alive, how to log in, and the pages that ask for it.
fn is_open(path: &str) -> bool {
    const OPEN: [&str; 5] = ["/status", "/api/v1/health", "/api/v1/ready", "/api/v5/status", "/api/v5/login"];
    OPEN.contains(&path) || !is_protected(path)
}

fn is_protected(path: &str) -> bool {
    path == "/metrics" || path == "/api" || path.starts_with("/api/")
}

/// Whether a Host names this machine whatever the name service says.
fn is_local_name(host: &str) -> bool {
    let Ok(uri) = host.parse::<Uri>() else { return false };
    let Some(name) = uri.host() else { return false };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match address {
        Ok(address) => address.is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

/// Whether a page of `origin` is one that was sent by `host`.
fn is_same(origin: &str, host: &str) -> bool {
    origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

/// Time for a whole request. Then it is answered so.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in ["localhost", "LOCALHOST:18083", "127.0.0.1", "127.9.9.9:1", "[::1]:18083", "[::1]"] {
            assert!(is_local_name(host), "{host}");
        }
        for host in ["", "example.org", "localhost.example.org", "10.0.0.1:80", "[fe80::1]", "a b", "0.0.0.0"]
        {
            assert!(!is_local_name(host), "{host}");
        }
    }

    #[test]
    fn a_page_is_ours_if_it_came_from_where_it_asks() {
        assert!(is_same("http://127.0.0.1:18083", "127.0.0.1:18083"));
        for origin in ["null", "http://127.0.0.1:80", "http://example.org", ""] {
            assert!(!is_same(origin, "127.0.0.1:18083"), "{origin}");
        }
    }

    #[test]
    fn what_tells_of_clients_is_never_open() {
        for path in ["/metrics", "/api", "/api/", "/api/openapi.json", "/api/v1/clients", "/api/v5/stats"] {
            assert!(!is_open(path), "{path}");
        }
        for path in ["/", "/index.html", "/api/v1/health", "/api/v5/status"] {
            assert!(is_open(path), "{path}");
        }
    }
}
