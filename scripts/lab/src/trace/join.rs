//! Which event made which other event happen, in another process.
//!
//! | joined | by |
//! | --- | --- |
//! | fork and the child's first moment | the pid that `fork` returned |
//! | a message and its receipt | the inodes of the two ends of the socketpair, and the order |
//! | `connect` and `accept` | the address of the client |
//! | bytes and their receipt | the addresses of both sides, and where in the stream they are |
//! | the end of a stream, and who ended it | the addresses; the last one who closed it |
//! | the end of a process, `wait` and the end of its channel | the pid; the inodes |

use super::act::Stream;
use super::channels::Channels;
use super::story::{Event, Kind};
use super::words::size;

/// What an event can be joined by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    None,
    Fork(i32),
    Birth(i32),
    Death(i32),
    Reap(i32),
    Connect(String),
    Accept(String),
    /// By the inode of the own end; the descriptor that is passed.
    Send(u64, Option<i32>),
    Receive(u64, Option<i32>),
    ChannelEnd(u64),
    /// A part of a stream: from this byte to that one.
    Out(Stream, (u64, u64)),
    In(Stream, (u64, u64)),
    Finish(Stream),
    StreamEnd(Stream),
    Broken(Stream),
}

impl Link {
    /// Adds what follows in the same stream and direction. Returns whether it did.
    pub fn extend(&mut self, more: &Self) -> bool {
        match (self, more) {
            (Self::Out(a, range), Self::Out(b, next)) | (Self::In(a, range), Self::In(b, next))
                if a == b && range.1 == next.0 =>
            {
                range.1 = next.1;
                true
            }
            _ => false,
        }
    }
}

/// A line from one event to another, of another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrow {
    /// Events, by index.
    pub from: usize,
    pub to: usize,
    pub kind: Tie,
    /// What travelled.
    pub label: String,
}

/// What an arrow stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// A new process.
    Fork,
    /// A message.
    Message,
    /// A message with a descriptor.
    Descriptor,
    /// Much data.
    Data,
    /// An end that somebody else hears of.
    End,
}

/// All arrows.
pub fn arrows(events: &[Event], channels: &Channels) -> Vec<Arrow> {
    let mut joiner = Joiner { events, channels, arrows: Vec::new() };
    for index in 0..events.len() {
        joiner.join(index);
    }
    joiner.arrows
}

struct Joiner<'a> {
    events: &'a [Event],
    channels: &'a Channels,
    arrows: Vec<Arrow>,
}

impl Joiner<'_> {
    /// Finds what made this event happen.
    fn join(&mut self, to: usize) {
        let event = &self.events[to];
        match &event.link {
            Link::Birth(pid) => {
                let from = self.first(|it| matches!(it, Link::Fork(child) if child == pid));
                self.add(from, to, Tie::Fork, "fork".to_owned());
            }
            Link::Reap(pid) => {
                let from = self.first(|it| matches!(it, Link::Death(of) if of == pid));
                let how = from.map_or(String::new(), |from| self.events[from].lines.join(" "));
                self.add(from, to, Tie::End, how);
            }
            Link::Accept(there) => {
                let from = self.first(|it| matches!(it, Link::Connect(here) if here == there));
                self.add(from, to, Tie::Message, "connect".to_owned());
            }
            Link::Receive(end, passed) => self.receive(to, *end, *passed),
            Link::ChannelEnd(end) => {
                let peer = self.channels.peers.get(end);
                let user = peer.and_then(|peer| self.channels.users.get(peer));
                let from = user.and_then(|life| self.death(*life));
                self.add(from, to, Tie::End, "end of the channel".to_owned());
            }
            Link::In(stream, range) => self.bytes(to, stream, *range),
            Link::StreamEnd(stream) => {
                let from = self.last_before(to, |it| {
                    matches!(it, Link::Finish(of) if of.here == stream.there && of.there == stream.here)
                });
                self.add(from, to, Tie::End, "end".to_owned());
            }
            Link::Broken(stream) => {
                let connect = |it: &Link| matches!(it, Link::Connect(of) if *of == stream.there);
                let client = self.first(connect).map(|index| self.events[index].life);
                let from = client.and_then(|life| self.death(life));
                self.add(from, to, Tie::End, "gone".to_owned());
            }
            Link::Death(_) => self.orphan(to),
            _ => {}
        }
    }

    /// The message that was sent as the same one of its channel.
    fn receive(&mut self, to: usize, end: u64, received: Option<i32>) {
        let Some(peer) = self.channels.peers.get(&end).copied() else { return };
        let count = |event: &&Event| matches!(event.link, Link::Receive(of, _) if of == end);
        let number = self.events[..to].iter().filter(count).count();
        let sent = (0..self.events.len())
            .filter(|&it| matches!(self.events[it].link, Link::Send(of, _) if of == peer));
        let Some(from) = sent.clone().nth(number) else { return };
        let text = self.events[from].lines.join(" ");
        let sent = match self.events[from].link {
            Link::Send(_, passed) => passed,
            _ => None,
        };
        match (sent, received) {
            (Some(here), Some(there)) => {
                let label = format!("{text} + fd {here} → fd {there}");
                self.add(Some(from), to, Tie::Descriptor, label);
            }
            _ => self.add(Some(from), to, Tie::Message, text),
        }
    }

    /// Whoever sent a part of these bytes.
    fn bytes(&mut self, to: usize, stream: &Stream, range: (u64, u64)) {
        for from in 0..self.events.len() {
            let Link::Out(of, sent) = &self.events[from].link else { continue };
            let common = range.1.min(sent.1).saturating_sub(range.0.max(sent.0));
            if of.here == stream.there && of.there == stream.here && common > 0 {
                let is_flow = |it: usize| self.events[it].kind == Kind::Flow;
                let kind = if is_flow(from) && is_flow(to) { Tie::Data } else { Tie::Message };
                let label = match self.events[from].lines.join(" ") {
                    _ if is_flow(from) => size(common), // how it was sent stands beside the flow
                    header if header == "header" => format!("header, {}", size(common)),
                    text => text,
                };
                self.add(Some(from), to, kind, label);
            }
        }
    }

    /// A process that was killed by nobody we saw, after its parent's end: `PR_SET_PDEATHSIG`.
    fn orphan(&mut self, to: usize) {
        let event = &self.events[to];
        let Link::Death(pid) = event.link else { return };
        let mine = |it: &Event| it.life == event.life && it.kind == Kind::Signal;
        if !event.lines.iter().any(|it| it.contains("SIGKILL")) || self.events.iter().any(mine) {
            return;
        }
        let fork = self.first(|it| matches!(it, Link::Fork(child) if *child == pid));
        let parent = fork.map(|index| self.events[index].life);
        let from = parent.and_then(|life| self.death(life));
        if from.is_some_and(|from| self.events[from].time <= event.time) {
            self.add(from, to, Tie::End, "SIGKILL (PDEATHSIG)".to_owned());
        }
    }

    fn death(&self, life: usize) -> Option<usize> {
        self.events.iter().position(|it| it.life == life && it.kind == Kind::Death)
    }

    fn first(&self, is_it: impl Fn(&Link) -> bool) -> Option<usize> {
        self.events.iter().position(|event| is_it(&event.link))
    }

    fn last_before(&self, to: usize, is_it: impl Fn(&Link) -> bool) -> Option<usize> {
        self.events[..to].iter().rposition(|event| is_it(&event.link))
    }

    fn add(&mut self, from: Option<usize>, to: usize, kind: Tie, label: String) {
        if let Some(from) = from.filter(|from| self.events[*from].life != self.events[to].life) {
            self.arrows.push(Arrow { from, to, kind, label });
        }
    }
}
