//! A worker: accepts by itself, reads the requests of many clients at once, starts programs.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use shared::channel::{Word, WorkerEnd};
use shared::narrate::{Narrator, printable};
use shared::poller::{Interest, Poller};
use shared::process;
use shared::program::Directory;
use shared::say;
use shared::signal::Signals;
use shared::tcp::Listener;

use crate::request::Client;
use crate::server::SIGNALS;

/// What a worker works with.
pub struct Job {
    pub directory: Directory,
    pub time_limit: Duration,
    pub stall_timeout: Duration,
    pub quiet: bool,
}

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
    /// By a number that counts up, so the first is the one whose time is over first.
    clients: BTreeMap<u64, Client>,
    accepted: u64,
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
    let signals = Signals::catch(&SIGNALS)?;
    let mut poller = Poller::new()?;
    poller.add(&channel, Interest::ReadEdge, Token::Parent)?;
    poller.add(&signals, Interest::ReadEdge, Token::Signal)?;
    say!(worker, "waiting for clients");
    let (clients, channel) = (BTreeMap::new(), Some(channel));
    let (accepted, programs) = (0, 0);
    Worker { channel, listener, signals, poller, clients, accepted, programs, job, worker }.work()
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
                    let id = self.accepted;
                    self.accepted += 1;
                    self.poller.add(&socket, Interest::ReadEdge, Token::Client(id))?;
                    let deadline = Instant::now() + self.job.stall_timeout;
                    self.clients.insert(id, Client::new(socket, deadline));
                    say!(self.worker, "client {id} is here");
                }
                Ok(None) => return Ok(()),
                // No descriptor left, for one. The parent sees who waits, and tells again.
                Err(error) => say!(self.worker, "no client now: {error}"),
            }
        }
        // END 09.accept
    }

    /// Reads what a client has sent. With its request complete it is out of our hands.
    fn attend(&mut self, id: u64) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(&id) else {
            return Ok(()); // given up a moment ago
        };
        if !client.is_refused() {
            let served = client.read().and_then(|name| {
                let Some(name) = name else { return Ok(false) };
                let program = self.job.directory.find(&name)?;
                let keeper = program.start(client.socket(), self.job.time_limit)?;
                say!(self.worker, "client {id} gets {} (pid {keeper})", printable(&name));
                Ok(true)
            });
            match served {
                Ok(false) => return Ok(()),
                Ok(true) => {
                    self.programs += 1;
                    return self.forget(id);
                }
                Err(error) => {
                    say!(self.worker, "client {id} gets nothing: {error}");
                    client.refuse(&error);
                }
            }
        }
        if client.drain() { Ok(()) } else { self.forget(id) }
    }

    fn give_up_the_slow(&mut self) -> io::Result<()> {
        while let Some(mut first) = self.clients.first_entry()
            && first.get().deadline <= Instant::now()
        {
            let (id, client) = (*first.key(), first.get_mut());
            if !client.is_refused() {
                let seconds = self.job.stall_timeout.as_secs();
                client.refuse(&io::Error::other(format!("no \\r\\n within {seconds} s")));
                say!(self.worker, "client {id} took too long");
            }
            client.drain();
            self.forget(id)?;
        }
        Ok(())
    }

    /// Closes our copy of a connection. Removed first: while a program has a copy, epoll would
    /// still tell us of it.
    fn forget(&mut self, id: u64) -> io::Result<()> {
        match self.clients.remove(&id) {
            Some(client) => self.poller.remove(&client),
            None => Ok(()),
        }
    }

    fn hear_signals(&mut self) -> io::Result<()> {
        while let Some(signal) = self.signals.next()? {
            if signal != Signal::SIGCHLD.as_str() {
                self.leave()?;
            }
        }
        while let Some((pid, _)) = process::reap_next()? {
            self.programs -= 1;
            say!(self.worker, "the program of pid {pid} has ended");
        }
        Ok(())
    }

    /// No more clients. Who has been accepted is served to the end.
    fn leave(&mut self) -> io::Result<()> {
        let Some(channel) = self.channel.take() else {
            return Ok(());
        };
        say!(self.worker, "leaving when all clients are served ({})", self.clients.len());
        self.poller.remove(&channel)
    }
}
