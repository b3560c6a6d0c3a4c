//! Stage 09 when a system call fails: what becomes of the client, of its program, of the server.
//!
//! As in `faults.rs`, but this stage has another service and another pool: a worker that is lost
//! is not replaced. So none may be lost, whatever fails.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a check that fails panics")]

use std::thread;

use support::habits::{gives_back_descriptors, sleeps_when_idle};
use support::line::{LineClient, shown};
use support::programs::Programs;
use support::server::Server;
use support::trace::Tracer;
use support::wait::{limit, wait_for};
use support::{proc, trace};
use under_fire::fault::Fault;

const NAME: &str = "step09-accept-in-worker";

/// What a client gets whose server's call fails.
#[derive(Clone, Copy)]
enum Seen {
    /// What the program prints.
    Output,
    /// One line that begins so.
    Line(&'static str),
    /// The end of the connection.
    End,
}
use Seen::{End, Line, Output};

/// A call, each of these errors in turn, at each of these times in turn, and what is seen.
type Row = (&'static str, &'static str, &'static str, Seen);

const PARENT: &[Row] = &[
    ("epoll_wait", "EINTR", "1 2", Output),
    // The next worker is told; or nobody is, and a moment later somebody still waits.
    ("sendto", "EPIPE ECONNRESET EAGAIN ENOBUFS EINTR", "1 1..2", Output),
    ("poll", "EINTR ENOMEM", "1 2", Output),
    ("write", "EINTR", "1", Output),
];

const WORKER: &[Row] = &[
    ("accept4", "EINTR EAGAIN ECONNABORTED EPROTO", "1 1..3", Output),
    ("accept4", "EMFILE ENFILE ENOBUFS ENOMEM EPERM", "1 1..3", Output),
    ("epoll_wait", "EINTR", "1 2", Output),
    ("epoll_ctl", "ENOSPC ENOMEM", "1", End),
    ("recvfrom", "EINTR", "1 2 3", Output),
    ("openat", "EMFILE ENFILE EACCES EIO", "1", Line("error: open hello: ")),
    ("newfstatat,fstat", "EIO", "1", Line("error: fstat hello: ")),
    ("clone", "EAGAIN ENOMEM", "1", Line("error: fork: ")),
    ("wait4", "EINTR", "1", Output),
    ("poll", "EINTR ENOMEM", "1", Output),
];

/// In the keepers and the programs, which a worker forks.
const PROGRAM: &[Row] = &[
    ("close_range", "ENOSYS", "1", Line("error: close_range: ")),
    ("setpgid", "EPERM", "1", Line("error: setpgid: ")),
    ("pidfd_open", "EMFILE ENOSYS", "1", Line("error: pidfd_open: ")),
    ("dup2,dup3", "EMFILE", "1", Line("error: dup2: ")),
    ("fchdir", "EACCES", "1", Line("error: fchdir: ")),
    ("execveat", "EACCES ENOMEM ETXTBSY", "1", Line("error: run hello: ")),
    ("wait4", "EINTR", "1", Output),
];

struct Target {
    _programs: Programs,
    server: Server,
}

impl Target {
    fn new() -> Self {
        let programs = Programs::new();
        let args = ["--cgi-dir", programs.path(), "--workers", "2", "--stall-timeout", "30"];
        let server = Server::start(under_fire::program(NAME), &args);
        Self { server, _programs: programs }
    }

    /// A client gets what the program prints.
    #[track_caller]
    fn ask(&self) {
        ask(LineClient::connect(self.server.addr()), Output);
    }

    /// This client gets what `seen` says while calls fail; then others are served, by the same
    /// workers as ever.
    #[track_caller]
    fn judge(&self, struck: Tracer, client: LineClient, seen: Seen, workers: &[i32]) {
        ask(client, seen);
        self.wait_settled();
        drop(struck);
        for _ in 0..2 {
            self.ask();
        }
        self.wait_settled();
        assert_eq!(self.server.workers(), workers, "a worker has died");
    }

    /// Everybody is there, asleep, and nobody else.
    #[track_caller]
    fn wait_settled(&self) {
        let family = [vec![self.server.pid()], self.server.wait_workers(2)].concat();
        let asleep = |&pid: &i32| proc::state(pid) == Some('S');
        wait_for("all but parent and workers to be gone, and those to sleep", limit(), || {
            let all = proc::session(self.server.pid());
            all.len() == family.len() && all.iter().all(asleep)
        });
    }
}

/// A client that is connected asks for `hello`.
#[track_caller]
fn ask(mut client: LineClient, seen: Seen) {
    client.send("hello\r\n");
    let answer = client.wait_closed();
    let right = match seen {
        Output => answer == b"hello\n",
        Line(line) => answer.starts_with(line.as_bytes()) && answer.ends_with(b"\n"),
        End => answer.is_empty(),
    };
    assert!(right, "the answer was \"{}\"", shown(&answer));
}

/// Calls `test` with every fault of a table, and says at which one it failed.
fn each(table: &[Row], test: impl Fn(Fault, Seen)) {
    for &(call, errors, times, seen) in table {
        for error in errors.split(' ') {
            for when in times.split(' ') {
                let fault = Fault { call, error, when };
                let label = Label(fault);
                test(fault, seen);
                drop(label);
            }
        }
    }
}

struct Label(Fault);

impl Drop for Label {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("This was {:?}", self.0);
        }
    }
}

/// A client comes while calls fail in those processes; then others come.
fn strike(table: &[Row], whom: fn(&Server) -> Vec<i32>) {
    if !trace::may_attach() {
        return;
    }
    let target = Target::new();
    target.ask();
    target.wait_settled();
    let workers = target.server.workers();
    let family = [vec![target.server.pid()], workers.clone()].concat();
    let before: Vec<usize> = family.iter().map(|&pid| proc::fds(pid).len()).collect();
    each(table, |fault, seen| {
        let struck = fault.strike(&whom(&target.server));
        let client = LineClient::connect(target.server.addr());
        target.judge(struck, client, seen, &workers);
    });
    for (pid, before) in family.into_iter().zip(before) {
        gives_back_descriptors(pid, before);
    }
    sleeps_when_idle(&target.server);
    assert!(!target.server.narration().contains("panicked"), "{}", target.server.narration());
}

#[test]
fn call_that_fails_in_the_parent_harms_nobody() {
    strike(PARENT, |server| vec![server.pid()]);
}

#[test]
fn call_that_fails_in_a_worker_costs_its_client_at_most() {
    strike(WORKER, Server::workers);
}

#[test]
fn call_that_fails_around_a_program_is_told_to_its_client() {
    strike(PROGRAM, Server::workers);
}

/// The calls are counted from when the client is accepted: until then a worker also reads what the
/// parent has to say, and on a busy machine that may be more than one word.
#[test]
fn connection_that_fails_is_told_to_its_client() {
    if !trace::may_attach() {
        return;
    }
    let target = Target::new();
    target.ask();
    target.wait_settled();
    let workers = target.server.workers();
    let client = LineClient::connect(target.server.addr());
    target.server.wait_all_read(1);
    target.wait_settled();
    let struck = Fault { call: "recvfrom", error: "ECONNRESET", when: "1" }.strike(&workers);
    target.judge(struck, client, Line("error: recv: "), &workers);
}
