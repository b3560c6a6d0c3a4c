//! The seats: who sits where, who has to wait for whom, and who has left.

use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use shared::channel::{self, ParentEnd};
use shared::chat::TOO_MANY;
use shared::cli::ChatServeArgs;
use shared::news::Report;
use shared::process::{self, Child};
use shared::shared_memory::{RING, Rings};
use shared::signal::{self, LEAVE};

use crate::farewell::farewell;
use crate::member::{FROZEN, Member};
use crate::worker::{self, Desk};

pub struct Seats<'a> {
    rings: &'a Rings,
    seats: Vec<Option<Member>>,
    /// Children that have no part in the chat, or none any more, and what they are called.
    departing: Vec<(String, Child)>,
    stall_timeout: Duration,
    quiet: bool,
}

impl<'a> Seats<'a> {
    pub fn new(rings: &'a Rings, args: &ChatServeArgs) -> Self {
        let mut seats = Vec::new();
        seats.resize_with(args.max_users.into(), || None);
        let (stall_timeout, quiet) = (args.stall.duration(), args.quiet);
        Self { rings, seats, departing: Vec::new(), stall_timeout, quiet }
    }

    pub fn free(&self) -> Option<usize> {
        self.seats.iter().position(Option::is_none)
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        self.seats.iter().flatten()
    }

    /// How many users there are.
    pub fn taken(&self) -> usize {
        self.members().count()
    }

    /// How many children are only on their way out.
    pub fn departing(&self) -> usize {
        self.departing.len()
    }

    /// Forks a worker for a user, and returns its pid and the channel to it.
    pub fn admit(&mut self, number: usize, user: OwnedFd) -> io::Result<(Pid, &ParentEnd)> {
        let (parent_end, channel) = channel::pair()?;
        let (rings, stall_timeout, quiet) = (self.rings, self.stall_timeout, self.quiet);
        let sent: Vec<u64> = (0..self.seats.len()).map(|ring| rings.published(ring)).collect();
        let (start, limit) = (sent.clone(), self.limit(number));
        let desk = Desk { number, user, channel, rings, sent, limit, stall_timeout, quiet };
        let child = process::spawn(|| worker::run(&desk))?;
        // Our copies of the connection and of the worker's end: they are the worker's alone now.
        drop(desk);
        let pid = child.pid();
        let member = Member::new(number, child, parent_end, start, limit);
        Ok((pid, &self.seats[number].insert(member).channel))
    }

    /// Forks a child that tells a user that no seat is free: we can't wait until it has heard it.
    pub fn turn_away(&mut self, user: OwnedFd) -> io::Result<()> {
        let child = process::spawn(|| {
            process::close_all_but_these(&[user.as_fd()])?;
            signal::leave_to_parent(&LEAVE)?;
            farewell(&user, TOO_MANY);
            Ok(())
        })?;
        self.departing.push(("child at the door".to_owned(), child));
        Ok(())
    }

    /// Takes what a worker reports.
    pub fn receive(&self, number: usize) -> Report {
        self.seats[number].as_ref().map_or(Report::Nothing, |member| member.channel.recv_news())
    }

    /// A worker has published something: all others are to be told.
    pub fn spread(&mut self, ring: usize) {
        // LAB 11.spread: note the ring among the news of every other member that isn't deaf
        for member in self.seats.iter_mut().flatten() {
            if member.number != ring && !member.deaf {
                member.news.insert(ring);
            }
        }
        // END 11.spread
        let published = self.rings.published(ring);
        for member in self.seats.iter_mut().flatten() {
            if member.lags(ring, published) {
                member.behind_since.get_or_insert_with(Instant::now);
            }
        }
        self.update_limit(ring);
    }

    /// A worker has sent all of a ring up to this position.
    pub fn note_sent(&mut self, number: usize, ring: usize, position: u64) {
        if let Some(member) = &mut self.seats[number] {
            member.sent[ring] = position;
            let mut rings = 0..member.sent.len();
            let behind = rings.any(|ring| member.lags(ring, self.rings.published(ring)));
            member.behind_since = behind.then(Instant::now);
        }
        self.update_limit(ring);
    }

    /// How far a ring may be written.
    fn limit(&self, ring: usize) -> u64 {
        // LAB 11.limit: RING further than the least that a reader has sent; or than what is published
        let readers = self.members().filter(|member| member.number != ring && !member.deaf);
        let least = readers.map(|member| member.sent[ring]).min();
        least.unwrap_or_else(|| self.rings.published(ring)) + RING
        // END 11.limit
    }

    fn update_limit(&mut self, ring: usize) {
        let limit = self.limit(ring);
        if let Some(member) = &mut self.seats[ring] {
            member.limit = limit;
        }
    }

    fn update_limits(&mut self) {
        (0..self.seats.len()).for_each(|ring| self.update_limit(ring));
    }

    /// A worker will publish nothing more.
    pub fn mark_mute(&mut self, number: usize) {
        if let Some(member) = &mut self.seats[number] {
            member.mute = true;
        }
    }

    /// A worker will send nothing more.
    pub fn mark_deaf(&mut self, number: usize) {
        if let Some(member) = &mut self.seats[number] {
            member.deaf = true;
            member.news.clear();
            member.behind_since = None;
        }
        self.update_limits();
    }

    /// Makes a seat free for another user, and returns the channel that belonged to it. Its ring
    /// goes on where it is. Positions never go back, so what is still to be sent of the one user
    /// isn't overwritten by the other, nor taken for the other's.
    pub fn clear(&mut self, number: usize) -> Option<ParentEnd> {
        let member = self.seats[number].take()?;
        self.departing.push((format!("child {number}"), member.child));
        self.update_limits();
        Some(member.channel)
    }

    /// Tells all workers what they don't know yet, as far as there is room in their channels.
    /// Returns the channels, and whether each has to have room before it can be told the rest.
    pub fn tell(&mut self) -> impl Iterator<Item = (&ParentEnd, bool)> {
        let all_mute = self.members().all(|member| member.mute);
        self.seats.iter_mut().flatten().map(move |member| {
            let told = member.tell(all_mute);
            (&member.channel, !told)
        })
    }

    /// When to look for workers that stand still.
    pub fn deadline(&self) -> Option<Instant> {
        self.members().filter_map(|member| member.behind_since).min().map(|since| since + FROZEN)
    }

    /// Kills whoever stands still while others wait, and returns their numbers.
    pub fn kill_the_frozen(&mut self) -> Vec<usize> {
        let frozen = self.seats.iter_mut().flatten().filter(|member| member.is_frozen());
        let kill = |member: &mut Member| {
            member.child.kill();
            member.behind_since = None;
            member.number
        };
        frozen.map(kill).collect()
    }

    /// A worker that has ended without leaving its seat.
    pub fn next_dead(&mut self) -> io::Result<Option<usize>> {
        for member in self.seats.iter_mut().flatten() {
            if member.child.try_reap()?.is_some() {
                return Ok(Some(member.number));
            }
        }
        Ok(None)
    }

    /// Reaps whoever has departed, and says how each has ended.
    pub fn reap(&mut self) -> io::Result<Vec<String>> {
        let mut joined = Vec::new();
        for (who, mut child) in mem::take(&mut self.departing) {
            match child.try_reap()? {
                Some(ending) => joined.push(format!("{who} joined: pid {}, {ending}", child.pid())),
                None => self.departing.push((who, child)),
            }
        }
        Ok(joined)
    }

    /// Has everybody leave. First all are asked to take no more from their users. When each has
    /// published its last, each is told that this was all, and ends when it has sent it.
    pub fn dismiss(&mut self) {
        self.seats.iter_mut().flatten().for_each(Member::ask_to_leave);
    }

    /// Kills a worker.
    pub fn kill(&self, number: usize) {
        self.seats[number].iter().for_each(|member| member.child.kill());
    }

    /// Kills whoever is left.
    pub fn kill_all(&self) {
        let departing = self.departing.iter().map(|(_, child)| child);
        self.members().map(|member| &member.child).chain(departing).for_each(Child::kill);
    }

    pub fn is_empty(&self) -> bool {
        self.seats.iter().all(Option::is_none) && self.departing.is_empty()
    }
}
