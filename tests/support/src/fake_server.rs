//! A server that says whatever a test wants: half a file, nonsense, or nothing at all.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::tcp::{self, read_some};
use crate::wait::{limit, poll_until};
use crate::wire::reset_when_closed;

/// Plays its part to one client after the other, on a port of its own.
#[derive(Debug)]
pub struct FakeServer {
    address: SocketAddr,
    leaving: Arc<AtomicBool>,
}

impl FakeServer {
    /// Calls `play` with each connection; the connection is closed when `play` drops it.
    #[track_caller]
    #[expect(clippy::disallowed_methods, reason = "a test has to be client and server at once")]
    pub fn start(mut play: impl FnMut(FakeConnection) + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().unwrap();
        let leaving = Arc::new(AtomicBool::new(false));
        let left = Arc::clone(&leaving);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if left.load(Ordering::SeqCst) {
                    break;
                }
                stream.set_read_timeout(Some(limit())).unwrap();
                stream.set_write_timeout(Some(limit())).unwrap();
                play(FakeConnection { stream });
            }
        });
        Self { address, leaving }
    }

    /// Sends `bytes` to every client and closes.
    #[track_caller]
    pub fn that_sends(bytes: Vec<u8>) -> Self {
        Self::start(move |mut client| {
            client.send(&bytes);
        })
    }

    /// Sends `bytes` to every client and then nothing more, with the connection open until the
    /// client has left.
    #[track_caller]
    pub fn that_stops_after(bytes: Vec<u8>) -> Self {
        Self::start(move |mut client| {
            client.send(&bytes);
            client.wait_until_gone();
        })
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a client; one that is still playing sees the flag later.
        drop(TcpStream::connect(self.address));
    }
}

/// The fake server's end of a connection. Dropping it closes the connection.
///
/// A client is free to leave whenever it has heard enough, so failures to send are no news.
#[derive(Debug)]
pub struct FakeConnection {
    stream: TcpStream,
}

impl FakeConnection {
    /// Sends `bytes`; says whether the client took them.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends `bytes` in pieces of `len` bytes, each as a packet of its own. After each it waits for
    /// this pause, and until the client has taken the piece: one that is held up for a while doesn't
    /// find many of them at once. Should a client take none before there are more, it gets more.
    pub fn drip(&mut self, bytes: &[u8], len: usize, pause: Duration) -> bool {
        const MOMENT: Duration = Duration::from_secs(3);
        self.stream.set_nodelay(true).unwrap();
        let mut takes_each = true;
        bytes.chunks(len).all(|piece| {
            let next = Instant::now() + pause;
            let sent = self.send(piece);
            takes_each = takes_each && poll_until(MOMENT, || self.taken().then_some(())).is_some();
            thread::sleep(next.saturating_duration_since(Instant::now()));
            sent
        })
    }

    /// Has the client read all that has come, or left?
    fn taken(&self) -> bool {
        let ports = [self.stream.peer_addr(), self.stream.local_addr()];
        let [Ok(client), Ok(server)] = ports.map(|it| it.map(|address| address.port())) else {
            return true;
        };
        !matches!(tcp::unread(client, server), Some(1..))
    }

    /// Reads until the client has sent `count` lines.
    pub fn wait_for_lines(&mut self, count: usize) {
        let mut missing = count;
        let mut byte = [0];
        while missing > 0 && matches!(read_some(&mut self.stream, &mut byte), Ok(1)) {
            missing -= usize::from(byte == *b"\n");
        }
    }

    /// Reads until the client has said that it sends nothing more, and returns all it has sent.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut received = Vec::new();
        let mut buffer = [0; 1 << 16];
        while let Ok(length @ 1..) = read_some(&mut self.stream, &mut buffer) {
            received.extend_from_slice(&buffer[..length]);
        }
        received
    }

    /// Keeps the connection open until the client has closed it.
    pub fn wait_until_gone(&mut self) {
        while matches!(read_some(&mut self.stream, &mut [0; 4096]), Ok(1..)) {}
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        reset_when_closed(&self.stream);
    }
}
