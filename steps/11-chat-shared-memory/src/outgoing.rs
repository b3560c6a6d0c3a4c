//! From everybody else's ring to a worker's own user.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use shared::channel::WorkerEnd;
use shared::chat::{PATIENCE, QUEUE};
use shared::news::Report;
use shared::poller::earlier;
use shared::shared_memory::{RING, Rings};
use shared::tcp;

/// How much the kernel may hold for a user beside the rings, in bytes. Little, so that a user who
/// doesn't read is soon seen not to.
pub const UNSENT: u32 = 16 << 10;

/// Every so many bytes the parent is told how far a ring is sent.
pub const STEP: u64 = RING / 16;

/// While more than this of a ring waits for a user, its writer may have to wait, too: that goes on
/// when half of the ring is free, and hears of progress up to two steps late.
pub const MUCH: u64 = RING / 2 - 2 * STEP;

/// So much such a user has to take within `PATIENCE`.
const PACE: u64 = QUEUE as u64 / 2;

pub struct Outgoing<'a> {
    rings: &'a Rings,
    /// The user's own ring, which it doesn't get to read.
    own: usize,
    /// How far each ring is sent, and how far it was when the parent was last told.
    sent: Vec<u64>,
    reported: Vec<u64>,
    /// The rings with news. The first is being sent, up to `until`, which is the end of a line.
    queue: VecDeque<usize>,
    until: Option<u64>,
    /// What nobody else is told. It goes out between two lines.
    aside: Vec<u8>,
    /// The last byte that was sent is not the last of its line.
    in_a_line: bool,
    /// When the user last took something, or there was nothing to take.
    took_at: Instant,
    /// Since when others may have to wait for it and it has taken less than `PACE` bytes, and how
    /// many that are.
    slow_since: Option<Instant>,
    taken: u64,
    /// No more news is wanted.
    closing: bool,
}

impl<'a> Outgoing<'a> {
    /// `sent` is where the user came in: what was said before that is not for it.
    pub fn new(rings: &'a Rings, own: usize, sent: Vec<u64>) -> Self {
        Self {
            rings,
            own,
            reported: sent.clone(),
            sent,
            queue: VecDeque::new(),
            until: None,
            aside: Vec::new(),
            in_a_line: false,
            took_at: Instant::now(),
            slow_since: None,
            taken: 0,
            closing: false,
        }
    }

    /// This ring has news.
    pub fn add(&mut self, ring: usize) {
        self.begin();
        if !self.closing && !self.queue.contains(&ring) {
            self.queue.push_back(ring);
        }
    }

    /// The user alone is told this.
    pub fn add_aside(&mut self, text: &[u8]) {
        self.begin();
        self.aside.extend_from_slice(text);
    }

    /// The user's time runs from when there is something for it.
    fn begin(&mut self) {
        if !self.has_something() {
            self.took_at = Instant::now();
        }
    }

    /// From now on there is no more news. What there is by now is still to be sent.
    pub fn close(&mut self) {
        if self.closing {
            return;
        }
        for ring in 0..self.sent.len() {
            if ring != self.own && self.waiting(ring) > 0 {
                self.add(ring);
            }
        }
        if let (Some(until), Some(&ring)) = (&mut self.until, self.queue.front()) {
            *until = self.rings.published(ring);
        }
        self.closing = true;
    }

    /// The user is gone: nothing can be sent any more.
    pub fn give_up(&mut self) {
        self.closing = true;
        self.queue.clear();
        self.aside.clear();
    }

    pub fn has_something(&self) -> bool {
        !self.queue.is_empty() || !self.aside.is_empty()
    }

    pub fn is_over(&self) -> bool {
        self.closing && !self.has_something()
    }

    /// How many bytes of a ring are still to be sent.
    fn waiting(&self, ring: usize) -> u64 {
        self.rings.published(ring) - self.sent[ring]
    }

    /// Sends what the user takes now, a ring after the other. False: it takes nothing any more.
    pub fn send(&mut self, user: &OwnedFd, channel: &WorkerEnd) -> io::Result<bool> {
        // Once around: then it is the turn of the user, and of the parent.
        for _ in 0..=self.queue.len() {
            match self.send_first(user) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Ok(false),
                Ok(()) => {}
            }
        }
        self.report(channel)?;
        if self.queue.iter().any(|&ring| self.waiting(ring) > MUCH) {
            self.slow_since.get_or_insert_with(Instant::now);
        } else {
            (self.slow_since, self.taken) = (None, 0);
        }
        Ok(true)
    }

    /// Sends what the first ring has. `EAGAIN`: the user doesn't take all of it now.
    fn send_first(&mut self, user: &OwnedFd) -> io::Result<()> {
        while self.until.is_none() && !self.aside.is_empty() {
            let sent = tcp::try_send(user, &self.aside)?;
            self.in_a_line = self.aside[..sent].last() != Some(&b'\n');
            self.aside.drain(..sent);
        }
        let Some(&ring) = self.queue.front() else {
            return Ok(());
        };
        // LAB 11.send_news: send the first ring as far as it is published; then its turn is over
        let until = *self.until.get_or_insert_with(|| self.rings.published(ring));
        while self.sent[ring] < until {
            let sent = self.rings.send(user, ring, self.sent[ring]..until)?;
            self.note(ring, sent);
        }
        self.until = None;
        self.queue.pop_front();
        // It may have had more news since. The notice of that has come while it was in the queue.
        if self.waiting(ring) > 0 {
            self.add(ring);
        }
        Ok(())
        // END 11.send_news
    }

    /// So many bytes more of a ring are sent.
    fn note(&mut self, ring: usize, count: u64) {
        let sent = self.sent[ring] + count;
        self.sent[ring] = sent;
        self.in_a_line = self.rings.copy(ring, sent - 1..sent) != b"\n";
        self.took_at = Instant::now();
        self.taken += count;
        if self.taken >= PACE {
            (self.slow_since, self.taken) = (None, 0);
        }
    }

    /// Tells the parent how far the rings are sent: up to there we don't need them any more. Told
    /// a step at a time, it costs little.
    fn report(&mut self, channel: &WorkerEnd) -> io::Result<()> {
        for (ring, (&sent, reported)) in self.sent.iter().zip(&mut self.reported).enumerate() {
            if sent - *reported >= STEP {
                *reported = sent;
                channel.send_report(Report::Sent(ring, sent))?;
            }
        }
        Ok(())
    }

    /// By when the user has to take something, and soon much of it if others have to wait for that.
    pub fn deadline(&self, stall_timeout: Duration) -> Option<Instant> {
        let stalled = self.has_something().then(|| self.took_at + stall_timeout);
        earlier(stalled, self.slow_since.map(|since| since + PATIENCE))
    }

    /// Has it taken too long?
    pub fn is_late(&self, stall_timeout: Duration) -> bool {
        self.deadline(stall_timeout).is_some_and(|at| at <= Instant::now())
    }

    /// What is still to be sent if these are the last words: before them the rest of a line that
    /// is sent in part.
    pub fn end_with(&mut self, last_words: &[u8]) -> Vec<u8> {
        let mut rest = match (self.queue.front(), self.until) {
            (Some(&ring), Some(until)) => self.rings.copy(ring, self.sent[ring]..until),
            _ => std::mem::take(&mut self.aside),
        };
        let end_of_line = rest.iter().position(|&byte| byte == b'\n');
        rest.truncate(end_of_line.filter(|_| self.in_a_line).map_or(0, |end| end + 1));
        rest.extend_from_slice(last_words);
        rest
    }
}
