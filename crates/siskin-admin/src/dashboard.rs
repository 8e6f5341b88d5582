//! The dashboard: a page in a browser that shows what the API tells, and does what it can do.
//!
//! It is part of the binary and needs nothing from anywhere else. Its files are the same for everybody, so they are given
//! to whoever asks; what they show comes from the API, with the credentials that it asks for.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};

use crate::app::App;
use crate::failure::Failure;

/// A file of the dashboard.
struct Asset {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! assets {
    ($($path:literal $kind:ident $file:literal,)*) => {
        &[$(Asset { path: $path, kind: $kind, text: include_str!(concat!("../assets/", $file)) },)*]
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const ASSETS: &[Asset] = assets![
    "/" HTML "index.html",
    "/assets/api.js" SCRIPT "api.js",
    "/assets/app.js" SCRIPT "app.js",
    "/assets/chart.js" SCRIPT "chart.js",
    "/assets/dom.js" SCRIPT "dom.js",
    "/assets/format.js" SCRIPT "format.js",
    "/assets/icon.svg" SVG "icon.svg",
    "/assets/live.js" SCRIPT "live.js",
    "/assets/mqtt.js" SCRIPT "mqtt.js",
    "/assets/paging.js" SCRIPT "paging.js",
    "/assets/style.css" CSS "style.css",
    "/assets/theme.js" SCRIPT "theme.js",
    "/assets/pages/bans.js" SCRIPT "pages/bans.js",
    "/assets/pages/client.js" SCRIPT "pages/client.js",
    "/assets/pages/clients.js" SCRIPT "pages/clients.js",
    "/assets/pages/log.js" SCRIPT "pages/log.js",
    "/assets/pages/messages.js" SCRIPT "pages/messages.js",
    "/assets/pages/overview.js" SCRIPT "pages/overview.js",
    "/assets/pages/retained.js" SCRIPT "pages/retained.js",
    "/assets/pages/settings.js" SCRIPT "pages/settings.js",
    "/assets/pages/subscriptions.js" SCRIPT "pages/subscriptions.js",
    "/assets/pages/topics.js" SCRIPT "pages/topics.js",
];

/// The dashboard's paths.
pub(crate) fn routes() -> Router<App> {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        let tag = format!("\"{:x}\"", Sha256::digest(asset.text));
        let give = move |State(app): State<App>, headers: HeaderMap| {
            let answer = answer(&app, asset, &tag, &headers);
            async { answer }
        };
        router.route(asset.path, get(give))
    })
}

fn answer(app: &App, asset: &'static Asset, tag: &str, headers: &HeaderMap) -> Response {
    if !app.broker().config().admin.dashboard {
        return Failure::not_found("the dashboard is switched off by admin.dashboard").into_response();
    }
    let is_known = headers.get_all(header::IF_NONE_MATCH).iter().any(|known| known == tag);
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind))], asset.text).into_response(),
    };
    let head = response.headers_mut();
    head.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    head.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    head.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Ok(tag) = tag.parse() {
        head.insert(header::ETAG, tag);
    }
    response
}

/// The page's own scripts and styles and nothing else; connections to the API, and to the broker's WebSocket listeners,
/// whose ports are others.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws: wss:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_is_served_and_every_file_that_another_names_exists() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
        let mut on_disk = BTreeSet::new();
        for (folder, prefix) in [(folder.clone(), ""), (folder.join("pages"), "pages/")] {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_file() {
                    on_disk.insert(format!("/assets/{prefix}{}", entry.file_name().to_str().unwrap()));
                }
            }
        }
        on_disk.remove("/assets/index.html");
        on_disk.insert("/".to_owned());
        let served: BTreeSet<_> = ASSETS.iter().map(|asset| asset.path.to_owned()).collect();
        assert_eq!(served, on_disk);
        for asset in ASSETS.iter().filter(|asset| asset.kind == SCRIPT) {
            let is_page = asset.path.contains("/pages/");
            for line in asset.text.lines().filter(|line| line.starts_with("import ")) {
                let named = line.rsplit('"').nth(1).unwrap();
                let path = match (named.strip_prefix("../"), named.strip_prefix("./")) {
                    (Some(file), _) if is_page => format!("/assets/{file}"),
                    (_, Some(file)) if is_page => format!("/assets/pages/{file}"),
                    (_, Some(file)) => format!("/assets/{file}"),
                    _ => panic!("{}: {line}", asset.path),
                };
                assert!(served.contains(&path), "{}: {line}", asset.path);
            }
        }
    }

    #[test]
    fn nothing_comes_from_elsewhere_and_nothing_is_read_as_html() {
        for asset in ASSETS {
            let text = asset.text.replace("http://www.w3.org/2000/svg", "");
            for word in [
                "http://",
                "https://",
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                assert!(!text.contains(word), "{} has {word}", asset.path);
            }
        }
    }
}
