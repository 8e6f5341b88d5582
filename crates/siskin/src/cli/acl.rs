//! `siskin acl`: what an ACL file says, before a broker acts on it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgGroup, Subcommand};
use siskin_access::acl::{Access, Acl, Who};
use siskin_proto::{TopicFilter, TopicName};

/// Look into an ACL file (Mosquitto's format).
#[derive(clap::Args)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Test(Test),
    Check(Check),
}

/// Say whether a client may do something, and which line of the file decides.
///
/// Ends with status 0 if it may, 1 if it may not, 2 if the question or the file is wrong.
#[derive(clap::Args)]
#[command(group(ArgGroup::new("access").required(true)))]
struct Test {
    /// ACL file
    #[arg(short, long)]
    file: PathBuf,

    /// User name; none is a client that gives no name
    #[arg(short, long, value_name = "NAME", allow_hyphen_values = true)]
    user: Option<String>,

    /// Client id
    #[arg(short, long, value_name = "ID", default_value = "", allow_hyphen_values = true)]
    client: String,

    /// May it publish to this topic?
    #[arg(short, long, value_name = "TOPIC", group = "access", allow_hyphen_values = true)]
    publish: Option<String>,

    /// May it receive messages of this topic?
    #[arg(short, long, value_name = "TOPIC", group = "access", allow_hyphen_values = true)]
    read: Option<String>,

    /// May it subscribe to this filter?
    #[arg(short, long, value_name = "FILTER", group = "access", allow_hyphen_values = true)]
    subscribe: Option<String>,
}

/// Name everything that is wrong with an ACL file, and what is most likely not meant.
///
/// Ends with status 0 if the file can be used, warnings or not, and 2 if it cannot.
#[derive(clap::Args)]
struct Check {
    /// ACL file
    #[arg(short, long)]
    file: PathBuf,
}

pub(crate) fn run(args: Args) -> ExitCode {
    let answer = match args.command {
        Command::Test(question) => test(&question),
        Command::Check(Check { file }) => check(&file),
    };
    let (written, status) = match answer {
        Ok((text, status)) => (std::io::stdout().write_all(text.as_bytes()), status),
        Err(text) => (std::io::stderr().write_all(text.as_bytes()), WRONG),
    };
    // Nobody reads what we write: there is nobody left to tell, but the status.
    ExitCode::from(if written.is_ok() { status } else { WRONG })
}

fn test(question: &Test) -> Result<(String, u8), String> {
    let Test { file, user, client, publish, read, subscribe } = question;
    let (acl, _) = load(file)?;
    let (access, verb, topic) = match (publish, read, subscribe) {
        (Some(topic), ..) => (Access::Write, "publish to", topic),
        (_, Some(topic), _) => (Access::Read, "receive messages of", topic),
        (.., Some(filter)) => (Access::Subscribe, "subscribe to", filter),
        (None, None, None) => return Err("one of --publish, --read and --subscribe is needed\n".to_owned()),
    };
    let is_subscription = access == Access::Subscribe;
    let is_valid =
        if is_subscription { TopicFilter::parse(topic).is_ok() } else { TopicName::parse(topic).is_ok() };
    if !is_valid {
        let what = if is_subscription { "filter" } else { "topic name" };
        return Err(format!("`{}` is not a {what}\n", topic.escape_debug()));
    }
    let who = Who { user: user.as_deref(), client_id: client };
    let decision = acl.check(who, access, topic);
    let name = user.as_ref().map_or("a client without user name".to_owned(), |user| format!("user `{user}`"));
    let id = if client.is_empty() { String::new() } else { format!(" with client id `{client}`") };
    let may = if decision.allowed { "may" } else { "may not" };
    let mut text = format!("{name}{id} {may} {verb} `{topic}`: {decision}\n");
    if is_subscription && !acl.for_client(who).could_read(unshared(topic)) {
        text.push_str("but no message that matches may be delivered to it\n");
    }
    Ok((text, if decision.allowed { ALLOWED } else { DENIED }))
}

fn check(file: &Path) -> Result<(String, u8), String> {
    let (acl, warnings) = load(file)?;
    let rules = acl.rules().len();
    let what = if rules == 1 { "rule" } else { "rules" };
    Ok((format!("{warnings}{}: {rules} {what}, no mistakes\n", file.display()), ALLOWED))
}

/// The rules of a file with the text of its warnings, or the text of what is wrong.
fn load(file: &Path) -> Result<(Acl, String), String> {
    let name = file.display();
    let text = std::fs::read(file).map_err(|error| format!("cannot read {name}: {error}\n"))?;
    let list = |mistakes: &[siskin_access::Mistake], kind| {
        mistakes.iter().fold(String::new(), |mut all, mistake| {
            let _ = writeln!(all, "{name}:{}:{}: {kind}{}", mistake.line, mistake.column, mistake.problem);
            all
        })
    };
    let acl = Acl::parse(text).map_err(|mistakes| list(&mistakes, ""))?;
    let warnings = list(acl.warnings(), "warning: ");
    Ok((acl, warnings))
}

/// The filter of a shared subscription, or the filter as it is.
fn unshared(filter: &str) -> &str {
    filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')).map_or(filter, |(_, filter)| filter)
}

const ALLOWED: u8 = 0;
const DENIED: u8 = 1;
const WRONG: u8 = 2;
