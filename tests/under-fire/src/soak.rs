//! A soak: all servers for a long time, with clients and faults drawn at random.
//!
//! Interface: [`run`] a [`Plan`], then [`show`] the [`Report`]s.
//! Rules: whatever a good client gets is compared byte by byte. Only a fault of ours that really
//! hit it may fail a good client; every other failure is one of the soak. Before the faults begin
//! and after all clients have left, the server is looked at: it must hold no more than before.
//!
//! A stage's soak is a series of lives of its server. Most have one. Where nobody is replaced (01,
//! 02 and 09) a new life begins when few workers are left; 08 and 09 leave under load now and then.

mod chance;
mod chatter;
mod clients;
mod faults;
mod health;
mod requests;
mod tally;
mod versions;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::proc;
use support::server::{LAST_BREATH, Server, Signal};
use support::wait::{limit, poll_until};
use support::{habits, tcp};

use self::chance::Chance;
use self::clients::{Visitor, attempt};
use self::faults::Tormentor;
use self::health::Snapshot;
use self::requests::Offer;
use self::tally::{Kind, Ledger, Tally};
use self::versions::{NAME, Versions};
use crate::{Service, Stage};

/// Workers of each server.
const WORKERS: usize = 5;
/// So many stay alive where nobody is replaced.
const STAYING: usize = 2;
/// Clients of each server at a time: more than workers.
const CLIENTS: usize = 8;
/// So many good clients, at least, come before anything is measured.
const WARM_UP_CLIENTS: u64 = 20;
/// So many users a chat takes: more than ever come, with all that are about to leave.
const SEATS: usize = 300;
/// How long a server of 08 or 09 lives until it has to leave under load.
const LIFE: Duration = Duration::from_secs(60);

/// What is to be done.
pub struct Plan {
    /// Whom to soak, all at the same time.
    pub stages: Vec<Stage>,
    /// For how long.
    pub length: Duration,
    /// What chance begins with.
    pub seed: u64,
}

/// What has come of a stage.
pub struct Report {
    stage: Stage,
    tally: Tally,
}

impl Report {
    /// Nothing failed, and something was done.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.tally.failures.is_empty() && self.tally.compared > 0
    }
}

/// Soaks all stages of `plan` until its time is over or `stop` is set.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "tests have threads, programs under test don't")]
pub fn run(plan: &Plan, stop: &AtomicBool) -> Vec<Report> {
    let versions = Versions::new();
    let offer = Offer::new(&versions);
    let deadline = Instant::now() + plan.length;
    let over = || stop.load(Ordering::Relaxed) || Instant::now() >= deadline;
    let ledgers: Vec<Ledger> = plan.stages.iter().map(|_| Ledger::default()).collect();
    thread::scope(|scope| {
        let soaks: Vec<_> = plan
            .stages
            .iter()
            .zip(&ledgers)
            .map(|(&stage, ledger)| {
                let (versions, offer, over) = (&versions, &offer, &over);
                let soak = Soak { stage, versions, offer, ledger, over, plan };
                scope.spawn(move || {
                    if let Err(error) = attempt(|| soak.all_lives()) {
                        ledger.fail(&format!("{}: {error}", stage.name));
                    }
                })
            })
            .collect();
        let mut minutes = 0;
        let from = Instant::now();
        while !soaks.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(50));
            if from.elapsed().as_secs() / 60 > minutes {
                minutes += 1;
                plan.stages
                    .iter()
                    .zip(&ledgers)
                    .for_each(|(stage, ledger)| progress(minutes, stage, ledger));
            }
        }
    });
    let reports = plan.stages.iter().zip(ledgers);
    reports.map(|(&stage, ledger)| Report { stage, tally: ledger.tally() }).collect()
}

fn progress(minutes: u64, stage: &Stage, ledger: &Ledger) {
    let Tally { compared, bytes, faults, cut, failures, .. } = ledger.tally();
    let (name, faults, failures) = (stage.name, faults.values().sum::<u64>(), failures.len());
    let mib = bytes >> 20;
    eprintln!(
        "soak: minute {minutes}: {name}: {compared} compared ({mib} MiB), {faults} faults, \
         {cut} cut by them, {failures} failures"
    );
}

/// The soak of one stage.
struct Soak<'a> {
    stage: Stage,
    versions: &'a Versions,
    offer: &'a Offer,
    ledger: &'a Ledger,
    over: &'a (dyn Fn() -> bool + Sync),
    plan: &'a Plan,
}

/// A server and what has become of its workers.
struct Life {
    server: Server,
    served: PathBuf,
    workers: Vec<i32>,
    /// Killed and not replaced (01, 02 and 09).
    killed: Mutex<Vec<i32>>,
}

impl Soak<'_> {
    fn all_lives(&self) {
        let served = self.versions.dir(self.stage.name).join(NAME);
        let mut port = 0;
        while port == 0 || !self.is_over() {
            self.versions.serve_the_largest(&served); // the warm-up is to fill every buffer
            let life = self.begin(&served, port);
            port = life.server.port();
            self.ledger.note(|tally| tally.lives += 1);
            self.live(life);
        }
        if self.stage.service == Service::Programs && self.offer.is_abused() {
            self.fail("something was run that nobody may run");
        }
    }

    fn begin(&self, served: &Path, port: u16) -> Life {
        let (workers, seats, port) = (WORKERS.to_string(), SEATS.to_string(), port.to_string());
        let mut args = vec!["--quiet", "--port", &port];
        args.extend(match self.stage.service {
            Service::Chat => ["--max-users", &seats],
            _ => ["--workers", &workers],
        });
        args.extend(match self.stage.number() {
            8 => &["--grace", "120"][..],
            9 => &["--time-limit", "120", "--stall-timeout", "60"],
            _ => &[],
        });
        let source = match self.stage.service {
            Service::Programs => self.offer.dir(),
            _ => served,
        };
        let server = self.stage.serve(source, &args);
        let workers = server.wait_workers(self.workers_at_rest());
        Life { server, served: served.to_owned(), workers, killed: Mutex::default() }
    }

    fn live(&self, mut life: Life) {
        let leaves = matches!(self.stage.number(), 8 | 9);
        let fresh = Snapshot::of(&life.server);
        let from = Instant::now();
        let warm_up = (self.plan.length / 10).min(Duration::from_secs(10));
        let compared = || self.ledger.note(|tally| tally.compared);
        let enough = compared() + WARM_UP_CLIENTS;
        let is_warm = || from.elapsed() >= warm_up && compared() >= enough;
        self.load(&life, &is_warm, &mut || {
            thread::sleep(Duration::from_millis(10));
            false
        });
        let start = self.settle(&life).with_descriptors_of(&fresh);

        let mut tormentor = self.tormentor(&life);
        let long_enough = || leaves && from.elapsed() >= LIFE;
        self.load(&life, &|| self.is_over() || long_enough(), &mut || {
            if let Err(error) = attempt(|| tormentor.strike()) {
                self.fail(&format!("a fault went wrong: {error}"));
            }
            tormentor.has_done_enough()
        });
        let end = self.settle(&life);
        for grown in end.has_grown(&start) {
            self.fail(&format!("after all clients have left, {grown}"));
        }
        self.ledger.note(|tally| tally.held = Some((start, end)));

        if leaves {
            self.leave_under_load(&mut life);
        }
        let pid = life.server.pid();
        life.server.stop();
        assert!(!proc::exists(pid), "the server is still there");
    }

    /// Clients come, and `strike` is called again and again, until one of the two says `done`.
    #[allow(clippy::disallowed_methods, reason = "tests have threads, programs under test don't")]
    fn load(
        &self,
        life: &Life,
        done: &(dyn Fn() -> bool + Sync),
        strike: &mut dyn FnMut() -> bool,
    ) {
        let struck = AtomicBool::new(false);
        let is_done = || struck.load(Ordering::Relaxed) || done() || self.ledger.has_enough();
        thread::scope(|scope| {
            for number in 0..CLIENTS {
                let is_done = &is_done;
                scope.spawn(move || {
                    let mut visitor = self.visitor(life, number);
                    while !is_done() {
                        visitor.visit();
                        thread::sleep(visitor.chance.millis(50));
                    }
                });
            }
            while !is_done() {
                if strike() {
                    struck.store(true, Ordering::Relaxed);
                }
            }
        });
    }

    /// Waits until nobody has anything to do, and looks at what they hold.
    fn settle(&self, life: &Life) -> Snapshot {
        let server = &life.server;
        let quiet = || tcp::accepted(server.port()).is_empty().then_some(());
        assert!(poll_until(limit(), quiet).is_some(), "connections stay open without a client");
        let workers = self.workers_at_rest() - life.killed.lock().unwrap().len();
        server.wait_workers(workers);
        let alone = || (proc::session(server.pid()).len() == 1 + workers).then_some(());
        assert!(poll_until(limit(), alone).is_some(), "somebody else than the workers is left");
        habits::sleeps_when_idle(server);
        Snapshot::of(server)
    }

    /// The workers that there are without a client. In a chat every user has its own, or none.
    fn workers_at_rest(&self) -> usize {
        if self.stage.service == Service::Chat { 0 } else { WORKERS }
    }

    /// 08 or 09 is told to leave while clients come: whoever has got a byte gets them all.
    fn leave_under_load(&self, life: &mut Life) {
        let mut chance = self.chance(99);
        let signals = match self.stage.number() {
            8 => &[Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1][..],
            _ => &[Signal::SIGTERM, Signal::SIGINT],
        };
        let pid = life.server.pid();
        self.versions.serve_the_largest(&life.served); // so that transfers are under way
        self.ledger.harm(Kind::Leaving, || {
            self.load(life, &|| !proc::alive(pid), &mut || {
                thread::sleep(Duration::from_millis(300) + chance.millis(700));
                life.server.signal(pid, chance.pick(signals));
                let left =
                    poll_until(Duration::from_secs(100), || (!proc::alive(pid)).then_some(()));
                assert!(left.is_some(), "the server doesn't leave");
                true
            });
        });
        let status = life.server.wait_exit(limit());
        if !status.success() {
            self.fail(&format!("the server left with {status}: {}", life.server.narration()));
        }
        life.server.wait_nobody_left(LAST_BREATH);
        self.ledger.note(|tally| *tally.faults.entry("told to leave").or_default() += 1);
    }

    fn visitor<'a>(&'a self, life: &'a Life, number: usize) -> Visitor<'a> {
        Visitor {
            stage: self.stage,
            server: &life.server,
            versions: self.versions,
            offer: self.offer,
            ledger: self.ledger,
            killed: &life.killed,
            workers: &life.workers,
            out: self.versions.dir(&format!("{}-{number}", self.stage.name)),
            chance: self.chance(1 + number as u64),
        }
    }

    fn tormentor<'a>(&'a self, life: &'a Life) -> Tormentor<'a> {
        Tormentor {
            stage: self.stage,
            server: &life.server,
            versions: self.versions,
            served: &life.served,
            ledger: self.ledger,
            killed: &life.killed,
            chance: self.chance(100),
        }
    }

    /// Everybody draws numbers of their own, in each life others.
    fn chance(&self, who: u64) -> Chance {
        let lives = self.ledger.note(|tally| tally.lives);
        Chance::new(self.plan.seed, who + 1000 * lives + 1_000_000 * self.stage.number() as u64)
    }

    fn is_over(&self) -> bool {
        (self.over)() || self.ledger.has_enough()
    }

    fn fail(&self, what: &str) {
        self.ledger.fail(&format!("{}: {what}", self.stage.name));
    }
}

/// The figures of all stages, as tables.
#[must_use]
pub fn show(reports: &[Report]) -> String {
    let mut text = format!(
        "{:<26} {:>8} {:>6} {:>8} {:>8} {:>6} {:>6} {:>7} {:>6} {:>4} {:>6} {:>6} {:>7}  verdict\n",
        "stage",
        "compared",
        "own",
        "lines",
        "MiB",
        "slow",
        "reset",
        "hostile",
        "faults",
        "cut",
        "turned",
        "lives",
        "worst",
    );
    for Report { stage, tally } in reports {
        let verdict = if tally.failures.is_empty() { "well" } else { "FAILED" };
        let lines = if tally.lines == 0 { "-".to_owned() } else { tally.lines.to_string() };
        let _ = writeln!(
            text,
            "{:<26} {:>8} {:>6} {:>8} {:>8} {:>6} {:>6} {:>7} {:>6} {:>4} {:>6} {:>6} {:>6.1}s  {verdict}",
            stage.name,
            tally.compared,
            tally.own,
            lines,
            tally.bytes >> 20,
            tally.slow,
            tally.resetting,
            tally.hostile,
            tally.faults.values().sum::<u64>(),
            tally.cut,
            tally.turned_away,
            tally.lives,
            tally.worst_wait.as_secs_f64(),
        );
    }
    text.push_str(
        "\ncompared: transfers, tables, conversations, outputs and chats, right in every byte; own: of these\n\
         by the stage's client; lines: answers, or what was heard in a chat; cut: good clients cut off\n\
         by a kill, by the file shrinking, or (11) for want of descriptors; turned: came as 08 or 09 left,\n\
         or had to leave a chat because they read too slowly; worst: the longest that a client in a hurry\n\
         had to wait for all it wanted\n",
    );
    text + "\nheld, with nothing to do, by the parent + each worker at most\n"
        + &held(reports)
        + "\nfaults\n"
        + &faults(reports)
}

fn held(reports: &[Report]) -> String {
    let mut text = String::new();
    for Report { stage, tally } in reports {
        let Some((start, end)) = &tally.held else { continue };
        let _ = writeln!(text, "{:<26} start: {start}\n{:<26}   end: {end}", stage.name, "");
    }
    text
}

fn faults(reports: &[Report]) -> String {
    let kinds: BTreeSet<_> = reports.iter().flat_map(|it| it.tally.faults.keys()).collect();
    let mut text = String::new();
    for kind in kinds {
        let _ = write!(text, "{kind:<26}");
        for Report { stage, tally } in reports {
            let count = tally.faults.get(kind).copied().unwrap_or(0);
            let _ = write!(text, " {:02}:{count:>6}", stage.number());
        }
        text.push('\n');
    }
    text
}

/// All that must not have happened.
#[must_use]
pub fn failures(reports: &[Report]) -> Vec<String> {
    let nothing = |it: &Report| {
        (it.tally.compared == 0).then(|| format!("{}: no client got anything", it.stage.name))
    };
    let of = |it: &Report| it.tally.failures.iter().cloned().chain(nothing(it)).collect::<Vec<_>>();
    reports.iter().flat_map(of).collect()
}
