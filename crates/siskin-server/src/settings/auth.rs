//! An `[[auth]]` table, one step of the chain that says who a client is: read and written.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use siskin_auth::config::{
    AnswerForm, CacheConfig, HttpConfig, HttpForm, JwtConfig, KeySource, No, PasswordFileConfig, ScramConfig,
    StepConfig, TokenIn,
};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::did_you_mean;
use super::kind::{Kind, Unit, Value, quoted, without_login};
use super::listener::{list, one, word, word_for};
use super::nearest::nearest;
use crate::access::LISTED;

/// What an `[[auth]]` table may hold: key, the types that have it, and what it is.
pub const AUTH_KEYS: [(&str, &str, &str); 36] = [
    ("type", ALL, "Who is asked: password-file, http, jwt or scram; steps are asked in their order"),
    ("name", ALL, "What log and metrics call it; default is its type"),
    ("file", "password-file scram", "Password file; scram needs $scram-sha-256$ hashes in it"),
    (
        "url",
        "http",
        "Where to ask; in URL, fields and headers %u is the user name, %c client id, %P password, %a address",
    ),
    ("method", "http", "post or get; default post"),
    ("body", "http", "What is posted: json or form; default json"),
    (
        "fields",
        "http",
        "Table of what is told; default { username = \"%u\", password = \"%P\", clientid = \"%c\" }",
    ),
    ("headers", "http", "Table of more headers"),
    ("answer", "http", "How it answers: emqx, or mosquitto-go-auth's status, json or text; default emqx"),
    ("no", "http", "What its no means: deny, or pass to the next step; default deny"),
    ("superuser_url", "http", "Where to ask who may do everything; default is nowhere"),
    (
        "anonymous",
        "http",
        "Whether it is asked about clients without user name and password too; default false",
    ),
    ("connections_max", "http", "Questions at once; default 32"),
    ("failures_max", "http", "So many failures in a row, and it is not asked for a while; default 5"),
    ("retry_after", "http", "How long that is; default 10s"),
    (
        "cache_allowed",
        "http password-file",
        "For how long a yes is remembered; default 30s for http, 0 for files",
    ),
    (
        "cache_denied",
        "http password-file",
        "For how long a no is remembered; default 5s for http, 0 for files",
    ),
    ("cache_max", "http password-file", "So many answers are remembered; default 10000"),
    ("timeout", "http jwt", "How long an answer may take; default 5s"),
    (
        "ca_file",
        "http jwt",
        "PEM file of who signs the server's certificate; default is whom the system trusts",
    ),
    ("token", "jwt", "Where the token is: password or username; default password"),
    ("secret_file", "jwt", "File of the secret of HS256, HS384 and HS512"),
    ("secret_base64", "jwt", "Whether that secret is Base64; default false"),
    ("key_file", "jwt", "PEM files of public keys or certificates: RSA, P-256, P-384, Ed25519"),
    ("jwks_file", "jwt", "File of a JSON Web Key Set"),
    ("jwks_url", "jwt", "URL of a JSON Web Key Set"),
    ("jwks_refresh", "jwt", "How often it is fetched; default 5m"),
    ("issuer", "jwt", "Who may have issued tokens (iss), or a list; default is anybody"),
    ("audience", "jwt", "For whom tokens may be (aud), or a list; default is for anybody"),
    ("claims", "jwt", "Table of claims that must have these values, like { device = \"%c\" }"),
    ("user_claim", "jwt", "Claim that becomes the user name, like sub; default is the user name of CONNECT"),
    ("client_id_claim", "jwt", "Claim that must be the client id; default is none"),
    ("superuser_claim", "jwt", "Claim that, being true, allows everything; default is none"),
    ("acl_claim", "jwt", "Claim of what the client may do, or none; default acl"),
    ("require_expiry", "jwt", "Whether a token must have an end (exp); default true"),
    ("leeway", "jwt", "How far clocks may differ; default 30s"),
];

/// A step as a table describes it, before it is known whether it is whole.
enum Draft {
    PasswordFile(PasswordFileConfig),
    Http(Box<HttpConfig>),
    Jwt(Box<JwtDraft>),
    Scram(ScramConfig),
}

/// Tokens; where their keys come from is in several places.
struct JwtDraft {
    config: JwtConfig,
    secret: Option<PathBuf>,
    is_base64: bool,
    pem: Vec<PathBuf>,
    set: Option<PathBuf>,
    url: Option<String>,
    refresh_s: u64,
    ca_file: Option<PathBuf>,
    timeout: Duration,
}

/// Reads the table at `at`. The mistakes are all there are, each with its place.
pub(super) fn read(at: usize, table: &DeTable<'_>) -> Result<StepConfig, Vec<(usize, String)>> {
    let kind = table.iter().find(|(key, _)| key.get_ref() == "type");
    let Some((_, kind)) = kind else {
        return Err(vec![(
            at,
            format!("this step has no `type`: {}", TYPES.map(|(name, _)| name).join(", ")),
        )]);
    };
    let (name, mut draft) = match word(kind.get_ref(), &TYPES.map(|(name, new)| (name, (name, new)))) {
        Ok((name, new)) => (name, new()),
        Err(message) => return Err(vec![(kind.span().start, format!("`type`: {message}"))]),
    };
    let mut mistakes = Vec::new();
    for (key, value) in table {
        match check(name, key.get_ref()) {
            Ok(key) => {
                if let Err(message) = draft.read(key, value.get_ref()) {
                    mistakes.push((value.span().start, format!("`{key}`: {message}")));
                }
            }
            Err(message) => mistakes.push((key.span().start, message)),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let place = |key: &str| table.keys().find(|there| there.get_ref() == key).map(Spanned::span);
    draft.finish().map_err(|(key, message)| vec![(place(key).map_or(at, |span| span.start), message)])
}

/// The key, if steps of this type have it.
fn check(kind: &str, key: &str) -> Result<&'static str, String> {
    let has = |kinds: &str| kinds == ALL || kinds.split(' ').any(|one| one == kind);
    match AUTH_KEYS.iter().find(|(name, ..)| *name == key) {
        Some((name, kinds, _)) if has(kinds) => Ok(name),
        Some((_, kinds, _)) => {
            Err(format!("`{key}` is for `type` {}, not {kind}", kinds.replace(' ', " and ")))
        }
        None => {
            let keys = AUTH_KEYS.iter().filter(|(_, kinds, _)| has(kinds)).map(|(name, ..)| *name);
            Err(did_you_mean(format!("a step of type {kind} has no `{key}`"), nearest(key, keys)))
        }
    }
}

impl Draft {
    fn password_file() -> Self {
        let name = "password-file".to_owned();
        Self::PasswordFile(PasswordFileConfig { name, ..PasswordFileConfig::new("") })
    }

    fn http() -> Self {
        let mut config = HttpConfig::new("");
        // As those of a table are.
        config.fields.sort();
        Self::Http(Box::new(config))
    }

    fn jwt() -> Self {
        Self::Jwt(Box::new(JwtDraft {
            config: JwtConfig::new(Vec::new()),
            secret: None,
            is_base64: false,
            pem: Vec::new(),
            set: None,
            url: None,
            refresh_s: 300,
            ca_file: None,
            timeout: Duration::from_secs(5),
        }))
    }

    fn scram() -> Self {
        Self::Scram(ScramConfig::new(""))
    }

    fn read(&mut self, key: &'static str, value: &DeValue<'_>) -> Result<(), String> {
        match (key, &mut *self) {
            ("type", _) => Ok(()),
            ("name", draft) => {
                let name = text(value)?;
                if name.is_empty() {
                    return Err("a name has at least one character".to_owned());
                }
                if LISTED.contains(&name.as_str()) {
                    return Err(format!("`{name}` is what a step of access.password_file is called"));
                }
                match draft {
                    Self::PasswordFile(config) => config.name = name,
                    Self::Http(config) => config.name = name,
                    Self::Jwt(draft) => draft.config.name = name,
                    Self::Scram(config) => config.name = name,
                }
                Ok(())
            }
            (_, Self::PasswordFile(config)) => match key {
                "file" => path(value).map(|path| config.path = path),
                _ => cache(&mut config.cache, key, value),
            },
            (_, Self::Scram(config)) => path(value).map(|path| config.path = path),
            (_, Self::Http(config)) => read_http(config, key, value),
            (_, Self::Jwt(draft)) => draft.read(key, value),
        }
    }

    /// The step, or the key that is wrong or missing.
    fn finish(self) -> Result<StepConfig, (&'static str, String)> {
        let missing = |key: &'static str| (key, format!("this step has no `{key}`"));
        match self {
            Self::PasswordFile(config) if config.path.as_os_str().is_empty() => Err(missing("file")),
            Self::PasswordFile(config) => Ok(StepConfig::PasswordFile(config)),
            Self::Scram(config) if config.path.as_os_str().is_empty() => Err(missing("file")),
            Self::Scram(config) => Ok(StepConfig::Scram(config)),
            Self::Http(config) if config.url.is_empty() => Err(missing("url")),
            Self::Http(config) => Ok(StepConfig::Http(config)),
            Self::Jwt(draft) => draft.finish(),
        }
    }
}

fn read_http(config: &mut HttpConfig, key: &'static str, value: &DeValue<'_>) -> Result<(), String> {
    match key {
        "url" => config.url = text(value)?,
        "method" => {
            let is_get = word(value, &[("post", false), ("get", true)])?;
            if is_get {
                config.form = HttpForm::Get;
            }
        }
        // Whichever comes first: what is got has no body.
        "body" => {
            let form = word(value, &FORMS[..2])?;
            if config.form != HttpForm::Get {
                config.form = form;
            }
        }
        "fields" => config.fields = pairs(value)?,
        "headers" => config.headers = pairs(value)?,
        "answer" => config.answer = word(value, &ANSWERS)?,
        "no" => config.no = word(value, &NOS)?,
        "superuser_url" => config.superuser_url = Some(text(value)?),
        "anonymous" => config.knows_anonymous = word(value, &SWITCH)?,
        "connections_max" => config.connections_max = number(&CONNECTIONS, value)? as usize,
        "failures_max" => config.breaker.failures_max = number(&FAILURES, value)? as u32,
        "retry_after" => config.breaker.open_s = number(&SECONDS, value)?,
        "timeout" => config.timeout = Duration::from_millis(number(&TIMEOUT, value)?),
        "ca_file" => config.ca_file = Some(path(value)?),
        _ => cache(&mut config.cache, key, value)?,
    }
    Ok(())
}

impl JwtDraft {
    fn read(&mut self, key: &'static str, value: &DeValue<'_>) -> Result<(), String> {
        let config = &mut self.config;
        match key {
            "token" => config.token_in = word(value, &TOKENS)?,
            "secret_file" => self.secret = Some(path(value)?),
            "secret_base64" => self.is_base64 = word(value, &SWITCH)?,
            "key_file" => self.pem = texts(value)?.into_iter().map(PathBuf::from).collect(),
            "jwks_file" => self.set = Some(path(value)?),
            "jwks_url" => self.url = Some(text(value)?),
            "jwks_refresh" => self.refresh_s = number(&REFRESH, value)?,
            "ca_file" => self.ca_file = Some(path(value)?),
            "timeout" => self.timeout = Duration::from_millis(number(&TIMEOUT, value)?),
            "issuer" => config.issuers = texts(value)?,
            "audience" => config.audiences = texts(value)?,
            "claims" => config.claims = pairs(value)?,
            "user_claim" => config.user_name_claim = Some(text(value)?),
            "client_id_claim" => config.client_id_claim = Some(text(value)?),
            "superuser_claim" => config.superuser_claim = Some(text(value)?),
            "acl_claim" => config.acl_claim = Some(text(value)?).filter(|claim| claim != "none"),
            "require_expiry" => config.needs_expiry = word(value, &SWITCH)?,
            _ => config.leeway_s = number(&SECONDS, value)?,
        }
        Ok(())
    }

    fn finish(self) -> Result<StepConfig, (&'static str, String)> {
        let Self { mut config, secret, is_base64, pem, set, url, refresh_s, ca_file, timeout } = self;
        if is_base64 && secret.is_none() {
            return Err(("secret_base64", "`secret_base64`: there is no `secret_file`".to_owned()));
        }
        if config.token_in == TokenIn::UserName && config.user_name_claim.is_none() {
            let message = "`token`: with a token for a user name, `user_claim` must say who it is";
            return Err(("token", message.to_owned()));
        }
        config.keys.extend(secret.map(|path| KeySource::Secret { path, is_base64 }));
        config.keys.extend(pem.into_iter().map(|path| KeySource::Pem { path }));
        config.keys.extend(set.map(|path| KeySource::JwksFile { path }));
        config.keys.extend(url.map(|url| KeySource::JwksUrl { url, ca_file, refresh_s, timeout }));
        if config.keys.is_empty() {
            let message = "this step has no keys: `secret_file`, `key_file`, `jwks_file` or `jwks_url`";
            return Err(("type", message.to_owned()));
        }
        Ok(StepConfig::Jwt(Box::new(config)))
    }
}

/// `step` as a table that says the same; masked without what headers hold, fields
/// that are the same for everybody, and log-ins in URLs.
pub(super) fn to_toml(step: &StepConfig, is_masked: bool) -> String {
    let mut text = "[[auth]]\n".to_owned();
    let mut put = |key: &str, value: String| {
        let _ = writeln!(text, "{key} = {value}");
    };
    let file = |path: &PathBuf| quoted(&path.display().to_string());
    match step {
        StepConfig::PasswordFile(config) => {
            put("type", quoted("password-file"));
            put("name", quoted(&config.name));
            put("file", file(&config.path));
            put_cache(&config.cache, &mut put);
        }
        StepConfig::Scram(config) => {
            put("type", quoted("scram"));
            put("name", quoted(&config.name));
            put("file", file(&config.path));
        }
        StepConfig::Http(config) => put_http(config, is_masked, &mut put),
        StepConfig::Jwt(config) => put_jwt(config, is_masked, &mut put),
    }
    text
}

fn address(url: &str, is_masked: bool) -> String {
    quoted(&if is_masked { without_login(url) } else { url.into() })
}

fn put_http(config: &HttpConfig, is_masked: bool, put: &mut impl FnMut(&str, String)) {
    put("type", quoted("http"));
    put("name", quoted(&config.name));
    put("url", address(&config.url, is_masked));
    put("method", quoted(if config.form == HttpForm::Get { "get" } else { "post" }));
    if config.form != HttpForm::Get {
        put("body", quoted(word_for(&FORMS, &config.form)));
    }
    // What is the same for everybody may be what the server knows the broker by.
    let fields = config.fields.iter().map(|(name, value)| match is_masked && !value.contains('%') {
        true => (name.clone(), "***".to_owned()),
        false => (name.clone(), value.clone()),
    });
    put("fields", table(&fields.collect::<Vec<_>>()));
    match is_masked && !config.headers.is_empty() {
        true => {
            let names: Vec<_> = config.headers.iter().map(|(name, _)| name.as_str()).collect();
            put("# headers (values not shown)", names.join(", "));
        }
        false => put("headers", table(&config.headers)),
    }
    put("answer", quoted(word_for(&ANSWERS, &config.answer)));
    put("no", quoted(word_for(&NOS, &config.no)));
    if let Some(url) = &config.superuser_url {
        put("superuser_url", address(url, is_masked));
    }
    put("anonymous", config.knows_anonymous.to_string());
    put("connections_max", config.connections_max.to_string());
    put("failures_max", config.breaker.failures_max.to_string());
    put("retry_after", shown(&SECONDS, config.breaker.open_s));
    put_cache(&config.cache, put);
    put("timeout", shown(&TIMEOUT, millis(config.timeout)));
    if let Some(path) = &config.ca_file {
        put("ca_file", quoted(&path.display().to_string()));
    }
}

fn put_jwt(config: &JwtConfig, is_masked: bool, put: &mut impl FnMut(&str, String)) {
    put("type", quoted("jwt"));
    put("name", quoted(&config.name));
    put("token", quoted(word_for(&TOKENS, &config.token_in)));
    let pem = config.keys.iter().filter_map(|source| match source {
        KeySource::Pem { path } => Some(path.display()),
        _ => None,
    });
    let pem: Vec<_> = pem.collect();
    if !pem.is_empty() {
        put("key_file", list(pem.into_iter()));
    }
    for source in &config.keys {
        match source {
            KeySource::Secret { path, is_base64 } => {
                put("secret_file", quoted(&path.display().to_string()));
                put("secret_base64", is_base64.to_string());
            }
            KeySource::Pem { .. } => {}
            KeySource::JwksFile { path } => put("jwks_file", quoted(&path.display().to_string())),
            KeySource::JwksUrl { url, ca_file, refresh_s, timeout } => {
                put("jwks_url", address(url, is_masked));
                put("jwks_refresh", shown(&REFRESH, *refresh_s));
                put("timeout", shown(&TIMEOUT, millis(*timeout)));
                if let Some(path) = ca_file {
                    put("ca_file", quoted(&path.display().to_string()));
                }
            }
        }
    }
    if !config.issuers.is_empty() {
        put("issuer", list(config.issuers.iter()));
    }
    if !config.audiences.is_empty() {
        put("audience", list(config.audiences.iter()));
    }
    put("claims", table(&config.claims));
    let claims = [
        ("user_claim", &config.user_name_claim),
        ("client_id_claim", &config.client_id_claim),
        ("superuser_claim", &config.superuser_claim),
    ];
    for (key, claim) in claims {
        if let Some(claim) = claim {
            put(key, quoted(claim));
        }
    }
    put("acl_claim", quoted(config.acl_claim.as_deref().unwrap_or("none")));
    put("require_expiry", config.needs_expiry.to_string());
    put("leeway", shown(&SECONDS, config.leeway_s));
}

fn put_cache(config: &CacheConfig, put: &mut impl FnMut(&str, String)) {
    put("cache_allowed", shown(&SECONDS, config.allowed_s));
    put("cache_denied", shown(&SECONDS, config.denied_s));
    put("cache_max", config.entries_max.to_string());
}

fn cache(config: &mut CacheConfig, key: &str, value: &DeValue<'_>) -> Result<(), String> {
    // A file's cache that is switched on has a size, too.
    if config.entries_max == 0 {
        config.entries_max = CACHE_MAX;
    }
    match key {
        "cache_allowed" => config.allowed_s = number(&SECONDS, value)?,
        "cache_denied" => config.denied_s = number(&SECONDS, value)?,
        _ => config.entries_max = number(&ENTRIES, value)? as usize,
    }
    Ok(())
}

/// A text that can be shown, and written again.
fn text(value: &DeValue<'_>) -> Result<String, String> {
    let text = one(value)?;
    if text.chars().any(char::is_control) {
        Err("it has control characters in it".to_owned())
    } else {
        Ok(text)
    }
}

fn texts(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value.as_array() {
        Some(values) => values.iter().map(|value| text(value.get_ref())).collect(),
        None => text(value).map(|text| vec![text]),
    }
}

fn path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let text = text(value)?;
    if text.is_empty() { Err("a file must be named".to_owned()) } else { Ok(text.into()) }
}

/// Names and texts of a table, sorted by name.
fn pairs(value: &DeValue<'_>) -> Result<Vec<(String, String)>, String> {
    let table = value.as_table().ok_or("write { name = \"text\", ... }")?;
    let pair = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        text(value.get_ref()).map(|text| (name.to_string(), text))
    };
    table.iter().map(pair).collect()
}

fn table(pairs: &[(String, String)]) -> String {
    let pairs: Vec<_> =
        pairs.iter().map(|(name, text)| format!("{} = {}", quoted(name), quoted(text))).collect();
    if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) }
}

fn number(kind: &Kind, value: &DeValue<'_>) -> Result<u64, String> {
    match kind.parse(&one(value)?)? {
        Value::Number(number) => Ok(number),
        Value::Switch(_) | Value::Text(_) => Err("it takes a number".to_owned()),
    }
}

fn shown(kind: &Kind, number: u64) -> String {
    kind.show_toml(&Value::Number(number))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const fn kind(unit: Unit, min: u64, max: u64) -> Kind {
    Kind::Number { unit, range: min..=max, word: None }
}

/// What every type has.
const ALL: &str = "all";

/// A step of which nothing is said yet.
type Blank = fn() -> Draft;

const TYPES: [(&str, Blank); 4] = [
    ("password-file", Draft::password_file),
    ("http", Draft::http),
    ("jwt", Draft::jwt),
    ("scram", Draft::scram),
];

const FORMS: [(&str, HttpForm); 3] =
    [("json", HttpForm::PostJson), ("form", HttpForm::PostForm), ("get", HttpForm::Get)];

const ANSWERS: [(&str, AnswerForm); 4] = [
    ("emqx", AnswerForm::Emqx),
    ("status", AnswerForm::Status),
    ("json", AnswerForm::JsonOk),
    ("text", AnswerForm::Text),
];

const NOS: [(&str, No); 2] = [("deny", No::Denies), ("pass", No::Passes)];

const TOKENS: [(&str, TokenIn); 2] = [("password", TokenIn::Password), ("username", TokenIn::UserName)];

const SWITCH: [(&str, bool); 2] = [("true", true), ("false", false)];

const CONNECTIONS: Kind = kind(Unit::Count, 1, 10_000);
const FAILURES: Kind = kind(Unit::Count, 1, 1_000_000);
const ENTRIES: Kind = kind(Unit::Count, 0, 10_000_000);
const SECONDS: Kind = kind(Unit::Seconds, 0, 30 * 86_400);
const REFRESH: Kind = kind(Unit::Seconds, 1, 30 * 86_400);
const TIMEOUT: Kind = kind(Unit::Millis, 1, 600_000);

/// So many answers are remembered if nobody says otherwise.
const CACHE_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use crate::Config;
    use crate::settings::Settings;

    fn resolved(text: &str) -> Config {
        Settings::from_toml(text).unwrap().resolve()
    }

    const WHOLE: &str = r#"
[[auth]]
type = "jwt"
secret_file = "/etc/siskin/secret"
secret_base64 = true
key_file = ["/etc/siskin/a.pem", "/etc/siskin/b.pem"]
jwks_file = "/etc/siskin/jwks.json"
jwks_url = "https://issuer.example/keys"
jwks_refresh = "1m"
ca_file = "/etc/siskin/ca.pem"
issuer = "https://issuer.example"
audience = ["broker", "other"]
claims = { device = "%c" }
user_claim = "sub"
acl_claim = "none"
require_expiry = false
leeway = "5s"

[[auth]]
type = "http"
name = "accounts"
url = "http://127.0.0.1:8080/user"
method = "post"
body = "form"
fields = { username = "%u", "pass word" = "${password}" }
headers = { Authorization = "Bearer \"x\"" }
answer = "status"
no = "pass"
superuser_url = "http://127.0.0.1:8080/superuser"
timeout = "500ms"
cache_allowed = "5m"

[[auth]]
type = "http"
url = "http://127.0.0.1:8080/auth"
method = "get"

[[auth]]
type = "scram"
file = "/etc/siskin/users"

[[auth]]
type = "password-file"
file = "/etc/siskin/users"
cache_allowed = "1h"
"#;

    #[test]
    fn steps_are_read_in_their_order_and_written_so_that_they_are_read_the_same() {
        let config = resolved(WHOLE);
        let names: Vec<_> = config.access.auth.iter().map(siskin_auth::config::StepConfig::name).collect();
        assert_eq!(names, ["jwt", "accounts", "http", "scram", "password-file"]);
        let again = resolved(&config.to_toml());
        assert_eq!(again.access.auth, config.access.auth);
        assert_eq!(again.to_toml(), config.to_toml());
    }

    #[test]
    fn what_a_step_says_is_what_it_does() {
        use siskin_auth::config::{HttpForm, StepConfig};
        let config = resolved(WHOLE);
        let [
            StepConfig::Jwt(jwt),
            StepConfig::Http(form),
            StepConfig::Http(get),
            _,
            StepConfig::PasswordFile(file),
        ] = &config.access.auth[..]
        else {
            panic!("{:?}", config.access.auth);
        };
        assert_eq!((jwt.keys.len(), jwt.leeway_s, jwt.needs_expiry, &jwt.acl_claim), (5, 5, false, &None));
        assert_eq!(
            (form.form, form.cache.allowed_s, form.timeout.as_millis()),
            (HttpForm::PostForm, 300, 500)
        );
        assert_eq!(get.form, HttpForm::Get);
        assert_eq!((file.cache.allowed_s, file.cache.denied_s, file.cache.entries_max), (3600, 0, 10_000));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let cases = [
            ("file = \"x\"", "1:1: this step has no `type`: password-file, http, jwt, scram"),
            ("type = \"ldap\"", "2:8: `type`: `ldap` is not one of password-file, http, jwt, scram"),
            ("type = \"http\"", "1:1: this step has no `url`"),
            ("type = \"scram\"\nurl = \"x\"", "3:1: `url` is for `type` http, not scram"),
            ("type = \"http\"\nurls = \"x\"", "3:1: a step of type http has no `urls`; did you mean `url`?"),
            (
                "type = \"jwt\"",
                "2:1: this step has no keys: `secret_file`, `key_file`, `jwks_file` or `jwks_url`",
            ),
            (
                "type = \"jwt\"\nkey_file = \"x\"\nsecret_base64 = true",
                "4:1: `secret_base64`: there is no `secret_file`",
            ),
            (
                "type = \"jwt\"\nkey_file = \"x\"\ntoken = \"username\"",
                "4:1: `token`: with a token for a user name, `user_claim` must say who it is",
            ),
            (
                "type = \"http\"\nurl = \"http://a/\"\nfields = [1]",
                "4:10: `fields`: write { name = \"text\", ... }",
            ),
            (
                "type = \"http\"\nurl = \"http://a/\"\ntimeout = \"1h\"",
                "4:11: `timeout`: `1h` is out of range, allowed is 1ms to 10m",
            ),
        ];
        for (text, message) in cases {
            let mistakes = Settings::from_toml(&format!("[[auth]]\n{text}")).unwrap_err();
            let mistakes: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            assert_eq!(mistakes, [message], "{text}");
        }
        let twice = "[[auth]]\ntype = \"scram\"\nfile = \"x\"\n[[auth]]\ntype = \"scram\"\nfile = \"y\"";
        let mistakes = Settings::from_toml(twice).unwrap_err();
        assert_eq!(
            mistakes[0].to_string(),
            "4:1: there is a step named `scram` already: give this one a `name`"
        );
        assert!(Settings::from_toml("auth = 1").unwrap_err()[0].message.contains("[[auth]]"));
    }
}
