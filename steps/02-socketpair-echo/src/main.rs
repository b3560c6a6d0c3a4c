//! Stage 02, socketpair-echo: the parent relays every line to a worker and every answer back.
//!
//! Shows `socketpair(2)`, both ends of a channel across `fork(2)`, and epoll with many clients.
//! Usage: `cargo run -p step02-socketpair-echo`. See also: `notes/src/02-socketpair-echo.md`.
#![forbid(unsafe_code)]

mod clients;
mod demo;
mod server;
mod worker;
mod workers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::cli::{self, EchoArgs, ServeArgs};

/// Stage 02, socketpair-echo: each worker shares a socketpair with the parent.
///
/// The parent reads lines from its clients, relays each to an idle worker and relays the answer
/// back. Every byte goes through the parent twice, which is the reason for stage 03.
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
    /// Run a server and clients, check every answer
    Demo,
}

const TRY: &str = "Try it:
  cargo run -p step02-socketpair-echo                start the server
  cargo run -p step02-socketpair-echo -- echo hello  send a line, in a second terminal
  nc 127.0.0.1 8080                                  type as many lines as you like
  kill -9 PID                                        end a worker: the others go on";

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::finish(match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => server::serve(&args),
        Command::Echo(args) => shared::echo::echo(&args),
        Command::Demo => shared::keeper::keep(demo::run),
    })
}
