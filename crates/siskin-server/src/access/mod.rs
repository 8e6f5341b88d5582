//! Who is let in and what clients may do: the chain that is asked on CONNECT, the rules that the core goes by, and
//! the files of both.
//!
//! ```text
//! CONNECT ─> Gate::identify ─┬─> known at once ───────────────────────> core.connect
//!                            └─> Chain (its own threads) ─> Letter ─┬─> core.connect
//!                                                                  └─> CONNACK, close
//! ```

mod files;
mod rules;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use siskin_auth::config::{PasswordFileConfig, ScramConfig, StepConfig};
use siskin_auth::{Certificate, Chain, Known, Request, Secret};
use siskin_core::{Identity, Rulebook};
use siskin_proto::{Connect, Reason, Version};

use crate::config::{self, AccessConfig, Anonymous, Config, IdentityIs, Listener};
use crate::transport::{Peer, Transport, identity};
use files::{Files, Marks};
use rules::{Book, Claims};

/// What all workers ask about who comes in.
pub(crate) struct Gate {
    chain: Chain,
    config: AccessConfig,
    rules: Mutex<Rules>,
}

struct Rules {
    files: Files,
    marks: Marks,
}

/// A client that is let in.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) identity: Identity,
    /// The client id that it must have in place of its own.
    pub(crate) client_id: Option<Arc<str>>,
    /// When it must be gone, in seconds since 1970.
    pub(crate) expires_at: Option<u64>,
}

/// A client that is not let in.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    /// What the client may know.
    pub(crate) told: String,
    /// What the log says.
    pub(crate) why: String,
}

impl Gate {
    /// Reads all files and starts the chain's threads.
    pub(crate) fn start(config: &Config) -> Result<Self, String> {
        Self::start_knowing(config, &Known::default())
    }

    /// The same in place of `former`, whose keys from elsewhere stay good until there are newer ones.
    pub(crate) fn start_after(config: &Config, former: &Self) -> Result<Self, String> {
        Self::start_knowing(config, former.chain.known())
    }

    fn start_knowing(config: &Config, known: &Known) -> Result<Self, String> {
        let access = &config.access;
        let files = Files::read(access)?;
        files.warn(access);
        let anonymous = match access.allow_anonymous {
            Anonymous::Local => None,
            Anonymous::Allowed => Some(true),
            Anonymous::Denied => Some(false),
        };
        let defaults = siskin_auth::Config::default();
        // Who waits longer than a CONNECT may take is not waited for.
        let timeout = defaults.timeout.min(Duration::from_millis(config.transport.connect_timeout_ms));
        let chain_config = siskin_auth::Config { anonymous, steps: steps(access), timeout, ..defaults };
        let chain = Chain::start_knowing(chain_config, known).map_err(|error| error.to_string())?;
        let rules = Mutex::new(Rules { files, marks: Marks::of(access) });
        Ok(Self { chain, config: access.clone(), rules })
    }

    /// Whether there is nothing to be found out about who comes through this listener.
    pub(crate) fn is_open(&self, listener: &Listener) -> bool {
        let asks = listener.authentication
            && !(self.chain.is_empty() && is_anonymous_allowed(&self.config, listener));
        !asks && self.config.acl_file.as_os_str().is_empty()
    }

    pub(crate) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// What the core is to go by; none if everybody may do everything.
    pub(crate) fn rulebook(&self) -> Option<Arc<dyn Rulebook>> {
        let rules = self.rules();
        let users = rules.files.users.clone();
        let book =
            Book::new(rules.files.acl.clone(), &self.config.acl_file, self.config.subscribe_check, users);
        // Without a file it may still be about what clients have brought along from the chain.
        (book.has_file() || !self.chain.is_empty()).then(|| Arc::new(book) as _)
    }

    /// Reads all files anew. If one of passwords or rules cannot be used all stay as they were; a step of the chain whose own
    /// file cannot be used keeps what it has. The log says what is wrong. Says whether there are other rules now.
    pub(crate) fn reload(&self) -> bool {
        let mut rules = self.rules();
        rules.marks = Marks::of(&self.config);
        match Files::read(&self.config) {
            Ok(files) => rules.files = files,
            Err(problem) => {
                tracing::error!("the old rules and passwords stay in force: {problem}");
                return false;
            }
        }
        if let Err(problem) = self.chain.reload() {
            tracing::error!("{problem}: there, what was stays in force");
        }
        rules.files.warn(&self.config);
        true
    }

    /// The same if a file has changed.
    pub(crate) fn check(&self) -> bool {
        let has_changed = Marks::of(&self.config) != self.rules().marks;
        has_changed && self.reload()
    }

    /// What is to be found out about a client.
    pub(crate) fn request(
        connect: &Connect<'_>,
        listener: &Listener,
        transport: &Transport,
        peer: Peer,
        is_named: bool,
    ) -> Request {
        Request {
            client_id: connect.client_id.into(),
            user_name: connect.user_name.map(Into::into),
            password: connect.password.map(Secret::new),
            version: connect.version,
            peer: peer.address(),
            is_local: is_trusted(listener),
            allow_anonymous: listener.allow_anonymous,
            certificate: certificate(listener, transport, is_named),
            method: connect.properties.authentication_method().map(Into::into),
            data: connect.properties.authentication_data().unwrap_or_default().to_vec(),
        }
    }

    /// What is to be found out about a client that proves once more who it is.
    pub(crate) fn renewal(
        client_id: Arc<str>,
        method: Arc<str>,
        data: Vec<u8>,
        listener: &Listener,
        peer: Peer,
    ) -> Request {
        Request {
            version: Version::V5,
            peer: peer.address(),
            is_local: is_trusted(listener),
            allow_anonymous: listener.allow_anonymous,
            method: Some(method),
            data,
            ..Request::new(client_id)
        }
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the files, without starting anything.
pub(crate) fn check_files(config: &AccessConfig) -> Result<(), String> {
    Files::read(config)?;
    let config = siskin_auth::Config { steps: steps(config), ..siskin_auth::Config::default() };
    Chain::check(&config).map_err(|error| error.to_string())
}

/// Who is asked: the password file, then what else is configured.
fn steps(config: &AccessConfig) -> Vec<StepConfig> {
    let mut steps = Vec::new();
    if !config.password_file.as_os_str().is_empty() {
        let [name, by_scram] = LISTED.map(str::to_owned);
        let file = PasswordFileConfig { name, ..PasswordFileConfig::new(&config.password_file) };
        steps.push(StepConfig::PasswordFile(file));
        // Users whose hash is of that kind may prove their password without telling it.
        let scram = ScramConfig { name: by_scram, ..ScramConfig::new(&config.password_file) };
        steps.push(StepConfig::Scram(scram));
    }
    steps.extend(config.auth.iter().cloned());
    steps
}

/// Whether clients without a user name come in by a listener.
pub(crate) fn is_anonymous_allowed(config: &AccessConfig, listener: &Listener) -> bool {
    let by_default = match config.allow_anonymous {
        Anonymous::Local => is_trusted(listener),
        Anonymous::Allowed => true,
        Anonymous::Denied => false,
    };
    !listener.authentication || listener.allow_anonymous.unwrap_or(by_default)
}

/// Whether who comes through a listener is no stranger.
fn is_trusted(listener: &Listener) -> bool {
    listener.is_local() || listener.requires_certificate()
}

/// What TLS has found out about a client. If `is_named`, its user name comes from there, which is proof enough.
fn certificate(listener: &Listener, transport: &Transport, is_named: bool) -> Option<Certificate> {
    let is_proof = is_named && listener.identity_is == IdentityIs::UserName;
    let shown = match transport {
        Transport::Layered(layered) => layered.client_certificate(),
        Transport::Tcp(_) | Transport::Unix(_) => None,
    };
    let part = |which| shown.and_then(|shown| identity(shown, which)).map(Into::into);
    (is_proof || shown.is_some()).then(|| Certificate {
        common_name: part(config::Identity::CommonName),
        subject: part(config::Identity::Subject),
        is_proof,
    })
}

impl Ticket {
    /// For who was let in by a chain.
    pub(crate) fn of(identity: siskin_auth::Identity, method: Option<&str>) -> Self {
        let siskin_auth::Identity {
            user_name,
            client_id,
            permissions,
            is_superuser,
            expires_at,
            final_data,
            by,
        } = identity;
        let is_listed = LISTED.contains(&&*by);
        let claims = Claims { is_superuser, permissions, is_listed };
        let claims = claims.is_needed().then(|| Arc::new(claims) as _);
        let (method, final_data) = (method.map(Into::into), final_data.map(Into::into));
        Self { identity: Identity { user_name, claims, method, final_data }, client_id, expires_at }
    }

    /// For somebody of whom nothing is known, and nothing needs to be.
    pub(crate) fn anonymous() -> Self {
        Self { identity: Identity::default(), client_id: None, expires_at: None }
    }
}

impl From<siskin_auth::Refusal> for Refused {
    fn from(refusal: siskin_auth::Refusal) -> Self {
        Self { reason: refusal.reason, told: refusal.told.into_owned(), why: refusal.why }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.why)
    }
}

/// What a chain calls the steps whose users are those of `access.password_file`.
pub(crate) const LISTED: [&str; 2] = ["password file", "password file by scram"];
