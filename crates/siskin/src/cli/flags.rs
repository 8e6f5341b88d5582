//! The flags of `siskin serve` and `siskin check`: one for every setting, made from their table.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::builder::{TypedValueParser, ValueParser};
use clap::error::{Error, ErrorKind};
use clap::{Arg, ArgMatches, Command, FromArgMatches};
use siskin_server::Config;
use siskin_server::config::{Certificate, ClientCertificates, TLS_PORT, Tls};
use siskin_server::settings::{Extra, Kind, Listen, SETTINGS, Setting, Settings, Value};

/// Where the configuration comes from: a file, flags, or both.
#[derive(clap::Args)]
pub(crate) struct Source {
    /// Configuration file; flags beat it
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Port of the listeners for plain MQTT that do not name their own [default: 1883]
    #[arg(short, long)]
    port: Option<u16>,

    /// Address to listen on, ADDRESS or ADDRESS:PORT; may be repeated [default: 127.0.0.1 and ::1]
    #[arg(long, value_name = "ADDRESS")]
    bind: Vec<Listen>,

    /// Listen for MQTT over TLS on this port too [default with --tls-cert: 8883]
    #[arg(long, value_name = "PORT", requires = "tls_cert")]
    tls_port: Option<u16>,

    /// Listen for MQTT over WebSocket on this port too, usually 8083
    #[arg(long, value_name = "PORT")]
    ws_port: Option<u16>,

    /// Listen for MQTT over WebSocket over TLS on this port too, usually 8084
    #[arg(long, value_name = "PORT", requires = "tls_cert")]
    wss_port: Option<u16>,

    /// PEM file of the server's certificate chain
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// PEM file of the certificate's private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// PEM file of those who sign clients' certificates, which then are required
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,

    /// Show more in the log; twice for even more
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with_all = ["quiet", "log-level"])]
    verbose: u8,

    /// Show only warnings and errors in the log
    #[arg(short, long, conflicts_with = "log-level")]
    quiet: bool,

    #[command(flatten)]
    settings: SettingFlags,
}

impl Source {
    /// The configuration that file and flags give, or the text of what is wrong.
    pub(crate) fn resolve(&self) -> Result<Config, String> {
        let file = match &self.config {
            Some(path) => read(path)?,
            None => Settings::default(),
        };
        let mut flags = Settings::default();
        for (setting, value) in &self.settings.0 {
            flags.put(setting, value.clone());
        }
        let level = match (self.quiet, self.verbose) {
            (true, _) => Some("warn"),
            (false, 0) => None,
            (false, 1) => Some("debug"),
            (false, _) => Some("trace"),
        };
        if let (Some(level), Some(setting)) = (level, Setting::named("log.level")) {
            flags.put(setting, Value::Text(level.to_owned()));
        }
        if let Some(port) = self.port {
            flags.set_port(port);
        }
        for listen in &self.bind {
            flags.listen(listen.clone());
        }
        let mut tls_port = self.tls_port;
        if let (Some(chain), Some(key)) = (self.tls_cert.clone(), self.tls_key.clone()) {
            let client_certificates = match self.tls_ca {
                Some(_) => ClientCertificates::Required,
                None => ClientCertificates::Off,
            };
            let ca = self.tls_ca.clone().into_iter().collect();
            let certificates = vec![Certificate { chain, key }];
            flags.set_tls(Tls { certificates, client_certificates, ca, crl: Vec::new() });
            if self.wss_port.is_none() {
                tls_port = tls_port.or(Some(TLS_PORT));
            }
        }
        let ports = [
            (Extra::Tls, tls_port),
            (Extra::WebSocket, self.ws_port),
            (Extra::SecureWebSocket, self.wss_port),
        ];
        for (extra, port) in ports {
            if let Some(port) = port {
                flags.add(extra, port);
            }
        }
        Ok(flags.or(file).resolve())
    }
}

fn read(path: &PathBuf) -> Result<Settings, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}\n"))?;
    Settings::from_toml(&text).map_err(|mistakes| {
        mistakes.iter().fold(String::new(), |mut all, mistake| {
            let _ = writeln!(all, "{name}:{mistake}");
            all
        })
    })
}

/// The settings that were given as flags.
struct SettingFlags(Vec<(&'static Setting, Value)>);

impl clap::Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        SETTINGS.iter().fold(command, |command, setting| command.arg(flag(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = |setting: &'static Setting| {
            let value = matches.get_one::<Value>(&setting.flag())?;
            Some((setting, value.clone()))
        };
        Ok(Self(SETTINGS.iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn flag(setting: &'static Setting) -> Arg {
    let kind = setting.kind();
    let default = kind.show(&setting.default());
    let name = setting.flag();
    let flag = Arg::new(name.clone())
        .long(name)
        .value_name(kind.placeholder())
        .help(format!("{} [{}; default: {default}]", setting.help, kind.allowed()))
        .value_parser(ValueParser::new(Parser(setting)));
    // `--allow-anonymous` alone says enough.
    let flag = match kind {
        Kind::Choice(words) if words.contains(&"true") => flag.num_args(0..=1).default_missing_value("true"),
        _ => flag,
    };
    match setting.section_and_key().0 {
        "access" => flag.help_heading("Access"),
        "limits" => flag.help_heading("Limits"),
        _ => flag,
    }
}

#[derive(Clone)]
struct Parser(&'static Setting);

impl TypedValueParser for Parser {
    type Value = Value;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, text: &std::ffi::OsStr) -> Result<Value, Error> {
        let text = text.to_string_lossy();
        self.0.kind().parse(&text).map_err(|message| {
            Error::raw(ErrorKind::ValueValidation, format!("--{}: {message}\n", self.0.flag()))
                .with_cmd(command)
        })
    }
}
