//! The faults: one at a time, at random moments, each undone before the next.

use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

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
    /// The workers that were killed and not replaced (01 and 02).
    pub killed: &'a Mutex<Vec<i32>>,
    pub chance: Chance,
}

#[derive(Clone, Copy)]
enum Fault {
    KillWorker,
    FreezeWorker,
    FreezeParent,
    Signals,
    NoDescriptors,
    Replace,
    Shrink,
}

impl Tormentor<'_> {
    /// A pause, then a fault that fits the stage.
    pub fn strike(&mut self) {
        use Fault::{
            FreezeParent, FreezeWorker, KillWorker, NoDescriptors, Replace, Shrink, Signals,
        };
        thread::sleep(self.chance.millis(600));
        let any = [FreezeWorker, FreezeWorker, FreezeParent, Signals, NoDescriptors];
        // Where nobody is replaced, a kill is dear.
        let kills = if self.replaces() { 3 } else { self.chance.below(16) / 15 };
        let mut faults = [&any[..], &vec![KillWorker; kills]].concat();
        match self.stage.service {
            // Stage 04 doesn't say how long the file is: what was there when it read is all.
            Service::File(Format::Chunks) => faults.extend([Replace; 4]),
            Service::File(_) => faults.extend([Replace, Replace, Replace, Replace, Shrink]),
            Service::Table | Service::Echo => {}
        }
        let name = match self.chance.pick(&faults) {
            KillWorker => self.kill_worker(),
            FreezeWorker => self.freeze(self.server.workers()),
            FreezeParent => self.freeze(vec![self.server.pid()]),
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

    fn replaces(&self) -> bool {
        self.stage.number() >= 3
    }

    /// From 03 on one client may be cut off, and a new worker comes. In 01 and 02 nobody is cut
    /// off, and the worker is missing from then on.
    fn kill_worker(&mut self) -> &'static str {
        let worker = self.chance.pick(&self.server.workers());
        let kill = || {
            self.server.kill(worker);
            self.server.wait_reaped(worker);
        };
        if self.replaces() {
            self.ledger.harm(Kind::Kill, kill);
            self.server.wait_workers(WORKERS);
        } else {
            self.killed.lock().unwrap().push(worker);
            kill();
        }
        "worker killed"
    }

    fn freeze(&mut self, whom: Vec<i32>) -> &'static str {
        let pid = self.chance.pick(&whom);
        self.server.freeze(pid);
        thread::sleep(self.chance.millis(300));
        self.server.signal(pid, Signal::SIGCONT);
        if pid == self.server.pid() { "parent frozen" } else { "worker frozen" }
    }

    /// Signals that mean nothing to the server.
    fn send_signals(&mut self) -> &'static str {
        let family = [vec![self.server.pid()], self.server.workers()].concat();
        for _ in 0..100 + self.chance.below(400) {
            let harmless = [Signal::SIGWINCH, Signal::SIGCHLD, Signal::SIGCONT];
            self.server.signal(self.chance.pick(&family), self.chance.pick(&harmless));
        }
        "signals"
    }

    /// For a moment the parent can't open anything.
    fn take_descriptors(&mut self) -> &'static str {
        let pid = self.server.pid();
        let old = proc::limit_descriptors(pid, proc::next_fd(pid)).expect("the server lives");
        thread::sleep(self.chance.millis(300));
        proc::limit_descriptors(pid, old).expect("the server lives");
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
