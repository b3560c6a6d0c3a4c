//! Stage 09, accept-in-worker: the workers share the listener and accept by themselves.
//!
//! Shows an edge-triggered loop with many clients at once, signals as events in parent and
//! workers, and how a program is run for a client: `fork`, `dup2`, `execveat`.
//! Usage: `cargo run -p step09-accept-in-worker`. See also: `notes/src/09-accept-in-worker.md`.
#![forbid(unsafe_code)]

mod client;
mod demo;
mod job;
mod server;
mod visitor;
mod worker;
mod workers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::cli::{self, ProgramServeArgs, RunArgs};

/// Stage 09, accept-in-worker: the parent tells a worker that somebody waits; the worker accepts.
///
/// A client sends a NAME, a carriage return and a newline, and gets what the program of that name
/// prints. Only the programs of one directory are run. Each worker has many clients at once. A
/// worker that dies is not replaced. Ctrl-C or SIGTERM: no new clients, running programs finish.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_long_help = TRY)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ProgramServeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (what happens without a subcommand, too)
    Serve(ProgramServeArgs),
    /// Have a program run and print its output; `nc -C HOST PORT` does the same
    Run(RunArgs),
    /// Run a server and clients, kill a worker, tell the others to leave, check everything
    Demo,
}

const TRY: &str = "Try it:
  cargo run -p step09-accept-in-worker               start the server
  cargo run -p step09-accept-in-worker -- run date   have a program run, in a second terminal
  cargo run -p step09-accept-in-worker -- run ../x   ask for what isn't there
  kill -9 PID                                        end a worker: its turn goes to the next";

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::finish(match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => server::serve(&args),
        Command::Run(args) => client::run(&args),
        Command::Demo => shared::keeper::keep(demo::run),
    })
}
