//! A server before and after the trouble.
//!
//! Interface: [`put_to`] puts one and the same trouble to servers of several stages, all at the
//! same time, and then looks whether each is what it was before.
//! Rules: in the end a good client is served, and right in every byte. The parent has the same
//! children as before and none is a zombie, nobody holds a descriptor or a mapped file more, and
//! all are asleep. A trouble that costs workers says so with [`Scene::expect_workers`].

use std::path::Path;
use std::process;
use std::thread;

use support::files::sparse;
use support::habits::sleeps_when_idle;
use support::proc;
use support::server::{Server, ServerCommand};
use support::serving::assert_same_workers;
use support::stage;
use support::wait::{limit, poll_until, wait_for};
use support::wire::RawClient;

use crate::{Sample, Stage};

/// A server of a stage, with what it sends.
pub struct Scene {
    /// Its stage.
    pub stage: Stage,
    /// What it sends, and room beside it.
    pub sample: Sample,
    /// The server itself.
    pub server: Server,
    workers: Workers,
    before: Vec<Belongings>,
}

/// Which workers there are to be after the trouble.
enum Workers {
    /// Those of before.
    Same(Vec<i32>),
    /// So many, whoever they are.
    Any(usize),
}

/// How much a process holds.
#[derive(Debug)]
struct Belongings {
    /// How many descriptors are open.
    descriptors: usize,
    /// How many pieces of files are mapped, those of the program itself among them.
    mappings: usize,
}

impl Belongings {
    fn of(pid: i32) -> Self {
        let mappings = proc::maps(pid).lines().filter(|line| line.contains('/')).count();
        Self { descriptors: proc::fds(pid).len(), mappings }
    }

    /// A parent that has lost a worker may hold less than before, but nobody may hold more.
    fn is_no_more_than(&self, before: &Self) -> bool {
        self.descriptors <= before.descriptors && self.mappings <= before.mappings
    }
}

/// Puts `trouble` to a server of each of `stages`, started with `args`, that sends `sample()`.
#[track_caller]
pub fn put_to(
    stages: impl IntoIterator<Item = Stage>,
    sample: impl Fn() -> Sample + Sync,
    args: &[&str],
    trouble: impl Fn(&mut Scene) + Sync,
) {
    at_once(stages, |stage| {
        let sample = sample();
        let command = ServerCommand::new(stage.bin()).args(&stage.serve_args(sample.file(), args));
        let mut scene = Scene::of(stage, sample, command);
        trouble(&mut scene);
        scene.assert_unharmed();
    });
}

/// Does `part` for each of `stages`, all at the same time. A panic in one of them says in which.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "tests have threads, programs under test don't")]
pub fn at_once(stages: impl IntoIterator<Item = Stage>, part: impl Fn(Stage) + Sync) {
    allow_crowds();
    let part = &part;
    let failed: Vec<&str> = thread::scope(|scope| {
        let start = |stage: Stage| (stage, scope.spawn(move || part(stage)));
        let parts: Vec<_> = stages.into_iter().map(start).collect();
        let failed = parts.into_iter().filter_map(|(stage, part)| {
            part.join().is_err().then_some(stage.name) // the panic itself has been printed
        });
        failed.collect()
    });
    assert!(failed.is_empty(), "failed at {}", failed.join(" and "));
}

/// Crowds of clients are ours: this process may need more descriptors than the usual 1,024.
fn allow_crowds() {
    let own = i32::try_from(process::id()).expect("pids are ints");
    let _ = [16_384, 4096].into_iter().find_map(|limit| proc::limit_descriptors(own, limit));
}

impl Scene {
    /// Starts a server and looks what it holds once it has served a client and sleeps again.
    #[track_caller]
    #[must_use]
    pub fn of(stage: Stage, sample: Sample, command: ServerCommand) -> Self {
        let server = command.start();
        stage.assert_serves(&server, sample.file());
        let workers = server.workers();
        let asleep = || workers.iter().all(|&pid| proc::state(pid) == Some('S'));
        wait_for("all workers to sleep", limit(), asleep);
        let workers = Workers::Same(workers);
        let mut scene = Self { stage, sample, server, workers, before: Vec::new() };
        scene.before = scene.belongings();
        scene
    }

    /// The file it sends.
    #[must_use]
    pub fn file(&self) -> &Path {
        self.sample.file()
    }

    /// The parent and its workers.
    #[must_use]
    pub fn family(&self) -> Vec<i32> {
        [vec![self.server.pid()], self.server.workers()].concat()
    }

    /// As the helpers for transfers want the stage.
    #[must_use]
    pub fn transfer(&self) -> stage::Stage {
        self.stage.of_files().expect("a stage that sends a file")
    }

    /// Connects a client of ours to a stage that sends a file.
    #[track_caller]
    #[must_use]
    pub fn connect(&self) -> RawClient {
        self.transfer().connect(self.server.addr())
    }

    /// The trouble costs workers: afterwards there are to be so many, whoever they are.
    pub fn expect_workers(&mut self, count: usize) {
        self.workers = Workers::Any(count);
    }

    /// The server is what it was before, and serves.
    #[track_caller]
    pub fn assert_unharmed(&self) {
        self.stage.assert_serves(&self.server, self.file());
        match &self.workers {
            Workers::Same(before) => assert_same_workers(&self.server, before),
            Workers::Any(count) => drop(self.server.wait_workers(*count)),
        }
        // The parent comes first. Of workers one is like the other, whoever has died.
        let more = || {
            let (now, before) = (self.belongings(), &self.before);
            let more = now.iter().zip(before).any(|(now, before)| !now.is_no_more_than(before));
            more.then(|| format!("parent and workers hold {now:?}, and before {before:?}"))
        };
        if poll_until(limit(), || more().is_none().then_some(())).is_none() {
            panic!("{}", more().unwrap_or_default());
        }
        sleeps_when_idle(&self.server);
    }

    fn belongings(&self) -> Vec<Belongings> {
        self.family().into_iter().map(Belongings::of).collect()
    }
}

/// A file with so many bytes, no two parts of which are alike.
pub fn plain(size: usize) -> impl Fn() -> Sample + Sync {
    move || Sample::of(size)
}

/// The same in memory and of any size: zeros, but for a mark now and then.
pub fn holes(size: u64) -> impl Fn() -> Sample + Sync {
    move || Sample::made_by(|dir| sparse(dir, size))
}
