//! Stage 06, mmap-zero-copy: the file is sent from memory that is mapped to it.
//!
//! Shows `mmap(2)` at both ends, a window at a time, and what a mapping costs: no buffer and no
//! `read`, but still one copy, and page faults.
//! Usage: `cargo run -p step06-mmap-zero-copy`. See also: `notes/src/06-mmap-zero-copy.md`.
#![forbid(unsafe_code)]

mod client;
mod demo;
mod server;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::cli::{self, FileServeArgs, GetArgs};

/// Stage 06, mmap-zero-copy: both ends map the file instead of reading and writing it.
///
/// On the wire: a header with the length of the name, the size of the file (both 64 bits) and the
/// name, then the bytes of the file as they are. While a download runs, look at the worker's
/// `/proc/PID/maps`; shrink the file and see what the two sides say.
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
  truncate -s 2G /tmp/big.bin                                make a large file that takes no room
  cargo run -p step06-mmap-zero-copy -- --file /tmp/big.bin  serve it
  cargo run -p step06-mmap-zero-copy -- get --out /var/tmp   download it, in a second terminal
  truncate -s 0 /tmp/big.bin                                 in a third, during the download";

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::finish(match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => server::serve(&args),
        Command::Get(args) => client::get(&args),
        Command::Demo => shared::keeper::keep(demo::run),
    })
}
