//! Stage 01, fork-sleep: a parent forks its workers before it does anything else.
//!
//! Shows `fork(2)`, the worker table, and how a parent notices the end of a child.
//! Usage: `cargo run -p step01-fork-sleep`. See also: `notes/src/01-fork-sleep.md`.
#![forbid(unsafe_code)]

mod client;
mod demo;
mod server;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::cli::{self, Address, ServeArgs};

/// Stage 01, fork-sleep: a pool of worker processes, forked before the server listens.
///
/// The workers only sleep. Every client gets the table of workers and is hung up on. Kill a
/// worker and look at the table again; kill the parent and look for the workers with `ps`.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_long_help = TRY)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (what happens without a subcommand, too)
    Serve(ServeArgs),
    /// Print the server's table of workers; `nc HOST PORT </dev/null` does the same
    Status(Address),
    /// Run a server and clients, kill a worker, check everything
    Demo,
}

const TRY: &str = "Try it:
  cargo run -p step01-fork-sleep            start the server
  cargo run -p step01-fork-sleep -- status  print the table, in a second terminal
  kill -9 PID                               end a worker, then print the table again";

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::finish(match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => server::serve(&args),
        Command::Status(address) => client::status(&address),
        Command::Demo => shared::keeper::keep(demo::run),
    })
}
