//! A worker: the process of one user.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use shared::channel::WorkerEnd;
use shared::chat::{Heard, TOO_SLOW};
use shared::error::Context;
use shared::narrate::Narrator;
use shared::news::{Notice, Report};
use shared::poller::poll_timeout;
use shared::shared_memory::Rings;
use shared::signal::{self, LEAVE};
use shared::{process, say, tcp};

use crate::farewell::farewell;
use crate::incoming::Incoming;
use crate::outgoing::{Outgoing, UNSENT};

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
    desk: &'a Desk<'a>,
    incoming: Incoming<'a>,
    outgoing: Outgoing<'a>,
    /// The parent has told all.
    told: bool,
    narrator: Narrator,
}

/// The whole life of a worker. It ends with the stay of its user, or when the parent says so.
pub fn run(desk: &Desk<'_>) -> io::Result<()> {
    // The copies that fork made: of the listener, of epoll, of the parent's ends of all channels.
    process::close_all_but_these(&[desk.user.as_fd(), desk.channel.as_fd()])?;
    signal::leave_to_parent(&LEAVE)?;
    tcp::send_at_once(&desk.user)?;
    tcp::limit_unsent(&desk.user, UNSENT)?;
    let incoming = Incoming::new(desk.rings.writer(desk.number, desk.limit));
    let outgoing = Outgoing::new(desk.rings, desk.number, desk.sent.clone());
    let narrator = Narrator::worker(desk.number, desk.quiet);
    let worker = Worker { desk, incoming, outgoing, told: false, narrator };
    let last_words = worker.serve()?;
    // From here on our ring, and our seat, are for others.
    desk.channel.send_report(Report::Left)?;
    farewell(&desk.user, &last_words);
    Ok(())
}

impl Worker<'_> {
    /// Serves the user until it has left. Returns the last words for it.
    fn serve(mut self) -> io::Result<Vec<u8>> {
        say!(self.narrator, "a user is here");
        while !(self.incoming.is_over() && self.outgoing.is_over()) {
            self.wait()?;
            self.hear_parent()?;
            self.receive()?;
            self.send()?;
            if self.outgoing.is_late(self.desk.stall_timeout) {
                say!(self.narrator, "the user reads too slowly");
                return Ok(self.outgoing.end_with(TOO_SLOW));
            }
        }
        say!(self.narrator, "the user is gone");
        Ok(Vec::new())
    }

    /// Sleeps until something can be done. While nothing is wanted of the user, `poll` isn't asked
    /// about it: it would report a hang-up again and again.
    fn wait(&self) -> io::Result<()> {
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, self.incoming.wants_more());
        events.set(PollFlags::POLLOUT, self.outgoing.has_something());
        let mut fds = Vec::new();
        if !self.told {
            fds.push(PollFd::new(self.desk.channel.as_fd(), PollFlags::POLLIN));
        }
        if !events.is_empty() {
            fds.push(PollFd::new(self.desk.user.as_fd(), events));
        }
        match poll(&mut fds, poll_timeout(self.outgoing.deadline(self.desk.stall_timeout))) {
            Err(Errno::EINTR) => Ok(()),
            result => result.context("poll").map(drop),
        }
    }

    /// Takes all that the parent has to tell.
    fn hear_parent(&mut self) -> io::Result<()> {
        while !self.told {
            match self.desk.channel.recv_notice()? {
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
        for heard in self.incoming.take(&self.desk.user, &self.desk.channel)? {
            match heard {
                Heard::Named(name) => say!(self.narrator, "the user is called {name}"),
                Heard::Refused(why) => self.outgoing.add_aside(why),
                Heard::Said(_) => {} // it is in the ring
            }
        }
        if self.incoming.is_over() && self.incoming.has_hung_up() {
            self.outgoing.close();
        }
        Ok(())
    }

    /// From everybody else's rings to the user.
    fn send(&mut self) -> io::Result<()> {
        if !self.outgoing.send(&self.desk.user, &self.desk.channel)? {
            // It can't be sent anything any more. What it has said before is still passed on.
            self.outgoing.give_up();
            self.desk.channel.send_report(Report::Deaf)?;
            self.incoming.take_the_rest();
            self.receive()?;
        }
        Ok(())
    }
}
