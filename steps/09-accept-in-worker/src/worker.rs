//! A worker: accepts by itself, has many clients at once, starts programs for them.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use nix::sys::signal::Signal;
use shared::channel::{Word, WorkerEnd};
use shared::narrate::Narrator;
use shared::poller::{Interest, Poller};
use shared::process;
use shared::say;
use shared::signal::Signals;
use shared::tcp::Listener;

use crate::job::Job;
use crate::server::SIGNALS;
use crate::visitor::{Next, Visitor};

#[derive(Clone, Copy)]
enum Token {
    Parent,
    Signal,
    Client(u64),
}

struct Worker<'a> {
    /// `None` when leaving: closed, so that the parent tells others.
    channel: Option<WorkerEnd>,
    listener: &'a mut Listener,
    signals: Signals,
    poller: Poller<Token>,
    /// By a number that counts up: the first is the one whose time is over first.
    clients: BTreeMap<u64, Visitor>,
    /// The number of the next.
    next: u64,
    /// How many programs run.
    programs: usize,
    job: &'a Job,
    worker: Narrator,
}

/// The whole life of a worker. It returns when it was told to leave and has finished.
pub fn run(
    number: usize,
    channel: WorkerEnd,
    listener: &mut Listener,
    job: &Job,
) -> io::Result<()> {
    let worker = Narrator::worker(number, job.quiet);
    let signals = Signals::catch(&SIGNALS)?; // one of our own: the parent's tells of the parent's
    let mut poller = Poller::new()?;
    poller.add(&channel, Interest::ReadEdge, Token::Parent)?;
    poller.add(&signals, Interest::ReadEdge, Token::Signal)?;
    say!(worker, "waiting for clients");
    let (channel, clients) = (Some(channel), BTreeMap::new());
    Worker { channel, listener, signals, poller, clients, next: 0, programs: 0, job, worker }.work()
}

impl Worker<'_> {
    fn work(&mut self) -> io::Result<()> {
        while self.channel.is_some() || !self.clients.is_empty() || self.programs > 0 {
            let deadline = self.clients.values().next().map(|client| client.deadline);
            for event in self.poller.wait(deadline)? {
                match event.token {
                    Token::Parent => self.hear_parent()?,
                    Token::Signal => self.hear_signals()?,
                    Token::Client(id) => self.attend(id)?,
                }
            }
            self.give_up_the_slow()?;
        }
        Ok(())
    }

    fn hear_parent(&mut self) -> io::Result<()> {
        let mut told = false;
        while let Some(channel) = &self.channel {
            match channel.recv_word() {
                Word::Accept => told = true,
                Word::Nothing => break,
                Word::Gone => self.leave()?,
            }
        }
        if told { self.accept_all() } else { Ok(()) }
    }

    /// Accepts whoever is there. There may be two, told of by one word; or none, because another
    /// worker was faster.
    fn accept_all(&mut self) -> io::Result<()> {
        // LAB 09.accept: accept until nobody is left; watch each connection edge-triggered
        loop {
            match self.listener.accept() {
                Ok(Some(socket)) => {
                    let (id, client) = (self.next, Visitor::new(socket, self.job));
                    self.next += 1;
                    match self.poller.add(&client, Interest::ReadEdge, Token::Client(id)) {
                        Ok(()) => say!(self.worker, "client {id} is here"),
                        // Closed right away: one client's trouble is nobody else's.
                        Err(error) => {
                            say!(self.worker, "client {id} is lost: {error}");
                            continue;
                        }
                    }
                    self.clients.insert(id, client);
                }
                Ok(None) => return Ok(()),
                // No descriptor left, for one. The parent sees who waits, and tells again.
                Err(error) => say!(self.worker, "no client now: {error}"),
            }
        }
        // END 09.accept
    }

    fn attend(&mut self, id: u64) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(&id) else {
            return Ok(()); // given up a moment ago
        };
        match client.attend(self.job) {
            Next::Wait => Ok(()),
            Next::Runs(keeper, name) => {
                say!(self.worker, "client {id} gets {name}, kept by pid {keeper}");
                self.programs += 1;
                self.forget(id)
            }
            Next::Refused(why) => {
                say!(self.worker, "client {id} gets nothing: {why}");
                self.attend(id) // what it has sent by now
            }
            Next::Done => self.forget(id),
        }
    }

    fn give_up_the_slow(&mut self) -> io::Result<()> {
        while let Some(mut first) = self.clients.first_entry()
            && first.get().deadline <= Instant::now()
        {
            first.get_mut().give_up(self.job);
            let id = *first.key();
            say!(self.worker, "client {id} has had its time");
            self.forget(id)?;
        }
        Ok(())
    }

    /// Closes our copy of a connection. Removed first: as long as a program has a copy, epoll
    /// would go on to tell us of it.
    fn forget(&mut self, id: u64) -> io::Result<()> {
        self.clients.remove(&id).map_or(Ok(()), |client| self.poller.remove(&client))
    }

    fn hear_signals(&mut self) -> io::Result<()> {
        while let Some(signal) = self.signals.next()? {
            if signal != Signal::SIGCHLD.as_str() {
                self.leave()?;
            }
        }
        while let Some((keeper, _)) = process::reap_next()? {
            self.programs -= 1;
            say!(self.worker, "the program kept by pid {keeper} has ended");
        }
        Ok(())
    }

    /// No more clients. Who has been accepted is served to the end.
    fn leave(&mut self) -> io::Result<()> {
        let Some(channel) = self.channel.take() else { return Ok(()) };
        say!(self.worker, "leaving when all clients are served ({})", self.clients.len());
        self.poller.remove(&channel)
    }
}
