//! Stage 01, fork-sleep, from outside: the pool of workers and the table that shows it.
//!
//! What is checked: standard output and error, the exit status, the bytes a client gets, and
//! `/proc`. How the stage is written doesn't matter.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a check that fails panics"
)]

use std::time::{Duration, Instant};

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, is_empty, starts_with};
use serial_test::serial;

use support::habits;
use support::line::{LineClient, shown};
use support::proc;
use support::server::{Server, ServerCommand, Signal, send_signal_number};
use support::tcp::{self, ClosedPort};
use support::trace;
use support::wait::{limit, wait_for};

fn bin() -> &'static str {
    support::program(env!("CARGO_BIN_EXE_step01-fork-sleep"))
}

/// A line of the table: `worker 0 pid 1234 idle`.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    number: usize,
    pid: i32,
    state: String,
}

fn start(workers: usize) -> Server {
    Server::start(bin(), &["--workers", &workers.to_string()])
}

/// The same, and each worker has made its preparations. One that has only been born might still
/// find out for itself that its parent is dead.
#[track_caller]
fn start_and_settle(workers: usize) -> Server {
    let server = start(workers);
    server.wait_all_asleep();
    server
}

fn connect(server: &Server) -> LineClient {
    LineClient::connect(server.addr())
}

/// The table, as a client gets it.
#[track_caller]
fn table(server: &Server) -> Vec<Row> {
    let bytes = connect(server).read_to_end();
    let text = String::from_utf8(bytes).expect("the table is text");
    assert!(!text.is_empty(), "the connection ended without a table");
    assert!(text.ends_with('\n'), "the table doesn't end with a newline: {text:?}");
    let bad = |line| panic!("no line `worker NUMBER pid PID STATE`: {line:?}, in {text:?}");
    text.lines().map(|line| row(line).unwrap_or_else(|| bad(line))).collect()
}

fn row(line: &str) -> Option<Row> {
    let rest = line.strip_prefix("worker ")?;
    let (number, rest) = rest.split_once(" pid ")?;
    let (pid, state) = rest.split_once(' ')?;
    Some(Row { number: number.parse().ok()?, pid: pid.parse().ok()?, state: state.to_owned() })
}

fn status() -> Command {
    let mut command = Command::new(bin());
    command.arg("status").timeout(limit());
    command
}

/// The table has `count` rows, numbered from 0, all idle, and the pids are those of the parent's
/// children, who all sleep.
#[track_caller]
fn assert_pool_of(server: &Server, count: usize) {
    let table = table(server);
    let numbers: Vec<usize> = table.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "the numbers of the workers");
    for row in &table {
        assert_eq!(row.state, "idle", "the state of worker {}", row.number);
    }

    let mut pids: Vec<i32> = table.iter().map(|row| row.pid).collect();
    pids.sort_unstable();
    let children = proc::children(server.pid());
    assert_eq!(pids, children, "the pids in the table; expected are the parent's children");
    for pid in pids {
        let what = format!("worker {pid} to sleep");
        wait_for(&what, limit(), || proc::state(pid) == Some('S'));
    }
}

// The pool and its table

#[test]
fn first_line_tells_address_and_number_of_workers() {
    let server = start(3);
    let expected = format!("listening on 127.0.0.1:{} with 3 workers", server.port());
    assert_eq!(server.first_line(), expected);
    assert_ne!(server.port(), 0, "the real port, not the 0 that was asked for");
}

#[test]
fn table_shows_every_worker_as_a_sleeping_child_of_the_parent() {
    assert_pool_of(&start(3), 3);
}

#[test]
fn pool_of_one_worker_is_a_pool() {
    let server = start(1);
    assert!(server.first_line().ends_with(" with 1 workers"), "{:?}", server.first_line());
    assert_pool_of(&server, 1);
}

#[test]
fn pool_of_64_workers_starts() {
    assert_pool_of(&start(64), 64);
}

#[test]
fn five_workers_are_started_when_no_number_is_given() {
    assert_pool_of(&Server::start(bin(), &[]), 5);
}

#[test]
fn serve_can_be_named() {
    assert_pool_of(&Server::start(bin(), &["serve", "--workers", "2"]), 2);
}

#[test]
fn nobody_but_the_parent_and_its_workers_is_there() {
    let server = start(3);
    table(&server);
    habits::is_parent_and_workers(&server, 3);
}

#[test]
fn first_line_is_printed_once() {
    let server = start(3);
    table(&server);
    habits::is_parent_and_workers(&server, 3);
    let output = server.output();
    let first_lines = output.lines().filter(|line| line.starts_with("listening on "));
    assert_eq!(first_lines.count(), 1, "lines `listening on …` in {output:?}");
}

#[test]
fn connection_is_closed_after_the_table() {
    let server = start(2);
    let mut client = connect(&server);
    client.read_line();
    client.read_line();
    client.expect_end(); // two workers, two lines, the end
}

#[test]
fn status_prints_the_table() {
    let server = start(2);
    let table = connect(&server).read_to_end();
    let table = String::from_utf8(table).unwrap();
    status().args(["--port", &server.port().to_string()]).assert().success().stdout(table);
}

#[test]
fn table_is_the_same_for_many_clients_at_once() {
    let server = start(4);
    let mut clients: Vec<LineClient> = (0..50).map(|_| connect(&server)).collect();
    let expected = shown(&clients[0].read_to_end());
    assert_eq!(expected.matches("idle").count(), 4, "idle workers in the table {expected}");
    for client in &mut clients[1..] {
        assert_eq!(shown(&client.read_to_end()), expected, "the table of another client");
    }
}

#[test]
fn clients_that_connect_in_the_same_instant_all_get_the_table() {
    let server = start(2);
    // The parent stands still meanwhile, so it hears of all of them at once.
    server.freeze(server.pid());
    let mut clients: Vec<LineClient> = (0..8).map(|_| connect(&server)).collect();
    server.signal(server.pid(), Signal::SIGCONT);
    for client in &mut clients {
        client.read_line();
        client.read_line();
        client.expect_end();
    }
}

// Workers that end

#[test]
fn killed_worker_is_reaped_without_any_client() {
    let server = start(3);
    let workers = server.wait_workers(3);
    server.kill(workers[1]);
    server.wait_reaped(workers[1]);
    assert_eq!(server.workers(), [workers[0], workers[2]], "who lives on; the others should");
}

#[test]
fn every_worker_is_watched() {
    let server = start(4);
    for worker in server.wait_workers(4) {
        server.kill(worker);
        server.wait_reaped(worker);
    }
    for row in table(&server) {
        assert_eq!(row.state, "ended: signal 9", "the state of worker {}", row.number);
    }
}

#[test]
fn killed_worker_is_shown_with_its_signal() {
    let server = start(3);
    let mut expected = table(&server);
    server.kill(expected[1].pid);
    server.wait_reaped(expected[1].pid);
    expected[1].state = "ended: signal 9".to_owned();
    assert_eq!(table(&server), expected);
}

#[test]
fn table_tells_one_signal_from_another() {
    let server = start(2);
    let worker = table(&server)[0].pid;
    server.signal(worker, Signal::SIGABRT);
    server.wait_reaped(worker);
    assert_eq!(table(&server)[0].state, "ended: signal 6", "the state of worker 0");
}

#[test]
fn signal_without_a_name_is_told_by_its_number() {
    const FIRST_REAL_TIME_SIGNAL: i32 = 34; // SIGRTMIN, see signal(7)
    let server = start(2);
    let worker = table(&server)[0].pid;
    send_signal_number(worker, FIRST_REAL_TIME_SIGNAL);
    server.wait_reaped(worker);
    assert_eq!(table(&server)[0].state, "ended: signal 34", "the state of worker 0");
}

#[test]
fn workers_killed_in_one_instant_are_all_reaped() {
    let server = start(8);
    let workers: Vec<i32> = table(&server).into_iter().map(|row| row.pid).collect();
    server.kill_in_one_instant(&workers[1..]);
    server.wait_workers(1);
    let states: Vec<String> = table(&server).into_iter().map(|row| row.state).collect();
    let killed = vec!["ended: signal 9".to_owned(); 7];
    assert_eq!(states, [vec!["idle".to_owned()], killed].concat(), "the states in the table");
}

#[test]
fn worker_that_stands_still_has_not_ended() {
    let server = start(2);
    let worker = table(&server)[0].pid;
    server.freeze(worker);
    // More than once: a parent may look after its workers when it has answered.
    for _ in 0..3 {
        assert_eq!(table(&server)[0].state, "idle", "the state of worker 0, which stands still");
    }
    server.signal(worker, Signal::SIGCONT);
    assert_pool_of(&server, 2);
}

#[test]
fn killed_parent_takes_its_workers_along() {
    habits::takes_workers_along(start_and_settle(5), Signal::SIGKILL);
}

#[test]
fn terminated_parent_takes_its_workers_along() {
    habits::takes_workers_along(start_and_settle(5), Signal::SIGTERM);
}

#[test]
fn interrupted_parent_takes_its_workers_along() {
    habits::takes_workers_along(start_and_settle(5), Signal::SIGINT);
}

#[test]
fn worker_whose_parent_died_before_it_could_ask_for_the_signal_ends_too() {
    if !trace::is_possible() {
        return;
    }
    // Whoever asks for that signal, by prctl(2), is held up for two seconds just before. If a busy
    // machine needs longer to kill the parent, once more, and with more time.
    for delay in [2, 6].map(Duration::from_secs) {
        let inject = format!("inject=prctl:delay_enter={}", delay.as_micros());
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=prctl"];
        let strace = [&strace[..], &["-e", &inject, "--"]].concat();
        let begin = Instant::now();
        let mut server = ServerCommand::new(bin()).args(&["--workers", "3"]).under(&strace).start();
        server.kill(server.pid());
        wait_for("the parent to be dead", limit(), || !proc::alive(server.pid()));
        let in_time = begin.elapsed() < delay;
        server.wait_nobody_left(limit());
        if in_time {
            break;
        }
    }
}

// Being a good server

#[test]
fn nobody_works_while_nothing_happens() {
    let server = start(3);
    table(&server);
    habits::sleeps_when_idle(&server);
}

#[test]
fn nobody_works_after_a_worker_was_reaped() {
    let server = start(3);
    let worker = server.wait_workers(3)[0];
    server.kill(worker);
    server.wait_reaped(worker);
    habits::sleeps_when_idle(&server);
}

#[test]
fn parent_keeps_nothing_of_300_clients() {
    let server = start(2);
    table(&server);
    let before = proc::fds(server.pid()).len();
    for number in 0..300 {
        match number % 3 {
            0 => connect(&server).reset(),
            1 => drop(connect(&server)),
            _ => drop(table(&server)),
        }
    }
    habits::gives_back_descriptors(server.pid(), before);
    assert_pool_of(&server, 2);
}

#[test]
fn server_survives_clients_that_reset() {
    let server = start(2);
    table(&server);
    let before = proc::fds(server.pid()).len();
    for _ in 0..50 {
        connect(&server).reset();
    }
    assert_pool_of(&server, 2);
    habits::gives_back_descriptors(server.pid(), before);
}

#[test]
fn server_survives_being_stopped_and_continued() {
    let server = start(2);
    server.freeze(server.pid());
    server.signal(server.pid(), Signal::SIGCONT);
    assert_pool_of(&server, 2);
}

#[test]
fn workers_do_not_hold_the_listener() {
    let server = start(3);
    let is_listener = |socket: &tcp::Socket| socket.state == tcp::State::Listening;
    let listener = tcp::sockets(server.port()).into_iter().find(is_listener).unwrap();
    assert!(proc::holds_socket(server.pid(), listener.inode), "the parent listens");
    for worker in server.wait_workers(3) {
        // One that has inherited it may take a moment to close it.
        let what = format!("worker {worker} not to hold the listener, socket:[{}]", listener.inode);
        wait_for(&what, limit(), || !proc::holds_socket(worker, listener.inode));
    }
}

#[test]
fn descriptors_are_close_on_exec() {
    let server = start(2);
    table(&server);
    habits::closes_on_exec(&server);
}

#[test]
fn server_restarts_on_its_port_at_once() {
    assert_pool_of(&habits::restarts_on_the_same_port(bin(), &["--workers", "2"]), 2);
}

// What people and machines read

#[test]
fn narration_names_who_speaks() {
    let server = start(2);
    let workers = server.wait_workers(2);
    table(&server);
    server.kill(workers[0]);
    server.wait_reaped(workers[0]);
    habits::narrates_who_speaks(&server, &workers);
}

#[test]
fn line_of_narration_is_one_write() {
    let Some((server, trace)) = trace::server(bin(), &["--workers", "3"], "write,writev") else {
        return;
    };
    assert_pool_of(&server, 3);
    server.wait_narration("[worker ");
    habits::narrates_in_whole_lines(&server, &trace);
}

#[test]
fn server_says_what_to_type_in_the_second_terminal() {
    habits::says_what_to_type(&start(2), "status");
}

#[test]
fn quiet_server_says_nothing_but_its_first_line() {
    let server = Server::start(bin(), &["--workers", "2", "--quiet"]);
    table(&server);
    habits::has_been_quiet(&server);
}

#[test]
fn standard_output_holds_the_first_line_only() {
    let server = start(2);
    table(&server);
    server.wait_narration("[parent pid ");
    assert_eq!(server.output(), format!("{}\n", server.first_line()));
}

#[test]
fn help_teaches() {
    habits::help_mentions(
        bin(),
        &["serve", "status", "demo", "--host", "--port", "--workers", "--quiet"],
    );
}

#[test]
fn demo_tells_and_checks_the_whole_story() {
    habits::demo_succeeds(bin());
}

// Addresses

#[test]
#[serial]
fn defaults_are_those_of_the_notes() {
    let Some((_claim, server)) = habits::start_with_defaults(bin()) else {
        return;
    };
    assert_pool_of(&server, 5);
    // The client has the same defaults.
    status().assert().success().stdout(starts_with("worker 0 pid "));
}

#[test]
fn server_listens_on_ipv6() {
    let Some(server) = habits::start_on_ipv6(bin(), &["--workers", "2"]) else {
        return;
    };
    assert_pool_of(&server, 2);
    let port = server.port().to_string();
    status().args(["--host", "::1", "--port", &port]).assert().success();
}

#[test]
fn host_names_are_resolved() {
    let server = Server::start(bin(), &["--workers", "2", "--host", "localhost"]);
    assert!(server.addr().ip().is_loopback(), "localhost is {}", server.addr());
    let port = server.port().to_string();
    status().args(["--host", "localhost", "--port", &port]).assert().success();
}

// Failures

#[test]
fn wrong_usage_exits_with_2() {
    habits::refuses_nonsense(bin());
}

#[test]
fn port_in_use_is_a_clear_error_and_leaves_nobody() {
    habits::reports_port_in_use(bin());
}

#[test]
fn unknown_host_is_a_clear_error() {
    habits::reports_unknown_host(bin());
}

#[test]
fn status_without_a_server_is_a_clear_error() {
    let closed = ClosedPort::take();
    let port = closed.number();
    let expected = format!("error: connect 127.0.0.1:{port}: connection refused\n");
    let failed = status().args(["--port", &port.to_string()]).assert().code(1);
    failed.stdout(is_empty()).stderr(expected);
}

#[test]
fn status_for_an_unknown_host_is_a_clear_error() {
    let failed = status().args(["--host", "no such host"]).assert().code(1);
    failed.stdout(is_empty()).stderr(starts_with("error: ").and(contains("no such host")));
}
