//! `siskin explain`: why things are as they are in a running broker, in sentences.

mod message;
mod topic;

use std::io::{self, Write as _};
use std::process::ExitCode;

use super::ctl::{Access, Api, Failure, View, finish, story};

/// Ask a running broker why a client is not connected, who receives a topic, and what becomes of a message.
///
/// It is asked by its admin API, on http://127.0.0.1:18083 if nobody says otherwise. Ends with status 0 if there is an
/// answer, 1 if there is none, 2 if the command line is wrong.
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
    Client(Client),
    Topic(topic::Topic),
    Message(message::Message),
}

/// Tell whether a client is connected, why or why not, and what happened to it
///
/// Also of clients that are gone: the broker remembers the latest ones until it is stopped.
#[derive(clap::Args)]
struct Client {
    /// Client id
    #[arg(value_name = "ID", allow_hyphen_values = true)]
    client_id: String,
}

/// Does what the command line says.
pub(crate) fn run(args: &Args) -> ExitCode {
    // Not buffered as a whole: what is followed is to be seen while it happens.
    let mut out = io::LineWriter::new(io::stdout().lock());
    let done = ask(args, &mut out).and_then(|()| out.flush().map_err(Failure::from));
    drop(out);
    finish(done)
}

fn ask(args: &Args, out: &mut dyn io::Write) -> Result<(), Failure> {
    let api = Api::new(&args.access)?;
    let mut view = View { is_json: args.json, out };
    match &args.command {
        Command::Client(client) => story(&api, &client.client_id, &mut view),
        Command::Topic(topic) => topic.run(&api, &mut view),
        Command::Message(message) => message.run(&api, &mut view),
    }
}
