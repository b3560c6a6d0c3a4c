//! Stage 08, graceful-exit, from outside: a server that leaves without cutting anybody short.
//!
//! What is checked: what clients see before and after a signal, who is left, the exit status,
//! standard output and error, system calls. How the stage is written doesn't matter. What stages
//! 06 to 08 must do alike stands in `support/src/header_tests.rs`.
//!
//! "In the middle of a transfer" is made certain by a client that has the header and doesn't read
//! on: the file is larger than all buffers, so its worker can't be done.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a check that fails panics"
)]

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, is_empty};
use serial_test::serial;
use tempfile::TempDir;

use support::files::{Comparison, sample, sample_bytes, sparse};
use support::relay::relay;
use support::server::{Server, Signal, run, send_signal};
use support::serving::MORE_THAN_BUFFERS;
use support::stage::Stage;
use support::tcp::read_some;
use support::wait::{limit, wait_for};
use support::wire::{Format, Header, RawClient};
use support::{habits, proc};

const STAGE: Stage =
    Stage { built: env!("CARGO_BIN_EXE_step08-graceful-exit"), format: Format::Header };

/// Where a server has to end for another reason than the end of its patience.
const PATIENT: [&str; 4] = ["--grace", "3600", "--stall-timeout", "3600"];

/// The signals that mean "leave".
const LEAVE: [Signal; 3] = [Signal::SIGUSR1, Signal::SIGTERM, Signal::SIGINT];

support::header_tests!(STAGE);
support::splice_tests!(STAGE);

/// A server and a file that no buffers can hold.
struct Scene {
    _dir: TempDir,
    file: PathBuf,
    server: Server,
}

impl Scene {
    #[track_caller]
    fn set(args: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let file = sparse(dir.path(), MORE_THAN_BUFFERS);
        let server = STAGE.serve(&file, args);
        Self { _dir: dir, file, server }
    }

    /// A client whose transfer has begun and can't end before it reads on.
    #[track_caller]
    fn client(&self) -> Client {
        let mut client = STAGE.connect(self.server.addr());
        let header = client.header();
        Client { client, header, file: self.file.clone() }
    }

    #[track_caller]
    fn signal(&self, signal: Signal) {
        self.server.signal(self.server.pid(), signal);
    }

    /// Tells the server to leave and waits until it has stopped listening: it knows.
    #[track_caller]
    fn tell_to_leave(&self, signal: Signal) {
        self.signal(signal);
        wait_refused(self.server.addr());
    }

    /// Waits until only so many workers, the busy ones, are left, and the parent sleeps again. What
    /// comes before that may be taken for a part of the first request: `timeout` signals a process
    /// and its group.
    #[track_caller]
    fn wait_only_busy_left(&self, busy: usize) {
        wait_for(
            "the idle workers to leave and the parent to wait for the others",
            limit(),
            || {
                let parent = proc::state(self.server.pid());
                self.server.workers().len() == busy && parent == Some('S')
            },
        );
    }

    /// The server ends with this exit status, and by then has reaped all its workers.
    #[track_caller]
    fn assert_ends_with(&mut self, code: i32) {
        assert_ends_with(&mut self.server, code);
    }

    /// The same, after a failure that it reports in one line.
    #[track_caller]
    fn assert_ends_with_an_error(&mut self) {
        self.assert_ends_with(1);
        wait_for("the end of standard error", limit(), || self.server.streams_closed());
        let narration = self.server.narration();
        let errors = narration.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 1, "expected one line `error: …`, got:\n{narration}");
    }
}

/// The server ends with this exit status, and by then has reaped all its workers.
#[track_caller]
fn assert_ends_with(server: &mut Server, code: i32) {
    let status = server.wait_exit(limit());
    let left = proc::session(server.pid());
    let said = server.narration();
    assert!(
        status.code() == Some(code),
        "the server ended with {status}, and not with exit status {code}; it said:\n{said}"
    );
    assert!(left.is_empty(), "the server ended before its workers {left:?}; it said:\n{said}");
    if code == 0 {
        wait_for("the end of standard error", limit(), || server.streams_closed());
        let said = server.narration();
        let failed = said.lines().any(|line| line.starts_with("error: "));
        assert!(!failed, "exit status 0, and yet an error; the server said:\n{said}");
    }
}

/// What a client got that came with the signal or after it: the whole `stream`, or nothing.
/// `Ok(true)` is the whole, `Err` what must not happen.
fn all_or_nothing(connection: &mut TcpStream, stream: &[u8]) -> Result<bool, String> {
    connection.set_read_timeout(Some(limit())).unwrap();
    let mut received = Vec::new();
    match connection.read_to_end(&mut received) {
        Ok(_) if received == stream => Ok(true),
        Ok(0) => Ok(false),
        Err(error) if error.kind() == ErrorKind::ConnectionReset && received.is_empty() => {
            Ok(false)
        }
        Ok(_) => Err(format!("{} of {} bytes came, then the end", received.len(), stream.len())),
        Err(error) => {
            Err(format!("{} of {} bytes came, then: {error}", received.len(), stream.len()))
        }
    }
}

/// Waits until new connections are refused.
#[track_caller]
fn wait_refused(address: SocketAddr) {
    wait_for("new connections to be refused", limit(), || {
        let attempt = TcpStream::connect(address);
        attempt.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
}

/// A client in the middle of its transfer.
struct Client {
    client: RawClient,
    header: Header,
    file: PathBuf,
}

impl Client {
    /// Reads on and gets all that is missing, byte for byte.
    #[track_caller]
    fn assert_gets_the_rest(self) {
        let mut comparison = Comparison::with(&self.file);
        let transfer = self.client.rest(self.header, |piece| comparison.piece(piece));
        if let Err(broken) = transfer {
            panic!("the transfer under way was cut short: {broken}");
        }
        comparison.end();
    }

    /// Reads on and finds that the connection was cut.
    #[track_caller]
    fn assert_was_cut(self) {
        let outcome = self.client.rest(self.header, |_| {});
        assert!(outcome.is_err(), "the client got the whole file, although its worker had to go");
    }
}

// Nothing to do.

#[test]
fn idle_server_leaves_at_once_on_every_signal() {
    for signal in LEAVE {
        let mut scene = Scene::set(&["--workers", "3"]);
        let told = scene.server.narration().len();
        scene.signal(signal);
        scene.assert_ends_with(0);
        wait_for("the end of standard error", limit(), || scene.server.streams_closed());
        let said = scene.server.narration().split_off(told);
        assert!(said.contains("[parent pid "), "not a word about leaving on {signal}: {said:?}");
        assert_eq!(scene.server.output(), format!("{}\n", scene.server.first_line()));
    }
}

#[test]
fn server_that_has_served_leaves_at_once() {
    let mut scene = Scene::set(&["--workers", "2"]);
    for _ in 0..5 {
        scene.client().assert_gets_the_rest();
    }
    scene.signal(Signal::SIGTERM);
    scene.assert_ends_with(0);
}

#[test]
fn every_one_of_many_workers_is_reaped() {
    let mut scene = Scene::set(&["--workers", "50"]);
    scene.server.wait_workers(50);
    scene.signal(Signal::SIGTERM);
    scene.assert_ends_with(0);
}

#[test]
fn quiet_server_leaves_without_a_word() {
    let mut scene = Scene::set(&["--workers", "2", "--quiet"]);
    let client = scene.client();
    scene.tell_to_leave(Signal::SIGTERM);
    client.assert_gets_the_rest();
    scene.assert_ends_with(0);
    habits::has_been_quiet(&scene.server);
}

#[test]
fn signal_right_after_the_first_line_is_obeyed() {
    let dir = TempDir::new().unwrap();
    let file = sample(dir.path(), 10);
    for round in 0..20 {
        let workers = [1, 2, 7][round % 3].to_string();
        let mut server = STAGE.serve(&file, &["--workers", &workers]);
        server.signal(server.pid(), LEAVE[round % 3]);
        assert_ends_with(&mut server, 0);
    }
}

#[test]
fn signal_during_the_start_leaves_nobody() {
    // The shell starts the server, sends the signal a moment later, and ends as the server ends.
    const SCRIPT: &str = r#"pause=$1; shift; "$@" & sleep "$pause"; kill -TERM $!; wait $!"#;
    const KILLED_BY_TERM: i32 = 128 + Signal::SIGTERM as i32;
    for milliseconds in 0..20 {
        let pause = format!("0.{milliseconds:03}");
        let server = [STAGE.bin(), "--port", "0", "--workers", "20", "--quiet"];
        let finished = run("sh", &[&["-c", SCRIPT, "sh", &pause][..], &server].concat());
        // Before it is ready for signals, SIGTERM simply kills it; its workers go with it.
        let code = finished.status.code();
        assert!(matches!(code, Some(0 | KILLED_BY_TERM)), "after {pause} s: {finished:#?}");
        assert_eq!(finished.left_running, [], "after {pause} s: {finished:#?}");
    }
}

#[test]
fn client_that_comes_with_the_signal_gets_all_or_nothing() {
    let dir = TempDir::new().unwrap();
    let file = sample(dir.path(), 9_000_000);
    let all = STAGE.format.stream(b"sample-9000000.bin", &sample_bytes(9_000_000));
    for round in 0..20 {
        let mut server = STAGE.serve(&file, &["--workers", "1"]);
        let mut connection = TcpStream::connect(server.addr()).unwrap();
        server.signal(server.pid(), LEAVE[round % 3]);
        let outcome = all_or_nothing(&mut connection, &all);
        if let Err(wrong) = outcome {
            panic!("{wrong}; the server said:\n{}", server.narration());
        }
        assert_ends_with(&mut server, 0);
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test has to be many clients at once")]
fn under_load_every_client_gets_all_or_nothing() {
    const SIZE: usize = 9_000_000; // a transfer that takes its time
    let dir = TempDir::new().unwrap();
    let file = sample(dir.path(), SIZE);
    let stream = STAGE.format.stream(format!("sample-{SIZE}.bin").as_bytes(), &sample_bytes(SIZE));
    for signal in LEAVE {
        let mut server = STAGE.serve(&file, &["--workers", "3"]);
        let (address, served) = (server.addr(), AtomicUsize::new(0));
        // One transfer after the other, until the server has left.
        let client = || -> Result<(), String> {
            while let Ok(mut connection) = TcpStream::connect(address) {
                if !all_or_nothing(&mut connection, &stream)? {
                    break;
                }
                served.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        };
        thread::scope(|scope| {
            let clients = [0; 8].map(|_| scope.spawn(client));
            wait_for("ten transfers", limit(), || served.load(Ordering::SeqCst) >= 10);
            server.signal(server.pid(), signal);
            for client in clients {
                let outcome = client.join().unwrap();
                if let Err(wrong) = outcome {
                    panic!("{wrong}; the server said:\n{}", server.narration());
                }
            }
        });
        assert_ends_with(&mut server, 0);
    }
}

#[test]
fn leaving_server_sleeps_while_it_waits() {
    let mut scene = Scene::set(&["--workers", "3"]);
    let client = scene.client();
    scene.tell_to_leave(Signal::SIGTERM);
    habits::sleeps_when_idle(&scene.server);
    client.assert_gets_the_rest();
    scene.assert_ends_with(0);
}

#[test]
fn signal_right_after_the_death_of_a_worker_is_obeyed() {
    for round in 0..10 {
        let mut scene = Scene::set(&[&["--workers", "3"][..], &PATIENT].concat());
        let (parent, worker) = (scene.server.pid(), scene.server.workers()[round % 3]);
        // Every other time the parent stands still meanwhile, and finds both when it goes on.
        let both_at_once = round % 2 == 0;
        if both_at_once {
            scene.server.freeze(parent);
        }
        scene.server.kill(worker);
        if both_at_once {
            wait_for("the worker to be dead", limit(), || !proc::alive(worker));
        }
        scene.signal(LEAVE[round % 3]);
        scene.server.signal(parent, Signal::SIGCONT);
        scene.server.wait_exit(limit()); // the contract doesn't say with which status
        assert_eq!(proc::session(scene.server.pid()), [], "the server ended before its workers");
    }
}

// In the middle of a transfer.

#[test]
fn transfer_under_way_is_finished_on_every_signal() {
    for signal in LEAVE {
        let mut scene = Scene::set(&["--workers", "3"]);
        let client = scene.client();
        scene.tell_to_leave(signal);
        client.assert_gets_the_rest();
        scene.assert_ends_with(0);
    }
}

#[test]
fn all_transfers_under_way_are_finished() {
    let mut scene = Scene::set(&["--workers", "3"]);
    let clients = [scene.client(), scene.client(), scene.client()];
    scene.tell_to_leave(Signal::SIGTERM);
    for client in clients {
        client.assert_gets_the_rest();
    }
    scene.assert_ends_with(0);
}

#[test]
fn get_receives_the_whole_file_from_a_server_that_is_leaving() {
    let out = TempDir::new().unwrap();
    let mut scene = Scene::set(&["--workers", "1"]);
    let (pid, address) = (scene.server.pid(), scene.server.addr());
    let tell_to_leave = move || {
        send_signal(pid, Signal::SIGTERM);
        wait_refused(address);
    };
    let relay = relay(address, 1 << 20, tell_to_leave);
    STAGE.assert_gets(relay.port(), &scene.file, out.path());
    scene.assert_ends_with(0);
}

#[test]
#[serial]
fn ctrl_c_for_the_whole_group_cuts_nobody_short() {
    let mut scene = Scene::set(&["--workers", "3"]);
    let client = scene.client();
    scene.server.wait_all_asleep(); // a newborn may still have its parent's handlers
    scene.server.signal(-scene.server.pid(), Signal::SIGINT);
    wait_refused(scene.server.addr());
    client.assert_gets_the_rest();
    scene.assert_ends_with(0);
}

#[test]
#[serial]
fn signal_to_every_process_cuts_nobody_short() {
    for signal in LEAVE {
        let mut scene = Scene::set(&["--workers", "3"]);
        let client = scene.client();
        scene.server.wait_all_asleep();
        for pid in [scene.server.workers(), vec![scene.server.pid()]].concat() {
            scene.server.signal(pid, signal);
        }
        wait_refused(scene.server.addr());
        client.assert_gets_the_rest();
        scene.assert_ends_with(0);
    }
}

#[test]
fn port_is_free_while_the_last_transfer_is_finished() {
    let mut old = Scene::set(&["--workers", "2"]);
    let client = old.client();
    old.tell_to_leave(Signal::SIGTERM);
    let port = old.server.port().to_string();
    let new = STAGE.serve(&old.file, &["--workers", "1", "--port", &port]);
    STAGE.assert_serves(&new, &old.file);
    client.assert_gets_the_rest();
    old.assert_ends_with(0);
}

#[test]
fn clients_in_the_queue_are_turned_away() {
    let mut scene = Scene::set(&["--workers", "1"]);
    let served = scene.client();
    let mut waiting = [0; 3].map(|_| TcpStream::connect(scene.server.addr()).unwrap());
    scene.tell_to_leave(Signal::SIGTERM);
    for connection in &mut waiting {
        connection.set_read_timeout(Some(limit())).unwrap();
        match read_some(connection, &mut [0]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("this client was left hanging: {other:?}"),
        }
    }
    served.assert_gets_the_rest();
    scene.assert_ends_with(0);
}

// Workers and signals.

#[test]
fn workers_leave_signals_to_the_parent() {
    let scene = Scene::set(&["--workers", "1"]);
    let workers = scene.server.workers();
    let client = scene.client();
    for signal in LEAVE {
        scene.server.signal(workers[0], signal); // in the middle of a transfer
    }
    client.assert_gets_the_rest();
    for signal in LEAVE {
        scene.server.signal(workers[0], signal); // while it waits for work, or soon does
        scene.client().assert_gets_the_rest();
    }
    assert_eq!(scene.server.wait_workers(1), workers, "a signal ended a worker");
}

#[test]
fn server_leaves_well_after_a_worker_was_replaced() {
    let mut scene = Scene::set(&["--workers", "2"]);
    let killed = scene.server.workers()[0];
    scene.server.kill(killed);
    scene.server.wait_reaped(killed);
    let workers = scene.server.wait_workers(2);
    assert!(!workers.contains(&killed), "{killed} is still there: {workers:?}");
    let clients = [scene.client(), scene.client()]; // so one of them has the new worker
    scene.tell_to_leave(Signal::SIGTERM);
    for client in clients {
        client.assert_gets_the_rest();
    }
    scene.assert_ends_with(0);
}

#[test]
fn worker_that_dies_while_the_server_is_leaving_is_not_replaced() {
    let mut scene = Scene::set(&[&["--workers", "2"][..], &PATIENT].concat());
    let clients = [scene.client(), scene.client()];
    scene.tell_to_leave(Signal::SIGTERM);
    let workers = scene.server.wait_workers(2);
    scene.server.kill(workers[0]);
    scene.server.wait_reaped(workers[0]);
    scene.server.wait_asleep(); // whoever replaces it has done so by then
    assert_eq!(proc::children(scene.server.pid()), [workers[1]], "who is left");
    let outcomes = clients.map(|client| client.client.rest(client.header, |_| {}).is_ok());
    let whole = outcomes.iter().filter(|&&is_whole| is_whole).count();
    assert_eq!(whole, 1, "one of two transfers had to survive");
    scene.server.wait_exit(limit()); // the contract doesn't say with which status
    assert_eq!(proc::session(scene.server.pid()), [], "the server ended before its workers");
}

// Enough is enough.

#[test]
fn second_signal_kills_what_is_left() {
    for second in LEAVE {
        let mut scene = Scene::set(&[&["--workers", "3"][..], &PATIENT].concat());
        let client = scene.client();
        scene.tell_to_leave(Signal::SIGTERM);
        scene.wait_only_busy_left(1);
        scene.signal(second);
        scene.assert_ends_with_an_error();
        client.assert_was_cut();
    }
}

#[test]
fn client_that_takes_too_long_is_cut_after_the_grace_time() {
    let mut scene = Scene::set(&["--workers", "3", "--grace", "1"]);
    let client = scene.client();
    let told = Instant::now();
    scene.tell_to_leave(Signal::SIGTERM);
    scene.assert_ends_with_an_error();
    let took = told.elapsed();
    assert!(took >= Duration::from_millis(900), "--grace 1 was over after {took:?}");
    client.assert_was_cut();
}

#[test]
fn worker_that_stands_still_is_killed_after_the_grace_time() {
    let mut scene = Scene::set(&["--workers", "2", "--grace", "1"]);
    scene.server.freeze(scene.server.workers()[1]);
    scene.signal(Signal::SIGTERM);
    scene.assert_ends_with_an_error();
}

#[test]
fn burst_of_signals_ends_the_server_and_leaves_nobody() {
    let mut scene = Scene::set(&[&["--workers", "5"][..], &PATIENT].concat());
    let client = scene.client();
    for _ in 0..50 {
        // Once the server has ended it stays a zombie until this test reaps it: no other process
        // can be hit.
        scene.signal(Signal::SIGTERM);
        scene.signal(Signal::SIGINT);
    }
    let _ = client.client.rest(client.header, |_| {}); // cut or not
    scene.server.wait_exit(limit());
    assert_eq!(proc::session(scene.server.pid()), [], "the server ended before its workers");
}

#[test]
fn killed_parent_takes_its_workers_along_even_while_leaving() {
    let scene = Scene::set(&["--workers", "3"]);
    let client = scene.client();
    scene.tell_to_leave(Signal::SIGTERM);
    habits::takes_workers_along(scene.server, Signal::SIGKILL);
    client.assert_was_cut();
}

// How it is done.

#[test]
fn grace_time_is_a_number_of_seconds() {
    for nonsense in ["-1", "soon", ""] {
        let mut serve = Command::new(STAGE.bin());
        let refused = serve.args(["--port", "0", "--grace", nonsense]).assert();
        refused.code(2).stdout(is_empty()).stderr(is_empty().not());
    }
    let mut help = Command::new(STAGE.bin());
    help.arg("--help").assert().success().stdout(contains("--grace"));
}
