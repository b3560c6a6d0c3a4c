//! The client of a chat: what is typed goes to the server, what the others say is printed.
//!
//! Purpose: two things can happen at any time, so `poll(2)` waits for both: something is typed,
//! something comes. What is typed travels by `splice(2)`: from standard input into a pipe, from
//! the pipe into the socket, and never through this program's memory.
//! Interface: [`join`].
//! Rules: nothing here waits but `poll`. Who waited until the server takes what was typed, and
//! read nothing meanwhile, could wait for a server that waits for just that. Bytes from strangers
//! reach a terminal only as harmless text; a pipe or a file gets them as they are.
//! First used by stage 10. `nc` does as well.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, SpliceFFlags, splice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, Shutdown};
use nix::unistd::{pipe2, read, write};

use crate::chat::{MAX_SAID, introduction};
use crate::cli::JoinArgs;
use crate::error::Context;
use crate::narrate::{printable, write_line};
use crate::tcp;

/// How much is taken of what was typed at once, in bytes: what a pipe holds.
const MOST: usize = 64 << 10;

/// The same where standard input can't be spliced: what fits into any pipe, even of a user who
/// has too many of them (`pipe(7)`).
const COPIED: usize = 4096;

/// One stay in a chat.
struct Stay {
    socket: OwnedFd,
    /// What is typed goes in here …
    inlet: OwnedFd,
    /// … and comes out here.
    outlet: OwnedFd,
    /// How many bytes are in between.
    inside: usize,
    /// Standard input isn't at its end.
    typing: bool,
    /// Standard input can't be spliced.
    copying: bool,
    /// The server left with something unread.
    lost: bool,
    screen: Screen,
}

/// Joins the chat. Returns when standard input is at its end, all of it is sent, and the server
/// has closed the connection.
///
/// # Errors
/// No connection; the server closed it first.
pub fn join(args: &JoinArgs) -> io::Result<()> {
    let socket = tcp::connect(&args.address.host, args.address.port, args.address.patience())?;
    tcp::send_at_once(&socket)?;
    // For splice that is a matter of the socket: its own flag means the pipe alone.
    tcp::set_nonblocking(&socket)?;
    let (outlet, inlet) = pipe2(OFlag::O_CLOEXEC).context("pipe2")?;
    let screen = Screen::new();
    let (inside, typing, copying, lost) = (0, true, false, false);
    let mut stay = Stay { socket, inlet, outlet, inside, typing, copying, lost, screen };
    if let Some(name) = &args.name {
        stay.put(introduction(name).as_bytes())?;
    }
    while stay.step()? {}
    stay.screen.finish()?;
    if stay.typing || stay.inside > 0 || stay.lost {
        return Err(io::Error::other("the server closed the connection"));
    }
    write_line("you have left the chat");
    Ok(())
}

impl Stay {
    /// Waits for one of the three things that can happen. False at the end of the connection.
    fn step(&mut self) -> io::Result<bool> {
        let stdin = io::stdin();
        let mut interest = PollFlags::POLLIN;
        interest.set(PollFlags::POLLOUT, self.inside > 0);
        let mut fds = vec![PollFd::new(self.socket.as_fd(), interest)];
        if self.typing && self.inside == 0 {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => return Ok(true),
            result => result.context("poll")?,
        };
        let happened = |index: usize, flags| {
            fds.get(index).and_then(PollFd::revents).is_some_and(|it| it.intersects(flags))
        };
        let came = happened(0, PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR);
        let room = happened(0, PollFlags::POLLOUT);
        let typed = happened(1, PollFlags::all());
        if typed {
            self.take_typed()?;
        }
        if room {
            self.send_typed()?;
        }
        Ok(!came || self.print()?)
    }

    /// Takes what was typed into the pipe, which is empty.
    fn take_typed(&mut self) -> io::Result<()> {
        if self.copying {
            return self.copy_typed();
        }
        // LAB 10.take_typed: splice from standard input into the pipe; 0 is the end; EINVAL: copy
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
        match splice(io::stdin(), None, &self.inlet, None, MOST, flags) {
            Ok(0) => self.end_typing(),
            Ok(moved) => self.inside = moved,
            // Somebody else reads from the same terminal or pipe, and was faster.
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // Not everything can be spliced. Nothing was taken yet, so nothing is lost.
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                self.copying = true;
                return self.copy_typed();
            }
            Err(errno) => return Err(errno).context("splice from standard input"),
        }
        Ok(())
        // END 10.take_typed
    }

    /// The same, through a buffer of ours.
    fn copy_typed(&mut self) -> io::Result<()> {
        let mut buffer = [0; COPIED];
        match read(io::stdin(), &mut buffer) {
            Ok(0) => self.end_typing(),
            Ok(length) => self.put(&buffer[..length])?,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("read standard input"),
        }
        Ok(())
    }

    /// Puts a few bytes into the pipe, which is empty: they fit.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inside += loop {
            match write(&self.inlet, bytes) {
                Err(Errno::EINTR) => {}
                result => break result.context("write to the pipe")?,
            }
        };
        Ok(())
    }

    /// Sends what is in the pipe, or as much as the server takes now.
    fn send_typed(&mut self) -> io::Result<()> {
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
        match splice(&self.outlet, None, &self.socket, None, self.inside, flags) {
            Ok(moved) => self.inside -= moved,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(Errno::EPIPE | Errno::ECONNRESET) => self.lose(),
            Err(errno) => return Err(errno).context("splice to the server"),
        }
        if !self.typing && self.inside == 0 {
            self.end_typing();
        }
        Ok(())
    }

    /// Nothing more will be typed. Once all is sent the server gets to know it (half-close).
    fn end_typing(&mut self) {
        self.typing = false;
        if self.inside == 0 && !self.lost {
            // It fails when the server has left. Whoever reads will find that out.
            let _ = socket::shutdown(self.socket.as_raw_fd(), Shutdown::Write);
        }
    }

    /// The server takes nothing any more. What it sent before that is still to be read.
    fn lose(&mut self) {
        self.lost = true;
        self.typing = false;
        self.inside = 0;
    }

    /// Prints what has come. False at the end of the connection.
    fn print(&mut self) -> io::Result<bool> {
        let mut buffer = [0; MOST];
        match tcp::try_recv(&self.socket, &mut buffer) {
            Ok(0) => Ok(false),
            Ok(length) => self.screen.show(&buffer[..length]).map(|()| true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.lost = true;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Standard output.
struct Screen {
    is_terminal: bool,
    /// The beginning of a line whose rest has yet to come: a character may be cut in two there.
    begun: Vec<u8>,
}

impl Screen {
    fn new() -> Self {
        Self { is_terminal: io::stdout().is_terminal(), begun: Vec::new() }
    }

    fn show(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.is_terminal {
            return print_out(bytes);
        }
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.begun.extend_from_slice(piece);
            // A server that never ends a line doesn't fill our memory.
            if piece.ends_with(b"\n") || self.begun.len() >= MAX_SAID {
                self.finish()?;
            }
        }
        Ok(())
    }

    /// Shows a line that is complete, or won't be completed.
    fn finish(&mut self) -> io::Result<()> {
        if self.begun.is_empty() {
            return Ok(());
        }
        let line = std::mem::take(&mut self.begun);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line); // telnet's
        print_out(format!("{}\n", printable(line)).as_bytes())
    }
}

fn print_out(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).context("write standard output")
}
