//! The `siskin` program: the broker and the tools around it, one file per subcommand in `cli`.

mod cli;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[global_allocator]
static HEAP: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
