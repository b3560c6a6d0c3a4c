//! What the client of a chat, `join` (stages 10 and 11), must do.

use std::fs::File;
use std::io::{self, PipeWriter, Write};
use std::net::Shutdown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::chat::{Room, TOO_MANY, speech};
use crate::fake_server::FakeServer;
use crate::habits;
use crate::line::assert_bytes;
use crate::process::Process;
use crate::server::{Finished, run_with_stdin};
use crate::tcp::{self, ClosedPort};
use crate::terminal::Terminal;
use crate::trace::{self, Call};
use crate::wait::{limit, wait_for};

/// What is said at the end, when all is well and when it isn't.
const LEFT: &str = "you have left the chat\n";
const CLOSED: &str = "error: the server closed the connection\n";

/// A running `join`, and what it is typed into.
struct Joined {
    process: Process,
    typed: Option<PipeWriter>,
}

impl Joined {
    #[track_caller]
    fn start(bin: &str, port: u16, args: &[&str]) -> Self {
        let (stdin, typed) = io::pipe().expect("pipe");
        let mut command = Command::new(bin);
        command.args(["join", "--port", &port.to_string()]).args(args);
        let process = Process::start_with_stdin(&mut command, stdin);
        Self { process, typed: Some(typed) }
    }

    #[track_caller]
    fn types(&mut self, text: impl AsRef<[u8]>) {
        let typed = self.typed.as_mut().expect("standard input isn't closed yet");
        typed.write_all(text.as_ref()).expect("`join` reads its standard input");
    }

    /// Ctrl-D.
    fn leaves(&mut self) {
        self.typed = None;
    }

    #[track_caller]
    fn wait_printed(&self, text: &str) {
        wait_for(&format!("`join` to print {text:?}"), limit(), || {
            self.process.stdout.text() == text
        });
    }
}

#[track_caller]
fn assert_finished(finished: &Finished, status: i32, stdout: &str, stderr: &str) {
    assert_eq!(finished.status.code(), Some(status), "`join` ended with {finished:?}");
    assert_bytes("standard output of `join`", finished.stdout.as_bytes(), stdout.as_bytes());
    assert_eq!(finished.stderr, stderr, "standard error of `join`");
    assert_eq!(finished.left_running, [], "`join` left processes behind: {finished:?}");
}

/// What is typed is said, what others say is printed, and Ctrl-D leaves.
#[track_caller]
pub fn talks(bin: &str) {
    let mut room = Room::of(bin, 2);
    let mut ann = Joined::start(bin, room.server.port(), &["--name", "ann"]);
    ann.types("hello\n");
    room.hear(usize::MAX, "ann: hello");
    room.says(0, "hello, ann");
    // user 1 hears that too, as do we
    ann.wait_printed("hello, ann\n");
    ann.types("two\nlines\nand a part");
    room.hear(usize::MAX, "ann: two");
    room.hear(usize::MAX, "ann: lines");
    ann.leaves();
    room.hear(usize::MAX, "ann: and a part");
    assert_finished(&ann.process.finish(), 0, "hello, ann\n", LEFT);
}

/// Without a name it is anonymous.
#[track_caller]
pub fn is_anonymous_without_a_name(bin: &str) {
    let mut room = Room::of(bin, 2);
    let mut somebody = Joined::start(bin, room.server.port(), &[]);
    somebody.types("hello\n");
    room.hear(usize::MAX, "hello");
    somebody.leaves();
    assert_finished(&somebody.process.finish(), 0, "", LEFT);
}

/// The name is the first line that the server gets.
#[track_caller]
pub fn introduces_itself(bin: &str) {
    let server = FakeServer::start(|mut client| {
        let heard = client.read_to_end();
        client.send(&heard);
    });
    let port = server.port().to_string();
    let args = ["join", "--port", &port, "--name", "Zoë"];
    let finished = run_with_stdin(bin, &args, crate::server::pipe_with(b"x\n".to_vec()));
    assert_finished(&finished, 0, "/name Zoë\nx\n", LEFT);
}

/// After Ctrl-D all that was typed is sent, then the half-close; what still comes is printed.
#[track_caller]
pub fn prints_what_comes_after_ctrl_d(bin: &str) {
    let server = FakeServer::start(|mut client| {
        let heard = client.read_to_end();
        client.drip(&[&heard[..], b"late\npart"].concat(), 7, Duration::from_millis(20));
    });
    let mut user = Joined::start(bin, server.port(), &[]);
    user.types("to the last\nbyte");
    user.leaves();
    assert_finished(&user.process.finish(), 0, "to the last\nbytelate\npart", LEFT);
}

/// The server closes first: what came is printed, then the error.
#[track_caller]
pub fn says_that_the_server_closed(bin: &str) {
    let server = FakeServer::that_sends(b"one\ntwo\n".to_vec());
    let mut user = Joined::start(bin, server.port(), &[]);
    assert_finished(&user.process.finish(), 1, "one\ntwo\n", CLOSED);
    let server = FakeServer::start(|mut client| {
        client.send(b"one\n");
        client.wait_for_lines(1);
        client.reset();
    });
    let mut user = Joined::start(bin, server.port(), &[]);
    user.wait_printed("one\n");
    user.types("now\n");
    assert_finished(&user.process.finish(), 1, "one\n", CLOSED);
}

/// The same for a user who types on while the server is gone.
#[track_caller]
pub fn survives_a_server_that_leaves_in_a_flood(bin: &str) {
    let server = FakeServer::start(|mut client| {
        client.send(b"one\n");
        client.wait_for_lines(100);
    });
    let args = ["join", "--port", &server.port().to_string()];
    let typed = crate::server::pipe_with(speech("much", 20_000, 100));
    let finished = run_with_stdin(bin, &args, typed);
    assert_finished(&finished, 1, "one\n", CLOSED);
}

/// Who finds no seat reads why.
#[track_caller]
pub fn says_that_there_is_no_seat(bin: &str) {
    let room = Room::start(bin, 1, &["--max-users", "1"]);
    let mut user = Joined::start(bin, room.server.port(), &["--name", "ann"]);
    let told = String::from_utf8_lossy(TOO_MANY).into_owned();
    assert_finished(&user.process.finish(), 1, &told, CLOSED);
}

/// Standard input may be a pipe, a file, nothing, or a socket.
#[track_caller]
pub fn takes_any_standard_input(bin: &str) {
    let text = speech("typed", 3000, 77);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("typed");
    std::fs::write(&path, &text).unwrap();
    let (socket, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
    let socket_text = text.clone();
    #[allow(clippy::disallowed_methods, reason = "tests have threads")]
    let writer = std::thread::spawn(move || {
        let _ = other.write_all(&socket_text);
        let _ = other.shutdown(Shutdown::Write);
        other // keeps what isn't read yet
    });
    let stdins: [(&str, Stdio, &[u8]); 4] = [
        ("a pipe", crate::server::pipe_with(text.clone()).into(), &text),
        ("a file", File::open(&path).unwrap().into(), &text),
        ("a socket", std::os::fd::OwnedFd::from(socket).into(), &text),
        ("/dev/null", File::open("/dev/null").unwrap().into(), b""),
    ];
    for (what, stdin, expected) in stdins {
        let finished = echoed(bin, stdin);
        assert_eq!(finished.status.code(), Some(0), "with {what}: {finished:?}");
        assert_bytes(what, finished.stdout.as_bytes(), expected);
    }
    drop(writer.join());
}

/// Runs `join` with this standard input against a server that sends back all it has got.
#[track_caller]
fn echoed(bin: &str, stdin: impl Into<Stdio>) -> Finished {
    let server = FakeServer::start(|mut client| {
        let heard = client.read_to_end();
        client.send(&heard);
    });
    run_with_stdin(bin, &["join", "--port", &server.port().to_string()], stdin)
}

/// What is typed at a terminal is sent line by line; Ctrl-D leaves.
#[track_caller]
pub fn takes_a_terminal(bin: &str) {
    let mut room = Room::of(bin, 2);
    let mut terminal = Terminal::start(Command::new(bin).args([
        "join",
        "--port",
        &room.server.port().to_string(),
    ]));
    terminal.types("from a terminal\n");
    room.hear(usize::MAX, "from a terminal");
    room.says(0, "to a terminal");
    terminal.wait_for("to a terminal");
    terminal.types("\u{4}"); // Ctrl-D
    let (status, seen) = terminal.finish();
    assert_eq!(status.code(), Some(0), "on a terminal, `join` printed {seen:?}");
    assert!(seen.contains("you have left the chat"), "on a terminal, `join` printed {seen:?}");
}

/// Control characters from others don't reach a terminal raw; a pipe gets them as they are.
#[track_caller]
pub fn shows_no_control_characters(bin: &str) {
    let hostile = "\u{1b}[2J\u{7}x\u{202e}y\u{9b}z\r\nplain ä\n";
    let server = FakeServer::that_sends(hostile.as_bytes().to_vec());
    let mut user = Joined::start(bin, server.port(), &[]);
    assert_finished(&user.process.finish(), 1, hostile, CLOSED);

    let mut join = Command::new(bin);
    join.args(["join", "--port", &server.port().to_string()]);
    let (_, seen) = Terminal::start(&mut join).finish();
    for raw in ["\u{1b}", "\u{7}", "\u{202e}", "\u{9b}"] {
        assert!(!seen.contains(raw), "{raw:?} has reached the terminal: {seen:?}");
    }
    assert!(seen.contains("plain ä"), "on a terminal, `join` printed {seen:?}");
}

/// The bytes that are typed travel by splice, and don't enter the client's memory.
#[track_caller]
pub fn splices_what_is_typed(bin: &str) {
    let text = speech("typed", 20_000, 50);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("typed");
    std::fs::write(&path, &text).unwrap();
    assert_spliced(bin, "a pipe", &text, crate::server::pipe_with(text.clone()));
    assert_spliced(bin, "a file", &text, File::open(Path::new(&path)).unwrap());
}

#[track_caller]
fn assert_spliced(bin: &str, what: &str, text: &[u8], stdin: impl Into<Stdio>) {
    const CALLS: &str =
        "splice,tee,read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,sendfile";
    let server = FakeServer::start(|mut client| {
        client.read_to_end();
        client.send(b"thanks\n");
    });
    let args = ["join", "--port", &server.port().to_string()];
    let Some((finished, trace)) = trace::client_with_stdin(bin, &args, CALLS, stdin) else {
        return;
    };
    assert_finished(&finished, 0, "thanks\n", LEFT);
    let to_socket = |call: &&Call| call.name == "splice" && call.arg(2).contains("TCP");
    let spliced: u64 = trace.all().iter().filter(to_socket).map(Call::bytes).sum();
    assert_eq!(spliced, text.len() as u64, "bytes spliced to the connection from {what}");
    for call in trace.calls("read,readv") {
        let typed = call.arg(0).starts_with("0<") || call.arg(0).contains("pipe:");
        assert!(!typed || call.bytes() == 0, "from {what}, `join` has read: {call:?}");
    }
}

/// Where splice says EINVAL to standard input, as it does to some, what is typed is copied.
#[track_caller]
pub fn copies_what_can_not_be_spliced(bin: &str) {
    let text = speech("typed", 5000, 50);
    let server = FakeServer::start(|mut client| {
        let heard = client.read_to_end();
        client.send(&heard);
    });
    let args = ["join", "--port", &server.port().to_string()];
    // The first splice is that from standard input: nothing else is there yet.
    let inject = ["-e", "inject=splice:error=EINVAL:when=1"];
    let stdin = crate::server::pipe_with(text.clone());
    let traced = trace::client_with(bin, &args, "splice", &inject, stdin);
    if let Some((finished, _)) = traced {
        assert_eq!(finished.status.code(), Some(0), "`join` ended with {}", finished.stderr);
        assert_bytes("what was sent", finished.stdout.as_bytes(), &text);
    }
}

/// A server that takes nothing for a while and talks meanwhile: all of that is printed, and in the
/// end nothing that was typed is lost.
#[track_caller]
pub fn listens_while_the_server_takes_nothing(bin: &str) {
    // More than all buffers hold. What is typed comes from a file, where there is always more of
    // it: from somebody who is late it would come after all was said.
    let typed = speech("typed", 16_000, 1000);
    let said = speech("said", 16_000, 1000);
    let told = said.clone();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("typed");
    std::fs::write(&path, &typed).unwrap();
    let server = FakeServer::start(move |mut client| {
        // All of that is read before anything is taken: whoever waits for the other to take
        // something waits for ever.
        client.send(&told);
        let heard = client.read_to_end();
        client.send(&heard);
    });
    let args = ["join", "--port", &server.port().to_string()];
    let finished = run_with_stdin(bin, &args, File::open(&path).unwrap());
    assert_eq!(finished.status.code(), Some(0), "`join` ended with {}", finished.stderr);
    assert_bytes("what was printed", finished.stdout.as_bytes(), &[said, typed].concat());
}

/// With nothing to do it sleeps, also with something typed that the server doesn't take.
#[track_caller]
pub fn sleeps(bin: &str) {
    let room = Room::of(bin, 1);
    let ann = Joined::start(bin, room.server.port(), &[]);
    wait_for("the server to accept `join`", limit(), || {
        tcp::accepted(room.server.port()).len() == 2
    });
    habits::all_sleep(|| vec![ann.process.pid()]);

    let (stop, go_on) = std::sync::mpsc::channel();
    let server = FakeServer::start(move |mut client| {
        let _ = go_on.recv();
        let heard = client.read_to_end();
        client.send(&heard);
    });
    let (stdin, mut typed) = io::pipe().expect("pipe");
    let text = speech("typed", 16_000, 1000);
    let expected = text.clone();
    #[allow(clippy::disallowed_methods, reason = "tests have threads")]
    let typist = std::thread::spawn(move || {
        let _ = typed.write_all(&text);
    });
    let mut command = Command::new(bin);
    command.args(["join", "--port", &server.port().to_string()]);
    let mut process = Process::start_with_stdin(&mut command, stdin);
    habits::all_sleep(|| vec![process.pid()]);
    let _ = stop.send(());
    let finished = process.finish();
    let _ = typist.join();
    assert_bytes("what was typed", finished.stdout.as_bytes(), &expected);
}

/// Nobody listens there; there is no such host.
#[track_caller]
pub fn reports_a_server_that_is_not_there(bin: &str) {
    let closed = ClosedPort::take();
    let port = closed.number().to_string();
    let error = habits::fails_with_one_line(bin, &["join", "--port", &port]);
    assert_eq!(error, format!("connect 127.0.0.1:{port}: connection refused"));
    let host = "no such host"; // blanks: refused without asking the network
    let error = habits::fails_with_one_line(bin, &["join", "--host", host]);
    assert!(error.contains(host), "the error doesn't name the host: {error}");
}
