//! The `siskin` program: the broker and the tools around it, one file per subcommand in `cli`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
