//! What is seen when a system call fails, as a table: who makes the call, which one, the error,
//! and what becomes of the client, the worker and the server.
//!
//! Each fault is put into the real program by `strace`. Whatever its row says, afterwards the next
//! client is served in full, every worker is there, no descriptor is lost and everybody sleeps;
//! and where a client fails, an old file is as it was and nothing lies beside it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a check that fails panics")]

use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use support::files::{Landing, entries};
use support::habits::{gives_back_descriptors, sleeps_when_idle};
use support::line::LineClient;
use support::receiving::assert_failed;
use support::server::{Finished, Server, Signal};
use support::stage::assert_received;
use support::wait::{limit, wait_for};
use support::{proc, trace};
use under_fire::fault::Fault;
use under_fire::{STAGES, Sample, Service, Stage};

/// Calls that fail, and what is seen of it.
struct Row {
    stages: RangeInclusive<usize>,
    call: &'static str,
    /// Each of these in turn.
    errors: &'static str,
    /// Each of these in turn, see [`Fault::when`].
    when: &'static str,
    seen: Seen,
}

#[derive(Clone, Copy)]
enum Seen {
    /// The client gets all, and nobody notices.
    Nothing,
    /// The client gets all, and standard error has this, once.
    Told(&'static str),
    /// The client fails, and standard error has this, once.
    Failed(&'static str),
}
use Seen::{Failed, Nothing, Told};

const fn row(
    stages: RangeInclusive<usize>,
    call: &'static str,
    errors: &'static str,
    when: &'static str,
    seen: Seen,
) -> Row {
    Row { stages, call, errors, when, seen }
}

/// While the server starts: it ends with one line, status 1, and nobody is left.
const STARTING: &[Row] = &[
    row(1..=8, "clone", "EAGAIN ENOMEM", "1 3", Failed("fork: ")),
    row(1..=1, "pidfd_open", "EMFILE ENOSYS", "1 3", Failed("pidfd_open: ")),
    row(2..=8, "socketpair", "EMFILE ENFILE", "1 3", Failed("socketpair: ")),
    row(8..=8, "signalfd4", "EMFILE", "1", Failed("signalfd: ")),
    row(1..=8, "socket", "EMFILE ENFILE", "1", Failed("socket: ")),
    row(1..=8, "setsockopt", "ENOMEM", "1", Failed("setsockopt SO_REUSEADDR: ")),
    row(1..=8, "bind", "EACCES", "1", Failed("bind 127.0.0.1:0: permission denied")),
    row(1..=8, "listen", "EADDRINUSE", "1", Failed("listen 127.0.0.1:0: address already in use")),
    row(1..=8, "epoll_create1", "EMFILE", "1", Failed("epoll_create1: ")),
    row(1..=8, "epoll_ctl", "ENOSPC ENOMEM", "1 3", Failed("epoll_ctl ADD: ")),
];

/// In the parent, when a client comes.
const PARENT: &[Row] = &[
    row(1..=8, "accept4", "EINTR EAGAIN ECONNABORTED EPROTO", "1 1..3", Nothing),
    // The client waits in the kernel's queue. However long it lasts, it is told once.
    row(1..=8, "accept4", "EMFILE ENFILE ENOBUFS ENOMEM EPERM", "1", Told("accept: ")),
    row(1..=8, "accept4", "EMFILE", "1..3", Told("accept: too many open files")),
    row(1..=8, "epoll_wait", "EINTR", "1 3", Nothing),
    row(2..=8, "recvfrom", "EINTR EAGAIN", "1 3", Nothing),
    row(1..=2, "sendto", "EINTR", "1", Nothing),
    row(1..=1, "sendto", "EPIPE ENOBUFS", "1", Failed("a client got no table: send: ")),
    row(2..=2, "epoll_ctl", "ENOSPC ENOMEM", "1", Failed("no client now: epoll_ctl ADD: ")),
    row(2..=2, "setsockopt", "ENOMEM", "1", Failed("no client now: setsockopt TCP_NODELAY: ")),
    row(3..=8, "sendmsg", "EINTR", "1", Nothing),
    // The worker that it was meant for is replaced; another one takes the client.
    row(3..=8, "sendmsg", "ETOOMANYREFS ENOBUFS EAGAIN", "1", Told("ended: signal 9")),
    row(1..=8, "write", "EINTR", "1 3", Nothing),
    row(1..=8, "poll", "EINTR ENOMEM", "1", Nothing),
];

/// In a worker, when it gets a client. The worker lives on.
const WORKER: &[Row] = &[
    row(2..=2, "recvfrom", "EINTR", "1 2", Nothing),
    row(3..=8, "recvmsg", "EINTR", "1 2", Nothing),
    row(2..=8, "sendto", "EINTR", "1 3", Nothing),
    row(3..=3, "recvfrom", "EINTR", "1 3", Nothing),
    row(3..=3, "sendto", "ENOBUFS EPIPE", "1", Failed("the client is lost: send: ")),
    row(3..=3, "setsockopt", "ENOMEM", "1", Failed("the client is lost: setsockopt ")),
    row(4..=8, "sendto", "EAGAIN", "1", Nothing), // a wait that has led to nothing
    row(4..=8, "sendto", "EPIPE ECONNRESET ENOBUFS", "1", Failed("the transfer failed: send: ")),
    row(4..=8, "setsockopt", "ENOMEM", "1", Failed("the transfer failed: setsockopt timeout: ")),
    row(4..=8, "openat", "EMFILE ENFILE EACCES EIO", "1", Failed("the transfer failed: open ")),
    row(4..=8, "openat", "EINTR", "1", Nothing),
    row(4..=8, "statx", "EIO", "1", Failed("the transfer failed: open ")),
    row(4..=5, "readv", "EINTR", "1 3", Nothing),
    row(4..=5, "readv", "EIO", "1 3", Failed("the transfer failed: read the file: I/O error")),
    row(6..=6, "mmap", "ENOMEM", "1 2", Failed("the transfer failed: mmap: ")),
    row(6..=6, "pread64", "EINTR", "1", Nothing),
    row(6..=6, "pread64", "EIO", "1", Failed("the transfer failed: read the file: I/O error")),
    row(7..=8, "pipe2", "EMFILE ENFILE", "1", Failed("the transfer failed: pipe2: ")),
    row(7..=8, "fcntl", "EPERM", "1 2 1..2", Nothing), // F_GETPIPE_SZ, F_SETPIPE_SZ, both
    row(7..=8, "splice", "EINTR", "1 2 3", Nothing),
    row(7..=8, "splice", "EAGAIN", "2", Nothing), // to the connection: a wait, as above
    // From the file, to the connection, from the file again: nothing is lost of what is in the pipe.
    row(7..=8, "splice", "EINVAL", "1 2 3 1+", Told("splice doesn't work with this file")),
    row(
        7..=8,
        "splice",
        "EIO ENOMEM",
        "1 3",
        Failed("the transfer failed: splice from the file: "),
    ),
    row(7..=8, "splice", "EPIPE", "2", Failed("the transfer failed: splice to the connection: ")),
];

/// In a client, from its start on.
const CONNECTING: &[Row] = &[
    row(1..=8, "socket", "EMFILE", "1", Failed("socket: too many open files")),
    row(1..=8, "connect", "EINTR", "1", Nothing),
    row(1..=8, "connect", "ECONNREFUSED ETIMEDOUT ENETUNREACH", "1", Failed("connect 127.0.0.1:")),
    row(1..=8, "setsockopt", "ENOMEM", "1", Failed("setsockopt timeout: ")),
    row(1..=8, "recvfrom", "EINTR", "1 3", Nothing),
    row(1..=8, "recvfrom", "ENOMEM", "1", Failed("recv: ")),
    row(1..=8, "recvfrom", "ECONNRESET", "1", Failed("connection closed ")),
    row(2..=3, "poll", "EINTR", "2 3", Nothing),
    row(2..=3, "sendto", "EINTR EAGAIN", "1", Nothing),
];

/// In `get`, from the moment when it waits for the first byte.
const RECEIVING: &[Row] = &[
    row(4..=8, "openat", "EINTR", "1", Nothing),
    row(4..=8, "openat", "EMFILE EACCES EIO ENOSPC", "1", Failed("create a file in ")),
    row(4..=8, "openat", "EOPNOTSUPP EISDIR", "1", Nothing), // no files without a name: a `.part` file
    row(4..=5, "writev", "EINTR", "1 3", Nothing),
    row(4..=5, "writev", "EIO ENOSPC EFBIG EDQUOT", "1 3", Failed("write the file: ")),
    row(4..=8, "recvfrom", "EINTR", "1 2", Nothing),
    row(6..=6, "fallocate", "EINTR EOPNOTSUPP", "1", Nothing), // glibc writes zeros instead
    row(6..=6, "fallocate", "ENOSPC EFBIG EIO", "1", Failed("reserve ")),
    row(6..=6, "mmap", "ENOMEM", "1 2", Failed("mmap: ")),
    row(6..=6, "madvise", "EINVAL ENOMEM", "1 2", Nothing),
    row(7..=8, "pipe2", "EMFILE", "1", Failed("pipe2: too many open files")),
    row(7..=8, "fcntl", "EPERM", "1 2 1..2", Nothing),
    row(7..=8, "splice", "EINTR", "1 2 3", Nothing),
    row(7..=8, "splice", "EINVAL", "1 2 3 4 1+", Told("splice doesn't work with this file")),
    row(7..=8, "splice", "EIO ENOSPC EFBIG", "2 4", Failed("splice to the file: ")),
    row(7..=8, "splice", "ECONNRESET", "1 3", Failed("connection closed after ")),
    row(4..=8, "linkat", "EXDEV EACCES EIO ENOSPC", "1", Failed("link a file into ")),
    row(4..=8, "renameat", "EXDEV EACCES EIO ENOSPC", "1", Failed("rename to ")),
];

/// In the parent, when a worker was killed. In the end there are as many as before.
const REPLACING: &[Row] = &[
    row(3..=8, "wait4", "EINTR", "1", Nothing),
    row(3..=8, "clone", "EAGAIN ENOMEM", "1", Told("no new worker now: fork: ")),
    row(3..=8, "socketpair", "EMFILE", "1", Told("no new worker now: socketpair: ")),
    // The first call takes the old worker out, the second puts the new one in.
    row(3..=8, "epoll_ctl", "ENOSPC ENOMEM", "2", Told("it can't be watched, so it has to end: ")),
];

/// Calls `test` with every fault of a table that is meant for `stage`.
fn each(table: &[Row], stage: Stage, test: impl Fn(Fault, Seen)) {
    for row in table.iter().filter(|row| row.stages.contains(&stage.number())) {
        for error in row.errors.split(' ') {
            for when in row.when.split(' ') {
                let fault = Fault { call: row.call, error, when };
                let label = Label(format!("{}: {fault:?}", stage.name));
                test(fault, row.seen);
                drop(label);
            }
        }
    }
}

/// Calls `test` with each of these stages, side by side: most of the time all of them wait.
#[expect(clippy::disallowed_methods, reason = "tests have threads, programs under test don't")]
fn side_by_side(stages: &[Stage], test: impl Fn(Stage) + Sync) {
    if !trace::may_attach() {
        return;
    }
    thread::scope(|scope| {
        for &stage in stages {
            let test = &test;
            scope.spawn(move || test(stage));
        }
    });
}

/// Says at which row a test failed.
struct Label(String);

impl Drop for Label {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("This was {}", self.0);
        }
    }
}

/// Several batches, windows and pipes of every stage, and not a multiple of any.
const SIZE: usize = 2_200_001;

/// With one of them serving and one being replaced there still is an idle one: the parent needn't
/// stop watching the listener, so what it calls is the same each time.
const WORKERS: usize = 3;

/// A server under fire.
struct Target {
    stage: Stage,
    sample: Sample,
    server: Server,
    descriptors: usize,
}

impl Target {
    fn new(stage: Stage) -> Self {
        let sample = Sample::of(SIZE);
        let server = stage.serve(sample.file(), &["--workers", &WORKERS.to_string()]);
        let mut target = Self { stage, sample, server, descriptors: 0 };
        target.assert_serves();
        target.descriptors = proc::fds(target.server.pid()).len();
        target
    }

    /// A directory with an old file of the name that is to come.
    fn landing(&self) -> Landing {
        Landing::with_old(self.sample.file().file_name().unwrap().to_str().unwrap())
    }

    /// Our own client gets what `seen` says.
    fn judge(&self, client: &Finished, landing: &Landing, seen: Seen) {
        if let Failed(_) = seen {
            let _ = assert_failed(client);
            landing.assert_untouched();
            return;
        }
        assert!(client.status.success(), "the client: {client:?}");
        match self.stage.service {
            Service::Table => assert!(client.stdout.starts_with("worker 0 pid "), "{client:?}"),
            Service::Echo => assert!(client.stdout.ends_with(": HELLO\n"), "{client:?}"),
            _ => {
                assert_received(client, self.sample.file(), landing.path());
                assert_eq!(entries(landing.path()).len(), 1, "debris beside the file");
            }
        }
    }

    /// The server has told what `seen` says, once, since it had told `before`, and all seats are
    /// taken: not before that is told, for until then somebody who is about to end counts, too.
    fn judge_narration(&self, before: usize, seen: Seen) {
        if let Told(text) | Failed(text) = seen {
            let told = || self.server.narration()[before..].matches(text).count();
            wait_for(&format!("{text:?} to be told"), limit(), || told() > 0);
            assert_eq!(told(), 1, "so often was told {text:?}");
        }
        self.server.wait_workers(WORKERS);
    }

    /// A worker has the empty seat, after what `seen` says was told since `before`.
    ///
    /// To count the workers isn't enough: one that can't be watched is there too, for a moment.
    fn wait_replaced(&self, before: usize, seen: Seen) {
        let (Told(trouble) | Failed(trouble)) = seen else { return };
        wait_for(&format!("a new worker after {trouble:?}"), limit(), || {
            let narration = self.server.narration();
            let later = narration[before..].split_once(trouble);
            later.is_some_and(|(_, later)| later.contains(" is pid "))
        });
    }

    /// The next client gets everything.
    ///
    /// When it has got it, the server still has to note that it is gone. That must be over before
    /// the next fault, which counts calls. The workers come first: what they report wakes the parent.
    fn assert_serves(&self) {
        self.stage.assert_serves(&self.server, self.sample.file());
        wait_for("everybody to sleep", limit(), || {
            let mut family = [self.server.workers(), vec![self.server.pid()]].concat().into_iter();
            family.all(|pid| proc::state(pid) == Some('S'))
        });
    }

    /// After all faults the server is as it was.
    fn end(self) {
        gives_back_descriptors(self.server.pid(), self.descriptors);
        sleeps_when_idle(&self.server);
        let narration = self.server.narration();
        assert!(!narration.contains("panicked"), "{narration}");
        self.server.stop();
    }
}

#[test]
fn server_that_cannot_start_says_why_and_leaves_nobody() {
    let sample = Sample::of(1);
    side_by_side(&STAGES, |stage| {
        let args = stage.serve_args(sample.file(), &["--port", "0", "--workers", "3"]);
        each(STARTING, stage, |fault, seen| {
            let ended = fault.run(stage.bin(), &args);
            let error = assert_failed(&ended);
            let Failed(text) = seen else { panic!("it starts after all") };
            assert!(error.starts_with(text), "the error: {error}");
            assert_eq!(ended.left_running, [], "left behind");
        });
    });
}

#[test]
fn parent_takes_a_failed_call_as_the_table_says() {
    strike_server(PARENT, |server| vec![server.pid()]);
}

#[test]
fn worker_takes_a_failed_call_as_the_table_says() {
    strike_server(WORKER, Server::workers);
}

/// A client comes while calls fail in those processes of the server that `whom` names.
fn strike_server(table: &[Row], whom: fn(&Server) -> Vec<i32>) {
    side_by_side(&STAGES, |stage| {
        let target = Target::new(stage);
        each(table, stage, |fault, seen| {
            let workers = target.server.workers();
            let before = target.server.narration().len();
            let landing = target.landing();
            let struck = fault.strike(&whom(&target.server));
            let client = stage.run_client(&target.server, landing.path());
            target.judge(&client, &landing, seen);
            target.judge_narration(before, seen);
            drop(struck);
            target.assert_serves();
            let one_has_died = matches!(seen, Told(text) if text.starts_with("ended"));
            assert!(one_has_died || target.server.workers() == workers, "a worker has died");
        });
        target.end();
    });
}

#[test]
fn client_takes_a_failed_call_as_the_table_says() {
    side_by_side(&STAGES, |stage| {
        let target = Target::new(stage);
        each(CONNECTING, stage, |fault, seen| {
            let landing = target.landing();
            let port = target.server.port().to_string();
            let client = fault.run(stage.bin(), &stage.client_args(&port, landing.path()));
            target.judge(&client, &landing, seen);
            judge_error(&client, seen);
        });
        each(RECEIVING, stage, |fault, seen| {
            let landing = target.landing();
            target.server.freeze(target.server.pid());
            let of_files = stage.of_files().unwrap();
            let client = of_files.start_get(target.server.port(), landing.path(), &[]);
            let waits = || {
                let pid = client.pid();
                proc::sockets(pid).len() == 1 && proc::state(pid) == Some('S')
            };
            wait_for("get to wait for the first byte", limit(), waits);
            let struck = fault.strike(&[client.pid()]);
            target.server.signal(target.server.pid(), Signal::SIGCONT);
            let client = client.finish();
            drop(struck);
            target.judge(&client, &landing, seen);
            judge_error(&client, seen);
        });
        target.assert_serves();
        target.end();
    });
}

/// When splice fails, the only byte of the file is in the pipe: nothing more is to come after it.
#[test]
fn last_figures_count_what_was_copied_out_of_the_pipe() {
    if !trace::is_possible() {
        return;
    }
    for stage in &STAGES[6..] {
        let sample = Sample::of(1);
        let server = stage.serve(sample.file(), &["--workers", "1"]);
        let (port, out) = (server.port().to_string(), sample.out("here"));
        let fault = Fault { call: "splice", error: "EINVAL", when: "2+" };
        let client = fault.run(stage.bin(), &stage.client_args(&port, &out));
        assert_received(&client, sample.file(), &out);
        let figures = "received 1 of 1 bytes (100.0%)";
        assert!(client.stderr.starts_with(figures), "{}: {client:?}", stage.name);
    }
}

/// Standard error of a client has what `seen` says, once.
fn judge_error(client: &Finished, seen: Seen) {
    if let Told(text) | Failed(text) = seen {
        assert_eq!(
            client.stderr.matches(text).count(),
            1,
            "so often was told {text:?}: {client:?}"
        );
    }
}

#[test]
fn worker_is_replaced_although_a_call_fails() {
    side_by_side(&STAGES[2..], |stage| {
        let target = Target::new(stage);
        each(REPLACING, stage, |fault, seen| {
            let before = target.server.narration().len();
            let struck = fault.strike(&[target.server.pid()]);
            let worker = target.server.workers()[0];
            target.server.kill(worker);
            target.server.wait_reaped(worker);
            target.wait_replaced(before, seen);
            target.judge_narration(before, seen);
            drop(struck);
            target.assert_serves();
        });
        target.end();
    });
}

/// Eight empty seats and no process to be had: the parent tries once a second, not eight times.
#[test]
fn fork_that_fails_again_and_again_is_no_storm() {
    if !trace::may_attach() {
        return;
    }
    let stage = STAGES[3];
    let sample = Sample::of(SIZE);
    let server = stage.serve(sample.file(), &["--workers", "8"]);
    server.freeze(server.pid()); // it is to hear of all of them at once
    for worker in server.workers() {
        server.kill(worker);
    }
    wait_for("all workers to be dead", limit(), || server.workers().is_empty());
    let struck = Fault { call: "clone", error: "EAGAIN", when: "1..2" }.strike(&[server.pid()]);
    let from = Instant::now();
    server.signal(server.pid(), Signal::SIGCONT);
    server.wait_workers(8);
    let took = from.elapsed();
    drop(struck);
    let told = server.narration().matches("no new worker now: fork: ").count();
    assert_eq!(told, 2, "so often it was told");
    assert!(took >= Duration::from_secs(2), "two attempts failed, and all were there in {took:?}");
    stage.assert_serves(&server, sample.file());
}

/// A client waits in the queue and nobody can accept it: that is no reason to turn the loop.
#[test]
fn accept_that_keeps_failing_does_not_spin() {
    const WINDOW: Duration = Duration::from_millis(300);
    const FEW: u32 = 200; // in so long a time; a loop makes thousands
    const TOLD: [(&str, &str); 2] =
        [("EMFILE", "accept: too many open files"), ("EPERM", "accept: operation not permitted")];
    side_by_side(&STAGES, |stage| {
        let target = Target::new(stage);
        for (error, told) in TOLD.into_iter().chain([("ECONNABORTED", ""), ("EINTR", "")]) {
            let label = Label(format!("{}: accept4 {error}", stage.name));
            let pid = target.server.pid();
            let struck = Fault { call: "accept4", error, when: "1+" }.strike(&[pid]);
            let client = LineClient::connect(target.server.addr());
            target.server.wait_narration(told); // by now it has failed once
            let from = Instant::now();
            let before = proc::ctxt_switches(pid);
            thread::sleep(WINDOW); // the window itself: not a wait for anything
            let woken = proc::ctxt_switches(pid) - before;
            let window = from.elapsed(); // on a busy machine it is longer
            let few = window.as_millis() * u128::from(FEW) / WINDOW.as_millis();
            assert!(u128::from(woken) < few, "the parent woke up {woken} times in {window:?}");
            drop(struck);
            drop(client);
            target.assert_serves();
            drop(label);
        }
        for (_, error) in TOLD {
            let told = target.server.narration().matches(error).count();
            assert_eq!(told, 1, "so often was told {error:?}");
        }
        target.end();
    });
}

/// The one signal, the one message, the one report: none is lost to a call that was interrupted.
#[test]
fn server_leaves_although_its_calls_are_interrupted() {
    if !trace::may_attach() {
        return;
    }
    for call in ["read", "epoll_wait", "sendto", "recvfrom", "wait4"] {
        for when in ["1", "2"] {
            let label = Label(format!("{call} {when}"));
            let Target { mut server, .. } = Target::new(STAGES[7]);
            let struck = Fault { call, error: "EINTR", when }.strike(&[server.pid()]);
            server.signal(server.pid(), Signal::SIGTERM);
            assert!(server.wait_exit(limit()).success(), "it ended badly");
            server.wait_nobody_left(limit());
            drop(struck);
            drop(label);
        }
    }
}
