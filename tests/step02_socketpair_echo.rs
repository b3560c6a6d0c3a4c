//! Stage 02, socketpair-echo, from outside: a parent that relays lines between many clients and
//! its workers.
//!
//! What is checked: the answers a client gets, standard output and error, the exit status, and
//! `/proc`. To hold a line in a worker's hands for as long as a test needs, the worker is frozen
//! (SIGSTOP): the line is then in flight until the worker is thawed, or dead.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a check that fails panics"
)]

use std::net::Shutdown;
use std::time::Duration;

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use serial_test::serial;

use support::echo_habits::{self, letters};
use support::habits;
use support::line::LineClient;
use support::proc;
use support::server::{Server, Signal};
use support::tcp;
use support::wait::{limit, wait_for};

fn bin() -> &'static str {
    support::program(env!("CARGO_BIN_EXE_step02-socketpair-echo"))
}

fn start(workers: usize) -> Server {
    Server::start(bin(), &["--workers", &workers.to_string()])
}

fn connect(server: &Server) -> LineClient {
    LineClient::connect(server.addr())
}

fn echo() -> Command {
    let mut command = Command::new(bin());
    command.arg("echo").timeout(limit());
    command
}

fn freeze(server: &Server, workers: &[i32]) {
    for &worker in workers {
        server.freeze(worker);
    }
}

fn thaw(server: &Server, workers: &[i32]) {
    for &worker in workers {
        server.signal(worker, Signal::SIGCONT);
    }
}

// Lines and answers

#[test]
fn line_comes_back_in_capitals_with_the_pid_of_a_worker() {
    echo_habits::answers_in_capitals(&start(3));
}

#[test]
fn bytes_that_are_no_ascii_letters_come_back_as_they_are() {
    echo_habits::leaves_other_bytes_alone(&start(2));
}

#[test]
fn empty_lines_are_answered() {
    echo_habits::answers_empty_lines(&start(2));
}

#[test]
fn pipelined_lines_are_answered_in_order() {
    echo_habits::answers_in_order(&start(4));
}

#[test]
fn client_that_reads_late_gets_every_answer_whole() {
    echo_habits::answers_a_late_reader(&start(2));
}

#[test]
fn line_may_come_in_parts() {
    echo_habits::puts_lines_together(&start(2));
}

#[test]
fn last_line_needs_no_newline() {
    echo_habits::answers_the_last_line_without_newline(&start(2));
}

#[test]
fn client_that_sends_nothing_gets_nothing() {
    echo_habits::answers_nothing_with_nothing(&start(2));
}

#[test]
fn all_answers_arrive_before_the_end_when_the_client_has_said_all() {
    echo_habits::answers_all_before_the_end(&start(3));
}

// Long lines

#[test]
fn line_of_8191_bytes_is_one_answer() {
    echo_habits::answers_in_pieces(&start(2), 8191, &[8191]);
}

#[test]
fn line_of_8192_bytes_is_one_answer() {
    echo_habits::answers_in_pieces(&start(2), 8192, &[8192]);
}

#[test]
fn line_of_8193_bytes_is_two_answers() {
    echo_habits::answers_in_pieces(&start(2), 8193, &[8192, 1]);
}

#[test]
fn line_of_16384_bytes_is_two_answers() {
    echo_habits::answers_in_pieces(&start(2), 16384, &[8192, 8192]);
}

#[test]
fn full_piece_is_answered_before_its_line_ends() {
    echo_habits::answers_a_full_piece_at_once(&start(2));
}

#[test]
fn full_piece_at_the_end_of_input_is_answered_once() {
    echo_habits::answers_a_full_last_piece_once(&start(2));
}

#[test]
fn megabyte_without_a_newline_is_answered_in_128_pieces() {
    echo_habits::answers_a_megabyte_in_128_pieces(&start(3));
}

// Many clients

#[test]
fn line_is_answered_by_a_worker_and_not_by_the_parent() {
    let server = start(2);
    let workers = server.wait_workers(2);
    let mut client = connect(&server);
    client.ask("warm up");
    freeze(&server, &workers);
    client.send("who answers?\n");
    server.wait_all_read(1);
    habits::sleeps_when_idle(&server);
    client.expect_silence(Duration::from_millis(100)); // no worker runs, so nobody can answer
    thaw(&server, &workers);
    let pid = client.expect("WHO ANSWERS?");
    assert!(workers.contains(&pid), "the answer names pid {pid}, the workers are {workers:?}");
}

#[test]
fn clients_that_connect_in_the_same_instant_are_all_served() {
    let server = start(2);
    // The parent stands still meanwhile, so it hears of all of them at once.
    server.freeze(server.pid());
    let mut clients: Vec<LineClient> = (0..8).map(|_| connect(&server)).collect();
    for client in &mut clients {
        client.send("hello\n");
    }
    server.signal(server.pid(), Signal::SIGCONT);
    for client in &mut clients {
        client.expect("HELLO");
    }
}

#[test]
fn clients_are_served_in_turns() {
    let server = start(2);
    let mut clients: Vec<LineClient> = (0..5).map(|_| connect(&server)).collect();
    for round in 0..20 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!("client {number} round {round}\n"));
        }
        for (number, client) in clients.iter_mut().enumerate().rev() {
            client.expect(format!("CLIENT {number} ROUND {round}"));
        }
    }
}

#[test]
fn one_worker_is_enough_for_many_clients() {
    let server = start(1);
    let mut clients: Vec<LineClient> = (0..30).map(|_| connect(&server)).collect();
    for client in &mut clients {
        client.send("hello\n");
    }
    let worker = server.wait_workers(1)[0];
    for client in &mut clients {
        assert_eq!(client.expect("HELLO"), worker, "the pid of the one worker there is");
    }
}

#[test]
fn lines_of_busy_clients_go_to_different_workers() {
    let server = start(3);
    let workers = server.wait_workers(3);
    let mut clients: Vec<LineClient> = (0..3).map(|_| connect(&server)).collect();
    freeze(&server, &workers);
    for client in &mut clients {
        client.send("all at once\n");
    }
    server.wait_all_read(3);
    thaw(&server, &workers);
    let mut pids: Vec<i32> = clients.iter_mut().map(|it| it.expect("ALL AT ONCE")).collect();
    pids.sort_unstable();
    assert_eq!(pids, workers, "three lines at a time, three workers");
}

#[test]
fn slow_worker_holds_up_nobody_else() {
    let server = start(2);
    server.freeze(server.wait_workers(2)[0]);
    // At most one of these meets the frozen worker; whoever comes later finds the other.
    let mut clients: Vec<LineClient> = (0..4).map(|_| connect(&server)).collect();
    for client in &mut clients {
        client.send("hello\n");
    }
    let answered =
        |client: &LineClient| client.stream().peek(&mut [0]).is_ok_and(|count| count > 0);
    for client in &clients {
        client.stream().set_nonblocking(true).unwrap();
    }
    wait_for("three of four clients to be answered by one of two workers", limit(), || {
        clients.iter().filter(|client| answered(client)).count() >= 3
    });
}

#[test]
fn client_that_never_reads_costs_bounded_memory_and_harms_nobody() {
    let server = start(2);
    connect(&server).ask("warm up");
    let before = proc::memory_kib(server.pid());
    let mut deaf = connect(&server);
    let line = [&letters(1000)[..], b"\n"].concat();
    deaf.send_until_full(&line.repeat(32 << 10), &server);
    let mut other = connect(&server);
    for _ in 0..10 {
        other.ask("still there?");
    }
    let grown = proc::memory_kib(server.pid()).saturating_sub(before);
    assert!(grown < 8 * 1024, "the parent grew by {grown} KiB for one client that never reads");
    habits::sleeps_when_idle(&server);
}

#[test]
fn megabyte_without_a_newline_costs_bounded_memory() {
    let server = start(2);
    connect(&server).ask("warm up");
    let before = proc::memory_kib(server.pid());
    let mut deaf = connect(&server);
    deaf.send_until_full(&letters(32 << 20), &server);
    connect(&server).ask("still there?");
    let grown = proc::memory_kib(server.pid()).saturating_sub(before);
    assert!(grown < 8 * 1024, "the parent grew by {grown} KiB for one client that never reads");
}

// Clients that leave

#[test]
fn half_a_line_and_a_hang_up_harm_nobody() {
    let server = start(2);
    let mut other = connect(&server);
    other.ask("before");
    let before = proc::fds(server.pid()).len();
    for _ in 0..20 {
        connect(&server).send("half a li");
    }
    other.ask("after");
    habits::gives_back_descriptors(server.pid(), before);
    habits::sleeps_when_idle(&server);
}

#[test]
fn answer_for_a_client_that_reset_reaches_nobody_else() {
    let server = start(1);
    let worker = server.wait_workers(1);
    let mut leaver = connect(&server);
    leaver.ask("warm up");
    server.freeze(worker[0]);
    leaver.send("secret\n");
    server.wait_all_read(1);
    leaver.reset();
    // First come, first heard: the parent closes this connection before it accepts another.
    let arrived = || tcp::accepted(server.port()).is_empty();
    wait_for("the reset to arrive", limit(), arrived);
    // The next client may well get the descriptor number of the one that left.
    let mut next = connect(&server);
    next.send("mine\n");
    thaw(&server, &worker);
    next.expect("MINE");
    next.ask("and this");
}

#[test]
fn resets_while_answers_are_under_way_harm_nobody() {
    let server = start(2);
    let mut other = connect(&server);
    other.ask("before");
    let before = proc::fds(server.pid()).len();
    for _ in 0..50 {
        let mut client = connect(&server);
        client.send("line\n".repeat(100));
        client.reset();
    }
    other.ask("after");
    habits::gives_back_descriptors(server.pid(), before);
    server.wait_workers(2);
    habits::sleeps_when_idle(&server);
}

#[test]
fn server_sleeps_after_a_client_left_with_its_answer_under_way() {
    let server = start(2);
    let workers = server.wait_workers(2);
    let mut leaver = connect(&server);
    leaver.ask("warm up");
    freeze(&server, &workers);
    leaver.send("line\n");
    server.wait_all_read(1);
    leaver.reset();
    habits::sleeps_when_idle(&server); // the workers are still frozen
    thaw(&server, &workers);
    connect(&server).ask("next");
    habits::sleeps_when_idle(&server);
}

#[test]
fn server_sleeps_while_all_workers_are_busy_and_clients_wait() {
    let server = start(1);
    let worker = server.wait_workers(1);
    let mut clients: Vec<LineClient> = (0..3).map(|_| connect(&server)).collect();
    freeze(&server, &worker);
    for client in &mut clients {
        client.send("one\ntwo\n");
    }
    clients[2].half_close();
    habits::sleeps_when_idle(&server);
    thaw(&server, &worker);
    for client in &mut clients {
        client.expect("ONE");
        client.expect("TWO");
    }
}

#[test]
fn parent_keeps_nothing_of_300_clients() {
    let server = start(2);
    connect(&server).ask("warm up");
    let parent = server.pid();
    wait_for("the first client to be gone", limit(), || tcp::accepted(server.port()).is_empty());
    let workers = server.wait_workers(2);
    let before = proc::fds(parent).len();
    let of_workers: Vec<usize> = workers.iter().map(|&pid| proc::fds(pid).len()).collect();
    for number in 0..300 {
        let mut client = connect(&server);
        match number % 4 {
            0 => client.send("half a line"),
            1 => client.reset(),
            2 => _ = client.ask("hello"),
            _ => {
                client.send("hello\n");
                client.reset();
            }
        }
    }
    habits::gives_back_descriptors(parent, before);
    assert_eq!(server.wait_workers(2), workers, "no worker had to end");
    for (worker, before) in workers.into_iter().zip(of_workers) {
        habits::gives_back_descriptors(worker, before);
    }
}

// Workers and parents that die

#[test]
fn worker_killed_idle_is_reaped_and_the_others_serve() {
    let server = start(3);
    let workers = server.wait_workers(3);
    let mut client = connect(&server);
    client.ask("before");
    server.kill(workers[0]);
    server.wait_reaped(workers[0]);
    for _ in 0..10 {
        let pid = client.ask("after");
        assert!(workers[1..].contains(&pid), "pid {pid} answered, alive are {:?}", &workers[1..]);
    }
    let alive = server.workers();
    assert!(workers[1..].iter().all(|worker| alive.contains(worker)), "alive is {alive:?}");
}

/// The client whose line died with its worker gets its answer from the other one, or is hung up
/// on; to leave it waiting is no way to treat it.
#[test]
fn line_of_a_worker_killed_busy_is_answered_by_another_or_its_client_hung_up_on() {
    let server = start(2);
    let workers = server.wait_workers(2);
    let mut clients = [connect(&server), connect(&server)];
    freeze(&server, &workers);
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("line of {number}\nnext of {number}\n"));
    }
    server.wait_all_read(2);
    server.kill(workers[0]);
    server.wait_reaped(workers[0]);
    thaw(&server, &workers[1..]);
    let mut whole = 0;
    for (number, client) in clients.iter_mut().enumerate() {
        client.half_close();
        let answers = String::from_utf8(client.wait_closed()).unwrap();
        let line = |text: &str| format!("PROCESS[PID {}]: {text} OF {number}\n", workers[1]);
        if !answers.is_empty() {
            assert_eq!(answers, line("LINE") + &line("NEXT"), "the answers to client {number}");
            whole += 1;
        }
    }
    assert!(whole >= 1, "both clients were hung up on; only one worker was killed");
}

#[test]
fn server_ends_with_status_1_when_no_worker_is_left() {
    let mut server = start(3);
    let mut client = connect(&server);
    client.ask("before");
    for worker in server.wait_workers(3) {
        server.kill(worker);
    }
    let status = server.wait_exit(limit());
    assert_eq!(status.code(), Some(1), "the server ended with {status}, not with exit status 1");
    server.wait_nobody_left(limit());
    client.wait_closed();
    let errors = || server.narration().lines().filter(|line| line.starts_with("error: ")).count();
    wait_for("one line `error: …`", limit(), || errors() == 1);
}

#[test]
fn server_ends_when_all_workers_are_killed_with_lines_in_their_hands() {
    let mut server = start(2);
    let workers = server.wait_workers(2);
    let mut clients = vec![connect(&server), connect(&server)];
    freeze(&server, &workers);
    for client in &mut clients {
        client.send("never answered\n");
    }
    server.wait_all_read(2);
    clients.push(connect(&server));
    clients[2].send("nobody has time for this\n");
    for worker in workers {
        server.kill(worker);
    }
    let status = server.wait_exit(limit());
    assert_eq!(status.code(), Some(1), "the server ended with {status}, not with exit status 1");
    for client in &mut clients {
        client.expect_closed();
    }
    server.wait_nobody_left(limit());
}

#[test]
fn killed_parent_takes_its_workers_along() {
    let server = start(5);
    let mut client = connect(&server);
    client.ask("before");
    habits::takes_workers_along(server, Signal::SIGKILL);
    client.wait_closed();
}

#[test]
fn terminated_parent_takes_its_workers_along() {
    habits::takes_workers_along(start(5), Signal::SIGTERM);
}

#[test]
fn server_survives_being_stopped_and_continued() {
    let server = start(2);
    let mut client = connect(&server);
    client.ask("before");
    for pid in [vec![server.pid()], server.wait_workers(2)].concat() {
        server.freeze(pid);
        server.signal(pid, Signal::SIGCONT);
        client.ask("after");
    }
    server.wait_workers(2);
}

// Descriptors

#[test]
fn worker_holds_its_own_end_of_its_own_channel_and_no_other() {
    let server = start(5);
    let workers = server.wait_workers(5);
    let _client = connect(&server).ask("all are up");
    echo_habits::holds_own_sockets_only(&server, &workers);
}

#[test]
fn workers_end_when_their_channels_do() {
    echo_habits::ends_with_its_channel(bin());
}

#[test]
fn descriptors_are_close_on_exec() {
    let server = start(2);
    let mut client = connect(&server);
    client.ask("hello");
    habits::closes_on_exec(&server);
}

#[test]
fn nobody_works_while_nothing_happens() {
    let server = start(3);
    let mut client = connect(&server);
    client.ask("hello");
    habits::sleeps_when_idle(&server);
    client.stream().shutdown(Shutdown::Both).unwrap();
    habits::sleeps_when_idle(&server);
    habits::is_parent_and_workers(&server, 3);
}

#[test]
fn nobody_works_after_a_worker_was_reaped() {
    let server = start(3);
    let worker = server.wait_workers(3)[0];
    server.kill(worker);
    server.wait_reaped(worker);
    habits::sleeps_when_idle(&server);
}

// The echo command

#[test]
fn echo_sends_its_words_as_one_line() {
    echo_habits::echo_sends_its_words(bin(), &start(2));
}

#[test]
fn echo_without_words_sends_its_input() {
    echo_habits::echo_sends_its_input(bin(), &start(2));
}

#[test]
fn echo_takes_more_input_than_all_buffers_hold() {
    echo_habits::echo_takes_any_amount_of_input(bin(), &start(2));
}

#[test]
fn echo_says_when_the_server_leaves_too_early() {
    echo_habits::echo_notices_missing_answers(bin());
}

#[test]
fn echo_without_a_server_is_a_clear_error() {
    echo_habits::echo_reports_closed_port(bin());
}

// What people and machines read

#[test]
fn narration_names_who_speaks() {
    let server = start(2);
    let workers = server.wait_workers(2);
    connect(&server).ask("hello");
    server.kill(workers[0]);
    server.wait_reaped(workers[0]);
    habits::narrates_who_speaks(&server, &workers);
}

#[test]
fn server_says_what_to_type_in_the_second_terminal() {
    habits::says_what_to_type(&start(2), "echo");
}

#[test]
fn quiet_server_says_nothing_but_its_first_line() {
    let server = Server::start(bin(), &["--workers", "2", "--quiet"]);
    connect(&server).ask("hello");
    habits::has_been_quiet(&server);
}

#[test]
fn help_teaches() {
    let words = ["serve", "echo", "demo", "--host", "--port", "--workers", "--quiet"];
    habits::help_mentions(bin(), &words);
}

#[test]
fn demo_tells_and_checks_the_whole_story() {
    habits::demo_succeeds(bin());
}

// Addresses and failures

#[test]
#[serial]
fn defaults_are_those_of_the_notes() {
    let Some((_claim, _server)) = habits::start_with_defaults(bin()) else {
        return;
    };
    let output = echo().arg("hello").assert().success();
    output.stdout(starts_with("PROCESS[PID ").and(contains("]: HELLO\n")));
}

#[test]
fn server_listens_on_ipv6() {
    let Some(server) = habits::start_on_ipv6(bin(), &["--workers", "2"]) else {
        return;
    };
    connect(&server).ask("hello");
    let port = server.port().to_string();
    let output = echo().args(["--host", "::1", "--port", &port, "six"]).assert().success();
    output.stdout(contains("]: SIX\n"));
}

#[test]
fn server_restarts_on_its_port_at_once() {
    let server = habits::restarts_on_the_same_port(bin(), &["--workers", "2"]);
    connect(&server).ask("again");
}

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
