//! Stage 05, progress: the server says how much will come, so the client can say how far it is.
//!
//! Shows a size that comes from the open file, progress for people, and workers that don't mind
//! a client that leaves early.
//! Usage: `cargo run -p step05-progress`. See also: `notes/src/05-progress.md`.
#![forbid(unsafe_code)]

mod client;
mod demo;
mod server;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::cli::{self, FileServeArgs, GetArgs};

/// Stage 05, progress: the size of the file travels in front of it.
///
/// On the wire: stage 04's chunks, with one more record after the name: a length of 8, then the
/// size as 64 bits. The client draws a bar on a terminal and prints lines anywhere else. Interrupt
/// a client with Ctrl-C: its worker just takes the next.
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
  truncate -s 2G /tmp/big.bin                                    make a large file that takes no room
  cargo run -p step05-progress -- --file /tmp/big.bin            serve it
  cargo run -p step05-progress -- get --out /var/tmp             watch the bar, in a second terminal
  cargo run -p step05-progress -- get --out /var/tmp 2>&1 | cat  not a terminal: lines";

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::finish(match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => server::serve(&args),
        Command::Get(args) => client::get(&args),
        Command::Demo => shared::keeper::keep(demo::run),
    })
}
