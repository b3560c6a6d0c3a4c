//! A chat (10 and 11) when system calls fail: who is in it goes on talking, and whoever comes is let in or
//! hears the end of the connection.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a check that fails panics")]

use std::fs;
use std::process::Stdio;

use support::chat::{Room, speech};
use support::fake_server::FakeServer;
use support::habits::{gives_back_descriptors, sleeps_when_idle};
use support::line::LineClient;
use support::server::{pipe_with, run_with_stdin};
use support::{proc, trace};
use tempfile::TempDir;
use under_fire::fault::Fault;
use under_fire::{CHATS, program};

/// For every chat, every call, every error, and which of the calls.
#[track_caller]
fn put_to_each(rows: &[(&'static str, &'static str, &'static str)], check: impl Fn(&str, Fault)) {
    put_to(&CHATS, rows, check);
}

/// The same for some of them.
#[track_caller]
fn put_to(
    chats: &[&str],
    rows: &[(&'static str, &'static str, &'static str)],
    check: impl Fn(&str, Fault),
) {
    for bin in chats.iter().copied().map(program) {
        for &(call, errors, when) in rows {
            for (error, when) in
                errors.split(' ').flat_map(|error| when.split(' ').map(move |when| (error, when)))
            {
                eprintln!("{bin}: {call} {error} {when}"); // shown if it fails
                check(bin, Fault { call, error, when });
            }
        }
    }
}

#[test]
fn calls_that_fail_for_once_are_not_noticed() {
    nobody_notices(&[
        ("poll", "EINTR", "1 2 3"),
        ("recvfrom", "EINTR EAGAIN", "1 2 3 1..3"),
        ("sendto", "EINTR", "1 2 3 1..3"),
    ]);
    // Only to a user: a worker's end of its channel waits until there is room.
    nobody_of_these_notices(&CHATS[..1], &[("sendto", "EAGAIN", "1 2 3 1..3")]);
}

#[test]
fn who_is_not_accepted_at_once_waits_and_nobody_else_notices() {
    nobody_notices(&[
        ("accept4", "EINTR EAGAIN ECONNABORTED EPROTO", "1 1..3"),
        ("accept4", "EMFILE ENFILE ENOBUFS ENOMEM EPERM", "1 1..3"),
    ]);
}

/// Users talk and join as if nothing had happened.
#[track_caller]
fn nobody_notices(rows: &[(&'static str, &'static str, &'static str)]) {
    nobody_of_these_notices(&CHATS, rows);
}

#[track_caller]
fn nobody_of_these_notices(chats: &[&str], rows: &[(&'static str, &'static str, &'static str)]) {
    if !trace::may_attach() {
        return;
    }
    put_to(chats, rows, |bin, fault| {
        let mut room = Room::start(bin, 3, &["--max-users", "8"]);
        let tracer = fault.strike(&[vec![room.server.pid()], room.server.workers()].concat());
        for round in 0..3 {
            room.says(round, format!("round {round}"));
            room.join();
        }
        drop(tracer);
        room.says(5, "all six");
    });
}

#[test]
fn newcomer_that_can_not_be_set_up_hears_the_end_and_nobody_else_notices() {
    const ROWS: &[(&str, &str, &str)] =
        &[("fcntl", "ENOMEM", "1 2"), ("setsockopt", "ENOMEM", "1 2")];
    if !trace::may_attach() {
        return;
    }
    put_to(&CHATS[..1], ROWS, |bin, fault| {
        let mut room = Room::start(bin, 3, &["--max-users", "8"]);
        let before = proc::fds(room.server.pid()).len();
        let tracer = fault.strike(&[room.server.pid()]);
        LineClient::connect(room.server.addr()).expect_closed();
        drop(tracer);
        room.server.wait_narration("no client now: ");
        gives_back_descriptors(room.server.pid(), before);
        room.says(0, "three");
        room.join();
    });
}

#[test]
fn newcomer_that_can_not_have_a_worker_hears_the_end_and_nobody_else_notices() {
    const ROWS: &[(&str, &str, &str)] = &[
        ("socketpair", "EMFILE ENFILE", "1"),
        ("clone", "EAGAIN ENOMEM", "1"),
        ("epoll_ctl", "ENOSPC ENOMEM", "1"),
        // In the worker.
        ("close_range", "ENOSYS", "1 2"),
        ("setsockopt", "ENOMEM", "1 2"),
    ];
    if !trace::may_attach() {
        return;
    }
    put_to(&CHATS[1..], ROWS, |bin, fault| {
        let mut room = Room::start(bin, 3, &["--max-users", "4"]);
        let before = proc::fds(room.server.pid()).len();
        let tracer = fault.strike(&[room.server.pid()]);
        LineClient::connect(room.server.addr()).expect_closed();
        drop(tracer);
        room.server.wait_workers(3);
        gives_back_descriptors(room.server.pid(), before);
        room.says(0, "three");
        room.join(); // the seat is free
    });
}

#[test]
fn worker_whose_user_can_not_be_sent_to_ends_and_what_it_has_said_is_heard() {
    const ROWS: &[(&str, &str, &str)] = &[("sendto", "EPIPE ECONNRESET ENOBUFS ETIMEDOUT", "1")];
    if !trace::may_attach() {
        return;
    }
    put_to(&CHATS[1..], ROWS, |bin, fault| {
        let mut room = Room::start(bin, 3, &["--max-users", "8"]);
        let before = proc::fds(room.server.pid()).len();
        let tracer = fault.strike(&[room.server.workers()[1]]);
        room[0].send("to be heard\n");
        assert_eq!(room[2].read_line(), b"to be heard");
        room[1].wait_closed();
        drop(tracer);
        let _ = room.take(1);
        gives_back_descriptors(room.server.pid(), before - 1);
        room.join();
        room.says(0, "three again");
        sleeps_when_idle(&room.server);
    });
}

#[test]
fn user_whose_connection_fails_is_gone_and_what_it_has_said_is_heard() {
    const ROWS: &[(&str, &str, &str)] = &[
        ("sendto", "EPIPE ECONNRESET ENOBUFS ETIMEDOUT", "1"),
        ("recvfrom", "ECONNRESET ETIMEDOUT", "2"),
    ];
    if !trace::may_attach() {
        return;
    }
    put_to(&CHATS[..1], ROWS, |bin, fault| {
        let mut room = Room::start(bin, 2, &["--max-users", "8"]);
        let before = proc::fds(room.server.pid()).len();
        // The first that is sent goes to user 1; what is received secondly is of user 1 as well.
        let tracer = fault.strike(&[vec![room.server.pid()], room.server.workers()].concat());
        room[0].send("to be heard\n");
        if fault.call == "recvfrom" {
            assert_eq!(room[1].read_line(), b"to be heard");
            room[1].send("lost with the connection\n");
        }
        room[1].wait_closed();
        drop(tracer);
        let _ = room.take(1);
        gives_back_descriptors(room.server.pid(), before - 1);
        room.join();
        room.says(0, "two again");
        sleeps_when_idle(&room.server);
    });
}

#[test]
fn server_that_can_not_start_says_so() {
    const ROWS: &[(&str, &str, &str)] = &[
        ("socket", "EMFILE ENFILE", "1"),
        ("setsockopt", "ENOMEM", "1"),
        ("bind", "EACCES", "1"),
        ("listen", "EADDRINUSE", "1"),
    ];
    if !trace::is_possible() {
        return;
    }
    put_to_each(ROWS, |bin, fault| {
        let failed = fault.run(bin, &["--port", "0"]);
        assert_eq!(failed.status.code(), Some(1), "{fault:?}: {failed:?}");
        let said = failed.stderr.starts_with("error: ") && failed.stderr.lines().count() == 1;
        assert!(said && failed.left_running.is_empty(), "{fault:?}: {failed:?}");
    });
}

#[test]
fn join_loses_nothing_when_calls_fail_for_once() {
    const ROWS: &[(&str, &str, &str)] = &[
        ("poll", "EINTR", "1 2 3 1..3"),
        ("splice", "EINTR EAGAIN", "1 2 3 4 1..4"),
        ("splice", "EINVAL ENOSYS", "1 3 5"), // the odd ones are those from standard input
        ("recvfrom", "EINTR EAGAIN", "1 2"),
    ];
    if !trace::is_possible() {
        return;
    }
    let server = FakeServer::start(|mut client| {
        let heard = client.read_to_end();
        client.send(&heard);
    });
    let port = server.port().to_string();
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("typed");
    let text = speech("typed", 5000, 50);
    fs::write(&file, &text).unwrap();
    put_to_each(ROWS, |bin, fault| {
        let Fault { call, error, when } = fault;
        let inject = format!("inject={call}:error={error}:when={when}");
        let args = ["-qq", "-o", "/dev/null", "-e", &inject, bin, "join", "--port", &port];
        let stdins: [Stdio; 2] =
            [pipe_with(text.clone()).into(), fs::File::open(&file).unwrap().into()];
        for stdin in stdins {
            let finished = run_with_stdin("strace", &args, stdin);
            assert_eq!(finished.status.code(), Some(0), "{fault:?}: {}", finished.stderr);
            assert!(finished.stdout.as_bytes() == text, "{fault:?}: something is lost");
        }
    });
}

#[test]
fn join_says_which_call_has_failed() {
    const ROWS: &[(&str, &str, &str)] = &[
        ("pipe2", "EMFILE ENFILE", "1"),
        ("socket", "EMFILE", "1"),
        ("fcntl", "ENOMEM", "1 2"),
        ("splice", "EIO ENOMEM", "1 2"),
        ("recvfrom", "ENOMEM", "1"),
    ];
    if !trace::is_possible() {
        return;
    }
    let server = FakeServer::start(|mut client| {
        client.send(b"hello\n");
        client.read_to_end();
    });
    let port = server.port().to_string();
    put_to_each(ROWS, |bin, fault| {
        let failed = fault.run(bin, &["join", "--port", &port, "--name", "ann"]);
        assert_eq!(failed.status.code(), Some(1), "{fault:?}: {failed:?}");
        assert!(failed.stderr.starts_with("error: "), "{fault:?}: {failed:?}");
    });
}
