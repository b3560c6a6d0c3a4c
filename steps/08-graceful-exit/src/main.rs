//! Stage 08, graceful-exit: a server that can leave without cutting anybody short.
//!
//! Shows signals as events of the loop, how workers are told to end where they wait for work, and
//! who is left to be killed.
//! Usage: `cargo run -p step08-graceful-exit`. See also: `notes/src/08-graceful-exit.md`.
#![forbid(unsafe_code)]

mod client;
mod demo;
mod leave;
mod server;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::cli::{self, GetArgs, GracefulServeArgs};

/// Stage 08, graceful-exit: Ctrl-C, SIGTERM or SIGUSR1 ends the server well.
///
/// It stops listening at once, idle workers leave, busy ones finish their client first, and the
/// exit status is 0. After the grace time, or at a second signal, who is left is killed, and the
/// exit status is 1. On the wire: as in stages 06 and 07.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_long_help = TRY)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: GracefulServeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (what happens without a subcommand, too)
    Serve(GracefulServeArgs),
    /// Download the file
    Get(GetArgs),
    /// Run a server, tell it to leave during a transfer, compare every byte
    Demo,
}

const TRY: &str = "Try it:
  truncate -s 2G /tmp/big.bin                               make a large file that takes no room
  cargo run -p step08-graceful-exit -- --file /tmp/big.bin  serve it
  cargo run -p step08-graceful-exit -- get --out /var/tmp   download it, in a second terminal
  kill -USR1 PID                                            the parent's, or Ctrl-C, during the download";

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::finish(match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => server::serve(&args),
        Command::Get(args) => client::get(&args),
        Command::Demo => shared::keeper::keep(demo::run),
    })
}
