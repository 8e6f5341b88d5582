//! `siskin ctl`: what the admin API of a running broker tells and does, from the command line.

mod api;
mod bans;
mod clients;
mod log;
mod overview;
mod publish;
mod retained;
mod subscriptions;
mod table;
mod trace;

use std::io::{self, Write as _};
use std::process::ExitCode;

use serde_json::Value;

pub(crate) use api::{Access, Api, Failure};
pub(crate) use clients::story;
pub(crate) use table::{Column, Table, bytes, duration, number, text};
pub(crate) use trace::Trace;

/// Ask a running broker about its clients and messages, or have it do something.
///
/// It is asked by its admin API, on http://127.0.0.1:18083 if nobody says otherwise. Ends with status 0 if the broker
/// did what was asked, 1 if it did not, 2 if the command line is wrong.
#[derive(clap::Args)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(flatten)]
    access: Access,

    /// Print what the broker answers, as JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List clients, connected or not
    Clients(clients::List),
    /// Look at one client, or act on it
    #[command(subcommand)]
    Client(clients::One),
    /// List sessions that outlive their connections
    Sessions(clients::List),
    /// List subscriptions
    Subscriptions(subscriptions::List),
    /// List filters that somebody has subscribed to
    Topics(subscriptions::Topics),
    /// List, read or delete retained messages
    #[command(subcommand)]
    Retained(retained::Command),
    Publish(publish::Publish),
    /// List who may not connect
    Bans(Extent),
    Ban(bans::Ban),
    Unban(bans::Unban),
    Log(log::Log),
    LogLevel(overview::LogLevel),
    /// List listeners, and when their certificates end
    Listeners,
    /// Print the configuration that the broker runs with
    Config(overview::Config),
    /// Have the broker read its configuration and the files it names anew; nothing changes if anything is wrong
    Reload,
    /// Print what there is and what was done
    Stats,
    /// Say whether the broker does its work; status 1 if it does not
    Health,
}

/// Does what the command line says.
pub(crate) fn run(args: &Args) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = ask(args, &mut out).and_then(|()| out.flush().map_err(Failure::from));
    drop(out);
    finish(done)
}

/// Says what went wrong, if anything did.
pub(crate) fn finish(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads what we write: there is nobody left to tell, but the status.
        Err(Failure::Output) => ExitCode::FAILURE,
        Err(failure) => {
            _ = writeln!(io::stderr(), "{failure}");
            ExitCode::from(failure.status())
        }
    }
}

fn ask(args: &Args, out: &mut dyn io::Write) -> Result<(), Failure> {
    let api = Api::new(&args.access)?;
    let mut view = View { is_json: args.json, out };
    match &args.command {
        Command::Clients(list) => list.run(&api, "/api/v1/clients", clients::CLIENTS, &mut view),
        Command::Sessions(list) => list.run(&api, "/api/v1/sessions", clients::SESSIONS, &mut view),
        Command::Client(one) => one.run(&api, &mut view),
        Command::Subscriptions(list) => list.run(&api, &mut view),
        Command::Topics(list) => list.run(&api, &mut view),
        Command::Retained(command) => command.run(&api, &mut view),
        Command::Publish(publish) => publish.run(&api, &mut view),
        Command::Bans(extent) => bans::list(extent, &api, &mut view),
        Command::Ban(ban) => ban.run(&api, &mut view),
        Command::Unban(unban) => unban.run(&api, &mut view),
        Command::Log(log) => log.run(&api, &mut view),
        Command::LogLevel(level) => level.run(&api, &mut view),
        Command::Listeners => overview::listeners(&api, &mut view),
        Command::Config(config) => config.run(&api, &mut view),
        Command::Reload => overview::reload(&api, &mut view),
        Command::Stats => overview::stats(&api, &mut view),
        Command::Health => overview::health(&api, &mut view),
    }
}

/// How an answer is shown.
pub(crate) struct View<'a> {
    pub(crate) is_json: bool,
    pub(crate) out: &'a mut dyn io::Write,
}

impl View<'_> {
    /// Prints `answer` as it is, if that is wanted; else lets `show` print it.
    pub(crate) fn show(
        &mut self,
        answer: &Value,
        show: impl FnOnce(&Value, &mut dyn io::Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        if self.is_json {
            let text = serde_json::to_string_pretty(answer).unwrap_or_default();
            writeln!(self.out, "{text}")?;
        } else {
            show(answer, self.out)?;
        }
        Ok(())
    }
}

/// How much of a list is wanted.
#[derive(clap::Args)]
struct Extent {
    /// Items at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    limit: usize,

    /// All of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

impl Extent {
    /// Reads a list part by part. `list` names its items in an answer, `after` the parameter by which it goes on.
    fn read(
        &self,
        api: &Api,
        path: &str,
        query: &[(&str, String)],
        (list, after): (&str, &str),
    ) -> Result<Whole, Failure> {
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let room = if self.all { PART } else { (self.limit - items.len()).min(PART) };
            if room == 0 {
                return Ok(Whole { items, has_more: next.is_some() });
            }
            let mut query = query.to_vec();
            query.push(("limit", room.to_string()));
            query.extend(next.take().map(|next| (after, next)));
            let mut answer = api.get(path, &query)?;
            if let Some(Value::Array(part)) = answer.get_mut(list).map(Value::take) {
                items.extend(part);
            }
            next = match &answer["next"] {
                Value::String(next) => Some(next.clone()),
                Value::Number(next) => Some(next.to_string()),
                _ => None,
            };
            if next.is_none() {
                return Ok(Whole { items, has_more: false });
            }
        }
    }
}

/// What was read of a list.
struct Whole {
    items: Vec<Value>,
    has_more: bool,
}

impl Whole {
    fn show(self, view: &mut View<'_>, name: &str, columns: &[Column]) -> Result<(), Failure> {
        let mut answer = serde_json::Map::new();
        answer.insert(name.to_owned(), Value::Array(self.items));
        answer.insert("has_more".to_owned(), Value::Bool(self.has_more));
        view.show(&Value::Object(answer), |answer, out| {
            let items = answer[name].as_array().map_or(&[][..], Vec::as_slice);
            Table::new(columns, items).print(out)?;
            if self.has_more {
                writeln!(out, "... and more: --limit N or --all")?;
            }
            Ok(())
        })
    }
}

/// Items asked for at once.
const PART: usize = 1000;
