//! The command line: which subcommands there are. Each has a file with its `Args` and its `run`.

mod acl;
mod bench;
mod check;
mod client;
mod completions;
mod ctl;
mod explain;
mod flags;
mod log;
mod man;
mod passwd;
mod publish;
mod serve;
mod service_manager;
mod store;
mod subscribe;
mod top;
mod verify_durability;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Reads the command line and does what it says.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        let is_passwd = std::env::args_os().nth(1).is_some_and(|command| command == "passwd");
        if error.use_stderr() && is_passwd {
            // Scripts for mosquitto_passwd know this status.
            let _ = error.print();
            std::process::exit(passwd::FAILED.into());
        }
        error.exit()
    });
    match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Check(args) => check::run(&args),
        Command::Pub(args) => publish::run(args),
        Command::Sub(args) => subscribe::run(args),
        Command::VerifyDurability(args) => verify_durability::run(&args),
        Command::Store(args) => store::run(&args),
        Command::Bench(args) => bench::run(args),
        Command::Passwd(args) => passwd::run(&args),
        Command::Acl(args) => acl::run(args),
        Command::Ctl(args) => ctl::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
        Command::Man(args) => man::run(&args, Cli::command()),
    }
}

/// Siskin, an MQTT broker and its tools.
#[derive(Parser)]
#[command(name = "siskin", version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the broker.
    Serve(serve::Args),
    /// Check a configuration and print what the broker would do with it.
    Check(check::Args),
    Pub(publish::Args),
    Sub(subscribe::Args),
    VerifyDurability(verify_durability::Args),
    Store(store::Args),
    Bench(bench::Args),
    Passwd(passwd::Args),
    Acl(acl::Args),
    Ctl(ctl::Args),
    Explain(explain::Args),
    Top(top::Args),
    Completions(completions::Args),
    Man(man::Args),
}
