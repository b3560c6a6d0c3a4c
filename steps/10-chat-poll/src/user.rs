//! One user, as the server sees it: a connection, lines that come in, a queue that goes out.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::socket::{Shutdown, shutdown};
use shared::chat::{FAREWELL, Heard, PATIENCE, Speaker};
use shared::lines::LineBuffer;
use shared::poller::earlier;
use shared::tcp;

use crate::queue::Queue;

/// How much the kernel may hold for a user beside our queue, in bytes. Little, so that a user who
/// reads at all is seen to.
const UNSENT: u32 = 16 << 10;

pub struct User {
    /// Never used again for somebody else.
    pub number: u64,
    connection: OwnedFd,
    speaker: Speaker,
    lines: LineBuffer,
    /// It will send nothing more.
    silent: bool,
    queue: Queue,
    /// It can be sent nothing more.
    deaf: bool,
    /// When it last took something, or had nothing to take.
    took_at: Instant,
    /// Since when everyone waits until half of its queue is free.
    full_since: Option<Instant>,
    /// It has to leave, by then at the latest.
    leaves_by: Option<Instant>,
}

impl User {
    pub fn new(number: u64, connection: OwnedFd) -> io::Result<Self> {
        tcp::set_nonblocking(&connection)?;
        tcp::send_at_once(&connection)?;
        tcp::limit_unsent(&connection, UNSENT)?;
        Ok(Self {
            number,
            connection,
            speaker: Speaker::default(),
            lines: LineBuffer::default(),
            silent: false,
            queue: Queue::default(),
            deaf: false,
            took_at: Instant::now(),
            full_since: None,
            leaves_by: None,
        })
    }

    /// What to ask `poll` for. Whoever waits for nothing must not be asked about: a hang-up is
    /// reported unasked, again and again.
    pub fn events(&self, paused: bool) -> PollFlags {
        // LAB 10.events: POLLOUT if something waits for it, POLLIN if something can be taken from it
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLOUT, !self.queue.is_empty());
        events.set(PollFlags::POLLIN, !self.silent && (!paused || self.is_leaving()));
        events
        // END 10.events
    }

    /// Does what `poll` has found to be possible. After a hang-up both are tried: what had come
    /// before it is still to be read.
    pub fn serve(&mut self, happened: PollFlags, paused: bool) {
        let asked = self.events(paused);
        let hung_up = happened.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
        let able = if hung_up { asked } else { asked & happened };
        if able.contains(PollFlags::POLLOUT) {
            self.send();
        }
        if able.contains(PollFlags::POLLIN) {
            self.receive();
        }
    }

    /// Sends as much of the queue as the connection takes.
    pub fn send(&mut self) {
        let before = self.queue.len();
        match self.queue.send(&self.connection) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => {
                self.deaf = true;
                self.queue.clear();
                // Usually it has hung up. If not, it hears the end now; and so do we, behind what
                // it had said before.
                let _ = shutdown(self.connection.as_raw_fd(), Shutdown::Both);
            }
            Ok(()) | Err(_) => {}
        }
        if self.queue.len() < before {
            self.took_at = Instant::now();
        }
        if self.queue.is_half_free() {
            self.full_since = None;
        }
        if self.is_leaving() && self.queue.is_empty() {
            // Closed at once, with something unread, the connection would be reset, and the last
            // words could be lost on their way. So say that this was all, and wait for the end.
            let _ = shutdown(self.connection.as_raw_fd(), Shutdown::Write);
        }
    }

    fn receive(&mut self) {
        if self.is_leaving() {
            self.silent = !self.discard();
            return;
        }
        let connection = &self.connection;
        let silent = &mut self.silent;
        let received = self.lines.fill(|room| {
            let length = match tcp::try_recv(connection, room) {
                // A reset. What had come before is read by now, and nothing will follow.
                Err(error) if error.kind() != ErrorKind::WouldBlock => 0,
                result => result?,
            };
            *silent = length == 0;
            Ok(length)
        });
        drop(received); // an error here is a WouldBlock: there was nothing after all
    }

    /// Reads what nobody wants to hear any more. False at the end.
    fn discard(&self) -> bool {
        match tcp::try_recv(&self.connection, &mut [0; 4096]) {
            Ok(length) => length > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// Its next line, if there is one.
    pub fn hear(&mut self) -> Option<Heard> {
        if self.is_leaving() {
            return None;
        }
        let heard = self.speaker.hear(self.lines.line()?);
        self.lines.consume();
        Some(heard)
    }

    /// Puts a line into its queue, unless it can't or needn't get one.
    pub fn tell(&mut self, line: &[u8]) {
        if self.deaf || self.silent || self.is_leaving() {
            return;
        }
        if self.queue.is_empty() {
            self.took_at = Instant::now();
        }
        self.queue.push(line);
        if self.queue.is_full() {
            self.full_since.get_or_insert_with(Instant::now);
        }
    }

    /// Tells it the last words. It has a moment to read them.
    pub fn dismiss(&mut self, last_words: &[u8]) {
        self.queue.end_with(last_words);
        self.full_since = None;
        self.leaves_by = Some(Instant::now() + FAREWELL);
        self.send();
    }

    pub fn is_leaving(&self) -> bool {
        self.leaves_by.is_some()
    }

    /// Does everyone wait until half of its queue is free?
    pub fn is_full(&self) -> bool {
        self.full_since.is_some()
    }

    /// By when it has to take something; or, if it has to leave, to be gone.
    pub fn deadline(&self, stall_timeout: Duration) -> Option<Instant> {
        let stalled = (!self.queue.is_empty()).then(|| self.took_at + stall_timeout);
        let full = self.full_since.map(|since| since + PATIENCE);
        self.leaves_by.or(earlier(stalled, full))
    }

    /// Has it taken too long?
    pub fn is_late(&self, stall_timeout: Duration) -> bool {
        !self.is_leaving() && self.deadline(stall_timeout).is_some_and(|at| at <= Instant::now())
    }

    /// Is there nothing more to be heard of it, and nothing to be told?
    pub fn is_gone(&self) -> bool {
        let said_all = self.silent && (self.is_leaving() || self.lines.is_finished());
        let late = self.leaves_by.is_some_and(|by| by <= Instant::now());
        late || (said_all && self.queue.is_empty())
    }
}

impl AsFd for User {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}
