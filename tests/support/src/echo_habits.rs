//! What the stages that answer lines (02 and 03) must do alike.
//!
//! Each stage's tests call these under a name of their own.

use std::io::{Seek, Write};
use std::process::Stdio;

use crate::fake_server::FakeServer;
use crate::habits::fails_with_one_line;
use crate::line::{Answer, LineClient};
use crate::server::{Server, pipe_with, run_with_stdin};
use crate::tcp::ClosedPort;

/// A line is answered in pieces of at most so many bytes.
pub const PIECE: usize = 8192;

/// `length` letters that depend on their position, so that a piece at a wrong place shows.
#[must_use]
pub fn letters(length: usize) -> Vec<u8> {
    let letter = |index: usize| b'a' + u8::try_from((index + index / 100) % 26).unwrap();
    (0..length).map(letter).collect()
}

/// A line comes back in capitals, with the pid of a worker.
#[track_caller]
pub fn answers_in_capitals(server: &Server) {
    let answer = LineClient::connect(server.addr()).ask("hello, world 42");
    assert_eq!(answer.text, b"HELLO, WORLD 42");
    assert!(server.workers().contains(&answer.pid), "{} is no worker", answer.pid);
}

/// Bytes that are no ASCII letters come back as they are.
#[track_caller]
pub fn leaves_other_bytes_alone(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    client.send(b"gr\xc3\xbc\xc3\x9fe \xff\x00\x1b[1m\t\r\n");
    assert_eq!(client.answer().text, b"GR\xc3\xbc\xc3\x9fE \xff\x00\x1b[1M\t\r");
}

/// Every empty line has its answer.
#[track_caller]
pub fn answers_empty_lines(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    client.send("\n\na\n\n");
    let texts: Vec<Vec<u8>> = (0..4).map(|_| client.answer().text).collect();
    assert_eq!(texts, [&b""[..], b"", b"A", b""]);
}

/// Lines sent without waiting for answers are answered in their order.
#[track_caller]
pub fn answers_in_order(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    let lines: String = (0..1000).map(|number| format!("line {number}\n")).collect();
    client.send(lines);
    for number in 0..1000 {
        assert_eq!(client.answer().text, format!("LINE {number}").as_bytes());
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
        assert_eq!(other.ask("meanwhile").text, b"MEANWHILE");
    }
    client.send("world\nnext");
    assert_eq!(client.answer().text, b"HELLO, WORLD");
    client.send("\n");
    assert_eq!(client.answer().text, b"NEXT");
}

/// At the end of input a line without newline is answered, too; then the connection ends.
#[track_caller]
pub fn answers_the_last_line_without_newline(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    client.send("one\ntwo");
    client.half_close();
    assert_eq!(client.answer().text, b"ONE");
    assert_eq!(client.answer().text, b"TWO");
    assert_eq!(client.read_to_end(), b"");
}

/// A client that sends nothing gets nothing.
#[track_caller]
pub fn answers_nothing_with_nothing(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    client.half_close();
    assert_eq!(client.read_to_end(), b"");
}

/// A client that has said all it has to say gets all its answers before the connection ends.
#[track_caller]
pub fn answers_all_before_the_end(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    client.send("line\n".repeat(500));
    client.half_close();
    for _ in 0..500 {
        assert_eq!(client.answer().text, b"LINE");
    }
    assert_eq!(client.read_to_end(), b"");
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
        assert_eq!(client.answer().text, expected);
        expected = rest;
    }
    assert_eq!(client.answer().text, b"NEXT", "the line after the long one");
}

/// A full piece is answered before its line ends, and the newline right after it adds nothing.
#[track_caller]
pub fn answers_a_full_piece_at_once(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    client.send(letters(PIECE));
    assert_eq!(client.answer().text, letters(PIECE).to_ascii_uppercase());
    client.send("\n"); // ends a line that is answered already
    assert_eq!(client.ask("next").text, b"NEXT");
}

/// A full piece at the end of input is answered once.
#[track_caller]
pub fn answers_a_full_last_piece_once(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    client.send(letters(PIECE));
    client.half_close();
    assert_eq!(client.answer().text.len(), PIECE);
    assert_eq!(client.read_to_end(), b"");
}

/// A megabyte without a newline is answered in 128 pieces.
#[track_caller]
pub fn answers_a_megabyte_in_128_pieces(server: &Server) {
    let mut client = LineClient::connect(server.addr());
    let megabyte = letters(1 << 20);
    let mut answered = Vec::new();
    for block in megabyte.chunks(16 * PIECE) {
        client.send(block);
        for _ in 0..16 {
            let piece = client.answer().text;
            assert_eq!(piece.len(), PIECE);
            answered.extend(piece);
        }
    }
    assert!(answered == megabyte.to_ascii_uppercase(), "the pieces are not the line");
    client.half_close();
    assert_eq!(client.read_to_end(), b"", "128 pieces and no more");
}

/// Runs `echo`, which has to succeed. Returns the answers that it printed.
#[track_caller]
fn echo(bin: &str, server: &Server, words: &[&str], stdin: impl Into<Stdio>) -> Vec<Answer> {
    let port = server.port().to_string();
    let echo = run_with_stdin(bin, &[&["echo", "--port", &port], words].concat(), stdin);
    assert!(echo.status.success(), "{echo:#?}");
    let answer = |line: &str| Answer::parse(line.as_bytes()).expect("every line is an answer");
    echo.stdout.lines().map(answer).collect()
}

/// `echo` sends its words as one line and prints the answer.
#[track_caller]
pub fn echo_sends_its_words(bin: &str, server: &Server) {
    let answers = echo(bin, server, &["hello", "wide", "world"], Stdio::null());
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].text, b"HELLO WIDE WORLD");
    assert!(server.workers().contains(&answers[0].pid));
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
        let texts: Vec<Vec<u8>> = answers.into_iter().map(|answer| answer.text).collect();
        assert_eq!(texts, [&b"ONE"[..], b"", b"THREE", b"NO NEWLINE AT THE END"]);
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
    assert_eq!(answers.len(), 3000);
    assert!(answers.iter().all(|answer| answer.text == expected));
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
    assert_eq!(echo.status.code(), Some(1), "{echo:#?}");
    assert_eq!(echo.stdout, "PROCESS[PID 1]: ONE\n");
    assert_eq!(echo.stderr, "error: connection closed after 1 of 2 answers\n");
}

/// `echo` names the call and the address when nobody listens.
#[track_caller]
pub fn echo_reports_closed_port(bin: &str) {
    let closed = ClosedPort::take();
    let port = closed.number();
    let error = fails_with_one_line(bin, &["echo", "--port", &port.to_string(), "hello"]);
    assert_eq!(error, format!("connect 127.0.0.1:{port}: connection refused"));
}
