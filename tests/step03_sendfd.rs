//! Stage 03, sendfd, from outside: the parent passes each connection to a worker, which serves it.
//!
//! What is checked: the answers a client gets, standard output and error, the exit status,
//! `/proc`, and the system calls that pass a descriptor. A parent that is frozen (SIGSTOP) sees
//! several things at once when it goes on; a worker that is frozen keeps what it has in hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a check that fails panics"
)]

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
use support::tcp::{self, State};
use support::trace;
use support::wait::{limit, wait_for, wait_until};

fn bin() -> &'static str {
    support::program(env!("CARGO_BIN_EXE_step03-sendfd"))
}

fn start(workers: usize) -> Server {
    Server::start(bin(), &["--workers", &workers.to_string()])
}

fn connect(server: &Server) -> LineClient {
    LineClient::connect(server.addr())
}

/// Connects and has a line answered, so that this client has a worker. Returns that worker, too.
#[track_caller]
fn connect_and_occupy(server: &Server) -> (LineClient, i32) {
    let mut client = connect(server);
    let worker = client.ask("mine");
    (client, worker)
}

fn echo() -> Command {
    let mut command = Command::new(bin());
    command.arg("echo").timeout(limit());
    command
}

/// The connections at the server's side that nobody has accepted yet.
fn waiting_in_the_queue(server: &Server) -> usize {
    let mut sockets = tcp::sockets(server.port());
    sockets.retain(|socket| socket.state == State::Established && socket.inode == 0);
    sockets.len()
}

/// Waits until a worker other than these lives, and all of `count` seats are taken.
#[track_caller]
fn wait_replaced(server: &Server, count: usize, old: &[i32]) -> i32 {
    wait_until("a new worker", limit(), || {
        let workers = server.wait_workers(count);
        workers.into_iter().find(|worker| !old.contains(worker))
    })
}

/// `count` clients at once are served by as many workers, which all live.
#[track_caller]
fn assert_all_seats_serve(server: &Server, count: usize) {
    let clients: Vec<(LineClient, i32)> = (0..count).map(|_| connect_and_occupy(server)).collect();
    let mut pids: Vec<i32> = clients.iter().map(|&(_, worker)| worker).collect();
    pids.sort_unstable();
    assert_eq!(pids, server.workers(), "who answered {count} clients at once; all workers should");
}

// The connection moves

#[test]
fn worker_holds_the_connection_and_the_parent_does_not() {
    let server = start(3);
    let (_client, worker) = connect_and_occupy(&server);
    let accepted = tcp::accepted(server.port());
    let [connection] = &accepted[..] else { panic!("one client, accepted are {accepted:?}") };
    wait_for("the parent to close its copy", limit(), || {
        !proc::holds_socket(server.pid(), connection.inode)
    });
    assert!(proc::holds_socket(worker, connection.inode), "{worker} answered without holding it");
    let workers = server.workers();
    assert!(workers.contains(&worker), "{worker} answered, the workers are {workers:?}");
    for other in workers {
        let holds = proc::holds_socket(other, connection.inode);
        assert_eq!(holds, other == worker, "worker {other} holds the connection of {worker}");
    }
}

#[test]
fn answers_of_a_connection_all_come_from_the_worker_that_holds_it() {
    let server = start(3);
    let (mut client, worker) = connect_and_occupy(&server);
    for _ in 0..20 {
        assert_eq!(client.ask("again"), worker, "who answers the same client");
    }
}

#[test]
fn clients_at_the_same_time_have_different_workers() {
    let server = start(5);
    server.wait_workers(5);
    assert_all_seats_serve(&server, 5);
}

#[test]
fn worker_is_idle_again_when_its_client_has_hung_up() {
    let server = start(1);
    let worker = server.wait_workers(1)[0];
    for _ in 0..20 {
        let (_client, same) = connect_and_occupy(&server);
        assert_eq!(same, worker, "who answers; there is only one worker");
    }
}

#[test]
fn next_client_gets_the_worker_whose_client_left() {
    let server = start(3);
    let mut seats: Vec<(LineClient, i32)> = (0..3).map(|_| connect_and_occupy(&server)).collect();
    for seat in 0..3 {
        let (client, worker) = seats.remove(seat);
        drop(client);
        let next = connect_and_occupy(&server);
        assert_eq!(next.1, worker, "who answers; all others are busy");
        seats.insert(seat, next);
    }
}

#[test]
fn parent_passes_the_descriptor_and_never_touches_the_bytes() {
    const PASS: &str = "sendmsg,sendmmsg,recvmsg,recvmmsg";
    const BYTES: &str = "read,readv,recvfrom,write,writev,sendto,splice,sendfile";
    let calls = format!("{PASS},{BYTES}");
    let Some((server, trace)) = trace::server(bin(), &["--workers", "2"], &calls) else { return };
    let mut served_by = Vec::new();
    for _ in 0..5 {
        let (_client, worker) = connect_and_occupy(&server);
        served_by.push(worker);
    }
    server.wait_asleep(); // it has returned from the last call, which is on record then

    let passes = trace.calls(PASS).into_iter().filter(|call| call.args.contains("SCM_RIGHTS"));
    let (mut sent, received): (Vec<_>, Vec<_>) =
        passes.partition(|call| call.name.starts_with("send"));
    sent.retain(|call| call.pid == server.pid());
    let passed = sent.len();
    assert!(passed >= 5, "the parent sent {passed} messages with SCM_RIGHTS for 5 clients");
    for worker in served_by {
        let got = received.iter().any(|call| call.pid == worker);
        assert!(got, "worker {worker} answered a client and received no SCM_RIGHTS");
    }
    let of_parent = trace.calls(BYTES).into_iter().filter(|call| call.pid == server.pid());
    let touched: Vec<_> = of_parent.filter(|call| call.arg(0).contains("TCP")).collect();
    assert!(touched.is_empty(), "the parent read or wrote the connection: {touched:?}");
}

// Nobody is dropped

#[test]
fn clients_beyond_the_workers_wait_and_are_served_in_turn() {
    let server = start(2);
    let mut clients: Vec<LineClient> = (0..6).map(|_| connect(&server)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("client {number}\n"));
    }
    for (number, mut client) in clients.into_iter().enumerate() {
        client.expect(format!("CLIENT {number}"));
        // It hangs up here, and the next one in the queue is served.
    }
}

#[test]
fn clients_wait_in_the_queue_of_the_kernel_while_all_workers_are_busy() {
    let server = start(2);
    let busy = [connect_and_occupy(&server), connect_and_occupy(&server)];
    let mut clients: Vec<LineClient> = (0..4).map(|_| connect(&server)).collect();
    for client in &mut clients {
        client.send("waiting\n");
    }
    habits::sleeps_when_idle(&server); // a listener that is watched would be ready all the time
    let queued = waiting_in_the_queue(&server);
    assert_eq!(queued, 4, "clients in the kernel's queue, not accepted yet");
    drop(busy);
    for mut client in clients {
        client.expect("WAITING");
    }
}

#[test]
fn client_that_gives_up_waiting_harms_nobody() {
    let server = start(1);
    let busy = connect_and_occupy(&server);
    let quitter = connect(&server);
    let leaver = connect(&server);
    let mut patient = connect(&server);
    patient.send("still here\n");
    quitter.reset();
    drop(leaver);
    drop(busy);
    patient.expect("STILL HERE");
}

#[test]
fn clients_that_connect_in_the_same_instant_are_all_served() {
    let server = start(3);
    server.wait_workers(3);
    server.freeze(server.pid());
    let mut clients: Vec<LineClient> = (0..3).map(|_| connect(&server)).collect();
    for client in &mut clients {
        client.send("hello\n");
    }
    server.signal(server.pid(), Signal::SIGCONT);
    for client in &mut clients {
        client.expect("HELLO");
    }
}

#[test]
fn more_clients_than_workers_in_the_same_instant_are_all_served() {
    let server = start(2);
    server.wait_workers(2);
    server.freeze(server.pid());
    let mut clients: Vec<LineClient> = (0..8).map(|_| connect(&server)).collect();
    for client in &mut clients {
        client.send("hello\n");
    }
    server.signal(server.pid(), Signal::SIGCONT);
    for mut client in clients {
        client.expect("HELLO");
    }
}

#[test]
fn many_clients_of_the_echo_command_are_served_by_few_workers() {
    let server = start(2);
    let port = server.port().to_string();
    for number in 0..20 {
        let text = format!("number {number}");
        let expected = format!("]: NUMBER {number}\n");
        echo().args(["--port", &port, &text]).assert().success().stdout(contains(expected));
    }
}

// Clients that leave

#[test]
fn worker_survives_client_that_leaves_midway() {
    let server = start(1);
    let worker = server.wait_workers(1);
    let lines = "line\n".repeat(4 << 20);
    for _ in 0..3 {
        let mut client = connect(&server);
        let sent = client.send_what_fits(lines.as_bytes(), Duration::from_millis(100));
        assert!(sent < lines.len(), "somebody holds {sent} bytes for a client that never reads");
        client.reset(); // lines are still to be answered
    }
    let mut client = connect(&server);
    client.send("half a line");
    drop(client);
    let (_client, same) = connect_and_occupy(&server);
    assert_eq!(worker, [same], "no new worker was needed");
}

#[test]
fn client_that_never_reads_costs_one_worker_and_bounded_memory() {
    let server = start(2);
    server.wait_workers(2);
    let (mut deaf, worker) = connect_and_occupy(&server);
    let before = proc::memory_kib(worker);
    let line = [&letters(1000)[..], b"\n"].concat();
    deaf.send_until_full(&line.repeat(32 << 10), &server);
    let (mut other, _) = connect_and_occupy(&server);
    for _ in 0..10 {
        other.ask("still there?");
    }
    let grown = proc::memory_kib(worker).saturating_sub(before);
    assert!(grown < 8 * 1024, "the worker grew by {grown} KiB for a client that never reads");
    habits::sleeps_when_idle(&server);
}

#[test]
fn nobody_keeps_anything_of_300_clients() {
    let server = start(3);
    let workers = server.wait_workers(3);
    assert_all_seats_serve(&server, 3);
    let gone = || tcp::accepted(server.port()).is_empty();
    wait_for("the first clients to be gone", limit(), gone);
    let before = proc::fds(server.pid()).len();
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
    wait_for("the last client to be gone", limit(), gone);
    assert_eq!(server.wait_workers(3), workers, "no worker had to end");
    for (pid, before) in workers.into_iter().zip(of_workers).chain([(server.pid(), before)]) {
        habits::gives_back_descriptors(pid, before);
    }
    assert_all_seats_serve(&server, 3);
}

// Workers that die

#[test]
fn worker_killed_busy_is_replaced_and_only_its_client_notices() {
    let server = start(2);
    let before = server.wait_workers(2);
    let (mut victim, killed) = connect_and_occupy(&server);
    let (mut other, survivor) = connect_and_occupy(&server);
    server.kill(killed);
    victim.expect_closed();
    server.wait_reaped(killed);
    assert_eq!(other.ask("still there?"), survivor, "who answers the other client");
    let new = wait_replaced(&server, 2, &before);
    assert_eq!(other.ask("still there?"), survivor, "who answers the other client");
    assert_eq!(connect_and_occupy(&server).1, new, "who answers the next client");
}

#[test]
fn worker_killed_idle_is_replaced_before_any_client_comes() {
    let server = start(3);
    let before = server.wait_workers(3);
    server.kill(before[1]);
    server.wait_reaped(before[1]);
    wait_replaced(&server, 3, &before);
    assert_all_seats_serve(&server, 3);
}

#[test]
fn worker_killed_twice_is_replaced_twice() {
    let server = start(1);
    let mut seen = server.wait_workers(1);
    for _ in 0..2 {
        server.kill(*seen.last().unwrap());
        seen.push(wait_replaced(&server, 1, &seen));
        let new = *seen.last().unwrap();
        assert_eq!(connect_and_occupy(&server).1, new, "who answers after the replacement");
    }
}

#[test]
fn workers_killed_in_one_instant_are_all_replaced() {
    let server = start(4);
    let before = server.wait_workers(4);
    let (mut client, _) = connect_and_occupy(&server);
    server.kill_in_one_instant(&before);
    client.wait_closed();
    for worker in before {
        server.wait_reaped(worker);
    }
    server.wait_workers(4);
    assert_all_seats_serve(&server, 4);
}

/// While the parent stands still, all its workers die and clients connect. Then it goes on.
#[track_caller]
fn assert_clients_outlast_workers(connect_first: bool) {
    let server = start(2);
    let before = server.wait_workers(2);
    server.freeze(server.pid());
    let connect_all = || (0..4).map(|_| connect(&server)).collect::<Vec<_>>();
    let mut clients = if connect_first { connect_all() } else { Vec::new() };
    for worker in before {
        server.kill(worker);
        wait_for("the worker to be dead", limit(), || proc::state(worker) == Some('Z'));
    }
    if !connect_first {
        clients = connect_all();
    }
    for client in &mut clients {
        client.send("anybody there?\n");
    }
    server.signal(server.pid(), Signal::SIGCONT);
    for mut client in clients {
        client.expect("ANYBODY THERE?");
    }
}

#[test]
fn clients_that_connect_after_all_workers_died_are_served_by_the_new_ones() {
    assert_clients_outlast_workers(false);
}

#[test]
fn clients_that_connect_before_all_workers_die_are_served_by_the_new_ones() {
    assert_clients_outlast_workers(true);
}

#[test]
fn client_in_the_queue_is_served_when_the_only_worker_was_killed() {
    let server = start(1);
    let (mut victim, killed) = connect_and_occupy(&server);
    let mut next = connect(&server);
    next.send("my turn\n");
    server.kill(killed);
    victim.expect_closed();
    assert_ne!(next.expect("MY TURN"), killed, "who answers; the killed worker can't");
}

#[test]
fn connection_in_the_hands_of_a_killed_worker_blocks_nobody() {
    let server = start(1);
    let frozen = server.wait_workers(1)[0];
    server.freeze(frozen);
    // The parent passes this one to the worker, which never gets to it.
    let mut client = connect(&server);
    client.send("hello?\n");
    client.half_close();
    let is_accepted = || tcp::accepted(server.port()).len() == 1;
    wait_for("the connection to be accepted", limit(), is_accepted);
    server.wait_asleep(); // it has been passed
    server.kill(frozen);
    server.wait_reaped(frozen);
    client.wait_closed(); // with or without an answer
    let (_next, worker) = connect_and_occupy(&server);
    assert_ne!(worker, frozen);
}

#[test]
fn worker_that_has_no_number_left_for_a_descriptor_serves_again_later() {
    let server = start(1);
    let worker = server.wait_workers(1)[0];
    drop(connect_and_occupy(&server));
    wait_for("the first client to be gone", limit(), || tcp::accepted(server.port()).is_empty());
    let before = proc::limit_descriptors(worker, proc::next_fd(worker)).expect("it lives");
    // The kernel delivers the message without its descriptor, and says so (MSG_CTRUNC).
    let mut unlucky = connect(&server);
    unlucky.send("hello?\n");
    unlucky.wait_closed();
    let _ = proc::limit_descriptors(worker, before); // it may have ended, and been replaced
    let _next = connect_and_occupy(&server);
}

#[test]
fn frozen_worker_holds_up_its_own_client_only() {
    let server = start(2);
    let (mut slow, frozen) = connect_and_occupy(&server);
    server.freeze(frozen);
    slow.send("later\n");
    for _ in 0..5 {
        assert_ne!(connect_and_occupy(&server).1, frozen);
    }
    server.signal(frozen, Signal::SIGCONT);
    slow.expect("LATER");
}

#[test]
fn worker_that_dies_again_and_again_is_replaced_ever_later() {
    const DEATHS: usize = 60;
    const ENOUGH: usize = 3;
    let server = start(2);
    let (mut other, busy) = connect_and_occupy(&server);
    let mut worker = new_worker(&server, &[busy]).0;
    let mut rests = 0;
    for _ in 0..DEATHS {
        server.kill(worker);
        let (new, rested) = new_worker(&server, &[busy, worker]);
        worker = new;
        rests += usize::from(rested);
        assert_eq!(other.ask("still there?"), busy);
        if rests == ENOUGH {
            break;
        }
    }
    assert_eq!(
        rests, ENOUGH,
        "of {DEATHS} workers killed in a row so many weren't replaced at once"
    );
    let _ = connect_and_occupy(&server); // the seat is of use again
}

/// Waits for a worker that is none of `old`, and says whether the parent has slept with the seat
/// empty before that: whoever replaces at once doesn't, on a machine however busy.
#[track_caller]
fn new_worker(server: &Server, old: &[i32]) -> (i32, bool) {
    let mut rested = false;
    let worker = wait_until("a new worker", limit(), || {
        let children = || proc::children(server.pid());
        let is_empty = |children: &[i32]| children == &old[..1];
        let before = children();
        let asleep = proc::state(server.pid()) == Some('S');
        rested |= is_empty(&before) && asleep && is_empty(&children());
        before.into_iter().find(|pid| !old.contains(pid))
    });
    (worker, rested)
}

#[test]
fn narration_tells_who_died_how_and_who_is_new() {
    let server = start(2);
    let before = server.wait_workers(2);
    server.kill(before[0]);
    let new = wait_replaced(&server, 2, &before);
    let parent_says = |words: [&str; 2]| {
        let narration = server.narration();
        let parent = format!("[parent pid {}]", server.pid());
        let mut of_parent = narration.lines().filter(|line| line.starts_with(&parent));
        of_parent.any(|line| words.iter().all(|word| line.contains(word)))
    };
    let old = before[0].to_string();
    wait_for("a line with the old pid and `signal 9`", limit(), || parent_says([&old, "signal 9"]));
    let new = new.to_string();
    wait_for("a line with the new pid", limit(), || parent_says([&new, ""]));
}

// Descriptors

#[test]
fn idle_worker_holds_its_own_end_of_its_own_channel_and_no_other() {
    let server = start(5);
    echo_habits::holds_own_sockets_only(&server, &server.wait_workers(5));
}

#[test]
fn workers_end_when_their_channels_do() {
    echo_habits::ends_with_its_channel(bin());
}

#[test]
fn new_worker_inherits_no_descriptor() {
    let server = start(3);
    let before = server.wait_workers(3);
    // While a client is connected and others wait: there is much that could be inherited.
    let (_client, busy) = connect_and_occupy(&server);
    let idle = before.iter().find(|&&worker| worker != busy).unwrap();
    server.kill(*idle);
    let new = wait_replaced(&server, 3, &before);
    let workers = server.wait_workers(3);
    let idle: Vec<i32> = workers.into_iter().filter(|&worker| worker != busy).collect();
    echo_habits::holds_own_sockets_only(&server, &idle);
    let old = idle.into_iter().find(|&worker| worker != new).unwrap();
    habits::gives_back_descriptors(new, proc::fds(old).len()); // no more than the others have
}

#[test]
fn descriptors_are_close_on_exec() {
    let server = start(2);
    let _busy = connect_and_occupy(&server);
    habits::closes_on_exec(&server);
}

// Parents that die, stand still, or have nothing to do

#[test]
fn killed_parent_takes_its_idle_workers_along() {
    habits::takes_workers_along(start(5), Signal::SIGKILL);
}

#[test]
fn killed_parent_takes_its_busy_workers_along() {
    let server = start(2);
    let (mut one, _) = connect_and_occupy(&server);
    let (mut two, _) = connect_and_occupy(&server);
    let mut waiting = connect(&server);
    habits::takes_workers_along(server, Signal::SIGKILL);
    for client in [&mut one, &mut two, &mut waiting] {
        client.wait_closed();
    }
}

#[test]
fn terminated_parent_takes_its_workers_along() {
    habits::takes_workers_along(start(5), Signal::SIGTERM);
}

#[test]
fn killed_parent_takes_a_new_worker_along() {
    let server = start(2);
    let before = server.wait_workers(2);
    server.kill(before[0]);
    wait_replaced(&server, 2, &before);
    habits::takes_workers_along(server, Signal::SIGKILL);
}

#[test]
fn server_survives_being_stopped_and_continued() {
    let server = start(2);
    let workers = server.wait_workers(2);
    let (mut client, _) = connect_and_occupy(&server);
    for pid in [vec![server.pid()], workers.clone()].concat() {
        server.freeze(pid);
        server.signal(pid, Signal::SIGCONT);
        client.ask("after");
    }
    drop(client);
    assert_all_seats_serve(&server, 2);
    assert_eq!(server.workers(), workers, "nobody died of it");
}

#[test]
fn nobody_works_while_nothing_happens() {
    let server = start(3);
    let (client, _) = connect_and_occupy(&server);
    habits::sleeps_when_idle(&server);
    drop(client);
    habits::sleeps_when_idle(&server);
    habits::is_parent_and_workers(&server, 3);
}

#[test]
fn nobody_works_after_a_worker_was_replaced() {
    let server = start(3);
    let before = server.wait_workers(3);
    server.kill(before[0]);
    wait_replaced(&server, 3, &before);
    habits::sleeps_when_idle(&server);
}

// Lines and answers, as in stage 02

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
fn full_piece_is_answered_before_its_line_ends() {
    echo_habits::answers_a_full_piece_at_once(&start(2));
}

#[test]
fn megabyte_without_a_newline_is_answered_in_128_pieces() {
    echo_habits::answers_a_megabyte_in_128_pieces(&start(3));
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
    connect_and_occupy(&server);
    habits::narrates_who_speaks(&server, &workers);
}

#[test]
fn server_says_what_to_type_in_the_second_terminal() {
    habits::says_what_to_type(&start(2), "echo");
}

#[test]
fn quiet_server_says_nothing_but_its_first_line() {
    let server = Server::start(bin(), &["--workers", "2", "--quiet"]);
    connect_and_occupy(&server);
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
    let Some((_claim, _server)) = habits::start_with_defaults(bin()) else { return };
    let output = echo().arg("hello").assert().success();
    output.stdout(starts_with("PROCESS[PID ").and(contains("]: HELLO\n")));
}

#[test]
fn server_listens_on_ipv6() {
    let Some(server) = habits::start_on_ipv6(bin(), &["--workers", "2"]) else { return };
    connect_and_occupy(&server);
    let port = server.port().to_string();
    let output = echo().args(["--host", "::1", "--port", &port, "six"]).assert().success();
    output.stdout(contains("]: SIX\n"));
}

#[test]
fn server_restarts_on_its_port_at_once() {
    let server = habits::restarts_on_the_same_port(bin(), &["--workers", "2"]);
    connect_and_occupy(&server);
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
