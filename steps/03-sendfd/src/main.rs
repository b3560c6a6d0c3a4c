//! Stage 03, sendfd: the parent accepts, and passes the connection itself to a worker.
//!
//! Shows `SCM_RIGHTS`, the pool with its idle and busy workers, and how a dead one is replaced.
//! Usage: `cargo run -p step03-sendfd`. See also: `notes/src/03-sendfd.md`.
#![forbid(unsafe_code)]

mod demo;
mod server;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::cli::{self, EchoArgs, ServeArgs};

/// Stage 03, sendfd: the parent passes each connection to an idle worker.
///
/// From then on the worker talks to the client, and no byte goes through the parent. While all
/// workers are busy new clients wait in the kernel's queue. A worker that dies is replaced.
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
    /// Send lines and print the answers; `nc HOST PORT` does the same
    Echo(EchoArgs),
    /// Run a server and clients, kill a worker, check everything
    Demo,
}

const TRY: &str = "Try it:
  cargo run -p step03-sendfd                start the server
  cargo run -p step03-sendfd -- echo hello  send a line, in a second terminal
  nc 127.0.0.1 8080                         keep a worker busy
  kill -9 PID                               end that worker: a new one comes (nc ends when you press Enter)";

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::finish(match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => server::serve(&args),
        Command::Echo(args) => shared::echo::echo(&args),
        Command::Demo => shared::keeper::keep(demo::run),
    })
}
