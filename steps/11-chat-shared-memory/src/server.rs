//! The parent: forks a worker for each user, and tells each of the news of the others.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use shared::cli::{self, ChatServeArgs};
use shared::narrate::Narrator;
use shared::news::Report;
use shared::poller::{Interest, Poller, earlier};
use shared::process::raise_descriptor_limit;
use shared::say;
use shared::shared_memory::Rings;
use shared::signal::Signals;
use shared::tcp::{self, Listener};

use crate::seats::Seats;

/// The signals that mean "leave".
pub use shared::signal::LEAVE;

/// How long the workers have to deliver what is left when the server leaves.
const GRACE: Duration = Duration::from_secs(5);

/// How many processes may be on their way out beside those who have a seat.
const DEPARTING: usize = 64;

/// So many reports of a worker are taken before it is the turn of the others.
const ROUNDS: usize = 64;

#[derive(Clone, Copy)]
enum Token {
    Listener,
    Signal,
    Worker(usize),
}

struct Server<'a> {
    /// `None` when the server is leaving.
    listener: Option<Listener>,
    seats: Seats<'a>,
    poller: Poller<Token>,
    signals: Signals,
    /// Who is left then is killed.
    grace: Option<Instant>,
    parent: Narrator,
}

/// Runs the server until a signal tells it to leave, and then until the last worker has left.
pub fn serve(args: &ChatServeArgs) -> io::Result<()> {
    // Before the first fork: no signal is to find a process that isn't prepared for it.
    let signals = Signals::catch(&[&LEAVE[..], &[Signal::SIGCHLD]].concat())?;
    // Before the first fork, too: only what is mapped by then is shared.
    let rings = Rings::map(args.max_users.into())?;
    raise_descriptor_limit();
    let listener = tcp::listen(&args.address.host, args.address.port)?;
    let mut poller = Poller::new()?;
    poller.add(&listener, Interest::Read, Token::Listener)?;
    poller.add(&signals, Interest::Read, Token::Signal)?;
    let size = format!("for {} users", args.max_users);
    cli::announce_as(&listener, &size, "join --name ann", args.quiet)?;
    let (seats, parent) = (Seats::new(&rings, args), Narrator::parent(args.quiet));
    let listener = Some(listener);
    Server { listener, seats, poller, signals, grace: None, parent }.run()
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
            let poller = &mut self.poller;
            self.seats.tell(|channel, blocked| {
                let interest = if blocked { Interest::ReadOrWrite } else { Interest::Read };
                poller.set_interest(channel, interest)
            })?;
            for number in self.seats.kill_the_frozen() {
                say!(self.parent, "worker {number} stands still: killed, for others wait for it");
            }
            if self.grace.is_some_and(|at| at <= Instant::now()) {
                self.kill_all("the grace time is over");
            }
        }
        say!(self.parent, "all workers have left");
        Ok(())
    }

    /// Watches the listener unless there are too many children or too few descriptors. Returns
    /// until when it rests.
    fn watch_listener(&mut self) -> io::Result<Option<Instant>> {
        let Some(listener) = &mut self.listener else {
            return Ok(None);
        };
        let rest = listener.resume_at();
        let open = rest.is_none() && self.seats.departing() < DEPARTING;
        self.poller.set_interest(&*listener, Interest::read_if(open))?;
        Ok(rest)
    }

    /// Forks a worker for a user; or, if no seat is free, a process that says so: we wait for
    /// nobody.
    fn welcome(&mut self) {
        let Some(listener) = &mut self.listener else {
            return;
        };
        let welcomed = match (listener.accept(), self.seats.free()) {
            (Ok(Some(user)), Some(number)) => self.seat(number, user),
            (Ok(Some(user)), None) => {
                say!(self.parent, "a user is turned away: no seat is free");
                self.seats.turn_away(user)
            }
            (Ok(None), _) => Ok(()), // it left again
            (Err(error), _) => Err(error),
        };
        if let Err(error) = welcomed {
            say!(self.parent, "no user now: {error}");
        }
    }

    fn seat(&mut self, number: usize, user: OwnedFd) -> io::Result<()> {
        let (pid, channel) = self.seats.admit(number, user)?;
        say!(self.parent, "a user gets seat {number}, and pid {pid} for a worker");
        self.poller.add(channel, Interest::Read, Token::Worker(number))
    }

    /// Takes what a worker reports.
    fn hear_worker(&mut self, number: usize) -> io::Result<()> {
        for _ in 0..ROUNDS {
            match self.seats.receive(number) {
                Report::News => self.seats.spread(number),
                Report::Sent(ring, position) => self.seats.note_sent(number, ring, position),
                Report::Mute => self.seats.mark_mute(number),
                Report::Deaf => self.seats.mark_deaf(number),
                Report::Gone => {
                    self.seats.kill(number); // it can't be of any use any more
                    return self.clear(number);
                }
                Report::Nothing => break,
            }
        }
        if self.seats.is_done(number) { self.clear(number) } else { Ok(()) }
    }

    /// A worker has left, or was killed. What it had published before is still told and sent.
    fn clear(&mut self, number: usize) -> io::Result<()> {
        self.seats.spread(number);
        match self.seats.clear(number) {
            Some(channel) => self.poller.remove(channel),
            None => Ok(()),
        }
    }

    fn hear_signals(&mut self) -> io::Result<()> {
        let mut told = None;
        while let Some(signal) = self.signals.next()? {
            if signal != Signal::SIGCHLD.as_str() {
                told = Some(signal);
            }
        }
        // One SIGCHLD can stand for several children.
        while let Some(number) = self.seats.next_dead()? {
            self.hear_worker(number)?; // to the end of its channel
        }
        for joined in self.seats.reap()? {
            say!(self.parent, "{joined}");
        }
        match told {
            Some(signal) if self.listener.is_none() => self.kill_all(signal),
            Some(signal) => self.leave(signal)?,
            None => {}
        }
        Ok(())
    }

    /// Stops listening and has everybody leave.
    fn leave(&mut self, signal: &str) -> io::Result<()> {
        say!(self.parent, "{signal}: leaving, with {} users here", self.seats.taken());
        if let Some(listener) = self.listener.take() {
            self.poller.remove(&listener)?;
        }
        self.grace = Some(Instant::now() + GRACE);
        self.seats.dismiss();
        Ok(())
    }

    fn kill_all(&mut self, why: &str) {
        say!(self.parent, "{why}: killing who is left");
        self.grace = None;
        self.seats.kill_all();
    }
}
