//! A transfer that stands still at an exact point until the test says "go on".

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};

use support::fake_server::FakeServer;
use support::relay::relay;
use support::wait::limit;

/// A relay between a server and its client, which passes on some bytes and then waits.
#[derive(Debug)]
pub struct Halfway {
    relay: FakeServer,
    reached: Receiver<()>,
    go_on: Sender<()>,
}

impl Halfway {
    /// Stands in for the server at `address`, and waits after `count` bytes.
    #[track_caller]
    #[must_use]
    pub fn at(address: SocketAddr, count: usize) -> Self {
        let (at, reached) = channel();
        let (go_on, go) = channel();
        let wait = move || {
            let _ = at.send(()); // both fail only when the test is over
            let _ = go.recv_timeout(limit());
        };
        Self { relay: relay(address, count, wait), reached, go_on }
    }

    /// The port to which its client connects.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.relay.port()
    }

    /// Waits until so many bytes are with the client.
    #[track_caller]
    pub fn wait_reached(&self) {
        self.reached.recv_timeout(limit()).expect("a client that is halfway");
    }

    /// Passes on the rest.
    pub fn go_on(&self) {
        let _ = self.go_on.send(());
    }
}
