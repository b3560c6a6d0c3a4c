//! The parent: tells workers of clients, and hears signals. It never touches a connection.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use shared::cli::{self, ProgramServeArgs};
use shared::narrate::Narrator;
use shared::poller::{Interest, Poller};
use shared::process;
use shared::say;
use shared::signal::Signals;
use shared::tcp::{self, Listener};

use crate::job::Job;
use crate::workers::Workers;

/// The signals that parent and workers hear in their loops.
pub const SIGNALS: [Signal; 3] = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT];

/// How long a client may wait in the queue before another worker is told of it.
const MOMENT: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
enum Token {
    Listener,
    Signal,
}

struct Server {
    listener: Listener,
    workers: Workers,
    poller: Poller<Token>,
    signals: Signals,
    /// When to look whether somebody still waits.
    look_again: Option<Instant>,
    leaving: bool,
    parent: Narrator,
}

/// Runs the server until a signal tells it to leave, or no worker is left.
pub fn serve(args: &ProgramServeArgs) -> io::Result<()> {
    // A worker that is killed leaves the keepers of its programs. They shall be ours to reap.
    process::adopt_orphans()?;
    let result = start(args).and_then(Server::run);
    process::end_all(); // whoever is left after a failure, or a second signal
    result
}

fn start(args: &ProgramServeArgs) -> io::Result<Server> {
    // Before the first fork: no signal is to find a process that isn't prepared for it.
    let signals = Signals::catch(&SIGNALS)?;
    let job = Job::new(args)?;
    // Listen first, fork later: this is what the workers are to inherit.
    let mut listener = tcp::listen(&args.address.host, args.address.port)?;
    let workers = Workers::start(args.workers, &mut listener, &job)?;
    let mut poller = Poller::new()?;
    // Edge-triggered: told once of each client. Otherwise we would be told again and again, and
    // tell the workers again and again, until one of them has accepted.
    poller.add(&listener, Interest::ReadEdge, Token::Listener)?;
    poller.add(&signals, Interest::Read, Token::Signal)?;
    cli::announce(&args.serve(), &listener, "run date")?;
    let parent = Narrator::parent(args.quiet);
    Ok(Server { listener, workers, poller, signals, look_again: None, leaving: false, parent })
}

impl Server {
    fn run(mut self) -> io::Result<()> {
        while self.workers.alive() > 0 {
            for event in self.poller.wait(self.look_again)? {
                match event.token {
                    Token::Listener => self.announce(),
                    Token::Signal => self.hear()?,
                }
            }
            if self.look_again.is_some_and(|at| at <= Instant::now()) {
                self.look_again = None;
                if self.listener.has_clients() {
                    self.announce();
                }
            }
        }
        if !self.leaving {
            return Err(io::Error::other("no worker is left"));
        }
        say!(self.parent, "all workers have left");
        Ok(())
    }

    /// Tells a worker that somebody waits. Two clients of one instant may come as one event: the
    /// worker accepts until there is none.
    fn announce(&mut self) {
        if self.leaving {
            return; // it is being reset
        }
        if let Some(number) = self.workers.announce() {
            say!(self.parent, "somebody waits: worker {number} is told");
        }
        // It may die before it accepts, stand still, or have no descriptor left. So as long as
        // somebody waits, the next one is told. Each has a moment from its own word on: the turns
        // would be lost if another was told meanwhile.
        self.look_again = Some(Instant::now() + MOMENT);
    }

    fn hear(&mut self) -> io::Result<()> {
        let mut told = None;
        while let Some(signal) = self.signals.next()? {
            if signal != Signal::SIGCHLD.as_str() {
                told = Some(signal);
            }
        }
        self.reap()?;
        match told {
            Some(signal) if self.leaving => {
                let left = self.workers.alive();
                let text = format!("{signal}, the second signal: killed workers: {left}");
                Err(io::Error::other(text))
            }
            Some(signal) => self.leave(signal),
            None => Ok(()),
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        // LAB 09.reap: reap all who have ended; workers among them lose their turn; look again now
        while let Some((pid, ending)) = process::reap_next()? {
            // Anybody else was the keeper of a program, and lost its worker.
            if let Some(number) = self.workers.bury(pid) {
                say!(self.parent, "child {number} joined: pid {pid}, {ending}");
                self.look_again = Some(Instant::now()); // it may have been told of a client
            }
        }
        Ok(())
        // END 09.reap
    }

    /// Stops listening, and tells every worker to finish what it does.
    fn leave(&mut self, signal: &str) -> io::Result<()> {
        say!(self.parent, "{signal}: leaving, and telling all workers ({})", self.workers.alive());
        self.leaving = true;
        self.poller.remove(&self.listener)?;
        self.listener.shut_down()?;
        self.workers.signal(Signal::SIGTERM);
        // What has come until now is one request: `timeout` and others signal both us and our
        // group.
        while self.signals.next()?.is_some() {}
        self.reap()
    }
}
