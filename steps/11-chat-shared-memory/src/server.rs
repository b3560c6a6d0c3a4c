//! The parent: forks a worker for each user, and tells each of the news of the others.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use nix::sys::signal::Signal;
use shared::cli::{self, ChatServeArgs};
use shared::narrate::Narrator;
use shared::news::Report;
use shared::poller::{Interest, Poller, earlier};
use shared::process::raise_descriptor_limit;
use shared::say;
use shared::shared_memory::Rings;
use shared::signal::{LEAVE, Signals};
use shared::tcp::{self, Listener};

use crate::seats::Seats;

/// How many children may be on their way out beside those who have a seat.
const DEPARTING: usize = 64;

/// So many reports of a worker are taken before it is the turn of the others.
const ROUNDS: usize = 64;

/// Whose descriptor is ready.
#[derive(Clone, Copy)]
pub enum Token {
    Listener,
    Signal,
    Worker(usize),
}

pub struct Server<'a> {
    /// `None` once the server leaves.
    pub listener: Option<Listener>,
    pub seats: Seats<'a>,
    pub poller: Poller<Token>,
    pub signals: Signals,
    /// When to kill whoever hasn't left.
    pub grace: Option<Instant>,
    pub parent: Narrator,
}

/// Runs the server until a signal tells it to leave, and then until the last worker has left.
pub fn serve(args: &ChatServeArgs) -> io::Result<()> {
    // Before the first fork: no signal is to find a process that isn't prepared for it. And what
    // the children are to share with us has to be there before they are.
    let signals = Signals::catch(&[&LEAVE[..], &[Signal::SIGCHLD]].concat())?;
    let rings = Rings::map(args.max_users.into())?;
    raise_descriptor_limit();
    let listener = tcp::listen(&args.address.host, args.address.port)?;
    let mut poller = Poller::new()?;
    poller.add(&listener, Interest::Read, Token::Listener)?;
    poller.add(&signals, Interest::Read, Token::Signal)?;
    let size = format!("for {} users", args.max_users);
    cli::announce_as(&listener, &size, "join --name ann", args.quiet)?;
    let (seats, parent) = (Seats::new(&rings, args), Narrator::parent(args.quiet));
    Server { listener: Some(listener), seats, poller, signals, grace: None, parent }.run()
}

impl Server<'_> {
    fn run(mut self) -> io::Result<()> {
        while self.listener.is_some() || !self.seats.is_empty() {
            let rest = self.watch_listener()?;
            let deadline = earlier(earlier(rest, self.seats.deadline()), self.grace);
            for event in self.poller.wait(deadline)? {
                match event.token {
                    Token::Listener => self.welcome(),
                    Token::Signal => self.hear_signals()?,
                    Token::Worker(number) => self.hear_worker(number)?,
                }
            }
            // Once for all that was heard: many reports become one notice.
            for (channel, blocked) in self.seats.tell() {
                let interest = if blocked { Interest::ReadOrWrite } else { Interest::Read };
                self.poller.set_interest(channel, interest)?;
            }
            self.kill_the_late();
        }
        say!(self.parent, "all workers have left");
        Ok(())
    }

    /// Watches the listener, unless it rests, or there are too many children. Returns until when.
    fn watch_listener(&mut self) -> io::Result<Option<Instant>> {
        let Some(listener) = &mut self.listener else {
            return Ok(None);
        };
        let rest = listener.resume_at();
        let open = rest.is_none() && self.seats.departing() < DEPARTING;
        self.poller.set_interest(&*listener, Interest::read_if(open))?;
        Ok(rest)
    }

    fn welcome(&mut self) {
        let Some(listener) = &mut self.listener else {
            return;
        };
        let user = listener.accept();
        // None: it left again.
        if let Err(error) = user.and_then(|user| user.map_or(Ok(()), |user| self.seat(user))) {
            say!(self.parent, "no user now: {error}");
        }
    }

    /// Forks a worker for a user, if a seat is free.
    fn seat(&mut self, user: OwnedFd) -> io::Result<()> {
        let Some(number) = self.seats.free() else {
            say!(self.parent, "a user is turned away: no seat is free");
            return self.seats.turn_away(user);
        };
        let (pid, channel) = self.seats.admit(number, user)?;
        say!(self.parent, "a user gets seat {number}, and with it worker {number}, pid {pid}");
        let watched = self.poller.add(channel, Interest::Read, Token::Worker(number));
        if watched.is_err() {
            self.seats.kill(number); // we would hear nothing of it
            self.seats.clear(number);
        }
        watched
    }

    /// Takes what a worker reports.
    pub fn hear_worker(&mut self, number: usize) -> io::Result<()> {
        for _ in 0..ROUNDS {
            match self.seats.receive(number) {
                Report::News => self.seats.spread(number),
                Report::Sent(ring, position) => self.seats.note_sent(number, ring, position),
                Report::Mute => self.seats.mark_mute(number),
                Report::Deaf => self.seats.mark_deaf(number),
                Report::Left => return self.clear(number),
                Report::Gone => {
                    self.seats.kill(number); // most likely it is dead already
                    return self.clear(number);
                }
                Report::Nothing => break,
            }
        }
        Ok(())
    }

    /// A worker has left, or was killed. What it has published is told in any case.
    fn clear(&mut self, number: usize) -> io::Result<()> {
        self.seats.spread(number);
        match self.seats.clear(number) {
            Some(channel) => self.poller.remove(channel),
            None => Ok(()),
        }
    }
}
