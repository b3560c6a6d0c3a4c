//! What the server of a chat (stages 10 and 11) must do for its users.

use std::io::Write;
use std::net::Shutdown;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::chat::{Room, TOO_MANY, speech};
use crate::habits;
use crate::line::{LineClient, assert_bytes};
use crate::not_checked;
use crate::proc;
use crate::server::{LAST_BREATH, Server, ServerCommand, Signal, run};
use crate::tcp;
use crate::wait::{limit, wait_for};

/// The longest line that isn't cut.
const PIECE: usize = 8192;

/// How long to listen where nothing must come.
const WINDOW: Duration = Duration::from_millis(300);

/// Nothing is waiting for this user: the next it hears is what another says now.
#[track_caller]
fn has_heard_all(room: &mut Room, user: usize, speaker: usize) {
    room[speaker].send("now this\n");
    assert_bytes("the next line", &room[user].read_line(), b"now this");
}

/// Everyone but its sender gets a line.
#[track_caller]
pub fn tells_everyone_else(bin: &str) {
    let mut room = Room::of(bin, 4);
    for round in 0..3 {
        for speaker in 0..4 {
            room.says(speaker, format!("round {round} of {speaker}"));
        }
    }
}

/// Its sender doesn't.
#[track_caller]
pub fn does_not_echo(bin: &str) {
    let mut room = Room::of(bin, 2);
    room.says(0, "hello");
    has_heard_all(&mut room, 0, 1);
    let mut alone = Room::of(bin, 1);
    alone[0].send("is anybody here?\n");
    alone[0].expect_silence(WINDOW);
}

/// What a line is made of doesn't matter.
#[track_caller]
pub fn leaves_bytes_alone(bin: &str) {
    let mut room = Room::of(bin, 3);
    let all: Vec<u8> = (0..=255).filter(|&byte| byte != b'\n').collect();
    room.says(0, all);
    for line in [&b"from telnet\r"[..], b"\0", b"\0\0 \0", b"\x1b[2J", b"\xff\xfe", b" ", b"a:b"] {
        room.says(1, line);
    }
}

/// Empty lines are lines.
#[track_caller]
pub fn passes_empty_lines_on(bin: &str) {
    let mut room = Room::of(bin, 3);
    room[0].send("\n\n\nx\n\n");
    for line in ["", "", "", "x", ""] {
        room.hear(0, line);
    }
}

/// A line that comes byte by byte arrives as a line; meanwhile others are heard.
#[track_caller]
pub fn puts_lines_together(bin: &str) {
    let mut room = Room::of(bin, 3);
    for byte in b"one byte at a time" {
        room[0].send([*byte]);
        room.server.wait_all_read(3);
    }
    // What is no line yet has gone to nobody, so that nothing comes in its middle.
    room.says(1, "in between");
    room[0].send("\n");
    room.hear(0, "one byte at a time");
}

/// Long lines go in pieces of 8,192 bytes, each a line.
#[track_caller]
pub fn cuts_long_lines(bin: &str) {
    let mut room = Room::of(bin, 3);
    for length in [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1, 100 * PIECE + 5] {
        let line: Vec<u8> = (0..length).map(|index| b'a' + (index % 23) as u8).collect();
        room[0].send([&line[..], b"\n"].concat());
        for piece in line.chunks(PIECE) {
            room.hear(0, piece);
        }
        room.says(0, "after it");
    }
}

/// The last line needs no newline, and its end is not lost.
#[track_caller]
pub fn completes_the_last_line(bin: &str) {
    let mut room = Room::of(bin, 3);
    room[2].send("whole\npart");
    room[2].half_close();
    room.hear(2, "whole");
    room.hear(2, "part");
    room[2].expect_end();
}

/// Of a user with a name every line carries it.
#[track_caller]
pub fn puts_names_before_lines(bin: &str) {
    let mut room = Room::of(bin, 2);
    room.join_as("Zoë");
    room.says_and_is_heard(2, "hello", "Zoë: hello");
    room.says_and_is_heard(2, "", "Zoë: ");
    room.says_and_is_heard(2, "/name other", "Zoë: /name other");
    room.says(0, "/name late");
    let line = vec![b'x'; PIECE + 3];
    room[2].send([&line[..], b"\n"].concat());
    for piece in line.chunks(PIECE) {
        room.hear(2, ["Zoë: ".as_bytes(), piece].concat());
    }
    room[2].send("part");
    room[2].half_close();
    room.hear(2, "Zoë: part");
}

/// Names at the limits of what is allowed are taken.
#[track_caller]
pub fn takes_names(bin: &str) {
    let (long, wide) = ("n".repeat(32), "ä".repeat(32));
    for name in ["a", "[x]", "/name", &long, &wide] {
        let mut room = Room::of(bin, 1);
        room.join_as(name);
        room.says_and_is_heard(1, "hello", format!("{name}: hello"));
    }
}

/// What is no name is refused, with a word to its sender alone, who stays anonymous.
#[track_caller]
pub fn refuses_names(bin: &str) {
    let long = "n".repeat(33);
    let names = [&b""[..], b" ", b"a b", b"a:b", b"\x1b[2J", b"a\0", b"\xff", long.as_bytes()];
    let mut room = Room::start(bin, 1, &["--max-users", "20"]);
    for name in names {
        let mut user = LineClient::connect(room.server.addr());
        user.send([b"/name ", name, b"\nhello\n"].concat());
        let answer = user.read_line();
        assert!(answer.starts_with(b"error: "), "the answer to {name:?} is {answer:?}");
        assert_bytes("what the other heard", &room[0].read_line(), b"hello");
    }
}

/// Who comes and who goes is nobody's line.
#[track_caller]
pub fn announces_nobody(bin: &str) {
    let mut room = Room::of(bin, 2);
    for _ in 0..3 {
        drop(LineClient::connect(room.server.addr()));
    }
    LineClient::connect(room.server.addr()).send("/name quiet\n");
    room[0].expect_silence(WINDOW);
    has_heard_all(&mut room, 1, 0);
}

// Seats

/// Who finds no seat hears so, and then the end of the connection, without a reset.
#[track_caller]
pub fn turns_away(bin: &str) {
    let mut room = Room::start(bin, 3, &["--max-users", "3"]);
    for _ in 0..20 {
        let mut user = LineClient::connect(room.server.addr());
        assert_bytes("what one too many hears", &user.read_to_end(), TOO_MANY);
    }
    room.says(0, "we are three");
    let mut three: Vec<LineClient> =
        (0..3).map(|_| LineClient::connect(room.server.addr())).collect();
    for user in &mut three {
        assert_bytes("what one too many hears", &user.read_to_end(), TOO_MANY);
    }
    room.says(1, "still three");
}

/// The same for somebody who talks: what it says goes nowhere, and what it is told arrives all the
/// same, also when it has talked before it was turned away, and goes on to talk.
#[track_caller]
pub fn turns_away_who_talks(bin: &str) {
    let mut room = Room::start(bin, 2, &["--max-users", "2"]);
    let pid = room.server.pid();
    for _ in 0..5 {
        room.server.freeze(pid);
        let mut user = LineClient::connect(room.server.addr());
        user.send([b'x'; 20_000]);
        room.server.signal(pid, Signal::SIGCONT);
        assert_bytes("the first that one too many hears", &user.read_line(), &TOO_MANY[..14]);
        // The connection is open for as long as it takes to read that.
        user.send([b'x'; 20_000]);
        user.half_close();
        user.expect_end();
    }
    room.says(0, "nothing of that");
}

/// A seat is free again, however its user has left.
#[track_caller]
pub fn frees_seats(bin: &str) {
    let mut room = Room::start(bin, 3, &["--max-users", "3"]);
    for round in 0..10 {
        let user = room.take(2);
        match round % 3 {
            0 => drop(user),
            1 => user.reset(),
            _ => {
                let mut user = user;
                user.half_close();
                user.expect_end();
            }
        }
        room.join_when_a_seat_is_free();
    }
    room.says(2, "full again");
}

/// As many users as there are seats can talk, and no one more.
#[track_caller]
pub fn seats_as_many_as_told(bin: &str) {
    let mut room = Room::start(bin, 40, &["--max-users", "40"]);
    let mut user = LineClient::connect(room.server.addr());
    assert_bytes("what one too many hears", &user.read_to_end(), TOO_MANY);
    room.says(39, "forty");
}

// Leaving

/// Who has said all hears what was on its way, and then the end. All it has said is passed on.
#[track_caller]
pub fn serves_a_half_close(bin: &str) {
    const LINES: usize = 2000;
    let mut room = Room::of(bin, 3);
    let said = speech("two", LINES, 50);
    room[2].send(&said);
    room[2].half_close();
    for number in 0..LINES {
        let expected = &said[number * 50..(number + 1) * 50 - 1];
        room.hear(2, expected);
    }
    room[2].expect_end();
    let _ = room.take(2);
    room.says(0, "without it");
}

/// Who talks and hangs up at once is heard, although the server reads later.
#[track_caller]
pub fn hears_who_hung_up(bin: &str) {
    const LINES: usize = 500;
    let mut room = Room::of(bin, 3);
    let said = speech("two", LINES, 60);
    room.server.freeze(room.server.pid());
    room[2].send(&said);
    room[2].stream().shutdown(Shutdown::Write).unwrap();
    drop(room.take(2));
    room.server.signal(room.server.pid(), Signal::SIGCONT);
    for number in 0..LINES {
        room.hear(usize::MAX, &said[number * 60..(number + 1) * 60 - 1]);
    }
    room.says(0, "gone");
}

/// Resets in the middle of a line harm nobody.
#[track_caller]
pub fn survives_resets(bin: &str) {
    let mut room = Room::start(bin, 2, &["--max-users", "12"]);
    for round in 0..100 {
        let mut user = LineClient::connect(room.server.addr());
        user.send("half a line");
        if round % 2 == 0 {
            user.reset()
        } else {
            drop(user)
        }
        room[0].send(format!("line {round}\n"));
        loop {
            let heard = room[1].read_line();
            if heard != b"half a line" {
                assert_bytes("what is heard", &heard, format!("line {round}").as_bytes());
                break;
            }
        }
    }
}

// What it costs

/// With silent users it sleeps; so it does with one who has hung up half and doesn't read.
#[track_caller]
pub fn sleeps_when_nobody_talks(bin: &str) {
    let mut room = Room::of(bin, 5);
    room.says(0, "good night");
    habits::sleeps_when_idle(&room.server);
}

/// While something waits for a user who doesn't read, the server sleeps.
#[track_caller]
pub fn sleeps_while_a_queue_waits(bin: &str) {
    let room = Room::of(bin, 3);
    // More than the kernel holds for who doesn't read, less than the bound of the queue.
    let said = speech("zero", 300, 1000);
    let heard = room.talk(&[&said, b""], &[0, said.len()]);
    assert_bytes("what user 1 heard", &heard[1], &said);
    habits::sleeps_when_idle(&room.server);
    // The same for one who will say nothing more, and one who has said half a line.
    room[2].stream().shutdown(Shutdown::Write).unwrap();
    room[1].stream().write_all(b"half").unwrap();
    habits::sleeps_when_idle(&room.server);
}

/// Silent users stay, however long they are silent.
#[track_caller]
pub fn keeps_silent_users(bin: &str) {
    let mut room = Room::start(bin, 3, &["--stall-timeout", "1"]);
    room.says(0, "be quiet");
    room[1].expect_silence(Duration::from_millis(2500));
    room.says(1, "still here");
}

/// Descriptors run out: nobody in the room notices, the server sleeps, and who waits is let in
/// later.
#[track_caller]
pub fn bears_a_lack_of_descriptors(bin: &str) {
    let mut room = Room::start(bin, 2, &["--max-users", "20"]);
    let pid = room.server.pid();
    let before = proc::limit_descriptors(pid, proc::next_fd(pid));
    let before = before.expect("the server runs");
    let mut waiting = LineClient::connect(room.server.addr());
    waiting.send("at last\n");
    room.says(0, "nobody comes");
    // A rest of a tenth of a second between two attempts is no busy loop.
    habits::sleeps_when_idle(&room.server);
    proc::limit_descriptors(pid, before);
    room.hear(usize::MAX, "at last");
    room.says(1, "welcome");
}

/// Three hundred users leave no descriptor and no process behind.
#[track_caller]
pub fn leaves_nothing_behind(bin: &str) {
    let mut room = Room::start(bin, 2, &["--max-users", "10"]);
    let pid = room.server.pid();
    let before = proc::fds(pid).len();
    let processes = room.server.workers().len();
    for round in 0..300 {
        let mut user = LineClient::connect(room.server.addr());
        match round % 3 {
            0 => user.reset(),
            1 => drop(user),
            _ => {
                let _ = user.stream().write_all(b"\n");
                user.half_close();
                let _ = user.wait_closed();
            }
        }
    }
    habits::gives_back_descriptors(pid, before);
    room.server.wait_workers(processes);
    room[0].send("the end\n");
    while room[1].read_line() != b"the end" {}
}

/// `nc` is a client like any other.
#[track_caller]
pub fn talks_with_nc(bin: &str) {
    let mut room = Room::of(bin, 2);
    let port = room.server.port().to_string();
    let nc = Command::new("nc")
        .args(["-N", "127.0.0.1", &port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut nc) = nc else {
        return not_checked("nc is not installed");
    };
    let mut typed = nc.stdin.take().expect("a pipe");
    if typed.write_all(b"from nc\n").is_err() {
        let _ = nc.wait();
        return not_checked("this nc doesn't know -N");
    }
    room.hear(usize::MAX, "from nc");
    room.says(0, "to nc");
    drop(typed);
    let output = nc.wait_with_output().expect("nc ends");
    assert_bytes("what nc printed", &output.stdout, b"to nc\n");
}

// The command line, and who is left

/// The first line says for how many users.
#[track_caller]
pub fn says_for_how_many(bin: &str) {
    for (args, users) in
        [(&[][..], 5), (&["--max-users", "1"], 1), (&["--max-users", "1000"], 1000)]
    {
        let server = Server::start(bin, args);
        let expected = format!("listening on 127.0.0.1:{} for {users} users", server.port());
        assert_eq!(server.first_line(), expected);
        LineClient::connect(server.addr()).send("hello\n");
        assert_eq!(server.output(), format!("{expected}\n"), "standard output is for machines");
    }
}

/// Arguments that make no sense.
#[track_caller]
pub fn refuses_nonsense(bin: &str) {
    for count in ["0", "1001", "-1", "x", ""] {
        habits::refuses_usage(bin, &["--port", "0", "--max-users", count]);
    }
    for name in ["", "a b", "a:b", "\u{1b}[2J", &"n".repeat(33)] {
        habits::refuses_usage(bin, &["join", "--port", "9", "--name", name]);
    }
    habits::refuses_usage(bin, &["--port", "0", "--stall-timeout", "0"]);
    habits::refuses_usage(bin, &["--port", "65536"]);
    habits::refuses_usage(bin, &["--no-such-option"]);
    habits::refuses_usage(bin, &["no-such-command"]);
}

/// A port that is taken is a clear error; the first server goes on.
#[track_caller]
pub fn reports_port_in_use(bin: &str) {
    let mut room = Room::of(bin, 2);
    let port = room.server.port().to_string();
    let error = habits::fails_with_one_line(bin, &["--port", &port]);
    assert_eq!(error, format!("bind 127.0.0.1:{port}: address already in use"));
    room.says(0, "nothing happened");
}

/// It listens on IPv6, too.
#[track_caller]
pub fn listens_on_ipv6(bin: &str) {
    if let Some(server) = habits::start_on_ipv6(bin, &["--quiet"]) {
        LineClient::connect(server.addr()).send("six\n");
        habits::has_been_quiet(&server);
    }
}

/// It can be started again on its port at once.
#[track_caller]
pub fn restarts_on_its_port(bin: &str) {
    let server = habits::restarts_on_the_same_port(bin, &[]);
    LineClient::connect(server.addr()).send("again\n");
}

/// With `--quiet` nothing is said.
#[track_caller]
pub fn says_nothing_when_quiet(bin: &str) {
    let mut room = Room::start(bin, 2, &["--quiet"]);
    room.says(0, "hello");
    drop(room.take(1));
    wait_for("the server to notice that a user left", limit(), || {
        tcp::accepted(room.server.port()).len() == 1
    });
    habits::has_been_quiet(&room.server);
}

/// Without it, what to type next, and what happens.
#[track_caller]
pub fn tells_people(bin: &str) {
    let mut room = Room::of(bin, 1);
    room.join_as("ann");
    habits::says_what_to_type(&room.server, "join");
    room.server.wait_narration("ann");
    let help = ["serve", "join", "demo", "--host", "--port", "--max-users", "--quiet", "nc"];
    habits::help_mentions(bin, &help);
    let join = run(bin, &["join", "--help"]);
    assert!(join.stdout.contains("--name"), "`join --help` printed {join:?}");
}

/// Every descriptor but the standard ones is close-on-exec.
#[track_caller]
pub fn closes_on_exec(bin: &str) {
    let room = Room::of(bin, 3);
    habits::closes_on_exec(&room.server);
}

/// Killed or asked to end, it takes everybody along.
#[track_caller]
pub fn leaves_nobody(bin: &str, signal: Signal) {
    let mut room = Room::of(bin, 3);
    room.says(0, "hello");
    room.server.signal(room.server.pid(), signal);
    room.server.wait_exit(limit());
    room.server.wait_nobody_left(LAST_BREATH);
    for user in 0..3 {
        room[user].wait_closed();
    }
}

/// Without arguments: 127.0.0.1, port 8080, 5 users. The caller marks its test `#[serial]`.
#[track_caller]
pub fn defaults_are_those_of_the_notes(bin: &str) {
    let Some(_claim) = tcp::DefaultPort::claim() else {
        return;
    };
    let server = ServerCommand::new(bin).start_as_is();
    assert_eq!(server.first_line(), "listening on 127.0.0.1:8080 for 5 users");
    let nobody = run(bin, &["join", "--name", "ann"]);
    assert_eq!(nobody.status.code(), Some(0), "`join` without input ended with {nobody:?}");
}
