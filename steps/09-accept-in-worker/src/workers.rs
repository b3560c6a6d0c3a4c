//! The workers, as the parent sees them: who lives, and whose turn it is.

use std::io;
use std::os::fd::AsFd;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shared::channel::{self, ParentEnd};
use shared::process;
use shared::tcp::Listener;

use crate::job::Job;
use crate::worker;

struct Worker {
    pid: Pid,
    channel: ParentEnd,
}

/// All workers, by number. The place of a dead one stays empty.
pub struct Workers {
    seats: Vec<Option<Worker>>,
    /// Whose turn it is.
    next: usize,
}

impl Workers {
    /// Forks the workers, each with a channel of its own and all with the same listener.
    pub fn start(count: u16, listener: &mut Listener, job: &Job) -> io::Result<Self> {
        let mut seats = Vec::new();
        for number in 0..count.into() {
            let (parent_end, worker_end) = channel::pair()?;
            let child = process::spawn(|| {
                // What stays: the three things a worker works with. What goes: the parent's ends
                // of all channels so far, and the parent's signalfd.
                let keep = [worker_end.as_fd(), listener.as_fd(), job.directory.as_fd()];
                process::close_all_but_these(&keep)?;
                worker::run(number, worker_end, listener, job)
            })?;
            seats.push(Some(Worker { pid: child.into_pid(), channel: parent_end }));
        }
        Ok(Self { seats, next: 0 })
    }

    /// Tells the next living worker that somebody waits, and returns its number. `None`: there is
    /// nobody who could be told.
    pub fn announce(&mut self) -> Option<usize> {
        // LAB 09.announce: send one word to the next living worker in turn; skip who can't take it
        for _ in 0..self.seats.len() {
            let number = self.next;
            self.next = (number + 1) % self.seats.len();
            // Who is about to leave has closed its channel. Who stands still has a full one.
            if let Some(worker) = &self.seats[number]
                && worker.channel.send_accept().is_ok()
            {
                return Some(number);
            }
        }
        None
        // END 09.announce
    }

    /// Takes a worker that has ended, and is reaped, out of the turn. Returns its number; `None` if
    /// this was none of the workers.
    pub fn bury(&mut self, pid: Pid) -> Option<usize> {
        let is_it = |seat: &Option<Worker>| seat.as_ref().is_some_and(|worker| worker.pid == pid);
        let number = self.seats.iter().position(is_it)?;
        self.seats[number] = None;
        Some(number)
    }

    /// How many live.
    pub fn alive(&self) -> usize {
        self.seats.iter().flatten().count()
    }

    /// Sends a signal to each. None of them is reaped yet, so these are still their pids.
    pub fn signal(&self, signal: Signal) {
        for worker in self.seats.iter().flatten() {
            let _ = kill(worker.pid, signal);
        }
    }
}
