//! A worker: sends the file to one client after the other.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use shared::channel::Task;
use shared::narrate::Narrator;
use shared::pool::Seat;
use shared::protocol::Header;
use shared::say;
use shared::served_file;
use shared::splice::{COPIED, Pipe, Way};
use shared::transfer::Connection;

/// What a worker works with.
pub struct Job<'a> {
    pub file: &'a Path,
    pub stall_timeout: Duration,
    pub quiet: bool,
}

/// The whole life of a worker. It returns when the parent is gone.
pub fn run(seat: &Seat, job: &Job<'_>) -> io::Result<()> {
    let worker = Narrator::worker(seat.number, job.quiet);
    say!(worker, "waiting for a connection");
    while let Some(Task::Connection(connection)) = seat.channel.recv_task()? {
        say!(worker, "got a connection");
        match send_file(connection, job) {
            Ok((size, Way::Spliced)) => say!(worker, "sent {size} bytes"),
            Ok((size, Way::Copied)) => say!(worker, "sent {size} bytes; {COPIED}"),
            Err(error) => say!(worker, "the transfer failed: {error}"),
        }
        // The connection is closed by now: whoever hears that we are idle may rely on it.
        seat.channel.send_done()?;
    }
    Ok(())
}

/// Sends the header, then so much of the file as it says. Returns the size, and how it went.
fn send_file(connection: OwnedFd, job: &Job<'_>) -> io::Result<(u64, Way)> {
    let mut connection = Connection::new(connection, job.stall_timeout)?;
    let (file, size) = served_file::open(job.file)?;
    let header = Header { size, name: served_file::name(job.file).to_vec() };
    connection.send_more(&header.encode())?; // leaves with the first bytes of the file
    let way = Pipe::new(size)?.send_file(&mut connection, &file, size)?;
    connection.close();
    Ok((size, way))
}
