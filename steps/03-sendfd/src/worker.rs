//! A worker: serves one connection after the other, each until its client hangs up.

use std::io::{self, Write};
use std::os::fd::OwnedFd;

use nix::unistd::getpid;
use shared::channel::Task;
use shared::lines::{self, LineBuffer};
use shared::narrate::Narrator;
use shared::pool::Seat;
use shared::say;
use shared::tcp;
use shared::transfer::Connection;

/// The whole life of a worker. It returns when the parent is gone.
pub fn run(seat: &Seat, quiet: bool) -> io::Result<()> {
    let worker = Narrator::worker(seat.number, quiet);
    say!(worker, "waiting for a connection");
    while let Some(Task::Connection(connection)) = seat.channel.recv_task()? {
        say!(worker, "got a connection");
        match echo(connection) {
            Ok(()) => say!(worker, "the client hung up"),
            Err(error) => say!(worker, "the client is lost: {error}"),
        }
        // The connection is closed by now: whoever hears that we are idle may rely on it.
        seat.channel.send_done()?;
    }
    Ok(())
}

/// Answers every line until the client hangs up.
fn echo(connection: OwnedFd) -> io::Result<()> {
    tcp::send_at_once(&connection)?;
    let mut connection = Connection::patient(connection);
    let mut lines = LineBuffer::default();
    // LAB 03.echo: answer every line until the client has sent its last one
    while !lines.is_finished() {
        while let Some(line) = lines.line() {
            connection.write_all(&lines::answer(getpid(), line))?;
            lines.consume();
        }
        lines.fill(|room| connection.recv_some(room))?;
    }
    // END 03.echo
    connection.close();
    Ok(())
}
