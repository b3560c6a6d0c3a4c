//! Stage 07, splice: the file moves inside the kernel, through a pipe.
//!
//! Shows `splice(2)` at both ends: file to pipe to socket, socket to pipe to file. The payload
//! never enters user space.
//! Usage: `cargo run -p step07-splice`. See also: `notes/src/07-splice.md`.
#![forbid(unsafe_code)]

mod client;
mod demo;
mod server;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::cli::{self, FileServeArgs, GetArgs};

/// Stage 07, splice: both ends move the file without touching it.
///
/// On the wire: the same bytes as in stage 06, so that the clients of both stages can be mixed.
/// Watch a transfer with `strace -f -e splice`, and compare the server's CPU time with stage 04's.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_long_help = TRY)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: FileServeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (what happens without a subcommand, too)
    Serve(FileServeArgs),
    /// Download the file
    Get(GetArgs),
    /// Run a server and clients, compare every byte
    Demo,
}

const TRY: &str = "Try it:
  truncate -s 2G /tmp/big.bin                        make a large file that takes no room
  cargo run -p step07-splice -- --file /tmp/big.bin  serve it
  cargo run -p step07-splice -- get --out /var/tmp   download it, in a second terminal
  strace -f -e splice -p PID                         look at a worker, in a third (may need sudo)";

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::finish(match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => server::serve(&args),
        Command::Get(args) => client::get(&args),
        Command::Demo => shared::keeper::keep(demo::run),
    })
}
