//! The programs as a whole, against servers and clients that say anything.
//!
//! `PROPTEST_CASES=5000 cargo test -p under-fire --test hostile` has each stage go through as many
//! cases. A test that fails shows the smallest case it could find, and the number to draw the same
//! cases again: `PROPTEST_RNG_SEED=…`. What has to come of a case, [`oracle`] says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a check that fails panics")]

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{RngSeed, TestRunner};
use support::fake_server::{FakeConnection, FakeServer};
use support::files::{Landing, entries};
use support::line::{Answer, LineClient, assert_bytes, shown};
use support::proc;
use support::receiving::assert_failed;
use support::server::{Finished, Server, run};
use support::stage::{NAME, assert_gets_the_rest, text};
use support::wait::{limit, poll_until, wait_for};
use support::wire::Format;
use under_fire::oracle::{self, LONGEST_LINE, Sent};
use under_fire::{STAGES, Sample, Service, Stage};

/// Draws so many cases, unless the environment names another number, and puts each to the test.
#[track_caller]
fn for_cases<C: fmt::Debug>(usual: u32, any: impl Strategy<Value = C>, check: impl Fn(C)) {
    let told = env::var_os("PROPTEST_CASES").is_some();
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    config.cases = if told { config.cases } else { usual };
    config.max_shrink_time = 60_000; // ms: a case that hangs takes long
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(RandomState::new().hash_one(()));
    }
    let seed = config.rng_seed;
    let result = TestRunner::new(config).run(&any, |case| {
        check(case);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}\nthe same cases again: PROPTEST_RNG_SEED={seed:?}");
    }
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=most)
}

// --- What a server sends to `get` ---------------------------------------------------------------

/// A transfer, and what is done to it before it is sent.
#[derive(Clone, Debug)]
struct Transfer {
    name: Vec<u8>,
    size: usize,
    /// The length of its chunks, if it has some.
    chunk: usize,
    changes: Vec<Change>,
}

/// Something done to the fields of a transfer (numbers, name, bytes of the file) or to its bytes.
#[derive(Clone, Debug)]
enum Change {
    Number(Index, u64),
    Drop(Index),
    Double(Index),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index),
}

impl Transfer {
    fn stream(&self, format: Format) -> Vec<u8> {
        let mut fields = self.fields(format);
        for change in &self.changes {
            change.to_fields(&mut fields);
        }
        let mut stream = fields.concat();
        for change in &self.changes {
            change.to_bytes(&mut stream);
        }
        stream
    }

    fn fields(&self, format: Format) -> Vec<Vec<u8>> {
        let number = |number: usize| (number as u64).to_le_bytes().to_vec();
        let contents: Vec<u8> = (0_u8..251).cycle().take(self.size).collect();
        let name = self.name.clone();
        let mut fields = vec![number(name.len())];
        match format {
            Format::Header => {
                fields.extend([number(self.size), name, contents]);
                return fields;
            }
            Format::SizeAndChunks => fields.extend([name, number(8), number(self.size)]),
            Format::Chunks => fields.push(name),
        }
        for chunk in contents.chunks(self.chunk) {
            fields.extend([number(chunk.len()), chunk.to_vec()]);
        }
        fields.push(number(0));
        fields
    }
}

impl Change {
    fn to_fields(&self, fields: &mut Vec<Vec<u8>>) {
        match self {
            Self::Number(which, value) => {
                let numbers: Vec<_> = fields.iter_mut().filter(|field| field.len() == 8).collect();
                if !numbers.is_empty() {
                    let at = which.index(numbers.len());
                    numbers.into_iter().nth(at).unwrap().copy_from_slice(&value.to_le_bytes());
                }
            }
            Self::Drop(which) if !fields.is_empty() => {
                drop(fields.remove(which.index(fields.len())))
            }
            Self::Double(which) if !fields.is_empty() => {
                let at = which.index(fields.len());
                fields.insert(at, fields[at].clone());
            }
            _ => {}
        }
    }

    fn to_bytes(&self, stream: &mut Vec<u8>) {
        match self {
            Self::Flip(at, bit) if !stream.is_empty() => {
                let at = at.index(stream.len());
                stream[at] ^= 1 << (bit % 8);
            }
            Self::Insert(at, bytes) => {
                let at = at.index(stream.len() + 1);
                stream.splice(at..at, bytes.iter().copied());
            }
            Self::Cut(at) => stream.truncate(at.index(stream.len() + 1)),
            _ => {}
        }
    }
}

fn transfer() -> impl Strategy<Value = Transfer> {
    let name = prop_oneof![
        6 => Just(NAME.as_bytes().to_vec()),
        1 => prop::string::bytes_regex("(?s-u:[./\\x00a]{0,4})").unwrap(),
        1 => "\\PC{1,8}(\u{1b}\\[2J|\u{61c}|\u{202e}|\\n)?.{0,8}".prop_map(String::into_bytes),
        1 => (254..258_usize, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        1 => bytes(20),
    ];
    let size = prop_oneof![4 => 0..40_usize, 2 => 8190..8195_usize, 1 => 0..600_000_usize];
    let chunk = prop_oneof![2 => Just(8192_usize), 1 => 1..20_usize, 1 => 1..300_000_usize];
    let changes = prop_oneof![1 => Just(Vec::new()), 4 => vec(change(), 1..3)];
    (name, size, chunk, changes).prop_map(|(name, size, chunk, changes)| {
        let chunk = chunk.max(size / 4000); // a thousand chunks are as good as a million
        Transfer { name, size, chunk, changes }
    })
}

fn change() -> impl Strategy<Value = Change> {
    let limits = vec![0, 1, 7, 8, 9, 255, 256, 8192, (1 << 20) - 1, 1 << 20, (1 << 20) + 1];
    let number = prop_oneof![
        2 => select(limits),
        1 => select(vec![u32::MAX.into(), 1 << 32, i64::MAX as u64, 1 << 63, u64::MAX]),
        1 => 0..50_u64,
        1 => any::<u64>(),
    ];
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), number).prop_map(|(which, value)| Change::Number(which, value)),
        1 => at().prop_map(Change::Drop),
        1 => at().prop_map(Change::Double),
        2 => (at(), any::<u8>()).prop_map(|(at, bit)| Change::Flip(at, bit)),
        2 => (at(), bytes(20)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        3 => at().prop_map(Change::Cut),
    ]
}

/// How a stream gets to the client.
#[derive(Clone, Debug)]
struct Delivery {
    /// The length of its first packets; what is left comes in one go.
    packets: Vec<usize>,
    reset: bool,
}

fn delivery() -> impl Strategy<Value = Delivery> {
    let packets = vec(prop_oneof![1..17_usize, 1..9000_usize], 0..6);
    (packets, prop::bool::weighted(0.1)).prop_map(|(packets, reset)| Delivery { packets, reset })
}

impl Delivery {
    fn play(&self, mut client: FakeConnection, mut stream: &[u8]) {
        for &length in &self.packets {
            let (packet, rest) = stream.split_at(length.min(stream.len()));
            client.drip(packet, length, Duration::ZERO);
            stream = rest;
        }
        client.send(stream);
        if self.reset {
            client.reset();
        }
    }
}

/// Runs a client that may have this much memory and not a bit more: what it allocates beyond it
/// ends it with a signal.
fn run_with_little_memory(bin: &str, args: &[&str]) -> Finished {
    const KIB: &str = "65536";
    let script = format!("ulimit -v {KIB} && exec \"$0\" \"$@\"");
    run("sh", &[&["-c", &script, bin], args].concat())
}

/// `get` receives what there is to be received and refuses the rest.
#[track_caller]
fn gets_what_is_right(stage: Stage) {
    for_cases(48, (transfer(), delivery()), |(transfer, delivery)| {
        assert_gets(stage, transfer.stream(format_of(stage)), delivery);
    });
}

fn format_of(stage: Stage) -> Format {
    match stage.service {
        Service::File(format) => format,
        _ => panic!("{} sends no file", stage.name),
    }
}

fn assert_gets(stage: Stage, stream: Vec<u8>, delivery: Delivery) {
    let expected = oracle::file_in(format_of(stage), &stream);
    let reset = delivery.reset;
    let server = FakeServer::start(move |client| delivery.play(client, &stream));
    let landing = Landing::with_old(NAME);
    let (port, out) = (server.port().to_string(), text(landing.path()));
    let args = ["get", "--quiet", "--port", &port, "--out", out];
    let finished = run_with_little_memory(stage.bin(), &args);
    match expected {
        Some(sent) if finished.status.success() => assert_landed(&sent, landing.path(), &finished),
        // A reset overtakes what was sent before it.
        Some(_) if !reset => panic!("a right stream is refused: {finished:?}"),
        _ => {
            assert_says_one_clean_line(&finished);
            landing.assert_untouched();
        }
    }
}

/// What libFuzzer has found, read as its target `clients` reads it: stage, length of the packets,
/// stream.
#[test]
fn kept_streams_are_still_handled() {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/clients");
    for entry in fs::read_dir(kept).unwrap() {
        let input = fs::read(entry.unwrap().path()).unwrap();
        let [stage, packet, stream @ ..] = input.as_slice() else { continue };
        let packets = vec![usize::from(*packet); if *packet == 0 { 0 } else { 8 }];
        let stage = STAGES[3 + usize::from(stage % 4)];
        assert_gets(stage, stream.to_vec(), Delivery { packets, reset: false });
    }
}

fn assert_landed(sent: &Sent, out: &Path, finished: &Finished) {
    let received = fs::read(out.join(OsStr::from_bytes(&sent.name))).unwrap();
    assert_bytes("the file", &received, &sent.contents);
    let others = usize::from(sent.name != NAME.as_bytes());
    assert_eq!(entries(out).len(), 1 + others, "what is in the directory");
    let Finished { stdout, stderr, .. } = finished;
    assert_eq!((stdout.lines().count(), stderr.as_str()), (1, ""), "lines on standard output");
    assert!(!is_harmful(stdout.trim_end_matches('\n')), "raw: {stdout:?}");
}

fn assert_says_one_clean_line(finished: &Finished) {
    let error = assert_failed(finished);
    assert_eq!(finished.stderr, format!("error: {error}\n"), "standard error");
    assert!(!is_harmful(&error), "raw: {error:?}");
    assert!(finished.left_running.is_empty(), "left: {finished:?}");
}

/// Characters that move the cursor, end a line, or turn the direction of writing.
fn is_harmful(text: &str) -> bool {
    const TURNS: &str = "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\
                         \u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
    text.contains(|letter: char| letter.is_control() || TURNS.contains(letter))
}

// --- What a client sends to a server ------------------------------------------------------------

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leave {
    /// It takes all that comes.
    Well,
    /// Half-way, and orderly.
    HangUp,
    Reset,
}

fn leave() -> impl Strategy<Value = Leave> {
    prop_oneof![3 => Just(Leave::Well), 1 => Just(Leave::HangUp), 1 => Just(Leave::Reset)]
}

/// Runs of bytes: which, and how many.
fn runs() -> impl Strategy<Value = Vec<(u8, usize)>> {
    const LONG: usize = LONGEST_LINE;
    let length = prop_oneof![
        4 => 0..6_usize,
        1 => LONG - 3..LONG + 4,
        1 => 2 * LONG - 3..2 * LONG + 4,
        1 => 0..20_000_usize,
    ];
    let letter = prop_oneof![2 => Just(b'\n'), 2 => Just(b'a'), 1 => any::<u8>()];
    vec((letter, length), 0..8).prop_map(|mut runs| {
        for (letter, length) in &mut runs {
            *length = if *letter == b'\n' { (*length).min(4) } else { *length };
        }
        runs
    })
}

fn unpacked(runs: &[(u8, usize)]) -> Vec<u8> {
    runs.iter().flat_map(|&(byte, count)| vec![byte; count]).collect()
}

/// A server and what it has once it is at rest.
fn at_rest(stage: Stage, sample: &Sample) -> (Server, Vec<(i32, usize)>) {
    let server = stage.serve(sample.file(), &["--workers", "2", "--quiet"]);
    wait_for("the workers to sleep", limit(), || {
        server.workers().into_iter().all(|pid| proc::state(pid) == Some('S'))
    });
    let holdings = holdings(&server);
    (server, holdings)
}

/// Its processes and how many descriptors each has.
fn holdings(server: &Server) -> Vec<(i32, usize)> {
    let family = [vec![server.pid()], server.workers()].concat();
    family.into_iter().map(|pid| (pid, proc::fds(pid).len())).collect()
}

/// After all these clients the server is what it was: the same workers, no descriptor more.
#[track_caller]
fn assert_as_before(stage: Stage, server: &Server, sample: &Sample, before: &[(i32, usize)]) {
    stage.assert_serves(server, sample.file());
    let settled = poll_until(limit(), || (holdings(server) == before).then_some(()));
    if settled.is_none() {
        let (pid, now) = (server.pid(), holdings(server));
        panic!("pids, descriptors: {now:?}, before: {before:?}; the parent: {:?}", proc::fds(pid));
    }
}

/// Whatever a client sends, and however: its lines are answered, in order.
#[track_caller]
fn answers_any_lines(stage: Stage) {
    let sample = Sample::of(1);
    let (server, before) = at_rest(stage, &sample);
    let packets = vec(1..9000_usize, 0..6);
    for_cases(48, (runs(), packets, leave()), |(runs, packets, leave)| {
        let input = unpacked(&runs);
        let mut client = LineClient::connect(server.addr());
        let mut rest = input.as_slice();
        for length in packets {
            let (packet, behind) = rest.split_at(length.min(rest.len()));
            client.send(packet);
            rest = behind;
        }
        client.send(rest);
        match leave {
            Leave::Reset => client.reset(),
            Leave::HangUp => {}
            Leave::Well => {
                client.half_close();
                assert_answers(&client.read_to_end(), &input);
            }
        }
    });
    assert_as_before(stage, &server, &sample, &before);
}

fn assert_answers(came: &[u8], input: &[u8]) {
    let lines = came.split_inclusive(|&byte| byte == b'\n');
    let texts = lines.map(|line| {
        let answer = line.strip_suffix(b"\n").and_then(Answer::parse);
        answer.unwrap_or_else(|| panic!("no answer: {}", shown(line))).text
    });
    let (came, expected): (Vec<_>, _) = (texts.collect(), oracle::answers_to(input));
    for (number, (text, expected)) in came.iter().zip(&expected).enumerate() {
        assert_bytes(&format!("answer {number}"), text, expected);
    }
    assert_eq!(came.len(), expected.len(), "answers");
}

/// Whatever a client says, it gets the file; however it leaves, the next one does too.
#[track_caller]
fn sends_its_file_to_anybody(stage: Stage) {
    let sample = Sample::of(8_000_000); // more than the kernel holds for a client that doesn't read
    let file = stage.of_files().unwrap();
    let (server, before) = at_rest(stage, &sample);
    for_cases(12, (runs(), 0..100_000_usize, leave()), |(runs, taken, leave)| {
        let mut client = file.connect(server.addr());
        client.send(&unpacked(&runs));
        match leave {
            Leave::Well => drop(assert_gets_the_rest(client, sample.file())),
            Leave::HangUp => {
                client.take(taken);
                client.hang_up();
            }
            Leave::Reset => {
                client.take(taken);
                client.reset();
            }
        }
    });
    assert_as_before(stage, &server, &sample, &before);
}

/// `echo` prints what comes, and says so if that is less than it asked for.
#[track_caller]
fn echo_prints_any_answer(stage: Stage) {
    for_cases(24, (runs(), prop::bool::weighted(0.1)), |(runs, reset)| {
        let answer = unpacked(&runs);
        let bytes = answer.clone();
        let server = FakeServer::start(move |mut client| {
            client.wait_for_lines(1);
            client.send(&bytes);
            if reset {
                client.reset();
            }
        });
        let port = server.port().to_string();
        let finished = run_with_little_memory(stage.bin(), &["echo", "--port", &port, "hello"]);
        if reset && !finished.status.success() || !answer.contains(&b'\n') {
            assert_eq!(finished.status.code(), Some(1), "{finished:?}");
            assert_eq!(finished.stderr, "error: connection closed after 0 of 1 answers\n");
        } else {
            assert!(finished.status.success() && finished.stderr.is_empty(), "{finished:?}");
        }
        if !reset {
            assert_eq!(finished.stdout, String::from_utf8_lossy(&answer), "what is printed");
        }
    });
}

#[test]
fn status_prints_whatever_comes_and_says_if_it_is_cut_short() {
    for_cases(24, (runs(), prop::bool::weighted(0.1)), |(runs, reset)| {
        let table = unpacked(&runs);
        let bytes = table.clone();
        let server = FakeServer::start(move |mut client| {
            client.send(&bytes);
            if reset {
                client.reset();
            }
        });
        let port = server.port().to_string();
        let finished = run_with_little_memory(STAGES[0].bin(), &["status", "--port", &port]);
        if finished.stdout.ends_with('\n') {
            assert!(finished.status.success() && finished.stderr.is_empty(), "{finished:?}");
        } else {
            assert_eq!(finished.status.code(), Some(1), "{finished:?}");
            let cut = "error: connection closed before the end of the table\n";
            assert_eq!(finished.stderr, cut);
        }
        if !reset {
            assert_eq!(finished.stdout, String::from_utf8_lossy(&table), "what is printed");
        }
    });
}

/// A test for each of these stages, so that they run side by side.
macro_rules! for_stages {
    ($check:ident: $($name:ident $number:literal,)*) => {
        $(
            #[test]
            fn $name() {
                $check(STAGES[$number - 1]);
            }
        )*
    };
}

for_stages! { gets_what_is_right:
    client_04_takes_what_is_right_and_refuses_the_rest 4,
    client_05_takes_what_is_right_and_refuses_the_rest 5,
    client_06_takes_what_is_right_and_refuses_the_rest 6,
    client_07_takes_what_is_right_and_refuses_the_rest 7,
    client_08_takes_what_is_right_and_refuses_the_rest 8,
}
for_stages! { sends_its_file_to_anybody:
    server_04_serves_whatever_clients_say 4,
    server_05_serves_whatever_clients_say 5,
    server_06_serves_whatever_clients_say 6,
    server_07_serves_whatever_clients_say 7,
    server_08_serves_whatever_clients_say 8,
}
for_stages! { answers_any_lines:
    server_02_answers_any_lines_in_order 2,
    server_03_answers_any_lines_in_order 3,
}
for_stages! { echo_prints_any_answer:
    client_02_prints_whatever_comes 2,
    client_03_prints_whatever_comes 3,
}
