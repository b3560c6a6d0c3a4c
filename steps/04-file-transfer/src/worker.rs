//! A worker: sends the file to one client after the other.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use shared::channel::Task;
use shared::chunks::Batch;
use shared::error::Context;
use shared::narrate::Narrator;
use shared::pool::Seat;
use shared::protocol::{self, shrank};
use shared::say;
use shared::served_file;
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
    let mut batch = Batch::new(); // one for all transfers
    say!(worker, "waiting for a connection");
    while let Some(Task::Connection(connection)) = seat.channel.recv_task()? {
        say!(worker, "got a connection");
        match send_file(connection, job, &mut batch) {
            Ok(size) => say!(worker, "sent {size} bytes"),
            Err(error) => say!(worker, "the transfer failed: {error}"),
        }
        // The connection is closed by now: whoever hears that we are idle may rely on it.
        seat.channel.send_done()?;
    }
    Ok(())
}

/// Sends the name, then the file as it is now, then the end mark. Returns the bytes of the file.
fn send_file(connection: OwnedFd, job: &Job<'_>, batch: &mut Batch) -> io::Result<u64> {
    let mut connection = Connection::new(connection, job.stall_timeout)?;
    let (mut file, size) = served_file::open(job.file)?;
    connection.send_more(&protocol::record(served_file::name(job.file)))?;
    let mut sent = 0;
    // LAB 04.send_file: fill and send batch after batch to the end of the file, counting the bytes
    loop {
        let length = batch.fill(&mut file, u64::MAX).context("read the file")?;
        sent += length as u64;
        let last = length < Batch::PAYLOAD;
        if last && sent < size {
            // No end mark: the client has to learn that this isn't all.
            return Err(shrank());
        }
        batch.send(&mut connection, last)?;
        if last {
            break;
        }
    }
    // END 04.send_file
    connection.close();
    Ok(sent)
}
