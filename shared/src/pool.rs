//! The worker table: who works where, who is idle, and who has to be replaced.
//!
//! Purpose: a fixed number of seats, each with a worker process and the channel to it.
//! Interface: [`Pool::start`]; [`Pool::hand_over`] a connection; [`Pool::receive`] what a worker
//! reports and act on it with [`Pool::mark_idle`] or [`Pool::bury`]; [`Pool::replace`] the dead;
//! [`Pool::dismiss`] all (stage 08).
//! Rules: an idle worker is found without a search. A connection that can't be
//! passed goes to the next idle worker; once passed, it is its worker's and ends with it. A worker that dies young is replaced after a
//! pause that doubles: no fork storm. Dropping the pool kills and reaps everybody.
//! First used by stage 03.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::channel::{self, ParentEnd, Report, WorkerEnd};
use crate::process::{self, Child, Ending};

/// What a new worker gets.
pub struct Seat {
    /// The seat's number, from 0.
    pub number: usize,
    /// The channel to the parent.
    pub channel: WorkerEnd,
}

/// The body of a worker; when it returns, the process ends.
type Body<'a> = dyn Fn(&Seat) -> io::Result<()> + 'a;

/// A seat and who sits there.
#[derive(Default)]
struct Worker {
    process: Option<(Child, ParentEnd)>,
    started: Option<Instant>,
    /// How long the seat stays empty if this worker dies young: nothing the first time, then
    /// 50 ms, doubling to 1 s.
    pause: Duration,
}

/// All workers. Only the parent has one.
pub struct Pool<'a> {
    body: Box<Body<'a>>,
    workers: Vec<Worker>,
    /// The numbers of idle workers. The last one in is the first one out: its memory is warm.
    idle: Vec<usize>,
    /// Empty seats and when each is to be filled again.
    vacant: Vec<(usize, Instant)>,
    /// Accepted, but the worker it was meant for died.
    waiting: Option<OwnedFd>,
    leaving: bool,
}

/// A worker that lived shorter than this died young.
const YOUNG: Duration = Duration::from_secs(1);
/// The first pause before a worker that died young is replaced, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl<'a> Pool<'a> {
    /// Starts `count` workers that run `body`. Fork before anything else is open: what doesn't
    /// exist yet, nobody inherits.
    ///
    /// # Errors
    /// `fork(2)`, `socketpair(2)`. The workers that were started already are ended again.
    pub fn start(count: u16, body: impl Fn(&Seat) -> io::Result<()> + 'a) -> io::Result<Self> {
        process::raise_descriptor_limit();
        let mut pool = Self {
            body: Box::new(body),
            workers: Vec::new(),
            idle: Vec::new(),
            vacant: Vec::new(),
            waiting: None,
            leaving: false,
        };
        pool.workers.resize_with(count.into(), Worker::default);
        for number in 0..count.into() {
            pool.fill(number)?;
        }
        pool.idle.reverse(); // the first client goes to worker 0
        Ok(pool)
    }

    /// Puts a new worker on a seat.
    fn fill(&mut self, number: usize) -> io::Result<()> {
        let (parent_end, worker_end) = channel::pair()?;
        let child = process::spawn(|| {
            // The copies that fork made of the parent's ends of all channels, ours included, of
            // the listener and of epoll. While they were open here, no worker would see the end
            // of its channel when the parent dies, and the port would stay taken.
            process::close_all_but(worker_end.as_fd())?;
            // Never dropped: it is `_exit` that closes the channel, when the exit status is fixed.
            // Were it closed before, we could hear of the end before it is one.
            let seat = ManuallyDrop::new(Seat { number, channel: worker_end });
            (self.body)(&seat)
        })?;
        // The worker's end was moved into the worker's body: the parent's copy is closed by now.
        let worker = &mut self.workers[number];
        worker.process = Some((child, parent_end));
        worker.started = Some(Instant::now());
        self.mark_idle(number);
        Ok(())
    }

    /// The parent's end of a worker's channel; `None` for an empty seat.
    #[must_use]
    pub fn channel(&self, number: usize) -> Option<&ParentEnd> {
        self.workers[number].process.as_ref().map(|(_, channel)| channel)
    }

    /// The channels of all workers, with the number of each.
    pub fn channels(&self) -> impl Iterator<Item = (usize, &ParentEnd)> {
        (0..self.workers.len()).filter_map(|number| Some((number, self.channel(number)?)))
    }

    /// The pid of a worker; `None` for an empty seat.
    #[must_use]
    pub fn pid(&self, number: usize) -> Option<Pid> {
        self.workers[number].process.as_ref().map(|(child, _)| child.pid())
    }

    /// How many workers live.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.workers.iter().filter(|worker| worker.process.is_some()).count()
    }

    /// Who would get a client now; `None` while all are busy.
    #[must_use]
    pub fn next_idle(&self) -> Option<usize> {
        self.idle.last().copied()
    }

    /// Gives a connection to an idle worker and returns the worker's number. Our own copy of the
    /// connection is closed then: it is the worker's alone. `None`: no worker took it; it
    /// goes to the next one that becomes idle.
    pub fn hand_over(&mut self, connection: OwnedFd) -> Option<usize> {
        // LAB 03.hand_over: pass the connection to an idle worker; kill who can't take it
        while let Some(number) = self.idle.pop() {
            if let Some((child, channel)) = &self.workers[number].process {
                match channel.send_connection(connection.as_fd()) {
                    Ok(()) => return Some(number),
                    // Most likely it is dead already. Either way: it isn't idle any more, it has
                    // no client, and when its channel ends it is replaced.
                    Err(_) => child.kill(),
                }
            }
        }
        self.waiting = Some(connection);
        None
        // END 03.hand_over
    }

    /// Takes what a worker reports.
    #[must_use]
    pub fn receive(&self, number: usize) -> Report {
        self.channel(number).map_or(Report::Nothing, ParentEnd::recv_report)
    }

    /// A worker has nothing to do.
    pub fn mark_idle(&mut self, number: usize) {
        self.idle.push(number);
        if let Some(connection) = self.waiting.take() {
            self.hand_over(connection);
        }
    }

    /// Reaps a worker whose channel is at its end, and plans its replacement. Returns the pid
    /// and how it ended; `None` for an empty seat.
    ///
    /// # Errors
    /// `waitpid(2)`.
    pub fn bury(&mut self, number: usize) -> io::Result<Option<(Pid, Ending)>> {
        self.idle.retain(|&idle| idle != number);
        let worker = &mut self.workers[number];
        let Some((mut child, channel)) = worker.process.take() else {
            return Ok(None);
        };
        // LAB 03.bury: reap this worker; unless we are leaving, plan when its seat is filled
        // A worker that closed its channel and lives on would make us wait for ever. To one that
        // is ending it makes no difference: its exit status is fixed.
        drop(channel);
        let pid = child.pid();
        child.kill();
        let ending = child.reap()?;
        if !self.leaving {
            let old = worker.started.is_some_and(|it| it.elapsed() >= YOUNG);
            let due = Instant::now() + if old { Duration::ZERO } else { worker.pause };
            worker.pause = if old { PAUSE.0 } else { (worker.pause * 2).clamp(PAUSE.0, PAUSE.1) };
            self.vacant.push((number, due));
        }
        Ok(Some((pid, ending)))
        // END 03.bury
    }

    /// When the next empty seat is to be filled; `None` if there is none.
    #[must_use]
    pub fn next_replacement(&self) -> Option<Instant> {
        self.vacant.iter().map(|&(_, due)| due).min()
    }

    /// Fills a seat whose time has come and returns its number. Call until there is none.
    ///
    /// # Errors
    /// `fork(2)`, `socketpair(2)`; all empty seats wait a second then.
    pub fn replace(&mut self) -> io::Result<Option<usize>> {
        let now = Instant::now();
        let Some(index) = self.vacant.iter().position(|&(_, due)| due <= now) else {
            return Ok(None);
        };
        let (number, _) = self.vacant[index];
        if let Err(error) = self.fill(number) {
            // What this seat can't get now (a process, a descriptor), no other seat can.
            self.vacant.iter_mut().for_each(|(_, due)| *due = now + PAUSE.1);
            return Err(error);
        }
        self.vacant.swap_remove(index);
        Ok(Some(number))
    }

    /// Tells every worker to end as soon as it is done (stage 08). From now on nobody is replaced.
    pub fn dismiss(&mut self) {
        // LAB 08.dismiss: replace nobody and hand out nothing any more; tell every worker to leave
        self.leaving = true;
        self.vacant.clear();
        self.idle.clear();
        self.waiting = None;
        for (_, channel) in self.channels() {
            // A failure means that this one has ended already; its channel will say so.
            let _ = channel.send_leave();
        }
        // END 08.dismiss
    }

    /// Kills whoever is left. Reap them with [`Pool::bury`] as their channels end.
    pub fn kill_all(&self) {
        for (child, _) in self.workers.iter().filter_map(|worker| worker.process.as_ref()) {
            child.kill();
        }
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        // All at once, so that they die side by side; then each is reaped as it is dropped.
        self.kill_all();
    }
}
