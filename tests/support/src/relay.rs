//! A man in the middle: between a real server and a real client, at an exact point of the stream.
//!
//! What happens "in the middle of a transfer" would otherwise depend on who is faster.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};

use crate::fake_server::FakeServer;
use crate::tcp::read_some;
use crate::wait::limit;

/// Stands in for the server at `address`: passes on the first `count` bytes it sends, calls
/// `interfere`, and passes on the rest. Each client has a connection of its own to the server.
///
/// A server whose file is larger than all buffers ([`crate::serving::MORE_THAN_BUFFERS`]) can't
/// be done yet when `interfere` is called.
#[track_caller]
#[must_use]
pub fn relay(
    address: SocketAddr,
    count: usize,
    mut interfere: impl FnMut() + Send + 'static,
) -> FakeServer {
    FakeServer::start(move |mut client| {
        let mut server = TcpStream::connect(address).expect("connect to the server");
        server.set_read_timeout(Some(limit())).unwrap();
        let mut buffer = vec![0; count.max(256 << 10)];
        server.read_exact(&mut buffer[..count]).expect("the first bytes from the server");
        client.send(&buffer[..count]);
        interfere();
        // The server's end, however it comes, is the client's end.
        while let Ok(length @ 1..) = read_some(&mut server, &mut buffer) {
            if !client.send(&buffer[..length]) {
                break;
            }
        }
    })
}
