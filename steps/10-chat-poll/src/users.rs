//! All users, and the one rule by which nobody waits for anybody for long.
//!
//! A line is passed on only while there is room for it in everybody's queue. When a queue is full
//! the whole room pauses: no line is passed on and nobody is read from, so that TCP makes those
//! wait who talk, until half of that queue is free. Whoever takes longer for that than a moment
//! is told, and dropped.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use shared::chat::{Heard, TOO_MANY, TOO_SLOW};
use shared::narrate::Narrator;
use shared::say;

use crate::user::User;

/// How many may be on their way out beside those who have a seat.
const LEAVING: usize = 64;

pub struct Users {
    users: Vec<User>,
    seats: usize,
    /// The number of the next one who comes.
    next: u64,
    stall_timeout: Duration,
    server: Narrator,
}

impl Users {
    pub fn new(seats: u16, stall_timeout: Duration, server: Narrator) -> Self {
        let (users, seats) = (Vec::new(), usize::from(seats));
        Self { users, seats, next: 1, stall_timeout, server }
    }

    /// Can somebody be let in, be it to be turned away?
    pub fn has_room(&self) -> bool {
        self.users.len() < self.seats + LEAVING
    }

    /// Lets somebody in; or, if there is no seat, tells so.
    pub fn admit(&mut self, connection: OwnedFd) -> io::Result<()> {
        let taken = self.users.iter().filter(|user| !user.is_leaving()).count();
        let mut user = User::new(self.next, connection)?;
        self.next += 1;
        if taken < self.seats {
            say!(self.server, "user {} is here", user.number);
        } else {
            say!(self.server, "user {} is turned away: no seat is free", user.number);
            user.dismiss(TOO_MANY);
        }
        self.users.push(user);
        Ok(())
    }

    /// Those who wait for something: place, user, and what to ask `poll` for.
    pub fn waiting(&self) -> impl Iterator<Item = (usize, &User, PollFlags)> {
        let paused = self.is_paused();
        self.users.iter().enumerate().filter_map(move |(place, user)| {
            let events = user.events(paused);
            (!events.is_empty()).then_some((place, user, events))
        })
    }

    /// Does for a user what `poll` has found to be possible.
    pub fn serve(&mut self, place: usize, happened: PollFlags) {
        let paused = self.is_paused();
        self.users[place].serve(happened, paused);
    }

    /// Does everyone wait for somebody?
    fn is_paused(&self) -> bool {
        self.users.iter().any(User::is_full)
    }

    /// Passes on what has come, a user after the other, until a queue is full. What is left then
    /// comes first the next time: until it is passed on, nobody is read from.
    pub fn pass_lines_on(&mut self) {
        // LAB 10.pass_on: hear every user, tell all others; stop when somebody is full
        for speaker in 0..self.users.len() {
            while !self.is_paused()
                && let Some(heard) = self.users[speaker].hear()
            {
                self.pass_on(speaker, heard);
            }
        }
        // END 10.pass_on
    }

    fn pass_on(&mut self, speaker: usize, heard: Heard) {
        match heard {
            Heard::Said(line) => {
                for (place, user) in self.users.iter_mut().enumerate() {
                    if place != speaker {
                        user.tell(&line);
                    }
                }
            }
            Heard::Named(name) => {
                say!(self.server, "user {} is called {name}", self.users[speaker].number);
            }
            Heard::Refused(why) => self.users[speaker].tell(why),
        }
    }

    /// When the next deadline is.
    pub fn deadline(&self) -> Option<Instant> {
        self.users.iter().filter_map(|user| user.deadline(self.stall_timeout)).min()
    }

    /// Dismisses who is too slow.
    pub fn dismiss_the_late(&mut self) {
        for user in &mut self.users {
            if user.is_late(self.stall_timeout) {
                user.send(); // it may be us who was late
            }
            if user.is_late(self.stall_timeout) {
                say!(self.server, "user {} reads too slowly", user.number);
                user.dismiss(TOO_SLOW);
            }
        }
    }

    /// Closes the connections of those who have nothing more to say or to hear.
    pub fn forget_the_gone(&mut self) {
        let server = &self.server;
        self.users.retain(|user| {
            let gone = user.is_gone();
            if gone {
                say!(server, "user {} is gone", user.number);
            }
            !gone
        });
    }
}
