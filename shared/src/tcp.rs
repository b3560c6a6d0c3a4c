//! TCP sockets, step by step: resolve, `socket`, `bind`, `listen`, `accept`, `connect`.
//!
//! Purpose: listen and connect on IPv4 and IPv6, with names resolved.
//! Interface: [`listen`] makes a [`Listener`]; [`connect`] makes a connected socket.
//! Rules: every descriptor is close-on-exec from birth. A failed `accept` never spins: the
//! listener pauses itself when the system has run out of something, and says so once.
//! First used by stage 01.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    self, AddressFamily, Backlog, MsgFlags, Shutdown, SockFlag, SockType, SockaddrStorage,
    setsockopt, sockopt,
};
use nix::sys::time::TimeVal;

use crate::error::Context;

/// How long a listener rests when descriptors or memory have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// A listening socket that never blocks.
pub struct Listener {
    socket: OwnedFd,
    address: SocketAddr,
    resume_at: Option<Instant>,
    /// How the last `accept` failed, if it did.
    failed: Option<Errno>,
}

/// Listens at the first address of `host` that can be bound. Port 0 takes a free port.
///
/// # Errors
/// A host that doesn't resolve; `bind(2)`: `EADDRINUSE`, `EACCES`, `EADDRNOTAVAIL`.
pub fn listen(host: &str, port: u16) -> io::Result<Listener> {
    first_that_works(host, port, |address| {
        let socket = new_socket(address, SockFlag::SOCK_NONBLOCK)?;
        // Without this a restart fails for a minute, while connections rest in TIME_WAIT.
        setsockopt(&socket, sockopt::ReuseAddr, &true).context("setsockopt SO_REUSEADDR")?;
        socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(address))
            .context(format_args!("bind {address}"))?;
        socket::listen(&socket, Backlog::MAXCONN).context(format_args!("listen {address}"))?;
        let address = local_address(&socket)?;
        Ok(Listener { socket, address, resume_at: None, failed: None })
    })
}

/// Connects to the first address of `host` that answers, waiting at most `timeout` for each.
/// The socket is blocking.
///
/// # Errors
/// A host that doesn't resolve; `connect(2)`: `ECONNREFUSED`, `ETIMEDOUT` and others.
pub fn connect(host: &str, port: u16, timeout: Duration) -> io::Result<OwnedFd> {
    first_that_works(host, port, |address| {
        let socket = new_socket(address, SockFlag::empty())?;
        set_timeout(&socket, sockopt::SendTimeout, timeout)?; // bounds connect(2) too
        connect_socket(&socket, address).context(format_args!("connect {address}"))?;
        Ok(socket)
    })
}

fn connect_socket(socket: &OwnedFd, address: SocketAddr) -> Result<(), Errno> {
    loop {
        match socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
            // A signal interrupts the call but not the attempt. On Linux the next call waits for
            // the end of that same attempt.
            Err(Errno::EINTR) => {}
            Err(Errno::EINPROGRESS | Errno::EALREADY) => return Err(Errno::ETIMEDOUT), // our limit
            result => return result,
        }
    }
}

/// Tries each address of `host` and returns the first success, or else the last error.
fn first_that_works<T>(
    host: &str,
    port: u16,
    attempt: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    // The standard library calls getaddrinfo(3), for which nix has no wrapper.
    let addresses = (host, port).to_socket_addrs().map_err(|error| unresolved(host, &error))?;
    let mut result = Err(unresolved(host, &"no address"));
    for address in addresses {
        result = attempt(address);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn unresolved(host: &str, why: &dyn Display) -> io::Error {
    let shown: String = host.chars().take(80).collect(); // a real one has 253 at most
    io::Error::other(format!("resolve {shown:?}: {why}"))
}

fn new_socket(address: SocketAddr, flags: SockFlag) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = flags | SockFlag::SOCK_CLOEXEC;
    socket::socket(family, SockType::Stream, flags, None).context("socket")
}

fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let name: SockaddrStorage = socket::getsockname(socket.as_raw_fd()).context("getsockname")?;
    let v4 = name.as_sockaddr_in().map(|&it| SocketAddr::V4(it.into()));
    let v6 = name.as_sockaddr_in6().map(|&it| SocketAddr::V6(it.into()));
    v4.or(v6).ok_or_else(|| io::Error::other("getsockname: not an IP address"))
}

/// Sets `SO_SNDTIMEO` or `SO_RCVTIMEO`: a call that waits longer fails with `EAGAIN`.
pub(crate) fn set_timeout<O>(socket: &OwnedFd, option: O, timeout: Duration) -> io::Result<()>
where
    O: socket::SetSockOpt<Val = TimeVal>,
{
    let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
    let value = TimeVal::new(seconds, timeout.subsec_micros().into());
    setsockopt(socket, option, &value).context("setsockopt timeout")
}

impl Listener {
    /// Where it listens, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes a client from the kernel's queue. `None`: there was none after all (it left again,
    /// or a signal came), or what was told before still holds.
    ///
    /// # Errors
    /// `accept(2)`: `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM` and whatever else. The clients stay
    /// in the queue, and the listener asks for a rest: see [`Listener::resume_at`]. An error that
    /// lasts is returned once, and not with every attempt.
    pub fn accept(&mut self) -> io::Result<Option<OwnedFd>> {
        match socket::accept4(self.socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            Ok(fd) => {
                self.failed = None;
                // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
                Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
            }
            Err(Errno::EAGAIN) => {
                self.failed = None;
                Ok(None)
            }
            Err(errno) => self.fail(errno),
        }
    }

    fn fail(&mut self, errno: Errno) -> io::Result<Option<OwnedFd>> {
        let lasts = self.failed.replace(errno) == Some(errno);
        let passes = matches!(errno, Errno::EINTR | Errno::ECONNABORTED | Errno::EPROTO);
        if lasts || !passes {
            // Level-triggered epoll would report the same client at once, again and again.
            self.resume_at = Some(Instant::now() + PAUSE);
        }
        if lasts || passes { Ok(None) } else { Err(errno).context("accept") }
    }

    /// Does somebody wait in the queue at this moment? If that can't be found out, yes: better to
    /// be sent for nothing than to leave somebody waiting.
    #[must_use]
    pub fn has_clients(&self) -> bool {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO) != Ok(0)
    }

    /// Stops listening, at once and in every process that shares this socket: who connects from
    /// now on is refused, who waits in the queue is reset. (To close our own copy would change
    /// nothing as long as there are others.)
    ///
    /// # Errors
    /// `shutdown(2)`.
    pub fn shut_down(&self) -> io::Result<()> {
        socket::shutdown(self.socket.as_raw_fd(), Shutdown::Read).context("shutdown")
    }

    /// Until when nothing should be accepted; `None` if there is no such rest.
    pub fn resume_at(&mut self) -> Option<Instant> {
        self.resume_at = self.resume_at.filter(|&at| at > Instant::now());
        self.resume_at
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sends as much of `bytes` as fits without waiting, and returns how much that was.
///
/// # Errors
/// `send(2)`: `EAGAIN` when nothing fits now; `EPIPE`, `ECONNRESET` when the peer left.
pub fn try_send(socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    again(|| socket::send(socket.as_raw_fd(), bytes, flags)).context("send")
}

/// Receives what is there, without waiting. 0: the peer has sent its last byte.
///
/// # Errors
/// `recv(2)`: `EAGAIN` when there is nothing now; `ECONNRESET` when the peer left.
pub fn try_recv(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    again(|| socket::recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)).context("recv")
}

/// Repeats a call that a signal interrupted.
fn again(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// For a conversation of short messages: each leaves at once instead of waiting until the peer has
/// acknowledged the one before it (`TCP_NODELAY`, see `tcp(7)`). For the transfer of a file it is
/// wrong: it cuts the stream into more segments.
///
/// # Errors
/// `setsockopt(2)`.
pub fn send_at_once(socket: &OwnedFd) -> io::Result<()> {
    setsockopt(socket, sockopt::TcpNoDelay, &true).context("setsockopt TCP_NODELAY")
}

/// From now on no call on this socket waits: it fails with `EAGAIN` instead (`O_NONBLOCK`, see
/// `fcntl(2)`).
///
/// # Errors
/// `fcntl(2)`.
pub fn set_nonblocking(socket: &OwnedFd) -> io::Result<()> {
    let flags = fcntl(socket, FcntlArg::F_GETFL).context("fcntl F_GETFL")?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(socket, FcntlArg::F_SETFL(flags)).context("fcntl F_SETFL").map(drop)
}

/// Has the kernel hold at most about `bytes` for a peer that doesn't read, beyond what the peer's
/// own kernel takes (`TCP_NOTSENT_LOWAT`). Otherwise it may be megabytes: whoever wants to know
/// soon that a peer is slow has to keep what waits for it in queues of one's own.
///
/// # Errors
/// `setsockopt(2)`.
pub fn limit_unsent(socket: &OwnedFd, bytes: u32) -> io::Result<()> {
    let (fd, length) = (socket.as_raw_fd(), size_of_val(&bytes) as libc::socklen_t);
    // SAFETY: the call reads one u32, and `bytes` is one. (nix has no name for this option.)
    let result = unsafe {
        libc::setsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            length,
        )
    };
    Errno::result(result).context("setsockopt TCP_NOTSENT_LOWAT").map(drop)
}

/// Where a client on this machine reaches a server that listens at `address`.
#[must_use]
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
