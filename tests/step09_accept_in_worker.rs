//! Stage 09, accept-in-worker, from outside: workers share the listener and run programs.
//!
//! What is checked: the answers a client gets, standard output and error, the exit status, and
//! `/proc`: who holds a connection, who is left of a program, which descriptors it finds. A parent
//! or worker that is frozen (SIGSTOP) sees several things at once when it goes on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a check that fails panics"
)]

use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, is_empty, starts_with};
use serial_test::serial;

use support::habits;
use support::line::{LineClient, assert_bytes, shown};
use support::proc;
use support::programs::Programs;
use support::server::{LAST_BREATH, Server, ServerCommand, Signal, run};
use support::tcp::{self, ClosedPort, DefaultPort};
use support::trace;
use support::wait::{limit, wait_for, wait_until};

/// What nobody waits for where things are in order, and far below what would come of waiting.
const SOON: Duration = Duration::from_secs(5);

/// Limits that no test waits for: what should end sooner has another reason.
const PATIENT: [&str; 4] = ["--time-limit", "3600", "--stall-timeout", "3600"];

/// A limit that tests wait for, in seconds. A busy machine may take most of it to begin a program,
/// or to let a client send its request.
const SHORT: &str = "3";

/// No limit of that length is over before this.
const NEARLY_SHORT: Duration = Duration::from_millis(2900);

/// A program that has begun, and goes on until it is killed.
const ENDLESS: &str = "echo begun; while :; do sleep 1000; done";

fn bin() -> &'static str {
    support::program(env!("CARGO_BIN_EXE_step09-accept-in-worker"))
}

fn start(programs: &Programs, args: &[&str]) -> Server {
    Server::start(bin(), &[&["--cgi-dir", programs.path()], args].concat())
}

fn connect(server: &Server) -> LineClient {
    LineClient::connect(server.addr())
}

/// Asks for a program and returns all that comes, up to the orderly end of the connection.
#[track_caller]
fn ask(server: &Server, name: impl AsRef<[u8]>) -> Vec<u8> {
    let mut client = connect(server);
    client.send([name.as_ref(), b"\r\n"].concat());
    client.read_to_end()
}

/// Asks for a program and reads its first line: it runs.
#[track_caller]
fn begin(server: &Server, name: &str) -> LineClient {
    let mut client = connect(server);
    client.send(format!("{name}\r\n"));
    assert_bytes("the program's first line", &client.read_line(), b"begun");
    client
}

/// The whole answer is one line `error: …`.
#[track_caller]
fn assert_refusal(request: impl AsRef<[u8]>, answer: &[u8]) {
    let lines = answer.iter().filter(|&&byte| byte == b'\n').count();
    let refusal = answer.starts_with(b"error: ") && answer.ends_with(b"\n") && lines == 1;
    let asked = shown(request.as_ref());
    assert!(refusal, "\"{asked}\" was answered with \"{}\", not `error: …`", shown(answer));
    let printable = !answer[..answer.len() - 1].iter().any(u8::is_ascii_control);
    assert!(printable, "control characters come back: \"{}\"", shown(answer));
}

#[track_caller]
fn assert_serves(server: &Server) {
    assert_bytes("the output of hello", &ask(server, "hello"), b"hello\n");
}

/// Connects, and waits until a worker has accepted. Returns that worker, too.
#[track_caller]
fn connect_idle(server: &Server) -> (LineClient, i32) {
    let inodes = || tcp::accepted(server.port()).into_iter().map(|it| it.inode);
    let before: Vec<u64> = inodes().collect();
    let client = connect(server);
    let worker = wait_until("a worker to accept", limit(), || {
        assert!(proc::alive(server.pid()), "the server ended: {}", server.narration());
        let new = inodes().find(|inode| !before.contains(inode))?;
        server.workers().into_iter().find(|&worker| proc::holds_socket(worker, new))
    });
    (client, worker)
}

/// Waits until nobody can connect any more, and everybody has heard that the server leaves.
#[track_caller]
fn wait_leaving(server: &Server) {
    wait_for("new clients to be refused", limit(), || {
        let attempt = TcpStream::connect(server.addr());
        attempt.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    // The workers are told a moment later, and may have to wait for a processor before they act.
    let asleep = |&pid: &i32| proc::state(pid) == Some('S');
    wait_for("parent and workers to have done what they do at once", limit(), || {
        let parent = server.pid();
        !proc::alive(parent) || asleep(&parent) && server.workers().iter().all(asleep)
    });
}

/// The server ends with this exit status, and by then nobody is left.
#[track_caller]
fn assert_ends_with(server: &mut Server, code: i32) {
    let status = server.wait_exit(limit());
    assert_eq!(status.code(), Some(code), "how the server ended; it said:\n{}", server.narration());
    assert_eq!(proc::session(server.pid()), [], "the server ended before its workers");
}

/// The same, after a failure that it reports in one line.
#[track_caller]
fn assert_ends_with_an_error(server: &mut Server) {
    assert_ends_with(server, 1);
    wait_for("the end of standard error", limit(), || server.streams_closed());
    let narration = server.narration();
    let errors = narration.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "expected one line `error: …`, got:\n{narration}");
}

/// The processes of the server that are neither the parent nor a worker.
fn others(server: &Server) -> Vec<i32> {
    let mut pids = proc::session(server.pid());
    let workers = server.workers();
    pids.retain(|pid| *pid != server.pid() && !workers.contains(pid));
    pids
}

#[track_caller]
fn wait_no_others(server: &Server) {
    let what = "everybody but parent and workers to be gone, zombies included";
    wait_for(what, limit(), || others(server).is_empty());
}

fn run_command(server: &Server) -> Command {
    let mut command = Command::new(bin());
    command.args(["run", "--port", &server.port().to_string()]).timeout(limit());
    command
}

// Programs

#[test]
fn output_of_the_program_reaches_the_client_and_then_the_connection_ends() {
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "2"]);
    for _ in 0..10 {
        assert_serves(&server);
    }
}

#[test]
fn output_comes_while_the_program_runs() {
    let programs = Programs::new();
    programs.add("endless", ENDLESS);
    let server = start(&programs, &PATIENT);
    let _client = begin(&server, "endless");
}

#[test]
fn output_larger_than_all_buffers_arrives_whole() {
    const BYTES: usize = 30_000_000;
    let programs = Programs::new();
    programs.add("large", &format!("exec head -c {BYTES} /dev/zero"));
    let server = start(&programs, &["--workers", "1"]);
    let mut client = connect(&server);
    client.send("large\r\n");
    wait_for("the program to wait for its reader", limit(), || {
        let asleep = |&pid: &i32| proc::state(pid) == Some('S');
        let others = others(&server);
        !others.is_empty() && others.iter().all(asleep)
    });
    let answer = client.read_to_end();
    assert_eq!(answer.len(), BYTES, "bytes that came; the last: {}", tail(&answer));
    assert!(answer.iter().all(|&byte| byte == 0), "other bytes came: {}", tail(&answer));
}

fn tail(answer: &[u8]) -> String {
    shown(&answer[answer.len().saturating_sub(80)..])
}

#[test]
fn compiled_program_is_run_as_well() {
    let programs = Programs::new();
    programs.add_copy("echo", "/bin/echo");
    let server = start(&programs, &["--workers", "1"]);
    assert_bytes("the output of echo", &ask(&server, "echo"), b"\n");
}

#[test]
fn program_that_prints_nothing_is_answered_with_the_end() {
    let programs = Programs::new();
    programs.add("silent", "exit 3");
    let server = start(&programs, &["--workers", "1"]);
    assert_bytes("the output", &ask(&server, "silent"), b"");
    assert_serves(&server);
}

#[test]
fn standard_input_of_a_program_is_empty() {
    let programs = Programs::new();
    programs.add("reads", "cat; echo read");
    let server = start(&programs, &[&PATIENT[..], &["--workers", "1"]].concat());
    let mut client = connect(&server);
    client.send("reads\r\nnot for you\n");
    assert_bytes("the output", &client.read_to_end(), b"read\n");
}

#[test]
fn programs_of_many_clients_run_at_the_same_time() {
    let programs = Programs::new();
    programs.add("endless", ENDLESS);
    let server = start(&programs, &[&PATIENT[..], &["--workers", "1"]].concat());
    let _clients = [(); 10].map(|()| begin(&server, "endless"));
    assert_serves(&server);
}

#[test]
fn three_programs_come_with_the_stage() {
    let server = Server::start(bin(), &["--workers", "2"]);
    for (name, part) in [("date", ":"), ("env", "PATH="), ("count", "\n")] {
        let answer = String::from_utf8_lossy(&ask(&server, name)).into_owned();
        assert!(answer.contains(part), "{name} printed {answer:?}");
    }
}

// What a program finds

#[test]
fn environment_of_the_server_is_not_that_of_a_program() {
    let programs = Programs::new();
    programs.add("env", "exec env");
    let args = ["--cgi-dir", programs.path(), "--workers", "1"];
    let server = ServerCommand::new(bin()).args(&args).env("LAB_SECRET", "4711").start();
    let environment = String::from_utf8_lossy(&ask(&server, "env")).into_owned();
    assert!(environment.contains("PATH=/"), "no PATH: {environment:?}");
    for name in ["LAB_SECRET", "HOME=", "USER=", "CARGO", "LD_"] {
        assert!(!environment.contains(name), "{name} is there: {environment}");
    }
}

#[test]
fn program_inherits_no_descriptor_of_its_worker() {
    let programs = Programs::new();
    programs.add("descriptors", "exec ls -l /proc/self/fd");
    let server = start(&programs, &["--workers", "1"]);
    let _others = [(); 5].map(|()| connect_idle(&server));
    let listing = String::from_utf8_lossy(&ask(&server, "descriptors")).into_owned();
    let own = format!("{}/descriptors", programs.path()); // how a script is read
    for line in listing.lines().filter(|line| line.contains(" -> ")) {
        let (before, target) = line.split_once(" -> ").unwrap();
        let number = before.rsplit(' ').next().unwrap_or_default();
        let standard = ["0", "1", "2"].contains(&number);
        let fine = standard || target == own || target.starts_with("/proc/");
        assert!(fine, "a program finds {number} -> {target}:\n{listing}");
    }
    assert!(listing.contains(" 1 -> socket:"), "standard output is no socket:\n{listing}");
}

#[test]
fn program_finds_no_signal_ignored_or_blocked() {
    let programs = Programs::new();
    programs.add("signals", "exec grep -E '^Sig(Blk|Ign)' /proc/self/status");
    let server = start(&programs, &["--workers", "1"]);
    let signals = String::from_utf8_lossy(&ask(&server, "signals")).into_owned();
    const STANDARD: u64 = (1 << 31) - 1; // the real-time signals may come ignored from anywhere
    let set = |word: &str| u64::from_str_radix(word, 16).map(|set| set & STANDARD).ok();
    let sets: Vec<u64> = signals.split_whitespace().filter_map(set).collect();
    assert_eq!(sets, [0, 0], "blocked and ignored signals of a program:\n{signals}");
}

// Requests

#[test]
fn request_may_come_byte_by_byte() {
    let programs = Programs::new();
    let server = start(&programs, &[&PATIENT[..], &["--workers", "1"]].concat());
    let mut client = connect(&server);
    for (count, byte) in (1..).zip(b"hello\r\n") {
        client.send([*byte]);
        if count < 7 {
            tcp::wait_all_read(server.port(), 1);
        }
    }
    assert_bytes("the output of hello", &client.read_to_end(), b"hello\n");
}

#[test]
fn what_follows_the_request_is_ignored_and_costs_nothing() {
    let programs = Programs::new();
    programs.add("waits", &waits_for(&programs));
    let server = start(&programs, &[&PATIENT[..], &["--workers", "1"]].concat());
    for length in [1, 100, 100_000] {
        let mut client = connect(&server);
        client.send([b"waits\r\n", &b"x".repeat(length)[..]].concat());
        assert_bytes("the program's first line", &client.read_line(), b"begun");
        client.send("\r\nhello\r\n"); // it runs: nobody reads this any more
        fs::write(programs.notes(), "").unwrap();
        assert_bytes("the rest of the output", &client.read_to_end(), b"done\n");
        fs::remove_file(programs.notes()).unwrap();
    }
}

#[test]
fn client_that_has_said_all_gets_its_answer() {
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "1"]);
    let mut client = connect(&server);
    client.send("hello\r\n");
    client.half_close();
    assert_bytes("the output of hello", &client.read_to_end(), b"hello\n");
}

#[test]
fn request_without_its_end_is_refused() {
    let programs = Programs::new();
    let server = start(&programs, &[&PATIENT[..], &["--workers", "1"]].concat());
    for part in ["hello", "hello\r", "hello\n", "\r"] {
        let mut client = connect(&server);
        client.send(part);
        client.half_close();
        assert_refusal(part, &client.read_to_end());
    }
    assert_serves(&server);
}

#[test]
fn longest_request_is_1023_bytes() {
    let programs = Programs::new();
    let server = start(&programs, &[&PATIENT[..], &["--workers", "1"]].concat());
    let name = "a".repeat(1023);
    assert_refusal(&name, &ask(&server, &name)); // there is no such program
    // Nobody has to wait for the end of what is too long anyway.
    for length in [1025, 1026, 5000, 100_000] {
        let mut client = connect(&server);
        client.send("a".repeat(length));
        assert_refusal(format!("{length} bytes"), &client.read_to_end());
    }
    for length in [1024, 1025, 5000] {
        let name = "a".repeat(length);
        assert_refusal(format!("{length} bytes, complete"), &ask(&server, name));
    }
    assert_serves(&server);
}

#[test]
fn request_of_bytes_without_meaning_is_refused() {
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "1"]);
    let workers = server.wait_workers(1);
    for byte in (0..=255).filter(|byte| !b"\r\n".contains(byte)) {
        let name = [byte; 3];
        assert_refusal(name, &ask(&server, name));
    }
    assert_eq!(server.workers(), workers, "a worker died of it");
}

#[test]
fn slow_request_is_given_up_and_holds_up_nobody() {
    let programs = Programs::new();
    let args = ["--workers", "1", "--stall-timeout", SHORT, "--time-limit", "3600"];
    let server = start(&programs, &args);
    let begin = Instant::now();
    let mut silent = connect(&server);
    let mut slow = connect(&server);
    slow.send("hel");
    for _ in 0..5 {
        assert_serves(&server);
    }
    for (client, sent) in [(&mut silent, ""), (&mut slow, "hel")] {
        assert_refusal(sent, &client.read_to_end());
    }
    let took = begin.elapsed();
    assert!(took >= NEARLY_SHORT, "--stall-timeout {SHORT} was over after {took:?}");
}

#[test]
fn request_has_five_seconds_whatever_trickles_in() {
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "1"]);
    let begin = Instant::now();
    let mut client = connect(&server);
    let answer = wait_until("the slow request to be refused", limit(), || {
        let _ = client.send_what_fits(b"x", SOON);
        let closed = tcp::accepted(server.port()).is_empty() && begin.elapsed() > SOON / 5;
        std::thread::sleep(Duration::from_millis(100)); // a slow client
        (closed || begin.elapsed() > 2 * SOON).then(|| client.wait_closed())
    });
    let took = begin.elapsed();
    let five = Duration::from_millis(4900)..Duration::from_secs(9);
    assert!(five.contains(&took), "given up after {took:?} instead of 5 s");
    assert_refusal("xxx", &answer);
}

// Whatever is not a program of the directory

#[test]
fn nothing_but_a_program_of_the_directory_is_run() {
    let programs = Programs::new();
    let traps = programs.add_traps();
    let server = start(&programs, &["--workers", "2"]);
    let workers = server.wait_workers(2);
    for name in &traps {
        assert_refusal(name, &ask(&server, name));
        assert!(!programs.is_trapped(), "\"{}\" was run", shown(name.as_bytes()));
    }
    assert_eq!(server.workers(), workers, "a worker died of it");
    assert_serves(&server);
}

#[test]
fn directory_is_the_one_of_the_start_wherever_its_path_leads_later() {
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "1"]);
    assert_serves(&server);
    fs::rename(programs.path(), format!("{}.moved", programs.path())).unwrap();
    let decoy = Programs::new();
    decoy.add("hello", "echo decoy");
    fs::rename(decoy.path(), programs.path()).unwrap();
    assert_serves(&server);
}

#[test]
fn file_that_cannot_be_run_is_refused() {
    let programs = Programs::new();
    let nonsense = format!("{}/nonsense", programs.path());
    fs::copy(format!("{}/hello", programs.path()), &nonsense).unwrap();
    fs::write(&nonsense, "neither a script nor a binary\n").unwrap();
    let lost = format!("{}/lost", programs.path());
    fs::copy(&nonsense, &lost).unwrap();
    fs::write(&lost, "#!/no/such/interpreter\n").unwrap();
    let server = start(&programs, &["--workers", "1"]);
    for name in ["nonsense", "lost"] {
        assert_refusal(name, &ask(&server, name));
    }
    assert_serves(&server);
}

// Who accepts

#[test]
fn workers_take_clients_in_turn() {
    const WORKERS: usize = 4;
    const ROUNDS: usize = 3;
    let programs = Programs::new();
    let server = start(&programs, &[&PATIENT[..], &["--workers", "4"]].concat());
    let workers = server.wait_workers(WORKERS);
    let mut takers = Vec::new();
    // A worker that the machine lets wait for too long loses its client to the next one, and the
    // turns go on from there: then they get another chance.
    for _ in 0..10 {
        let clients: Vec<_> = (0..ROUNDS * WORKERS).map(|_| connect_idle(&server)).collect();
        takers = clients.iter().map(|&(_, worker)| worker).collect();
        let mut first = takers[..WORKERS].to_vec();
        first.sort_unstable();
        if first == workers && takers == takers[..WORKERS].repeat(ROUNDS) {
            return;
        }
    }
    panic!("the workers are {workers:?}, but did not take clients in turn: {takers:?}");
}

#[test]
fn parent_never_holds_a_connection() {
    let programs = Programs::new();
    let server = start(&programs, &PATIENT);
    let _clients = [(); 5].map(|()| connect_idle(&server));
    for connection in tcp::accepted(server.port()) {
        assert!(!proc::holds_socket(server.pid(), connection.inode), "the parent accepts");
    }
}

#[test]
fn clients_of_one_instant_are_all_accepted() {
    const CLIENTS: usize = 100;
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "1", "--stall-timeout", "3600"]);
    assert_serves(&server);
    // The parent hears of them as one event, or as a few.
    server.freeze(server.pid());
    let mut clients: Vec<LineClient> = (0..CLIENTS).map(|_| connect(&server)).collect();
    for client in &mut clients {
        client.send("nosuch\r\n");
    }
    server.signal(server.pid(), Signal::SIGCONT);
    let begin = Instant::now();
    for client in &mut clients {
        assert_refusal("nosuch", &client.read_to_end());
    }
    let took = begin.elapsed();
    assert!(took < SOON, "the last of {CLIENTS} clients of one instant was served after {took:?}");
}

#[test]
fn two_clients_of_one_instant_are_both_served() {
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "1"]);
    for _ in 0..50 {
        let mut clients = [connect(&server), connect(&server)];
        for client in &mut clients {
            client.send("hello\r\n");
        }
        for client in &mut clients {
            assert_bytes("the output of hello", &client.read_to_end(), b"hello\n");
        }
    }
}

#[test]
fn worker_has_many_clients_at_once() {
    let programs = Programs::new();
    let server = start(&programs, &[&PATIENT[..], &["--workers", "1"]].concat());
    let mut clients: Vec<LineClient> = (0..100).map(|_| connect(&server)).collect();
    for client in &mut clients {
        client.send("hel");
    }
    assert_serves(&server);
    habits::sleeps_when_idle(&server);
    for client in &mut clients {
        client.send("lo\r\n");
    }
    for client in clients.iter_mut().rev() {
        assert_bytes("the output of hello", &client.read_to_end(), b"hello\n");
    }
}

#[test]
fn clients_that_leave_harm_nobody() {
    let programs = Programs::new();
    programs.add("endless", ENDLESS);
    programs.add("yes", "exec yes");
    let args = ["--workers", "2", "--time-limit", SHORT, "--stall-timeout", "3600"];
    let server = start(&programs, &args);
    let workers = server.wait_workers(2);
    for round in 0..30 {
        let mut client = connect(&server);
        match round % 6 {
            0 => drop(client),
            1 => client.reset(),
            2 => client.send("hel"),
            3 => {
                client.send("hello\r\n");
                client.reset();
            }
            4 => client.send("yes\r\n"),
            _ => begin(&server, "endless").reset(),
        }
    }
    assert_serves(&server);
    wait_no_others(&server);
    assert_eq!(server.workers(), workers, "a worker died of it");
}

#[test]
fn program_whose_reader_has_left_dies_of_it() {
    let programs = Programs::new();
    programs.add("yes", "exec yes begun");
    let server = start(&programs, &PATIENT);
    drop(begin(&server, "yes"));
    wait_no_others(&server); // SIGPIPE: nothing else would end it
}

#[test]
fn worker_without_a_number_left_for_a_descriptor_serves_again_later() {
    let programs = Programs::new();
    let server = start(&programs, &[&PATIENT[..], &["--workers", "1"]].concat());
    let worker = server.wait_workers(1)[0];
    assert_serves(&server);
    wait_no_others(&server);
    let before = proc::limit_descriptors(worker, proc::next_fd(worker)).expect("it lives");
    let mut clients = [connect(&server), connect(&server)];
    for client in &mut clients {
        client.send("hello\r\n");
    }
    habits::sleeps_when_idle(&server);
    let _ = proc::limit_descriptors(worker, before);
    for client in &mut clients {
        assert_bytes("the output of hello", &client.read_to_end(), b"hello\n");
    }
}

// Workers that die

#[test]
fn dead_worker_is_skipped_and_not_replaced() {
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "3"]);
    let workers = server.wait_workers(3);
    server.kill(workers[1]);
    server.wait_reaped(workers[1]);
    let begin = Instant::now();
    for _ in 0..300 {
        assert_refusal("nosuch", &ask(&server, "nosuch"));
    }
    let took = begin.elapsed();
    assert!(took < SOON, "300 clients took {took:?}: some were given to the dead worker");
    // A worker that the machine lets wait for too long loses its turns to the other one.
    let mut takers = Vec::new();
    wait_for("both of the others to take clients", limit(), || {
        takers.push(connect_idle(&server).1);
        takers.contains(&workers[0]) && takers.contains(&workers[2])
    });
    assert_eq!(server.workers(), [workers[0], workers[2]], "who is left");
}

#[test]
fn client_of_a_worker_that_died_before_it_accepted_is_served_by_the_next() {
    let programs = Programs::new();
    for _ in 0..3 {
        let server = start(&programs, &["--workers", "2"]);
        let workers = server.wait_workers(2);
        // Both are told while they stand still; then one of them dies.
        server.freeze(workers[0]);
        server.freeze(workers[1]);
        let mut clients = [connect(&server), connect(&server), connect(&server)];
        for client in &mut clients {
            client.send("hello\r\n");
        }
        server.kill(workers[0]);
        server.wait_reaped(workers[0]);
        server.signal(workers[1], Signal::SIGCONT);
        for client in &mut clients {
            assert_bytes("the output of hello", &client.read_to_end(), b"hello\n");
        }
    }
}

#[test]
fn worker_that_stands_still_holds_up_its_own_clients_only() {
    let programs = Programs::new();
    let server = start(&programs, &[&PATIENT[..], &["--workers", "2"]].concat());
    let (mut own, frozen) = connect_idle(&server);
    server.freeze(frozen);
    own.send("hello\r\n");
    for _ in 0..10 {
        assert_serves(&server);
    }
    server.signal(frozen, Signal::SIGCONT);
    assert_bytes("the output of hello", &own.read_to_end(), b"hello\n");
}

#[test]
fn server_ends_with_an_error_when_no_worker_is_left() {
    let programs = Programs::new();
    let mut server = start(&programs, &["--workers", "3"]);
    for worker in server.wait_workers(3) {
        server.kill(worker);
    }
    assert_ends_with_an_error(&mut server);
}

#[test]
fn workers_that_die_in_one_instant_are_all_noticed() {
    let programs = Programs::new();
    let mut server = start(&programs, &["--workers", "4"]);
    let workers = server.wait_workers(4);
    server.kill_in_one_instant(&workers[..3]);
    for &worker in &workers[..3] {
        server.wait_reaped(worker);
    }
    assert_serves(&server);
    server.kill(workers[3]);
    assert_ends_with_an_error(&mut server);
}

#[test]
fn killed_worker_takes_its_programs_along() {
    let programs = Programs::new();
    programs.add("endless", ENDLESS);
    let server = start(&programs, &[&PATIENT[..], &["--workers", "2"]].concat());
    let mut client = begin(&server, "endless");
    let is_its_worker = |worker: &i32| !proc::children(*worker).is_empty();
    let worker = server.workers().into_iter().find(is_its_worker).expect("who runs it");
    server.kill(worker);
    server.wait_reaped(worker);
    client.wait_closed();
    wait_no_others(&server);
    assert_serves(&server);
}

// What is left of a program

#[test]
fn nobody_keeps_anything_of_1000_requests() {
    let programs = Programs::new();
    programs.add_copy("true", "/bin/true");
    let server = start(&programs, &["--workers", "3", "--quiet"]);
    let family = [server.wait_workers(3), vec![server.pid()]].concat();
    assert_serves(&server);
    wait_no_others(&server);
    server.wait_all_asleep(); // a newborn hasn't opened yet what it needs
    let before: Vec<usize> = family.iter().map(|&pid| proc::fds(pid).len()).collect();
    for _ in 0..100 {
        let mut clients = [(); 10].map(|()| connect(&server));
        for client in &mut clients {
            client.send("true\r\n");
        }
        for client in &mut clients {
            assert_bytes("the output of true", &client.read_to_end(), b"");
        }
    }
    wait_no_others(&server);
    for (pid, before) in family.into_iter().zip(before) {
        habits::gives_back_descriptors(pid, before);
    }
    assert_eq!(server.workers().len(), 3, "a worker died of it");
}

#[test]
fn connection_ends_with_the_program_although_a_child_of_it_goes_on() {
    let programs = Programs::new();
    programs.add("leaves", "sleep 1000 & echo gone");
    let server = start(&programs, &PATIENT);
    assert_bytes("the output", &ask(&server, "leaves"), b"gone\n");
    wait_no_others(&server);
}

#[test]
fn program_is_killed_at_its_time_limit_with_all_its_children() {
    let programs = Programs::new();
    programs.add("endless", &format!("sleep 1000 & {ENDLESS}"));
    let server = start(&programs, &["--workers", "1", "--time-limit", SHORT]);
    let begin_at = Instant::now();
    let mut client = begin(&server, "endless");
    client.expect_end();
    let took = begin_at.elapsed();
    assert!(took >= NEARLY_SHORT, "--time-limit {SHORT} was over after {took:?}");
    wait_no_others(&server);
    assert_serves(&server);
}

#[test]
fn program_that_never_stops_writing_is_killed_at_its_time_limit() {
    let programs = Programs::new();
    programs.add("yes", "exec yes begun");
    let server = start(&programs, &["--workers", "1", "--time-limit", SHORT]);
    let mut client = begin(&server, "yes"); // and then doesn't read
    assert_serves(&server);
    wait_no_others(&server);
    let _ = client.read_to_end();
}

#[test]
fn program_that_heeds_no_signal_is_killed_at_its_time_limit() {
    let programs = Programs::new();
    programs.add("stubborn", &format!("trap '' HUP INT TERM PIPE USR1; {ENDLESS}"));
    let server = start(&programs, &["--workers", "1", "--time-limit", SHORT]);
    begin(&server, "stubborn").expect_end();
    wait_no_others(&server);
}

#[test]
fn killed_parent_takes_workers_and_programs_along() {
    let programs = Programs::new();
    programs.add("endless", &format!("sleep 1000 & {ENDLESS}"));
    let server = start(&programs, &[&PATIENT[..], &["--workers", "3"]].concat());
    let mut clients = [(); 5].map(|()| begin(&server, "endless"));
    let _idle = connect_idle(&server);
    habits::takes_workers_along(server, Signal::SIGKILL);
    for client in &mut clients {
        client.wait_closed();
    }
}

#[test]
fn killed_parent_takes_idle_workers_along() {
    let programs = Programs::new();
    habits::takes_workers_along(start(&programs, &["--workers", "16"]), Signal::SIGKILL);
}

// Leaving

#[test]
fn idle_server_leaves_at_once() {
    let programs = Programs::new();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = start(&programs, &[&PATIENT[..], &["--workers", "4"]].concat());
        assert_serves(&server);
        server.signal(server.pid(), signal);
        assert_ends_with(&mut server, 0);
        assert_eq!(server.output(), format!("{}\n", server.first_line()));
    }
}

#[test]
fn leaving_is_narrated() {
    let programs = Programs::new();
    let mut server = start(&programs, &["--workers", "2"]);
    server.signal(server.pid(), Signal::SIGTERM);
    assert_ends_with(&mut server, 0);
    wait_for("the end of standard error", limit(), || server.streams_closed());
    let narration = server.narration();
    for child in ["child 0 joined", "child 1 joined"] {
        assert!(narration.contains(child), "no word of {child:?}:\n{narration}");
    }
}

/// Prints a line, waits until a file is there, and prints the last line.
fn waits_for(programs: &Programs) -> String {
    let file = programs.notes();
    format!("echo begun; while ! [ -e '{}' ]; do sleep 0.05; done; echo done", file.display())
}

#[test]
fn program_under_way_is_finished() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let programs = Programs::new();
        programs.add("waits", &waits_for(&programs));
        let mut server = start(&programs, &[&PATIENT[..], &["--workers", "2"]].concat());
        let mut clients = [(); 3].map(|()| begin(&server, "waits"));
        server.signal(server.pid(), signal);
        wait_leaving(&server);
        fs::write(programs.notes(), "").unwrap();
        for client in &mut clients {
            assert_bytes("the rest of the output", &client.read_to_end(), b"done\n");
        }
        assert_ends_with(&mut server, 0);
    }
}

#[test]
fn request_half_received_is_finished() {
    let programs = Programs::new();
    let mut server = start(&programs, &[&PATIENT[..], &["--workers", "2"]].concat());
    let mut clients = [connect_idle(&server).0, connect_idle(&server).0];
    clients[0].send("hel");
    tcp::wait_all_read(server.port(), 2);
    server.signal(server.pid(), Signal::SIGTERM);
    wait_leaving(&server);
    clients[0].send("lo\r\n");
    clients[1].send("hello\r\n");
    for client in &mut clients {
        assert_bytes("the output of hello", &client.read_to_end(), b"hello\n");
    }
    assert_ends_with(&mut server, 0);
}

#[test]
fn what_takes_too_long_does_not_hold_up_the_end() {
    let programs = Programs::new();
    programs.add("endless", ENDLESS);
    let args = ["--workers", "2", "--time-limit", SHORT, "--stall-timeout", SHORT];
    let mut server = start(&programs, &args);
    let _clients = [connect_idle(&server).0, begin(&server, "endless")];
    server.signal(server.pid(), Signal::SIGTERM);
    assert_ends_with(&mut server, 0);
}

#[test]
#[serial]
fn ctrl_c_for_the_whole_group_cuts_no_program_short() {
    let programs = Programs::new();
    programs.add("waits", &waits_for(&programs));
    let mut server = start(&programs, &[&PATIENT[..], &["--workers", "3"]].concat());
    let mut clients = [(); 3].map(|()| begin(&server, "waits"));
    server.signal(-server.pid(), Signal::SIGINT);
    wait_leaving(&server);
    fs::write(programs.notes(), "").unwrap();
    for client in &mut clients {
        assert_bytes("the rest of the output", &client.read_to_end(), b"done\n");
    }
    assert_ends_with(&mut server, 0);
}

#[test]
fn second_signal_kills_what_is_left() {
    let programs = Programs::new();
    programs.add("endless", &format!("sleep 1000 & {ENDLESS}"));
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = start(&programs, &[&PATIENT[..], &["--workers", "3"]].concat());
        let mut client = begin(&server, "endless");
        server.signal(server.pid(), Signal::SIGTERM);
        wait_leaving(&server);
        wait_for("the idle workers to leave and the parent to wait", limit(), || {
            server.workers().len() == 1 && proc::state(server.pid()) == Some('S')
        });
        server.signal(server.pid(), second);
        assert_ends_with_an_error(&mut server);
        client.wait_closed();
    }
}

#[test]
fn server_leaves_well_after_a_worker_has_died() {
    let programs = Programs::new();
    let mut server = start(&programs, &[&PATIENT[..], &["--workers", "3"]].concat());
    let workers = server.wait_workers(3);
    server.kill(workers[2]);
    server.wait_reaped(workers[2]);
    server.signal(server.pid(), Signal::SIGTERM);
    assert_ends_with(&mut server, 0);
}

#[test]
fn port_is_free_while_the_last_program_is_finished() {
    let programs = Programs::new();
    programs.add("waits", &waits_for(&programs));
    let mut old = start(&programs, &[&PATIENT[..], &["--workers", "2"]].concat());
    let mut client = begin(&old, "waits");
    old.signal(old.pid(), Signal::SIGTERM);
    wait_leaving(&old);
    let new = start(&programs, &["--workers", "1", "--port", &old.port().to_string()]);
    assert_serves(&new);
    fs::write(programs.notes(), "").unwrap();
    assert_bytes("the rest of the output", &client.read_to_end(), b"done\n");
    assert_ends_with(&mut old, 0);
}

#[test]
fn signal_right_after_the_first_line_is_obeyed() {
    let programs = Programs::new();
    for round in 0..20 {
        let workers = ["1", "2", "16"][round % 3];
        let mut server = start(&programs, &["--workers", workers]);
        server.signal(server.pid(), [Signal::SIGTERM, Signal::SIGINT][round % 2]);
        assert_ends_with(&mut server, 0);
    }
}

#[test]
fn burst_of_signals_leaves_nobody() {
    let programs = Programs::new();
    programs.add("waits", &waits_for(&programs));
    let mut server = start(&programs, &[&PATIENT[..], &["--workers", "5"]].concat());
    let mut client = begin(&server, "waits");
    for _ in 0..50 {
        server.signal(server.pid(), Signal::SIGTERM);
        server.signal(server.pid(), Signal::SIGINT);
    }
    fs::write(programs.notes(), "").unwrap(); // for a server that took all of them for one
    server.wait_exit(limit());
    server.wait_nobody_left(LAST_BREATH);
    client.wait_closed();
}

// Parents and workers with nothing to do

#[test]
fn nobody_works_while_nothing_happens() {
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "3"]);
    habits::sleeps_when_idle(&server);
    for _ in 0..5 {
        assert_serves(&server);
    }
    let _clients = [connect_idle(&server), connect_idle(&server)];
    habits::sleeps_when_idle(&server);
}

#[test]
fn nobody_works_while_a_program_runs() {
    let programs = Programs::new();
    programs.add("endless", ENDLESS);
    let server = start(&programs, &[&PATIENT[..], &["--workers", "2"]].concat());
    let mut client = begin(&server, "endless");
    client.send("more"); // nobody is interested
    habits::all_sleep(|| proc::session(server.pid()));
}

#[test]
fn nobody_works_while_the_server_leaves() {
    let programs = Programs::new();
    programs.add("endless", ENDLESS);
    let server = start(&programs, &[&PATIENT[..], &["--workers", "2"]].concat());
    let _client = begin(&server, "endless");
    server.signal(server.pid(), Signal::SIGTERM);
    wait_leaving(&server);
    habits::sleeps_when_idle(&server);
}

#[test]
fn nobody_works_after_a_worker_has_died() {
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "3"]);
    let worker = server.wait_workers(3)[0];
    server.kill(worker);
    server.wait_reaped(worker);
    habits::sleeps_when_idle(&server);
}

#[test]
fn parent_is_not_woken_again_and_again_while_a_client_waits() {
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "2"]);
    let workers = server.wait_workers(2);
    for &worker in &workers {
        server.freeze(worker);
    }
    let mut client = connect(&server);
    client.send("hello\r\n");
    habits::all_sleep(|| vec![server.pid()]);
    for &worker in &workers {
        server.signal(worker, Signal::SIGCONT);
    }
    assert_bytes("the output of hello", &client.read_to_end(), b"hello\n");
}

#[test]
fn server_survives_being_stopped_and_continued() {
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "2"]);
    let workers = server.wait_workers(2);
    for pid in [vec![server.pid()], workers.clone()].concat() {
        server.freeze(pid);
        server.signal(pid, Signal::SIGCONT);
        assert_serves(&server);
    }
    assert_eq!(server.workers(), workers, "nobody died of it");
}

#[test]
fn nobody_but_the_parent_and_its_workers_is_there() {
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "3"]);
    habits::is_parent_and_workers(&server, 3);
    assert_serves(&server);
    wait_no_others(&server);
}

#[test]
fn workers_hold_no_channel_but_their_own() {
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "5"]);
    let workers = server.wait_workers(5);
    habits::closes_on_exec(&server);
    let shared = |a: i32, b: i32| {
        let its = proc::sockets(b);
        proc::sockets(a).iter().filter(|it| its.contains(it)).count()
    };
    // A worker is born with all that its parent has. What it wants none of it closes right then,
    // which may be a while after the server has said that it listens.
    for &worker in &workers {
        for &other in workers.iter().filter(|&&other| other != worker) {
            let what = format!("{worker} and {other} to share no more than the listener");
            wait_for(&what, limit(), || shared(worker, other) <= 1);
        }
        let what = format!("{worker} to have no ends of channels that are the parent's");
        wait_for(&what, limit(), || shared(worker, server.pid()) <= 1);
    }
}

#[test]
fn parent_tells_by_the_channel_and_only_the_workers_accept() {
    let programs = Programs::new();
    let calls = "accept,accept4,sendmsg,recvmsg";
    let args = ["--cgi-dir", programs.path(), "--workers", "2"];
    let Some((server, trace)) = trace::server(bin(), &args, calls) else { return };
    for _ in 0..4 {
        assert_serves(&server);
    }
    let accepted: Vec<i32> = trace
        .calls("accept,accept4")
        .into_iter()
        .filter(|call| call.result >= 0)
        .map(|call| call.pid)
        .collect();
    assert_eq!(accepted.len(), 4, "connections that were accepted");
    assert!(!accepted.contains(&server.pid()), "the parent accepted");
    let passes = trace.calls("sendmsg").iter().any(|call| call.args.contains("SCM_RIGHTS"));
    assert!(!passes, "a connection was passed; here the worker accepts by itself");
}

// The run command

#[test]
fn run_prints_what_the_program_prints() {
    let programs = Programs::new();
    programs.add("bytes", r"printf 'a\000b\377'");
    let server = start(&programs, &["--workers", "1"]);
    run_command(&server).arg("hello").assert().success().stdout("hello\n").stderr(is_empty());
    let output = run_command(&server).arg("bytes").assert().success();
    output.stdout(&b"a\0b\xff"[..]).stderr(is_empty());
}

#[test]
fn run_prints_a_refusal_and_fails() {
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "1"]);
    let refused = run_command(&server).arg("../hello").assert().code(1);
    refused.stdout(starts_with("error: ")).stderr(starts_with("error: "));
}

#[test]
fn run_is_not_misled_by_a_program_that_speaks_of_errors() {
    let programs = Programs::new();
    programs.add("report", "echo 'error: 1'; echo 'error: 2'");
    let server = start(&programs, &["--workers", "1"]);
    run_command(&server).arg("report").assert().success().stdout("error: 1\nerror: 2\n");
}

#[test]
fn run_without_an_answer_fails() {
    let programs = Programs::new();
    programs.add("silent", "exit 0");
    let server = start(&programs, &["--workers", "1"]);
    let silent = run_command(&server).arg("silent").assert().code(1);
    silent.stdout(is_empty()).stderr(starts_with("error: "));
}

#[test]
fn run_without_a_server_is_a_clear_error() {
    let port = ClosedPort::take();
    let number = port.number().to_string();
    let error = habits::fails_with_one_line(bin(), &["run", "--port", &number, "hello"]);
    assert_eq!(error, format!("connect 127.0.0.1:{number}: connection refused"));
}

// What people and machines read

#[test]
fn narration_names_who_speaks() {
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "2"]);
    let workers = server.wait_workers(2);
    for _ in 0..3 {
        assert_serves(&server);
    }
    habits::narrates_who_speaks(&server, &workers);
}

#[test]
fn line_of_narration_is_one_write() {
    let programs = Programs::new();
    let args = ["--cgi-dir", programs.path(), "--workers", "2"];
    let Some((server, trace)) = trace::server(bin(), &args, "write,writev") else { return };
    assert_serves(&server);
    wait_no_others(&server);
    habits::narrates_in_whole_lines(&server, &trace);
}

#[test]
fn narration_tells_who_died_how() {
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "2"]);
    let worker = server.wait_workers(2)[0];
    server.kill(worker);
    wait_for("a line with the pid, `joined` and `signal 9`", limit(), || {
        let narration = server.narration();
        let pid = worker.to_string();
        let words = ["[parent pid ", &pid, "joined", "signal 9"];
        narration.lines().any(|line| words.iter().all(|word| line.contains(word)))
    });
}

#[test]
fn server_says_what_to_type_in_the_second_terminal() {
    let programs = Programs::new();
    habits::says_what_to_type(&start(&programs, &["--workers", "1"]), "run ");
}

#[test]
fn quiet_server_says_nothing_but_its_first_line() {
    let programs = Programs::new();
    let server = start(&programs, &["--workers", "2", "--quiet"]);
    assert_serves(&server);
    assert_refusal("nosuch", &ask(&server, "nosuch"));
    wait_no_others(&server);
    habits::has_been_quiet(&server);
}

#[test]
fn help_teaches() {
    let words = ["serve", "run", "demo", "--host", "--port", "--workers", "--quiet", "--cgi-dir"];
    habits::help_mentions(bin(), &words);
    habits::help_mentions(bin(), &["--time-limit", "--stall-timeout"]);
}

#[test]
fn demo_tells_and_checks_the_whole_story() {
    habits::demo_succeeds(bin());
}

// Addresses and failures

#[test]
#[serial]
fn defaults_are_those_of_the_notes() {
    let Some(_claim) = DefaultPort::claim() else { return };
    let server = ServerCommand::new(bin()).start_as_is();
    assert_eq!(server.first_line(), "listening on 127.0.0.1:8080 with 8 workers");
    server.wait_workers(8);
    let output = Command::new(bin()).args(["run", "date"]).timeout(limit()).assert().success();
    output.stdout(is_empty().not());
}

#[test]
fn serve_can_be_named() {
    let programs = Programs::new();
    let server = Server::start(bin(), &["serve", "--cgi-dir", programs.path(), "--workers", "1"]);
    assert_serves(&server);
}

#[test]
fn server_listens_on_ipv6() {
    let programs = Programs::new();
    let args = ["--workers", "2", "--cgi-dir", programs.path()];
    let Some(server) = habits::start_on_ipv6(bin(), &args) else { return };
    let port = server.port().to_string();
    let args = ["run", "--host", "::1", "--port", &port, "hello"];
    let output = Command::new(bin()).args(args).timeout(limit()).assert().success();
    output.stdout(contains("hello"));
}

#[test]
fn server_restarts_on_its_port_at_once() {
    let programs = Programs::new();
    let args = ["--workers", "2", "--cgi-dir", programs.path()];
    let server = habits::restarts_on_the_same_port(bin(), &args);
    assert_serves(&server);
}

#[test]
fn wrong_usage_exits_with_2() {
    for count in ["0", "17", "5000", "-1", "x", ""] {
        habits::refuses_usage(bin(), &["--port", "0", "--workers", count]);
    }
    for option in ["--time-limit", "--stall-timeout"] {
        for nonsense in ["-1", "soon", ""] {
            habits::refuses_usage(bin(), &["--port", "0", option, nonsense]);
        }
    }
    habits::refuses_usage(bin(), &["--port", "65536"]);
    habits::refuses_usage(bin(), &["--no-such-option"]);
    habits::refuses_usage(bin(), &["no-such-command"]);
    habits::refuses_usage(bin(), &["run"]);
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
fn directory_that_is_none_is_a_clear_error() {
    for path in ["/no/such/directory", "/etc/passwd"] {
        let error = habits::fails_with_one_line(bin(), &["--port", "0", "--cgi-dir", path]);
        assert!(error.contains(path), "the error doesn't name the directory: {error}");
    }
    let missing = run(bin(), &["--port", "0", "--cgi-dir", ""]);
    assert_ne!(missing.status.code(), Some(0), "an empty --cgi-dir: {missing:?}");
}
