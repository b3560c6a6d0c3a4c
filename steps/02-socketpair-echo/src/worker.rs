//! A worker: answers the lines that come through its channel.

use std::io;
use std::os::fd::AsFd;

use nix::unistd::getpid;
use shared::channel::WorkerEnd;
use shared::lines::{self, MAX_LINE};
use shared::narrate::Narrator;
use shared::process;
use shared::say;

/// The whole life of a worker. It returns when the parent is gone.
pub fn run(number: usize, channel: &WorkerEnd, quiet: bool) -> io::Result<()> {
    let worker = Narrator::worker(number, quiet);
    // LAB 02.answer: close what fork copied; then answer every line until the parent is gone
    // fork copied every descriptor of the parent. Its ends of the channels, this worker's own
    // and those of the workers before it, have to go: while anybody holds a copy of the other
    // end, a channel has no end. Close-on-exec doesn't help, for nobody calls exec here.
    process::close_all_but(channel.as_fd())?;
    say!(worker, "waiting for lines");
    let mut buffer = [0; MAX_LINE + 1];
    while let Some(line) = channel.recv_line(&mut buffer)? {
        say!(worker, "answering a line ({} bytes)", line.len());
        channel.send_answer(&lines::answer(getpid(), line))?;
    }
    Ok(())
    // END 02.answer
}
