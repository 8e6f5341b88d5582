//! Siskin with a browser: headless Chromium loads a page with MQTT.js, which talks over ws and wss.
//!
//! Where Chromium, openssl or MQTT.js are not installed this test says so and passes, unless
//! `SISKIN_REQUIRE_INTEROP` is set, as it is in the project's gate. `.ci/install` installs them.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use siskin_server::config::{Certificate, Listener, Protocol, WebSocket};
use support::foreign::{installed, left_out};
use support::pki::{Folder, tls_listener};
use support::{PATIENCE, broker};

#[test]
fn a_page_with_mqtt_js_talks_over_ws_and_wss_and_one_from_elsewhere_does_not() {
    let (Some(()), Some(()), Some(script)) = (installed("chromium"), installed("openssl"), mqtt_js()) else {
        return;
    };
    let folder = Folder::new();
    let site = Site::open(&script);
    let (certificate, fingerprint) = openssl_certificate(&folder);
    let listeners = vec![
        page_listener(Listener::from(SocketAddr::from(([127, 0, 0, 1], 0))), &site.origin),
        page_listener(tls_listener(vec![certificate]), &site.origin),
        page_listener(Listener::from(SocketAddr::from(([127, 0, 0, 1], 0))), "https://elsewhere.example"),
    ];
    let server = broker(|config| config.listeners = listeners);
    let [plain, secure, shut] = [0, 1, 2].map(|at| server.addresses()[at].port());
    let page = format!(
        "{}/?open=ws://localhost:{plain}/mqtt&open=wss://localhost:{secure}/mqtt&shut=ws://localhost:{shut}/mqtt",
        site.origin
    );
    let screenshot = folder.path("page.png");
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .arg(format!("--user-data-dir={}", folder.path("profile").display()))
        .arg(format!("--ignore-certificate-errors-spki-list={fingerprint}"))
        .arg(format!("--screenshot={}", screenshot.display()))
        .args(["--window-size=1000,500", "--dump-dom", &page])
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let said: Vec<_> = dom.lines().flat_map(lines).collect();
    let talk = |scheme: &str, version: u8| {
        let texts = [0, 1, 2].map(|qos| format!("browser/{version}/{qos}=héllo {qos} at {qos}")).join(", ");
        format!("good: {scheme} {version}: connected 0, granted 2, {texts}, large whole")
    };
    let expected =
        [talk("ws:", 4), talk("ws:", 5), talk("wss:", 4), talk("wss:", 5), "good: kept out".to_owned()];
    assert_eq!(said, expected, "{dom}\n{}", String::from_utf8_lossy(&output.stderr));
    let picture = fs::read(&screenshot).unwrap();
    assert!(picture.starts_with(b"\x89PNG"), "no picture was taken");
    if let Some(kept) = std::env::var_os("SISKIN_SCREENSHOT") {
        fs::write(kept, picture).unwrap();
    }
    server.stop();
}

/// What the page said, as `CLASS: TEXT`.
fn lines(html: &str) -> Vec<String> {
    let items = html.split("<li class=\"").skip(1);
    let line = |item: &str| {
        let (class, rest) = item.split_once("\">")?;
        Some(format!("{class}: {}", rest.split_once("</li>")?.0))
    };
    items.filter_map(line).collect()
}

/// `listener`, for WebSocket from pages of `origin`.
fn page_listener(mut listener: Listener, origin: &str) -> Listener {
    let origins = vec![origin.to_owned()];
    listener.protocol = Protocol::WebSocket(WebSocket { origins, ..WebSocket::default() });
    listener
}

/// A certificate for localhost of an authority that openssl has made, and the digest of the authority's key, by
/// which Chromium trusts it.
fn openssl_certificate(folder: &Folder) -> (Certificate, String) {
    folder.put("extensions", "subjectAltName = DNS:localhost, IP:127.0.0.1\n");
    let script = "set -e; cd \"$1\"
        key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
        openssl req -x509 $key -keyout ca.key -out ca.pem -days 2 -subj '/CN=Authority of a test'
        openssl req $key -keyout server.key -out server.csr -subj /CN=localhost
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions \
            -out server.crt
        cat server.crt ca.pem > server.pem";
    let digest = "openssl x509 -in \"$1/server.crt\" -pubkey -noout | openssl pkey -pubin -outform der \
        | openssl dgst -sha256 -binary | base64";
    let run = |script: &str| {
        let output = Command::new("sh").args(["-c", script, "sh"]).arg(folder.path("")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(script);
    let certificate = Certificate { chain: folder.path("server.pem"), key: folder.path("server.key") };
    (certificate, run(digest).trim().to_owned())
}

/// MQTT.js for browsers, as its package has it.
fn mqtt_js() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/interop-node");
    let path = root.join("node_modules/mqtt/dist/mqtt.min.js");
    if path.is_file() { Some(path) } else { left_out("MQTT.js") }
}

/// A web server for one page.
struct Site {
    origin: String,
}

struct Content {
    script: Vec<u8>,
    /// Whether the page is done.
    done: (Mutex<bool>, Condvar),
}

impl Site {
    fn open(script: &Path) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let origin = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let content = Content { script: fs::read(script).unwrap(), done: Default::default() };
        let content = Arc::new(content);
        // It ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let content = Arc::clone(&content);
                // A browser that has gone, or opens a connection in vain, is not this server's trouble.
                thread::spawn(move || content.serve(&stream));
            }
        });
        Self { origin }
    }
}

impl Content {
    /// Answers one request.
    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        // The whole head is read: a socket closed with unread input takes back its last words.
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (kind, body): (_, &[u8]) = match path.split('?').next().unwrap_or_default() {
            "/" => ("text/html", include_bytes!("interop/page.html")),
            "/mqtt.js" => ("text/javascript", &self.script),
            "/held" => {
                let is_done = self.done.0.lock().unwrap();
                // The page's own patience is shorter; should it say nothing, the picture shows how far it came.
                drop(self.done.1.wait_timeout_while(is_done, PATIENCE * 3, |is_done| !*is_done).unwrap());
                ("text/plain", b"")
            }
            "/done" => {
                *self.done.0.lock().unwrap() = true;
                self.done.1.notify_all();
                ("text/plain", b"")
            }
            _ => ("text/plain", b""),
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let mut stream = stream;
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)
    }
}
