//! Stage 11, chat-shared-memory: the chat of stage 10 with a process for each user.
//!
//! Shows memory that processes share, without a lock, and what they have to tell each other.
//! Usage: `cargo run -p step11-chat-shared-memory`. See also: `notes/src/11-chat-shared-memory.md`.
#![forbid(unsafe_code)]

mod demo;
mod farewell;
mod incoming;
mod leave;
mod member;
mod outgoing;
mod seats;
mod server;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::cli::{self, ChatServeArgs, JoinArgs};

/// Stage 11, chat-shared-memory: a process for each user, and one memory for what is said.
///
/// The parent forks a worker for everyone who comes. A worker puts what its user says into its part
/// of a memory that all share, and tells the parent that there is news; the parent tells the
/// others, and they send it from there. On the wire: as in stage 10.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_long_help = TRY)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ChatServeArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (what happens without a subcommand, too)
    Serve(ChatServeArgs),
    /// Join the chat; `nc HOST PORT` does the same
    Join(JoinArgs),
    /// Run a server and users, kill a worker, check everything
    Demo,
}

const TRY: &str = "Try it:
  cargo run -p step11-chat-shared-memory                     start the server
  cargo run -p step11-chat-shared-memory -- join --name ann  join, in a second terminal; Ctrl-D leaves
  nc 127.0.0.1 8080                                          join without a name, in a third one
  kill -9 PID                                                of a worker: only its own user is gone
  grep -A3 'zero' /proc/PID/smaps                            the memory that all of them share";

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::finish(match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => server::serve(&args),
        Command::Join(args) => shared::join::join(&args),
        Command::Demo => shared::keeper::keep(demo::run),
    })
}
