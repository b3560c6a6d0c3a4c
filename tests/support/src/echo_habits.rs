//! What the stages that answer lines (02 and 03) must do alike.
//!
//! Each stage's tests call these under a name of their own.

use std::io::{Seek, Write};
use std::process::Stdio;

use crate::fake_server::FakeServer;
use crate::habits::fails_with_one_line;
use crate::line::{Answer, LineClient, assert_bytes, shown};
use crate::proc;
use crate::server::{Server, ServerCommand, pipe_with, run_with_stdin};
use crate::tcp::ClosedPort;
use crate::trace;
use crate::wait::{limit, poll_until};

/// A line is answered in pieces of at most so many bytes.
pub const PIECE: usize = 8192;

/// Idle workers hold no socket that anybody else holds, and one at least that nobody else does:
/// the own end of the own channel. An end that somebody else holds too never reaches its end of
/// file.
#[track_caller]
pub fn holds_own_sockets_only(server: &Server, idle: &[i32]) {
    let wrong = || idle.iter().find_map(|&worker| wrong_socket(server, worker));
    let _ = poll_until(limit(), || wrong().is_none().then_some(()));
    if let Some(wrong) = wrong() {
        panic!("{wrong}");
    }
}

/// What is wrong with the sockets of a worker, if anything is.
fn wrong_socket(server: &Server, worker: i32) -> Option<String> {
    let own = proc::sockets(worker);
    if own.is_empty() {
        return Some(format!("worker {worker} holds no socket, and so no channel"));
    }
    let everybody = [vec![server.pid()], server.workers()].concat();
    everybody.into_iter().filter(|&pid| pid != worker).find_map(|pid| {
        let shared = proc::sockets(pid).into_iter().find(|socket| own.contains(socket))?;
        let who = if pid == server.pid() { "the parent" } else { "another worker" };
        Some(format!("worker {worker} and {who} (pid {pid}) both hold {shared}"))
    })
}

/// A worker ends when its channel does, which is when the parent is gone. So that the channel is
/// what it notices, the kernel is kept from killing it with its parent: `strace` answers every
/// `prctl(2)` in the kernel's place.
#[track_caller]
pub fn ends_with_its_channel(bin: &str) {
    if !trace::is_possible() {
        return;
    }
    const NO_PRCTL: [&str; 10] = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=prctl",
        "-e",
        "inject=prctl:retval=0",
        "--",
    ];
    let mut server = ServerCommand::new(bin).args(&["--workers", "3"]).under(&NO_PRCTL).start();
    let workers = server.wait_workers(3);
    holds_own_sockets_only(&server, &workers);
    server.kill(server.pid());
    server.wait_nobody_left(limit());
}

/// `length` letters that depend on their position, so that a piece at a wrong place shows.
#[must_use]
pub fn letters(length: usize) -> Vec<u8> {
    let letter = |index: usize| b'a' + u8::try_from((index + index / 100) % 26).unwrap();
    (0..length).map(letter).collect()
}

/// `pid`, which an answer names, is that of a worker.
#[track_caller]
fn assert_is_worker(server: &Server, pid: i32) {
    let workers = server.workers();
    assert!(workers.contains(&pid), "the answer names pid {pid}, the workers are {workers:?}");
}

/// A line comes back in capitals, with the pid of a worker.
#[track_caller]
pub fn answers_in_capitals(server: &Server) {
    let pid = LineClient::connect(server.addr()).ask("hello, world 42");
    assert_is_worker(server, pid);
}

/// Bytes that are no ASCII letters come back as they are.
#[track_caller]
pub fn leaves_other_bytes_alone(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    client.send(b"gr\xc3\xbc\xc3\x9fe \xff\x00\x1b[1m\t\r\n");
    client.expect(b"GR\xc3\xbc\xc3\x9fE \xff\x00\x1b[1M\t\r");
}

/// Every empty line has its answer.
#[track_caller]
pub fn answers_empty_lines(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    client.send("\n\na\n\n");
    for text in ["", "", "A", ""] {
        client.expect(text);
    }
}

/// Lines sent without waiting for answers are answered in their order.
#[track_caller]
pub fn answers_in_order(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    let lines: String = (0..1000).map(|number| format!("line {number}\n")).collect();
    client.send(lines);
    for number in 0..1000 {
        client.expect(format!("LINE {number}"));
    }
}

/// A line may come in parts, with other clients' lines in between.
#[track_caller]
pub fn puts_lines_together(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    let mut other = LineClient::connect(server.addr());
    other.ask("here");
    for part in ["h", "el", "lo, "] {
        client.send(part);
        server.wait_all_read(2);
        other.ask("meanwhile");
    }
    client.send("world\nnext");
    client.expect("HELLO, WORLD");
    client.send("\n");
    client.expect("NEXT");
}

/// At the end of input a line without newline is answered, too; then the connection ends.
#[track_caller]
pub fn answers_the_last_line_without_newline(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    client.send("one\ntwo");
    client.half_close();
    client.expect("ONE");
    client.expect("TWO");
    client.expect_end();
}

/// A client that sends nothing gets nothing.
#[track_caller]
pub fn answers_nothing_with_nothing(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    client.half_close();
    client.expect_end();
}

/// A client that has said all it has to say gets all its answers before the connection ends.
#[track_caller]
pub fn answers_all_before_the_end(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    client.send("line\n".repeat(500));
    client.half_close();
    for _ in 0..500 {
        client.expect("LINE");
    }
    client.expect_end();
}

/// A client that first sends what fits, until nobody takes any more, and only then reads, gets
/// every answer whole: what the server couldn't send then is sent later.
#[track_caller]
pub fn answers_a_late_reader(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    let line = [&letters(2000)[..], b"\n"].concat();
    let sent = client.send_until_full(&line.repeat(16 << 10), server);
    for _ in 0..sent / line.len() {
        client.expect(letters(2000).to_ascii_uppercase());
    }
    client.half_close();
    let rest = letters(sent % line.len());
    if !rest.is_empty() {
        client.expect(rest.to_ascii_uppercase());
    }
    client.expect_end();
}

/// A line of `length` letters is answered in pieces of these lengths, and the line after it well.
#[track_caller]
pub fn answers_in_pieces(server: &Server, length: usize, pieces: &[usize]) {
    let mut client = LineClient::connect(server.addr());
    let line = letters(length);
    client.send(&line);
    client.send("\nnext\n");
    let mut expected = line.to_ascii_uppercase();
    for &piece in pieces {
        let rest = expected.split_off(piece);
        client.expect(&expected);
        expected = rest;
    }
    client.expect("NEXT"); // the line after the long one
}

/// A full piece is answered before its line ends, and the newline right after it adds nothing.
#[track_caller]
pub fn answers_a_full_piece_at_once(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    client.send(letters(PIECE));
    client.expect(letters(PIECE).to_ascii_uppercase());
    client.send("\n"); // ends a line that is answered already
    client.ask("next");
}

/// A full piece at the end of input is answered once.
#[track_caller]
pub fn answers_a_full_last_piece_once(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    client.send(letters(PIECE));
    client.half_close();
    client.expect(letters(PIECE).to_ascii_uppercase());
    client.expect_end();
}

/// A megabyte without a newline is answered in 128 pieces.
#[track_caller]
pub fn answers_a_megabyte_in_128_pieces(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    let megabyte = letters(1 << 20);
    for block in megabyte.chunks(16 * PIECE) {
        client.send(block);
        for piece in block.chunks(PIECE) {
            client.expect(piece.to_ascii_uppercase());
        }
    }
    client.half_close();
    client.expect_end(); // 128 pieces and no more
}

/// Runs `echo`, which has to succeed. Returns the answers that it printed.
#[track_caller]
fn echo(bin: &str, server: &Server, words: &[&str], stdin: impl Into<Stdio>) -> Vec<Answer> {
    let port = server.port().to_string();
    let echo = run_with_stdin(bin, &[&["echo", "--port", &port], words].concat(), stdin);
    assert_eq!(echo.status.code(), Some(0), "`echo` ended with {echo:?}");
    let answer = |line: &str| match Answer::parse(line.as_bytes()) {
        Some(answer) => answer,
        None => panic!("`echo` printed a line that is no answer: {}", shown(line.as_bytes())),
    };
    echo.stdout.lines().map(answer).collect()
}

/// `echo` sends its words as one line and prints the answer.
#[track_caller]
pub fn echo_sends_its_words(bin: &str, server: &Server) {
    let answers = echo(bin, server, &["hello", "wide", "world"], Stdio::null());
    let texts: Vec<String> = answers.iter().map(|answer| shown(&answer.text)).collect();
    assert_eq!(texts, ["HELLO WIDE WORLD"]);
    assert_is_worker(server, answers[0].pid);
}

/// `echo` without words sends the lines of its standard input, a pipe or a file, and prints the
/// answers.
#[track_caller]
pub fn echo_sends_its_input(bin: &str, server: &Server) {
    let input = b"one\n\nthree\nno newline at the end";
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(input).and_then(|()| file.rewind()).expect("write a temporary file");
    let piped = echo(bin, server, &[], pipe_with(input.to_vec()));
    for answers in [piped, echo(bin, server, &[], file)] {
        let texts: Vec<String> = answers.iter().map(|answer| shown(&answer.text)).collect();
        assert_eq!(texts, ["ONE", "", "THREE", "NO NEWLINE AT THE END"]);
    }
    assert_eq!(echo(bin, server, &[], Stdio::null()), [], "no lines, no answers");
}

/// `echo` reads answers while it sends: it takes more input than all buffers between here and
/// the server hold.
#[track_caller]
pub fn echo_takes_any_amount_of_input(bin: &str, server: &Server) {
    let line = [&letters(8000)[..], b"\n"].concat();
    let answers = echo(bin, server, &[], pipe_with(line.repeat(3000)));
    let expected = letters(8000).to_ascii_uppercase();
    assert_eq!(answers.len(), 3000, "answers");
    for answer in answers {
        assert_bytes("the text of an answer", &answer.text, &expected);
    }
}

/// `echo` says so when the server leaves before all lines are answered.
#[track_caller]
pub fn echo_notices_missing_answers(bin: &str) {
    // Takes two lines and answers only one.
    let fake = FakeServer::start(|mut client| {
        client.wait_for_lines(2);
        client.send(b"PROCESS[PID 1]: ONE\n");
    });
    let args = ["echo", "--port", &fake.port().to_string()];
    let echo = run_with_stdin(bin, &args, pipe_with(b"one\ntwo\n".to_vec()));
    assert_eq!(echo.status.code(), Some(1), "`echo` ended with {echo:?}");
    assert_eq!(echo.stdout, "PROCESS[PID 1]: ONE\n");
    assert_eq!(echo.stderr, "error: connection closed after 1 of 2 answers\n");

    // Leaves before a line is sent, and more may come from standard input.
    let fake = FakeServer::start(drop);
    let (input, _more_may_come) = std::io::pipe().expect("pipe");
    let echo = run_with_stdin(bin, &["echo", "--port", &fake.port().to_string()], input);
    assert_eq!(echo.status.code(), Some(1), "`echo` ended with {echo:?}");
    assert_eq!(echo.stderr, "error: connection closed before the end of the input\n");
}

/// `echo` names the call and the address when nobody listens.
#[track_caller]
pub fn echo_reports_closed_port(bin: &str) {
    let closed = ClosedPort::take();
    let port = closed.number();
    let error = fails_with_one_line(bin, &["echo", "--port", &port.to_string(), "hello"]);
    assert_eq!(error, format!("connect 127.0.0.1:{port}: connection refused"));
}
