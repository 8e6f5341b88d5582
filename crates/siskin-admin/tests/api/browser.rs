//! Headless Chromium, told what to do through a pipe in the words of its DevTools protocol.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    profile: PathBuf,
    page: String,
    commands: u64,
    /// What the page complained of: exceptions, and what its security policy does not allow.
    pub(crate) complaints: Vec<String>,
    _only: MutexGuard<'static, ()>,
}

/// One browser at a time is enough for a small machine.
static ONLY: Mutex<()> = Mutex::new(());

/// What the browser says of a script whose page is loaded anew or left while it runs.
const HAS_GONE: [&str; 4] = [
    "Inspected target navigated or closed",
    "Execution context was destroyed.",
    "Cannot find context with specified id",
    "Cannot find default execution context",
];

impl Browser {
    /// None if there is no Chromium, where tests may do without.
    pub(crate) fn start() -> Option<Self> {
        if Command::new("chromium").arg("--version").output().is_err() {
            return left_out();
        }
        let only = ONLY.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = std::env::temp_dir().join(format!("siskin-browser-{}", std::process::id()));
        // The protocol is spoken on the descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec chromium \"$@\" 3<&0 4>&1 >/dev/null 2>/dev/null", "sh"])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args(["--hide-scrollbars", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let (page, complaints) = (String::new(), Vec::new());
        let mut browser = Self { child, input, output, profile, page, commands: 0, complaints, _only: only };
        let target = browser.command("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.command("Target.attachToTarget", &attach);
        session["sessionId"].as_str().unwrap().clone_into(&mut browser.page);
        for domain in ["Page", "Runtime", "Log"] {
            browser.command(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    /// Shows pages as wide and high as that from now on, in dark or in light.
    pub(crate) fn look(&mut self, width: u32, height: u32, is_dark: bool) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.command("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if is_dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.command("Emulation.setEmulatedMedia", &media);
    }

    pub(crate) fn open(&mut self, url: &str) {
        // A page that differs in what stands behind # alone would not be loaded anew.
        self.command("Page.navigate", &json!({"url": "about:blank"}));
        self.command("Page.navigate", &json!({"url": url}));
    }

    /// What the script `body` returns, which may wait.
    pub(crate) fn run(&mut self, body: &str) -> Value {
        self.attempt(body).unwrap_or_else(|| panic!("the page has gone before the end of {body}"))
    }

    /// Does what may lead the page elsewhere, so that there may be nobody left to say that it is done.
    pub(crate) fn act(&mut self, body: &str) {
        self.attempt(body);
    }

    /// Waits until the script `condition` is true, also if the page is loaded anew meanwhile.
    pub(crate) fn wait_for(&mut self, condition: &str) {
        let wait = format!(
            "for (let tries = 0; tries < 1000; tries += 1) {{ try {{ if ({condition}) return null; }} catch {{}} \
             await new Promise((go) => setTimeout(go, 20)); }} return document.body.innerText.slice(0, 4000);"
        );
        let text =
            (0..10).find_map(|_| self.attempt(&wait)).unwrap_or_else(|| json!("it is always loaded anew"));
        assert!(text.is_null(), "the page is never so that {condition}: {text}\n{:?}", self.complaints);
    }

    /// What the script `body` returns; nothing if the page that it runs in goes away meanwhile.
    fn attempt(&mut self, body: &str) -> Option<Value> {
        let expression = format!("(async () => {{ {body} }})()");
        let order = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = match self.ask("Runtime.evaluate", &order) {
            Ok(answer) => answer,
            Err(error) if HAS_GONE.iter().any(|words| error["message"] == **words) => return None,
            Err(error) => panic!("{body}: {error}"),
        };
        assert!(answer["exceptionDetails"].is_null(), "{body}: {answer}");
        Some(answer["result"]["value"].take())
    }

    /// Waits until the page shows `text`.
    pub(crate) fn wait_for_text(&mut self, text: &str) {
        self.wait_for(&format!("document.body.innerText.includes({})", json!(text)));
    }

    /// A picture of what can be seen, kept where `SISKIN_SCREENSHOTS` says.
    pub(crate) fn picture(&mut self, name: &str) {
        let answer = self.command("Page.captureScreenshot", &json!({"format": "png"}));
        let picture = Base64::decode_vec(answer["data"].as_str().unwrap()).unwrap();
        assert!(picture.starts_with(b"\x89PNG"));
        if let Some(folder) = std::env::var_os("SISKIN_SCREENSHOTS") {
            fs::create_dir_all(&folder).unwrap();
            fs::write(PathBuf::from(folder).join(format!("{name}.png")), picture).unwrap();
        }
    }

    fn command(&mut self, method: &str, params: &Value) -> Value {
        self.ask(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// What the browser answers, or the error that it names.
    fn ask(&mut self, method: &str, params: &Value) -> Result<Value, Value> {
        self.commands += 1;
        let mut order = json!({"id": self.commands, "method": method, "params": params});
        if !self.page.is_empty() {
            order["sessionId"] = json!(self.page);
        }
        self.input.write_all(format!("{order}\0").as_bytes()).unwrap();
        loop {
            let mut message = Vec::new();
            self.output.read_until(0, &mut message).unwrap();
            assert_eq!(message.pop(), Some(0), "the browser has ended");
            let mut message: Value = serde_json::from_slice(&message).unwrap();
            if message["id"] == self.commands {
                let error = message["error"].take();
                return if error.is_null() { Ok(message["result"].take()) } else { Err(error) };
            }
            self.hear(&message);
        }
    }

    fn hear(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.complaints.push(params["exceptionDetails"].to_string());
            }
            Some("Log.entryAdded") if params["entry"]["source"] == "security" => {
                self.complaints.push(params["entry"].to_string());
            }
            Some("Runtime.consoleAPICalled") if params["type"] == "error" => {
                self.complaints.push(params["args"].to_string());
            }
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}

/// Says that a test is left out, or fails where it must not be.
#[allow(clippy::print_stderr)] // Said where tests say things.
fn left_out<T>() -> Option<T> {
    assert!(std::env::var_os("SISKIN_REQUIRE_INTEROP").is_none(), "chromium is not installed");
    eprintln!("left out: chromium is not installed");
    None
}
