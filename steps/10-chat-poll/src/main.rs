//! Stage 10, chat-poll: one process, many users, and `poll(2)`.
//!
//! Shows `poll`, non-blocking sockets, output queues with a bound, and what to do about a user who
//! doesn't read. Usage: `cargo run -p step10-chat-poll`. See also: `notes/src/10-chat-poll.md`.
#![forbid(unsafe_code)]

mod demo;
mod queue;
mod server;
mod user;
mod users;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::cli::{self, ChatServeArgs, JoinArgs};

/// Stage 10, chat-poll: every line goes to everyone else, by one process that never waits for one.
///
/// The server asks `poll` who has sent something and who can take something. A user who doesn't
/// read gets a queue, and when that is full a goodbye. The client moves what is typed to the
/// server with `splice`.
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
    /// Run a server and users, check everything
    Demo,
}

const TRY: &str = "Try it:
  cargo run -p step10-chat-poll                     start the server
  cargo run -p step10-chat-poll -- join --name ann  join, in a second terminal; Ctrl-D leaves
  nc 127.0.0.1 8080                                 join without a name, in a third one
  yes | nc 127.0.0.1 8080 >/dev/null                talk without end
  kill -STOP PID                                    of a client: somebody who doesn't read";

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::finish(match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => server::serve(&args),
        Command::Join(args) => shared::join::join(&args),
        Command::Demo => shared::keeper::keep(demo::run),
    })
}
