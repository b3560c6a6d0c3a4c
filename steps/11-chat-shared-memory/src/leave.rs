//! The ends: of children, by SIGCHLD, and of the server, by a signal that asks for it.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use shared::say;

use crate::server::Server;

/// How long the workers have to send what is left when the server leaves.
const GRACE: Duration = Duration::from_secs(5);

impl Server<'_> {
    pub fn hear_signals(&mut self) -> io::Result<()> {
        let mut told = None;
        while let Some(signal) = self.signals.next()? {
            if signal != Signal::SIGCHLD.as_str() {
                told = Some(signal);
            }
        }
        // One SIGCHLD may stand for several children.
        while let Some(number) = self.seats.next_dead()? {
            self.hear_worker(number)?; // to the end of its channel
        }
        for joined in self.seats.reap()? {
            say!(self.parent, "{joined}");
        }
        match told {
            Some(signal) if self.listener.is_none() => self.kill_all(signal),
            Some(signal) => self.leave(signal)?,
            None => {}
        }
        Ok(())
    }

    /// Stops listening, and has everybody leave.
    fn leave(&mut self, signal: &str) -> io::Result<()> {
        say!(self.parent, "{signal}: leaving; users who are here: {}", self.seats.taken());
        if let Some(listener) = self.listener.take() {
            self.poller.remove(&listener)?;
        }
        self.grace = Some(Instant::now() + GRACE);
        self.seats.dismiss();
        Ok(())
    }

    /// Kills workers that stand still, and, when the server leaves, whoever takes too long.
    pub fn kill_the_late(&mut self) {
        for number in self.seats.kill_the_frozen() {
            say!(self.parent, "worker {number} stands still and others wait for it: killed");
        }
        if self.grace.is_some_and(|at| at <= Instant::now()) {
            self.kill_all("the grace time is over");
        }
    }

    fn kill_all(&mut self, why: &str) {
        say!(self.parent, "{why}: whoever is left is killed");
        self.grace = None;
        self.seats.kill_all();
    }
}
