//! What the commands of all stages have in common: arguments, the first line, the last line.
//!
//! Purpose: `serve`, `get`, `echo`, `status` and `demo` look and behave alike in every stage.
//! Interface: the argument groups for clap; [`announce`], [`received`], [`finish`].
//! Rules: standard output is for machines, standard error for people. Exit status 0 is done, 1 a
//! failure at run time (one line `error: …`), 2 wrong usage (clap).
//! First used by stage 01.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::chat;
use crate::error::Context;
use crate::narrate::{printable, write_line};
use crate::tcp::{self, Listener};

/// Where a client finds the server.
#[derive(Args, Clone, Debug)]
pub struct Address {
    /// Host name or address of the server, IPv4 or IPv6
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// TCP port of the server
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
}

/// Where a server listens.
#[derive(Args, Clone, Debug)]
pub struct ListenAddress {
    /// Host name or address to listen on, IPv4 or IPv6
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// TCP port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
}

impl Address {
    /// How long to wait for a connection where no option says it.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// Options of every server.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "it would become help text")]
    pub address: ListenAddress,
    /// How many worker processes to fork
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: u16,
    /// Print only errors on standard error
    #[arg(long)]
    pub quiet: bool,
}

/// Options of a server that sends a file (stage 04 on).
#[derive(Args, Clone, Debug)]
pub struct FileServeArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "it would become help text")]
    pub serve: ServeArgs,
    /// The file to send [default: this program itself]
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "it would become help text")]
    pub stall: StallTimeout,
}

/// Options of a server that can leave well (stage 08).
#[derive(Args, Clone, Debug)]
pub struct GracefulServeArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "it would become help text")]
    pub file: FileServeArgs,
    /// How long busy workers may go on when the server leaves
    #[arg(long, value_name = "SECS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    grace: u64,
}

impl GracefulServeArgs {
    /// How long busy workers have.
    #[must_use]
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.grace)
    }
}

/// Options of a server that runs programs (stage 09).
#[derive(Args, Clone, Debug)]
pub struct ProgramServeArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "it would become help text")]
    pub address: ListenAddress,
    /// How many worker processes to fork
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub workers: u16,
    /// Print only errors on standard error
    #[arg(long)]
    pub quiet: bool,
    /// The directory whose programs clients may run [default: the three that come with this stage]
    #[arg(long, value_name = "DIR")]
    pub cgi_dir: Option<PathBuf>,
    /// How long a program may run; then it is killed
    #[arg(long, value_name = "SECS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    time_limit: u64,
    /// How long a client may take to send its request
    #[arg(long, value_name = "SECS", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    stall_timeout: u64,
}

impl ProgramServeArgs {
    /// How long a program may run.
    #[must_use]
    pub fn time_limit(&self) -> Duration {
        Duration::from_secs(self.time_limit)
    }

    /// How long a client may take to send its request.
    #[must_use]
    pub fn stall_timeout(&self) -> Duration {
        Duration::from_secs(self.stall_timeout)
    }

    /// What every server has.
    #[must_use]
    pub fn serve(&self) -> ServeArgs {
        ServeArgs { address: self.address.clone(), workers: self.workers, quiet: self.quiet }
    }
}

/// Options of a client that has a program run (stage 09).
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "it would become help text")]
    pub address: Address,
    /// The name of the program, sent as it is
    pub name: OsString,
    #[command(flatten)]
    #[expect(missing_docs, reason = "it would become help text")]
    pub stall: StallTimeout,
}

/// The patience with the other side (stage 04 on).
#[derive(Args, Clone, Debug)]
pub struct StallTimeout {
    /// Give up when the other side makes no progress for this long
    #[arg(long, value_name = "SECS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    stall_timeout: u64,
}

impl StallTimeout {
    /// As a duration.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_secs(self.stall_timeout)
    }
}

/// Options of a download (stage 04 on).
#[derive(Args, Clone, Debug)]
pub struct GetArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "it would become help text")]
    pub address: Address,
    /// The directory to save the file in, under the name that the server sends
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// Show no progress
    #[arg(long)]
    pub quiet: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "it would become help text")]
    pub stall: StallTimeout,
}

/// Options of the echo client (stages 02 and 03).
#[derive(Args, Clone, Debug)]
pub struct EchoArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "it would become help text")]
    pub address: Address,
    /// Words to send as one line [default: the lines of standard input]
    pub text: Vec<String>,
}

/// Options of the server of a chat (stages 10 and 11).
#[derive(Args, Clone, Debug)]
pub struct ChatServeArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "it would become help text")]
    pub address: ListenAddress,
    /// How many users can be in the chat at once
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_users: u16,
    #[command(flatten)]
    #[expect(missing_docs, reason = "it would become help text")]
    pub stall: StallTimeout,
    /// Print only errors on standard error
    #[arg(long)]
    pub quiet: bool,
}

/// Options of the client of a chat (stages 10 and 11).
#[derive(Args, Clone, Debug)]
pub struct JoinArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "it would become help text")]
    pub address: Address,
    /// What the others see before each of your lines [default: nothing]
    #[arg(long, value_parser = chat::parse_name)]
    pub name: Option<String>,
}

/// Set for a server that a demo runs: its reader has nothing to type.
pub(crate) const DEMO: &str = "LAB_DEMO";

/// Says where the server listens, for machines, and what to type next, for people. `command` is
/// the client's subcommand with its arguments.
///
/// # Errors
/// Standard output can't be written.
pub fn announce(args: &ServeArgs, listener: &Listener, command: &str) -> io::Result<()> {
    announce_as(listener, &format!("with {} workers", args.workers), command, args.quiet)
}

/// The same for a server whose first line ends in words of its own: `for 5 users`.
///
/// # Errors
/// Standard output can't be written.
pub fn announce_as(listener: &Listener, how: &str, command: &str, quiet: bool) -> io::Result<()> {
    let address = listener.address();
    let mut out = io::stdout().lock();
    writeln!(out, "listening on {address} {how}")
        .and_then(|()| out.flush())
        .context("write standard output")?;
    let in_demo = env::var_os(DEMO).is_some();
    if !quiet && !in_demo {
        write_line(&format!("In a second terminal:\n  {}", client_command(address, command)));
    }
    Ok(())
}

/// How the reader starts a client of this server: the way they have started the server.
fn client_command(address: SocketAddr, command: &str) -> String {
    let address = tcp::reachable(address);
    let program = match env::var("CARGO_PKG_NAME") {
        Ok(package) => format!("cargo run -p {package} --"),
        Err(_) => env::args_os().next().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let (verb, arguments) = command.split_once(' ').unwrap_or((command, ""));
    let host = format!("--host {} ", address.ip());
    let host = if address.ip().is_loopback() && address.is_ipv4() { "" } else { &host };
    format!("{program} {verb} {host}--port {} {arguments}", address.port()).trim_end().to_owned()
}

/// The last thing that `main` does: the error, if there is one, and the exit status.
#[must_use]
pub fn finish(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            write_line(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Says, for machines, what was received and where it is.
///
/// # Errors
/// Standard output can't be written.
pub fn received(name: &[u8], size: u64, path: &Path) -> io::Result<()> {
    let (name, path) = (printable(name), printable(path.as_os_str().as_bytes()));
    let text = format!("received {name} ({size} bytes) -> {path}\n");
    io::stdout().write_all(text.as_bytes()).context("write standard output")
}
