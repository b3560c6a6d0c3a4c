//! The clients, as the parent sees them: each with a line that comes in and an answer that goes
//! out.
//!
//! A client is always in one of three states: it is read from until it has a whole line; its line
//! is with a worker, and nothing is read; its answer is being sent, and nothing is read. So a
//! client that floods the server, or doesn't read its answers, fills buffers of fixed size and
//! then has to wait, in the kernel's queues. Its answers keep the order of its lines.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;

use shared::lines::LineBuffer;
use shared::narrate::Narrator;
use shared::poller::{Interest, Poller};
use shared::say;
use shared::tcp::{self, Listener};

use crate::server::Token;

struct Client {
    connection: OwnedFd,
    lines: LineBuffer,
    /// What is still to be sent of an answer.
    answer: Vec<u8>,
}

/// All clients, by a number that is never used again: a late answer can't reach the wrong one.
pub struct Clients {
    clients: HashMap<u64, Client>,
    next: u64,
    /// Those with a line that no worker has yet, in the order in which the lines came.
    queue: VecDeque<u64>,
    parent: Narrator,
}

impl Clients {
    /// Nobody yet.
    pub fn new(parent: Narrator) -> Self {
        Self { clients: HashMap::new(), next: 0, queue: VecDeque::new(), parent }
    }

    /// Accepts a client.
    pub fn welcome(&mut self, listener: &mut Listener, poller: &mut Poller<Token>) {
        let id = self.next;
        let welcomed = listener.accept().and_then(|connection| {
            let Some(connection) = connection else {
                return Ok(());
            };
            tcp::send_at_once(&connection)?;
            poller.add(&connection, Interest::Read, Token::Client(id))?;
            let client = Client { connection, lines: LineBuffer::default(), answer: Vec::new() };
            self.clients.insert(id, client);
            self.next += 1;
            say!(self.parent, "client {id} is here");
            Ok(())
        });
        if let Err(error) = welcomed {
            say!(self.parent, "no client now: {error}");
        }
    }

    /// The first line that waits for a worker, and whose it is.
    pub fn next_line(&mut self) -> Option<(u64, &[u8])> {
        let id = self.queue.pop_front()?;
        Some((id, self.clients.get(&id)?.lines.line()?))
    }

    /// A client's line got no answer: it is the next to be handed out again.
    pub fn requeue(&mut self, id: Option<u64>) {
        if let Some(id) = id
            && self.clients.contains_key(&id)
        {
            self.queue.push_front(id);
        }
    }

    /// Takes the answer to a client's line and sends it, or as much as the client takes now.
    pub fn deliver(&mut self, id: u64, answer: Vec<u8>, poller: &mut Poller<Token>) {
        // A client may hang up while its answer is under way. That harms nobody.
        if let Some(client) = self.clients.get_mut(&id) {
            client.lines.consume();
            client.answer = answer;
            self.advance(id, poller);
        }
    }

    /// Brings a client as far as it gets without waiting.
    pub fn advance(&mut self, id: u64, poller: &mut Poller<Token>) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let next = client.step();
        if next == Next::Queue {
            self.queue.push_back(id);
        }
        let waiting = match next {
            Next::Gone => None,
            Next::Queue => Some(Interest::Nothing),
            Next::Wait(interest) => Some(interest),
        };
        match waiting.map(|interest| poller.set_interest(&client.connection, interest)) {
            Some(Ok(())) => {}
            Some(Err(_)) | None => self.dismiss(id, poller),
        }
    }

    /// Hangs up on a client.
    pub fn dismiss(&mut self, id: u64, poller: &mut Poller<Token>) {
        if let Some(client) = self.clients.remove(&id) {
            let _ = poller.remove(&client.connection); // closing it would do the same here
            self.queue.retain(|&waiting| waiting != id);
            say!(self.parent, "client {id} is gone");
        }
    }
}

/// What a client needs next.
#[derive(PartialEq, Eq)]
enum Next {
    /// Its connection becoming ready.
    Wait(Interest),
    /// A worker for its line.
    Queue,
    /// Nothing any more.
    Gone,
}

impl Client {
    fn step(&mut self) -> Next {
        // LAB 02.next_step: send and receive until the client has to wait, has a line, or is gone
        loop {
            let (moved, interest) = if !self.answer.is_empty() {
                (self.send(), Interest::Write)
            } else if self.lines.line().is_some() {
                return Next::Queue;
            } else if self.lines.is_finished() {
                return Next::Gone;
            } else {
                (self.receive(), Interest::Read)
            };
            match moved {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Wait(interest),
                Err(_) => return Next::Gone,
            }
        }
        // END 02.next_step
    }

    fn send(&mut self) -> io::Result<()> {
        let sent = tcp::try_send(&self.connection, &self.answer)?;
        self.answer.drain(..sent);
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        self.lines.fill(|room| tcp::try_recv(&self.connection, room))
    }
}
