//! Stage 04, file-transfer: the server pushes a file, cut into chunks with a length each.
//!
//! Shows a protocol on top of TCP, loops that survive partial sends and receives, and a client
//! that doesn't trust its server.
//! Usage: `cargo run -p step04-file-transfer`. See also: `notes/src/04-file-transfer.md`.
#![forbid(unsafe_code)]

mod client;
mod demo;
mod server;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::cli::{self, FileServeArgs, GetArgs};

/// Stage 04, file-transfer: every client is sent one file, by the worker that got its connection.
///
/// On the wire: the name with its length, then chunks of up to 8,192 bytes, each with its length,
/// then a length of 0. Lengths are 64 bits, little-endian.
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
  cargo run -p step04-file-transfer                    start the server
  cargo run -p step04-file-transfer -- get --out /tmp  download, in a second terminal
  nc 127.0.0.1 8080 </dev/null | hexdump -C | head     look at the wire";

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::finish(match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => server::serve(&args),
        Command::Get(args) => client::get(&args),
        Command::Demo => shared::keeper::keep(demo::run),
    })
}
