//! A worker: the process of one user.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shared::channel::WorkerEnd;
use shared::chat::{Heard, TOO_SLOW};
use shared::error::Context;
use shared::narrate::Narrator;
use shared::news::{Notice, Report};
use shared::process;
use shared::say;
use shared::shared_memory::Rings;
use shared::signal;
use shared::tcp;

use crate::farewell::farewell;
use crate::incoming::Incoming;
use crate::outgoing::Outgoing;
use crate::server::LEAVE;

/// How much the kernel may hold for a user beside the rings, in bytes. Little, so that a user who
/// doesn't read is soon seen not to.
const UNSENT: u32 = 16 << 10;

/// What a worker begins with.
pub struct Desk<'a> {
    /// The number of its seat, and of its ring.
    pub number: usize,
    pub user: OwnedFd,
    pub channel: WorkerEnd,
    pub rings: &'a Rings,
    /// How far each ring is published. What was said before is not for this user.
    pub sent: Vec<u64>,
    /// How far its own ring may be written.
    pub limit: u64,
    pub stall_timeout: Duration,
    pub quiet: bool,
}

struct Worker<'a> {
    user: OwnedFd,
    channel: WorkerEnd,
    incoming: Incoming<'a>,
    outgoing: Outgoing<'a>,
    /// The parent has more to tell.
    told: bool,
    /// It knows that we shall publish nothing more.
    mute: bool,
    stall_timeout: Duration,
    narrator: Narrator,
}

/// The whole life of a worker. It ends with the stay of its user, or when the parent says so.
pub fn run(desk: Desk<'_>) -> io::Result<()> {
    let Desk { number, user, channel, rings, sent, limit, stall_timeout, quiet } = desk;
    // The copies that fork made: of the listener, of epoll, of the parent's ends of all channels.
    process::close_all_but_these(&[user.as_fd(), channel.as_fd()])?;
    signal::leave_to_parent(&LEAVE)?;
    tcp::send_at_once(&user)?;
    tcp::limit_unsent(&user, UNSENT)?;
    let incoming = Incoming::new(rings.writer(number, limit));
    let outgoing = Outgoing::new(rings, number, sent);
    let narrator = Narrator::worker(number, quiet);
    let (told, mute) = (false, false);
    let mut worker =
        Worker { user, channel, incoming, outgoing, told, mute, stall_timeout, narrator };
    say!(worker.narrator, "a user is here");
    let last_words = worker.serve()?;
    // From here on our ring, and our seat, are for others.
    worker.channel.send_report(Report::Mute)?;
    worker.channel.send_report(Report::Deaf)?;
    farewell(&worker.user, &last_words);
    Ok(())
}

impl Worker<'_> {
    /// Does what there is to do until the user has left. Returns the last words for it.
    fn serve(&mut self) -> io::Result<Vec<u8>> {
        while !(self.incoming.is_over() && self.outgoing.is_over()) {
            self.wait()?;
            self.hear_parent()?;
            self.receive()?;
            self.send()?;
            if self.outgoing.is_late(self.stall_timeout) {
                say!(self.narrator, "the user reads too slowly");
                return Ok(self.outgoing.end_with(TOO_SLOW));
            }
        }
        say!(self.narrator, "the user is gone");
        Ok(Vec::new())
    }

    /// Sleeps until something can be done. Whoever waits for nothing isn't asked about: a hang-up
    /// is reported unasked, again and again.
    fn wait(&self) -> io::Result<()> {
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, self.incoming.wants_more());
        events.set(PollFlags::POLLOUT, self.outgoing.has_something());
        let mut fds = Vec::new();
        if !self.told {
            fds.push(PollFd::new(self.channel.as_fd(), PollFlags::POLLIN));
        }
        if !events.is_empty() {
            fds.push(PollFd::new(self.user.as_fd(), events));
        }
        let deadline = self.outgoing.deadline(self.stall_timeout);
        match poll(&mut fds, timeout_until(deadline)) {
            Err(Errno::EINTR) => Ok(()),
            result => result.context("poll").map(drop),
        }
    }

    /// Takes all that the parent has to tell.
    fn hear_parent(&mut self) -> io::Result<()> {
        while !self.told {
            match self.channel.recv_notice()? {
                Notice::News(limit, rings) => {
                    self.incoming.allow(limit);
                    rings.into_iter().for_each(|ring| self.outgoing.add(ring));
                }
                Notice::Leave => self.incoming.stop(),
                Notice::End => {
                    self.told = true;
                    self.incoming.stop();
                    self.outgoing.close();
                }
                Notice::Nothing => break,
            }
        }
        Ok(())
    }

    /// From the user into the ring.
    fn receive(&mut self) -> io::Result<()> {
        for heard in self.incoming.take(&self.user, &self.channel)? {
            match heard {
                Heard::Named(name) => say!(self.narrator, "the user is called {name}"),
                Heard::Refused(why) => self.outgoing.add_aside(why),
                Heard::Said(_) => {} // it is in the ring
            }
        }
        if self.incoming.is_over() && !self.mute {
            self.mute = true;
            self.channel.send_report(Report::Mute)?;
            if self.incoming.has_hung_up() {
                self.outgoing.close();
            }
        }
        Ok(())
    }

    /// From everybody else's rings to the user.
    fn send(&mut self) -> io::Result<()> {
        if self.outgoing.send(&self.user, &self.channel)? {
            return Ok(());
        }
        // It can't be sent anything any more. What it has said before is still passed on.
        self.outgoing.give_up();
        self.channel.send_report(Report::Deaf)
    }
}

/// Rounded up to whole milliseconds: rounding down would wake too early and spin.
fn timeout_until(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else {
        return PollTimeout::NONE;
    };
    let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}
