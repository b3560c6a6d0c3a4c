//! TCP from outside: ports to use, and what the kernel's table says about a port.

use std::fs;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use nix::unistd::{read, write};

use crate::not_checked;
use crate::wait::{limit, wait_until};

/// The port of a server that is told none.
pub const DEFAULT_PORT: u16 = 8080;

/// The state of a TCP socket, see `tcp(7)` and the kernel's `net/tcp_states.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for clients.
    Listening,
    /// Open in both directions.
    Established,
    /// The peer has said that it sends nothing more.
    CloseWait,
    /// Closed on this side, and the peer hasn't closed yet.
    Closing,
    /// Closed on this side first, then by the peer: keeps the port from being bound for a minute.
    TimeWait,
    /// Any other.
    Other,
}

/// A socket with a certain local port.
#[derive(Debug)]
pub struct Socket {
    /// Its state.
    pub state: State,
    /// Its inode, as in `socket:[4711]`; 0 if no process holds it (not accepted yet, or closed).
    pub inode: u64,
    /// How many received bytes (or at a listener: clients) wait for the process.
    pub unread: u64,
}

/// All sockets of this machine whose local port is `port`: the server's side of its connections.
#[must_use]
pub fn sockets(port: u16) -> Vec<Socket> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let text: String = tables.into_iter().flatten().collect();
    text.lines().filter_map(|line| parse(line, port)).collect()
}

fn parse(line: &str, port: u16) -> Option<Socket> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, state, queues, _, _, _, _, inode, ..] = fields[..] else {
        return None;
    };
    local.ends_with(&format!(":{port:04X}")).then_some(())?;
    let (_, unread) = queues.split_once(':')?;
    let state = match state {
        "01" => State::Established,
        "04" | "05" => State::Closing,
        "06" => State::TimeWait,
        "08" => State::CloseWait,
        "0A" => State::Listening,
        _ => State::Other,
    };
    let unread = u64::from_str_radix(unread, 16).ok()?;
    Some(Socket { state, inode: inode.parse().ok()?, unread })
}

/// The server's side of its open connections that it has accepted.
#[must_use]
pub fn accepted(port: u16) -> Vec<Socket> {
    let mut sockets = sockets(port);
    sockets.retain(|socket| {
        matches!(socket.state, State::Established | State::CloseWait) && socket.inode != 0
    });
    sockets
}

/// Waits until the server has accepted `count` connections and read all they have sent.
#[track_caller]
pub fn wait_all_read(port: u16, count: usize) {
    wait_until("the server to read what it was sent", limit(), || {
        let accepted = accepted(port);
        let all_read = accepted.iter().all(|socket| socket.unread == 0);
        (accepted.len() == count && all_read).then_some(())
    });
}

/// How many received bytes wait for the process that has this end of a connection on 127.0.0.1;
/// `None` if nobody has it. It asks for the one socket (`sock_diag(7)`): on a busy machine the table
/// of all sockets takes too long for a look after every byte. Where the kernel doesn't know this
/// question, nobody seems to have it.
#[must_use]
pub fn unread(port: u16, peer: u16) -> Option<u32> {
    const BY_FAMILY: u16 = 20; // SOCK_DIAG_BY_FAMILY
    const HEADER: usize = 16; // a `nlmsghdr`: length, type, flags, number and sender
    const UNREAD: usize = HEADER + 56; // `idiag_rqueue` of an `inet_diag_msg`
    let localhost = Ipv4Addr::LOCALHOST.octets();
    let question: [&[u8]; 10] = [
        &[libc::AF_INET as u8, libc::IPPROTO_TCP as u8, 0, 0], // an `inet_diag_req_v2`
        &[0xff; 4],                                            // in whatever state
        &port.to_be_bytes(),
        &peer.to_be_bytes(),
        &localhost,
        &[0; 12],
        &localhost,
        &[0; 12],
        &[0; 4],    // at any interface
        &[0xff; 8], // with any cookie
    ];
    let question = question.concat();
    let length = (HEADER + question.len()) as u32;
    let kind = [BY_FAMILY, libc::NLM_F_REQUEST as u16].map(u16::to_ne_bytes).concat();
    let message = [&length.to_ne_bytes()[..], &kind, &[0; 8], &question].concat();
    let (family, protocol) = (AddressFamily::Netlink, SockProtocol::NetlinkSockDiag);
    let kernel = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).ok()?;
    write(&kernel, &message).ok()?;
    let mut answer = [0; 4096];
    let length = read(&kernel, &mut answer).ok()?;
    let found = answer[4..6] == BY_FAMILY.to_ne_bytes(); // else it is an error, as a rule ENOENT
    let unread = answer[..length].get(UNREAD..UNREAD + 4)?.try_into().ok()?;
    found.then_some(u32::from_ne_bytes(unread))
}

/// Reads once, at least a byte unless it returns 0 for the end. A read that is interrupted is
/// tried again: on a socket with a timeout even a signal that does nothing interrupts it.
///
/// # Errors
/// Those of `read(2)`, without `EINTR`.
pub fn read_some(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A port where nobody listens, for as long as this value lives.
///
/// It is the client's end of a connection: taken, so nobody else gets it, but not listening.
pub struct ClosedPort {
    _server: TcpListener,
    client: TcpStream,
}

impl ClosedPort {
    /// Takes a free port and doesn't listen.
    #[must_use]
    pub fn take() -> Self {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let client = TcpStream::connect(server.local_addr().unwrap()).expect("it listens");
        Self { _server: server, client }
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.client.local_addr().unwrap().port()
    }
}

/// Does this machine have `::1`? If not, says so: what needs it is not checked.
#[must_use]
pub fn ipv6_is_here() -> bool {
    let here = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !here {
        not_checked("this machine has no IPv6 loopback address");
    }
    here
}

/// The right to use the default port, given to one test at a time, also among processes.
pub struct DefaultPort {
    _name: UnixListener,
}

impl DefaultPort {
    /// Waits for the right. `None`, and a word about it, when another program has the port.
    #[track_caller]
    #[must_use]
    pub fn claim() -> Option<Self> {
        // An abstract name is a lock that leaves with its holder, see `unix(7)`.
        let name = UnixAddr::from_abstract_name("process-pool-lab port 8080").unwrap();
        let lock = wait_until("other tests to be done with port 8080", limit() * 4, || {
            UnixListener::bind_addr(&name).ok()
        });
        // Looked up, and not tried: what listens here would do so in a child, too, that another test
        // is starting just now, until that calls `exec`.
        if sockets(DEFAULT_PORT).iter().any(|socket| socket.state == State::Listening) {
            not_checked(&format!("another program has port {DEFAULT_PORT}"));
            return None;
        }
        Some(Self { _name: lock })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::{ClosedPort, State, accepted, sockets, unread};
    use crate::wait::{limit, wait_for};

    #[test]
    fn sockets_of_a_port_are_found_and_told_apart() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let states = || {
            let mut states: Vec<State> =
                sockets(address.port()).iter().map(|it| it.state).collect();
            states.sort_by_key(|&state| state != State::Listening);
            states
        };
        assert_eq!(states(), [State::Listening, State::Established]);
        assert!(accepted(address.port()).is_empty());
        let _accepted = listener.accept().unwrap();
        assert_eq!(accepted(address.port()).len(), 1);
    }

    #[test]
    fn unread_bytes_are_counted() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = listener.local_addr().unwrap().port();
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).unwrap();
        let port = client.local_addr().unwrap().port();
        let (mut accepted, _) = listener.accept().unwrap();
        assert_eq!(unread(port, server), Some(0));
        accepted.write_all(b"abc").unwrap();
        wait_for("the bytes to arrive", limit(), || unread(port, server) == Some(3));
        (&client).read_exact(&mut [0; 2]).unwrap();
        assert_eq!(unread(port, server), Some(1));
        drop(client);
        assert_eq!(unread(port, server), None);
    }

    #[test]
    fn nobody_listens_on_a_closed_port() {
        let closed = ClosedPort::take();
        TcpStream::connect((Ipv4Addr::LOCALHOST, closed.number())).unwrap_err();
    }
}
