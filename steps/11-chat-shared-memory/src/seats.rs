//! The table of the parent: who sits where, who has sent how much, and who is still to be told.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use shared::channel::{self, ParentEnd};
use shared::chat::{PATIENCE, TOO_MANY};
use shared::cli::ChatServeArgs;
use shared::news::Report;
use shared::process::{self, Child};
use shared::shared_memory::{RING, Rings};
use shared::signal;

use crate::farewell::farewell;
use crate::outgoing::{MUCH, STEP};
use crate::server::LEAVE;
use crate::worker::{self, Desk};

/// How long all others may wait for a worker that does nothing: it stands still, or it would have
/// let its user go by now.
const FROZEN: Duration = PATIENCE.saturating_mul(3);

/// A worker, as the parent sees it.
struct Worker {
    child: Child,
    channel: ParentEnd,
    /// How far it has sent each ring, so far as it has told.
    sent: Vec<u64>,
    /// It publishes nothing more; it sends nothing more from any ring.
    mute: bool,
    deaf: bool,
    /// Which rings it is still to be told of.
    news: BTreeSet<usize>,
    /// How far it may write its ring, and how far it knows that it may.
    limit: u64,
    told: u64,
    /// What it is to hear when all else is told.
    last: Last,
    /// Since when others may have to wait for it, and it hasn't moved.
    behind_since: Option<Instant>,
}

/// How the parent takes leave of a worker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// Not at all yet.
    Nothing,
    /// It is to be asked to leave.
    Ask,
    /// It was asked.
    Asked,
    /// Its channel was ended.
    Ended,
}

pub struct Seats<'a> {
    rings: &'a Rings,
    seats: Vec<Option<Worker>>,
    /// Processes that have no part in the chat any more, or never had one.
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

    fn workers(&self) -> impl Iterator<Item = (usize, &Worker)> {
        let seats = self.seats.iter().enumerate();
        seats.filter_map(|(number, seat)| Some((number, seat.as_ref()?)))
    }

    /// Forks a worker for a user. Our own copy of the connection is closed then.
    pub fn admit(&mut self, number: usize, user: OwnedFd) -> io::Result<(Pid, &ParentEnd)> {
        let (parent_end, worker_end) = channel::pair()?;
        let (rings, stall_timeout, quiet) = (self.rings, self.stall_timeout, self.quiet);
        let sent: Vec<u64> = (0..self.seats.len()).map(|ring| rings.published(ring)).collect();
        let (start, limit) = (sent.clone(), self.limit(number));
        let child = process::spawn(|| {
            let channel = worker_end;
            worker::run(Desk { number, user, channel, rings, sent, limit, stall_timeout, quiet })
        })?;
        let pid = child.pid();
        let worker = self.seats[number].insert(Worker {
            child,
            channel: parent_end,
            sent: start,
            mute: false,
            deaf: false,
            news: BTreeSet::new(),
            limit,
            told: limit,
            last: Last::Nothing,
            behind_since: None,
        });
        Ok((pid, &worker.channel))
    }

    /// Forks a process that tells a user that no seat is free.
    pub fn turn_away(&mut self, user: OwnedFd) -> io::Result<()> {
        let child = process::spawn(|| {
            process::close_all_but_these(&[user.as_fd()])?;
            signal::leave_to_parent(&LEAVE)?;
            farewell(&user, TOO_MANY);
            Ok(())
        })?;
        self.departing.push(("the child at the door".to_owned(), child));
        Ok(())
    }

    /// How many processes are only on their way out.
    pub fn departing(&self) -> usize {
        self.departing.len()
    }

    pub fn is_empty(&self) -> bool {
        self.seats.iter().all(Option::is_none) && self.departing.is_empty()
    }

    /// How many users there are.
    pub fn taken(&self) -> usize {
        self.workers().count()
    }

    pub fn channel(&self, number: usize) -> Option<&ParentEnd> {
        self.seats[number].as_ref().map(|worker| &worker.channel)
    }

    /// Takes what a worker reports.
    pub fn receive(&self, number: usize) -> Report {
        self.channel(number).map_or(Report::Nothing, ParentEnd::recv_news)
    }

    /// A worker has published something: all others are to be told.
    pub fn spread(&mut self, ring: usize) {
        // LAB 11.spread: note this ring as news for every other worker that isn't deaf
        for (number, seat) in self.seats.iter_mut().enumerate() {
            if let Some(worker) = seat
                && number != ring
                && !worker.deaf
            {
                worker.news.insert(ring);
            }
        }
        // END 11.spread
        let published = self.rings.published(ring);
        for (number, worker) in self.seats.iter_mut().enumerate() {
            if let Some(worker) = worker
                && number != ring
                && worker.lags(ring, published)
            {
                worker.behind_since.get_or_insert_with(Instant::now);
            }
        }
        self.update_limit(ring);
    }

    /// A worker has sent all of a ring up to this position.
    pub fn note_sent(&mut self, number: usize, ring: usize, position: u64) {
        let rings = self.rings;
        if let Some(worker) = &mut self.seats[number] {
            worker.sent[ring] = position;
            let mut others = (0..worker.sent.len()).filter(|&ring| ring != number);
            let behind = others.any(|ring| worker.lags(ring, rings.published(ring)));
            worker.behind_since = behind.then(Instant::now);
        }
        self.update_limit(ring);
    }

    /// How far a ring may be written.
    fn limit(&self, ring: usize) -> u64 {
        // LAB 11.limit: a round ahead of who has sent least of it, or of all that is published
        let readers = self.workers().filter(|(number, worker)| *number != ring && !worker.deaf);
        let least = readers.map(|(_, worker)| worker.sent[ring]).min();
        least.unwrap_or_else(|| self.rings.published(ring)) + RING
        // END 11.limit
    }

    fn update_limit(&mut self, ring: usize) {
        let limit = self.limit(ring);
        if let Some(worker) = &mut self.seats[ring] {
            worker.limit = limit;
        }
    }

    /// When to kill whoever holds up the others.
    pub fn deadline(&self) -> Option<Instant> {
        self.workers().filter_map(|(_, worker)| worker.behind_since).min().map(|it| it + FROZEN)
    }

    /// Kills those whom the others have waited for too long, and returns their numbers.
    pub fn kill_the_frozen(&mut self) -> Vec<usize> {
        let now = Instant::now();
        let mut killed = Vec::new();
        for (number, worker) in self.seats.iter_mut().enumerate() {
            if let Some(worker) = worker
                && worker.behind_since.is_some_and(|since| since + FROZEN <= now)
            {
                worker.behind_since = None;
                worker.child.kill();
                killed.push(number);
            }
        }
        killed
    }

    /// A worker will publish nothing more.
    pub fn mark_mute(&mut self, number: usize) {
        if let Some(worker) = &mut self.seats[number] {
            worker.mute = true;
        }
    }

    /// A worker will send nothing more. Nobody has to wait for it from now on.
    pub fn mark_deaf(&mut self, number: usize) {
        if let Some(worker) = &mut self.seats[number] {
            worker.deaf = true;
            worker.news.clear();
            worker.behind_since = None;
        }
        (0..self.seats.len()).for_each(|ring| self.update_limit(ring));
    }

    /// Is a worker done with its ring and with all others? Then its seat can be cleared.
    pub fn is_done(&self, number: usize) -> bool {
        self.seats[number].as_ref().is_some_and(|worker| worker.mute && worker.deaf)
    }

    /// Makes a seat free for another user. Its ring goes on where it is: positions never go back,
    /// so nothing that is still to be sent is overwritten, or taken for what the next user says.
    pub fn clear(&mut self, number: usize) -> Option<ParentEnd> {
        let worker = self.seats[number].take()?;
        (0..self.seats.len()).for_each(|ring| self.update_limit(ring));
        self.departing.push((format!("child {number}"), worker.child));
        Some(worker.channel)
    }

    /// A seat whose worker has ended without a word.
    ///
    /// # Errors
    /// `waitid(2)`.
    pub fn next_dead(&mut self) -> io::Result<Option<usize>> {
        for (number, seat) in self.seats.iter_mut().enumerate() {
            if let Some(worker) = seat
                && worker.child.try_reap()?.is_some()
            {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Reaps who has departed, and says how each has ended.
    ///
    /// # Errors
    /// `waitid(2)`.
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

    /// Tells the workers what they don't know yet, so far as there is room in their channels.
    /// `blocked` hears of each channel whether something is left for later.
    pub fn tell(
        &mut self,
        mut blocked: impl FnMut(&ParentEnd, bool) -> io::Result<()>,
    ) -> io::Result<()> {
        let all_mute = self.workers().all(|(_, worker)| worker.mute);
        for worker in self.seats.iter_mut().flatten() {
            let left = worker.tell(all_mute);
            blocked(&worker.channel, left)?;
        }
        Ok(())
    }

    /// Has everybody leave: first all are asked to take no more from their users; when all have
    /// published what they had, each has its channel ended, and sends what is left.
    pub fn dismiss(&mut self) {
        for worker in self.seats.iter_mut().flatten() {
            worker.last = Last::Ask;
        }
    }

    pub fn kill(&self, number: usize) {
        self.workers().filter(|(it, _)| *it == number).for_each(|(_, worker)| worker.child.kill());
    }

    /// Kills whoever is left.
    pub fn kill_all(&self) {
        self.workers().for_each(|(_, worker)| worker.child.kill());
        self.departing.iter().for_each(|(_, child)| child.kill());
    }
}

impl Worker {
    /// Does so much of a ring that is published so far wait for it that others may have to wait?
    fn lags(&self, ring: usize, published: u64) -> bool {
        !self.deaf && published - self.sent[ring] > MUCH + STEP
    }

    /// Tells it what it doesn't know yet. True if there is no room in its channel now. (If it is
    /// dead, its end will be reported.)
    fn tell(&mut self, all_mute: bool) -> bool {
        let blocked = |result: io::Result<()>| {
            result.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        // LAB 11.tell: send the limit and the news, if there is news or the limit has grown by a step
        if !self.news.is_empty() || self.limit >= self.told + STEP {
            if blocked(self.channel.send_news(self.limit, self.news.iter().copied())) {
                return true;
            }
            self.told = self.limit;
            self.news.clear();
        }
        // END 11.tell
        if self.last == Last::Ask {
            if blocked(self.channel.ask_to_leave()) {
                return true;
            }
            self.last = Last::Asked;
        }
        if self.last == Last::Asked && all_mute {
            let _ = self.channel.end();
            self.last = Last::Ended;
        }
        false
    }
}
