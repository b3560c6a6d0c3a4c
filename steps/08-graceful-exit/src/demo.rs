//! The stage runs itself: the server is told to leave while a client is half through.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;

use nix::sys::signal::Signal;
use shared::demo::{Demo, check};
use shared::downloads::Downloads;

/// Plays the story and checks it.
pub fn run() -> io::Result<()> {
    let downloads = Downloads::of_size(20_000_003)?;
    let demo = Demo::start(&["--workers", "2", "--file", downloads.file()])?;
    check(demo.workers()?.len() == 2, "the parent has two children")?;
    downloads.run(&demo, 3)?;

    // A slow client: it has the header and waits, so that its worker can't be done yet.
    let mut client = TcpStream::connect(demo.address())?;
    let mut header = [0; 16 + "sample.bin".len()];
    client.read_exact(&mut header)?;
    demo.signal(demo.server(), Signal::SIGTERM)?;
    // The server needs a moment to hear of it. Until then a client may still be let in, or be
    // reset while it waits.
    let refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
    while !TcpStream::connect(demo.address()).is_err_and(refused) {}
    check(true, "a new client is refused")?;
    let mut received = Vec::new();
    client.read_to_end(&mut received)?;
    check(received == std::fs::read(downloads.file())?, "the slow client got every byte")?;

    demo.finish_politely()
}
