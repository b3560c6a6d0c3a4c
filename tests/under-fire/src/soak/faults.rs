//! The faults: one at a time, at random moments, each undone before the next.

use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use support::proc;
use support::server::{Server, Signal};
use support::wire::Format;

use super::chance::Chance;
use super::tally::{Kind, Ledger};
use super::versions::Versions;
use super::{STAYING, WORKERS};
use crate::{Service, Stage};

/// Does harm to a server again and again.
pub struct Tormentor<'a> {
    pub stage: Stage,
    pub server: &'a Server,
    pub versions: &'a Versions,
    /// The file that is served.
    pub served: &'a Path,
    pub ledger: &'a Ledger,
    /// The workers that were killed and not replaced (01, 02 and 09).
    pub killed: &'a Mutex<Vec<i32>>,
    pub chance: Chance,
}

#[derive(Clone, Copy)]
enum Fault {
    Kill(i32),
    Freeze(i32),
    Signals,
    NoDescriptors,
    Replace,
    Shrink,
}

impl Tormentor<'_> {
    /// A pause, then a fault that fits the stage.
    pub fn strike(&mut self) {
        use Fault::{Freeze, Kill, NoDescriptors, Replace, Shrink, Signals};
        thread::sleep(self.chance.millis(600));
        let mut faults = vec![Freeze(self.server.pid()), Signals, NoDescriptors];
        let workers = self.server.workers(); // in a chat there may be none
        if !workers.is_empty() {
            let worker = self.chance.pick(&workers);
            // Where nobody is replaced, a kill is dear.
            let kills = if self.is_dear() { self.chance.below(16) / 15 } else { 3 };
            faults.extend([Freeze(worker); 2]);
            faults.extend(vec![Kill(worker); kills]);
        }
        match self.stage.service {
            // Stage 04 doesn't say how long the file is: what was there when it read is all.
            Service::File(Format::Chunks) => faults.extend([Replace; 4]),
            Service::File(_) => faults.extend([Replace, Replace, Replace, Replace, Shrink]),
            Service::Table | Service::Echo | Service::Programs | Service::Chat => {}
        }
        let name = match self.chance.pick(&faults) {
            Kill(worker) => self.kill(worker),
            Freeze(pid) => self.freeze(pid),
            Signals => self.send_signals(),
            NoDescriptors => self.take_descriptors(),
            Replace => {
                self.versions.replace(self.served, &mut self.chance);
                "file replaced"
            }
            Shrink => self.shrink(),
        };
        self.ledger.note(|tally| *tally.faults.entry(name).or_default() += 1);
    }

    /// Is a worker that is killed missing from then on?
    fn is_dear(&self) -> bool {
        matches!(self.stage.number(), 1 | 2 | 9)
    }

    /// Whoever the worker has may be cut off. In 01 and 02 that is nobody, in 09 it can be many.
    fn kill(&self, worker: i32) -> &'static str {
        if self.is_dear() {
            self.killed.lock().unwrap().push(worker);
        }
        let kill = || {
            signal(worker, Signal::SIGKILL);
            self.server.wait_reaped(worker);
        };
        match self.stage.number() {
            1 | 2 => kill(),
            9 => self.ledger.harm(Kind::KillOfMany, kill),
            _ => self.ledger.harm(Kind::Kill, kill),
        }
        if (3..=8).contains(&self.stage.number()) {
            self.server.wait_workers(WORKERS);
        }
        "worker killed"
    }

    fn freeze(&mut self, pid: i32) -> &'static str {
        signal(pid, Signal::SIGSTOP);
        thread::sleep(self.chance.millis(300));
        signal(pid, Signal::SIGCONT);
        if pid == self.server.pid() { "parent frozen" } else { "worker frozen" }
    }

    /// Signals that mean nothing to the server.
    fn send_signals(&mut self) -> &'static str {
        let family = [vec![self.server.pid()], self.server.workers()].concat();
        for _ in 0..100 + self.chance.below(400) {
            let harmless = [Signal::SIGWINCH, Signal::SIGCHLD, Signal::SIGCONT];
            signal(self.chance.pick(&family), self.chance.pick(&harmless));
        }
        "signals"
    }

    /// For a moment the parent can't open anything.
    ///
    /// In a chat there may be a gap where a user has left, and the limit can't be put there: `poll(2)`
    /// takes no more descriptors than the limit says. Whoever comes fills the gaps; in 11 one may
    /// be left for a newcomer, and none for the channel of its worker.
    fn take_descriptors(&mut self) -> &'static str {
        let pid = self.server.pid();
        let limit = match self.stage.service {
            Service::Chat => 1 + proc::fds(pid).iter().map(|(fd, _)| *fd as u64).max().unwrap_or(0),
            _ => proc::next_fd(pid),
        };
        let pause = self.chance.millis(300);
        let take = || {
            let old = proc::limit_descriptors(pid, limit).expect("the server lives");
            thread::sleep(pause);
            proc::limit_descriptors(pid, old).expect("the server lives");
        };
        if self.stage.number() == 11 {
            self.ledger.harm(Kind::Starved, take)
        } else {
            take()
        }
        "no descriptors"
    }

    /// The file is cut short while it is being sent, and replaced a little later.
    fn shrink(&mut self) -> &'static str {
        self.versions.serve_the_largest(self.served);
        thread::sleep(self.chance.millis(100));
        self.ledger.harm(Kind::Shrunk, || {
            Versions::shrink(self.served);
            thread::sleep(Duration::from_millis(100));
            self.versions.replace(self.served, &mut self.chance);
        });
        "file shrunk"
    }

    /// So many workers may be missing, where nobody is replaced, before a new server is due.
    pub fn has_done_enough(&self) -> bool {
        self.killed.lock().unwrap().len() >= WORKERS - STAYING
    }
}

/// Sends a signal to a process, if it is still there: in a chat (11) a worker goes with its user.
fn signal(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}
