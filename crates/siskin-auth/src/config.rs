//! What a chain consists of. How a user writes it down is somebody else's business.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether clients without credentials are let in; if nobody says, those of local listeners are.
    pub anonymous: Option<bool>,
    /// Who is asked, in this order.
    pub steps: Vec<StepConfig>,
    /// So many clients may wait for their verdict; the next is refused at once.
    pub attempts_max: usize,
    /// So many bytes of what they have said may be kept meanwhile; beyond it clients are refused, too.
    pub waiting_max_bytes: usize,
    /// So long a verdict may take, whatever the steps wait for.
    pub timeout: Duration,
    /// The threads that compute password hashes.
    pub hashing: Hashing,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            anonymous: None,
            steps: Vec::new(),
            attempts_max: 10_000,
            waiting_max_bytes: 64 << 20,
            timeout: Duration::from_secs(15),
            hashing: Hashing::default(),
        }
    }
}

/// Limits of the threads that compute password hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashing {
    /// How many threads; 0 is half of the cores, and at least one.
    pub threads: usize,
    /// So many hashes may wait; the next client is refused at once.
    pub queue_max: usize,
    /// So much memory the hashes may need that are computed at the same time.
    pub memory_max_bytes: u64,
}

impl Default for Hashing {
    fn default() -> Self {
        Self { threads: 0, queue_max: 1_000, memory_max_bytes: 256 << 20 }
    }
}

/// A step of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepConfig {
    /// Users and hashes in a file.
    PasswordFile(PasswordFileConfig),
    /// A web server.
    Http(Box<HttpConfig>),
    /// Signed tokens.
    Jwt(Box<JwtConfig>),
    /// The enhanced authentication of 5.0 by SCRAM-SHA-256.
    Scram(ScramConfig),
}

impl StepConfig {
    /// What the step is called in log and metrics.
    pub fn name(&self) -> &str {
        match self {
            Self::PasswordFile(config) => &config.name,
            Self::Http(config) => &config.name,
            Self::Jwt(config) => &config.name,
            Self::Scram(config) => &config.name,
        }
    }

    /// The files that a reload reads again.
    pub fn files(&self) -> Vec<&Path> {
        match self {
            Self::PasswordFile(config) => vec![&config.path],
            Self::Http(_) => Vec::new(),
            Self::Jwt(config) => config.keys.iter().filter_map(KeySource::file).collect(),
            Self::Scram(config) => vec![&config.path],
        }
    }
}

/// A password file in any of the formats of Mosquitto.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordFileConfig {
    /// What the step is called.
    pub name: String,
    /// Where the file is.
    pub path: PathBuf,
    /// Whether verdicts are remembered. Off by default: who reads the memory of the process can try passwords
    /// on what is remembered faster than on the hashes of the file.
    pub cache: CacheConfig,
}

impl PasswordFileConfig {
    /// The file at `path`, and no cache.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { name: "password file".to_owned(), path: path.into(), cache: CacheConfig::OFF }
    }
}

/// For how long a verdict may be repeated without asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// A client that was let in; 0 is off.
    pub allowed_s: u64,
    /// A client that was not; 0 is off.
    pub denied_s: u64,
    /// So many verdicts are remembered; beyond it the oldest goes.
    pub entries_max: usize,
}

impl CacheConfig {
    /// Nothing is remembered.
    pub const OFF: Self = Self { allowed_s: 0, denied_s: 0, entries_max: 0 };
}

/// When a back end is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// After so many failures in a row.
    pub failures_max: u32,
    /// For so long; then one question tries whether it is well.
    pub open_s: u64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures_max: 5, open_s: 10 }
    }
}

/// A web server that is asked about each client.
///
/// URL, fields and headers may have placeholders in them: `%u` user name, `%c` client id, `%P` password, `%a` the
/// peer's address, `%%` a percent sign; or `${username}`, `${clientid}`, `${password}`, `${peerhost}`,
/// `${peerport}`, `${cert_common_name}`, `${cert_subject}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// What the step is called.
    pub name: String,
    /// `http://` or `https://`; not in the host may be placeholders.
    pub url: String,
    /// How it is asked.
    pub form: HttpForm,
    /// Names and templates of what it is told.
    pub fields: Vec<(String, String)>,
    /// Names and templates of additional headers.
    pub headers: Vec<(String, String)>,
    /// How it answers.
    pub answer: AnswerForm,
    /// What its no means.
    pub no: No,
    /// A second URL, which says yes to those who may do everything.
    pub superuser_url: Option<String>,
    /// Whether it is asked about clients without credentials too.
    pub knows_anonymous: bool,
    /// The authorities of its certificate, as PEM; none for the system's.
    pub ca_file: Option<PathBuf>,
    /// So long an answer may take.
    pub timeout: Duration,
    /// So many questions may be under way.
    pub connections_max: usize,
    /// Which answers are remembered.
    pub cache: CacheConfig,
    /// When it is left alone.
    pub breaker: BreakerConfig,
}

impl HttpConfig {
    /// EMQX's form at this URL, with user name, password and client id as JSON.
    pub fn new(url: impl Into<String>) -> Self {
        let field = |(name, text): (&str, &str)| (name.to_owned(), text.to_owned());
        Self {
            name: "http".to_owned(),
            url: url.into(),
            form: HttpForm::PostJson,
            fields: [("username", "%u"), ("password", "%P"), ("clientid", "%c")].map(field).into(),
            headers: Vec::new(),
            answer: AnswerForm::Emqx,
            no: No::Denies,
            superuser_url: None,
            knows_anonymous: false,
            ca_file: None,
            timeout: Duration::from_secs(5),
            connections_max: 32,
            cache: CacheConfig { allowed_s: 30, denied_s: 5, entries_max: 10_000 },
            breaker: BreakerConfig::default(),
        }
    }
}

/// How a web server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpForm {
    /// POST with a JSON object.
    PostJson,
    /// POST with a form.
    PostForm,
    /// GET with a query.
    Get,
}

/// How a web server answers. A status of 5xx, 408, 425 or 429 is a failure in every form, and redirections are
/// not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerForm {
    /// EMQX: 200 with `{"result": "allow|deny|ignore", "is_superuser": .., "acl": .., "expire_at": ..}`, or 204
    /// for yes; any other status is a no.
    Emqx,
    /// mosquitto-go-auth's `status`: 2xx is yes.
    Status,
    /// mosquitto-go-auth's `json`: `{"Ok": true}`.
    JsonOk,
    /// mosquitto-go-auth's `text`: `ok`.
    Text,
}

/// What a no means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum No {
    /// The client is refused.
    Denies,
    /// The next step is asked.
    Passes,
}

/// Tokens that somebody has signed whom the broker trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// What the step is called.
    pub name: String,
    /// Where clients put their token.
    pub token_in: TokenIn,
    /// Whose signatures count.
    pub keys: Vec<KeySource>,
    /// Who may have issued it (`iss`); anybody if empty.
    pub issuers: Vec<String>,
    /// For whom it may be (`aud`); for anybody if empty.
    pub audiences: Vec<String>,
    /// Claims that must be there with these values, in which placeholders may stand.
    pub claims: Vec<(String, String)>,
    /// The claim that becomes the user name, in place of what the client says.
    pub user_name_claim: Option<String>,
    /// The claim that must be the client id.
    pub client_id_claim: Option<String>,
    /// The claim that, being `true`, allows everything.
    pub superuser_claim: Option<String>,
    /// The claim with what the client may do, in EMQX's forms.
    pub acl_claim: Option<String>,
    /// Whether a token must have an end (`exp`).
    pub needs_expiry: bool,
    /// So far clocks may differ.
    pub leeway_s: u64,
}

impl JwtConfig {
    /// Tokens in the password that are signed with one of these keys, and must expire.
    pub fn new(keys: Vec<KeySource>) -> Self {
        Self {
            name: "jwt".to_owned(),
            token_in: TokenIn::Password,
            keys,
            issuers: Vec::new(),
            audiences: Vec::new(),
            claims: Vec::new(),
            user_name_claim: None,
            client_id_claim: None,
            superuser_claim: None,
            acl_claim: Some("acl".to_owned()),
            needs_expiry: true,
            leeway_s: 30,
        }
    }
}

/// Where clients put their token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenIn {
    /// In the password.
    Password,
    /// In the user name. Then [`JwtConfig::user_name_claim`] says who it is.
    UserName,
}

/// Where keys come from. The kind of a key decides which algorithms count, never the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file whose bytes, without white space at the end, are the secret of HS256, HS384 and HS512.
    Secret {
        /// Where it is.
        path: PathBuf,
        /// Whether the bytes are Base64.
        is_base64: bool,
    },
    /// A file with public keys or certificates as PEM: RSA, P-256, P-384 and Ed25519.
    Pem {
        /// Where it is.
        path: PathBuf,
    },
    /// A file with a JSON Web Key Set.
    JwksFile {
        /// Where it is.
        path: PathBuf,
    },
    /// A JSON Web Key Set that is fetched, and fetched again from time to time and for a key id that it lacks.
    JwksUrl {
        /// Where it is.
        url: String,
        /// The authorities of the server's certificate, as PEM; none for the system's.
        ca_file: Option<PathBuf>,
        /// How often.
        refresh_s: u64,
        /// So long it may take.
        timeout: Duration,
    },
}

impl KeySource {
    fn file(&self) -> Option<&Path> {
        match self {
            Self::Secret { path, .. } | Self::Pem { path } | Self::JwksFile { path } => Some(path),
            Self::JwksUrl { .. } => None,
        }
    }
}

/// Users who log in by SCRAM-SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScramConfig {
    /// What the step is called.
    pub name: String,
    /// A password file. Only users with a `$scram-sha-256$` hash can log in; it may be the file that another step
    /// looks into.
    pub path: PathBuf,
}

impl ScramConfig {
    /// The file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { name: "scram".to_owned(), path: path.into() }
    }
}
