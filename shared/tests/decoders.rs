//! Every decoder, with inputs that nobody thought of. What must hold is in `properties`.
//!
//! `PROPTEST_CASES=100000 cargo test -p shared --test decoders` draws as many inputs for each
//! test. A test that fails shows the smallest input it could find, and the number to draw the
//! same inputs again: `PROPTEST_RNG_SEED=…`. Such an input is kept in `tests/fuzz/corpus`, and
//! what is there is tried here every time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a check that fails")]

mod properties;

use std::env;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use shared::chunks::{Batch, CHUNK, MAX_CHUNK};
use shared::fd_passing::{recv_fd, send_fd};
use shared::lines::MAX_LINE;
use shared::mapped;
use shared::protocol::record;
use shared::splice::Pipe;
use shared::transfer::Connection;

/// So many inputs for each test, unless the environment names another number.
fn cases(usual: u32) -> ProptestConfig {
    let told = env::var_os("PROPTEST_CASES").is_some();
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    config.cases = if told { config.cases } else { usual };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(RandomState::new().hash_one(()));
    }
    let RngSeed::Fixed(seed) = config.rng_seed else { return config };
    println!("the same inputs again: PROPTEST_RNG_SEED={seed}"); // shown when the test fails
    config
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=most)
}

/// Lengths of pieces, short ones more often; without any, all comes in one piece.
fn cuts() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![1 => 1..=9_u8, 3 => any::<u8>()], 0..5)
}

/// Lengths around every limit, and any.
fn length() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => 0..20_u64,
        2 => prop::sample::select(vec![255, 256, 8192, MAX_CHUNK, MAX_CHUNK + 1, 1 << 32]),
        1 => prop::sample::select(vec![i64::MAX as u64, 1 << 63, u64::MAX]),
        1 => any::<u64>(),
    ]
}

/// A record: most have the length they claim.
fn any_record() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => bytes(20).prop_map(|bytes| record(&bytes)),
        1 => prop_oneof![Just(255), Just(256), 0..300_usize].prop_map(|it| record(&vec![b'n'; it])),
        1 => (length(), bytes(20)).prop_map(|(n, it)| [&n.to_le_bytes(), it.as_slice()].concat()),
    ]
}

fn records() -> impl Strategy<Value = Vec<u8>> {
    (vec(any_record(), 0..6), bytes(9))
        .prop_map(|(records, tail)| [records.concat(), tail].concat())
}

/// Names of files, of ways out, and of anything.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::string::bytes_regex("(?s-u:[./\\x00a]{0,6})").unwrap(),
        "\\PC{1,8}(\u{1b}\\[2J|\u{61c}|\u{202e}|\\n)?.{0,8}".prop_map(String::into_bytes),
        (250..260_usize, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        bytes(300),
    ]
}

/// Bytes and newlines, in runs of any length up to two long lines.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let run = prop_oneof![
        3 => 0..5_usize,
        2 => Just(MAX_LINE),
        1 => 8185..8200_usize,
        1 => 16_380..16_390_usize,
        1 => 0..17_000_usize,
    ];
    let run = (prop_oneof![Just(b'\n'), Just(b'a'), any::<u8>()], run);
    vec(run, 0..8).prop_map(|runs| {
        let run = |&(byte, count): &(u8, usize)| match byte {
            b'\n' => vec![byte; count.min(3)],
            _ => vec![byte; count],
        };
        runs.iter().flat_map(run).collect()
    })
}

/// The first line of a user: often a name, or nearly.
fn first_line() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        3 => "\\PC{0,34}\\r?".prop_map(String::into_bytes),
        1 => "[a:\u{202e}\u{a0} \u{1b}]{0,4}".prop_map(String::into_bytes),
        1 => bytes(40),
    ];
    let start = prop::sample::select(vec!["/name ", "/name ", "/name", "/Name ", ""]);
    (start, name).prop_map(|(start, name)| [start.as_bytes(), &name].concat())
}

/// A message, often one that means something, with a number of descriptors.
fn message() -> impl Strategy<Value = (Vec<u8>, usize)> {
    let bytes = prop_oneof![
        4 => vec(prop::sample::select(b"CLD\n".to_vec()), 0..3),
        2 => bytes(40),
        1 => (any::<u8>(), 8190..8260_usize).prop_map(|(byte, length)| vec![byte; length]),
    ];
    (bytes, prop_oneof![4 => 0..4_usize, 1 => 0..=253_usize])
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn chunks_are_the_same_however_the_stream_is_cut(stream in records(), cuts in cuts()) {
        properties::chunks(&stream, &cuts);
    }

    #[test]
    fn what_a_user_says_arrives_byte_for_byte(first in first_line(), second in bytes(60)) {
        properties::speaker(&first, &second);
    }

    #[test]
    fn records_are_taken_to_the_byte_or_refused(stream in records()) {
        properties::records(&stream);
    }

    #[test]
    fn a_header_is_taken_to_the_byte_or_refused(
        name_length in length(),
        size in length(),
        right in any::<bool>(),
        name in bytes(300),
    ) {
        let name_length = if right { name.len() as u64 } else { name_length };
        let numbers = [name_length.to_le_bytes(), size.to_le_bytes()].concat();
        properties::header(&[numbers, name].concat());
    }

    #[test]
    fn a_cut_header_is_refused(stream in bytes(40)) {
        properties::header(&stream);
    }

    #[test]
    fn nothing_harmful_is_printable(text in name()) {
        properties::text(&text);
    }

    #[test]
    fn any_letter_is_printable(letter in any::<char>()) {
        properties::text(letter.to_string().as_bytes());
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn lines_are_the_same_however_they_arrive(
        input in lines(),
        // In packets of 128 bytes, a line of the full length ends where a packet does.
        cuts in prop_oneof![3 => cuts(), 1 => Just(vec![128])],
    ) {
        properties::lines(&input, &cuts);
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_name_makes_a_file_or_leaves_nothing(name in name()) {
        properties::name(&name);
    }

    #[test]
    fn a_channel_takes_any_message((message, descriptors) in message()) {
        properties::channel(&message, descriptors);
    }

    #[test]
    fn a_descriptor_arrives_with_its_byte(byte in any::<u8>(), text in bytes(20)) {
        let (here, there) = UnixStream::pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        send_fd(here.as_fd(), byte, writer.as_fd()).unwrap();
        drop(writer);
        let (came, descriptor) = recv_fd(there.as_fd()).unwrap().unwrap();
        File::from(descriptor.unwrap()).write_all(&text).unwrap();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        prop_assert_eq!((came, read), (byte, text));
    }
}

/// Sizes from nothing to more than a window, a pipe and a batch.
fn size() -> impl Strategy<Value = usize> {
    const MIB: usize = 1 << 20;
    let boundary = prop::sample::select(vec![0, 1, CHUNK, Batch::PAYLOAD, MIB, 2 * MIB]);
    prop_oneof![
        2 => (boundary, -2..3_isize).prop_map(|(size, more)| size.saturating_add_signed(more)),
        1 => 0..3 * MIB,
    ]
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn a_file_is_sent_as_it_is(size in size(), cut in 1..300_000_usize) {
        let (mut file, expected, size) = (sample(size), contents(size), size as u64);
        let mapped = sent(cut, |to| mapped::send_file(to, &file, size));
        prop_assert!(mapped == expected, "from a mapping");
        file.rewind().unwrap();
        let spliced = sent(cut, |to| Pipe::new(size)?.send_file(to, &file, size).map(drop));
        prop_assert!(spliced == expected, "by splice");
    }

    #[test]
    fn a_batch_sends_the_chunks_of_a_file(size in size(), limit in 1..600_000_u64) {
        let mut file = sample(size);
        let mut lengths = Vec::new();
        let stream = sent(1 << 20, |to| {
            let mut batch = Batch::new();
            loop {
                let length = batch.fill(&mut file, limit)?;
                let last = length < Batch::PAYLOAD.min(limit as usize);
                batch.send(to, last)?;
                lengths.push(length);
                if last {
                    return Ok(());
                }
            }
        });
        let contents = contents(size);
        let mut rest = contents.as_slice();
        let mut expected = Vec::new();
        for length in lengths {
            let (batch, behind) = rest.split_at(length);
            expected.extend(batch.chunks(CHUNK).flat_map(record));
            rest = behind;
        }
        expected.extend(record(b""));
        prop_assert!(rest.is_empty() && stream == expected);
    }

    #[test]
    fn a_file_is_received_as_it_comes(
        size in size(),
        cut in 1..300_000_usize,
        missing in prop_oneof![3 => Just(0), 1 => 1..100_000_usize],
        extra in 0..3_usize,
    ) {
        let comes = contents(size.saturating_sub(missing) + if missing == 0 { extra } else { 0 });
        let is_whole = comes.len() >= size;
        for into in [into_mapping, into_file_by_splice] {
            let mut file = tempfile::tempfile().unwrap();
            let result = sending(&comes, cut, |from| into(from, &file, size as u64));
            match result {
                Ok(()) => {
                    let mut received = Vec::new();
                    file.rewind().unwrap();
                    file.read_to_end(&mut received).unwrap();
                    prop_assert!(is_whole && received == comes[..size]);
                }
                Err(error) => {
                    let closed = format!("connection closed after {} of {size} bytes", comes.len());
                    prop_assert_eq!((error.to_string(), is_whole), (closed, false));
                }
            }
        }
    }
}

fn into_mapping(from: &mut Connection, file: &File, size: u64) -> std::io::Result<()> {
    mapped::reserve(file, size)?;
    mapped::recv_file(from, file, size, |_| {})
}

fn into_file_by_splice(from: &mut Connection, file: &File, size: u64) -> std::io::Result<()> {
    Pipe::new(size)?.recv_file(from, file, size, |_| {}).map(drop)
}

/// Bytes whose period, a prime, is no multiple of any buffer's length.
fn contents(size: usize) -> Vec<u8> {
    const PERIOD: usize = 65_521;
    let period: Vec<u8> = (0..PERIOD).map(|at| ((at * at) >> 7) as u8).collect();
    let mut bytes = period.repeat(size.div_ceil(PERIOD));
    bytes.truncate(size);
    bytes
}

fn sample(size: usize) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&contents(size)).unwrap();
    file.rewind().unwrap();
    file
}

/// All that `send` sends, read `cut` bytes at a time.
#[expect(clippy::disallowed_methods, reason = "a test has to be both sides at once")]
fn sent(cut: usize, send: impl FnOnce(&mut Connection) -> std::io::Result<()>) -> Vec<u8> {
    let (mut peer, mut connection) = pair();
    let reader = thread::spawn(move || {
        let (mut all, mut buffer) = (Vec::new(), vec![0; cut]);
        while let length @ 1.. = peer.read(&mut buffer).unwrap() {
            all.extend_from_slice(&buffer[..length]);
        }
        all
    });
    send(&mut connection).unwrap();
    drop(connection);
    reader.join().unwrap()
}

/// What `receive` makes of `stream`, which comes `cut` bytes at a time.
#[expect(clippy::disallowed_methods, reason = "a test has to be both sides at once")]
fn sending<T>(stream: &[u8], cut: usize, receive: impl FnOnce(&mut Connection) -> T) -> T {
    let (mut peer, mut connection) = pair();
    thread::scope(|scope| {
        scope.spawn(move || stream.chunks(cut).all(|piece| peer.write_all(piece).is_ok()));
        let result = receive(&mut connection);
        drop(connection); // a writer with more to say hears of it
        result
    })
}

fn pair() -> (UnixStream, Connection) {
    let (peer, ours) = UnixStream::pair().unwrap();
    (peer, Connection::new(OwnedFd::from(ours), Duration::from_secs(30)).unwrap())
}

/// The inputs that were kept, read as the targets in `tests/fuzz` read them.
#[test]
fn kept_inputs_are_still_handled() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
    for (target, check) in properties::TARGETS {
        let inputs = fs::read_dir(corpus.join(target)).unwrap();
        let count = inputs.map(|it| check(&fs::read(it.unwrap().path()).unwrap())).count();
        assert!(count > 0, "nothing is kept for {target}");
    }
}
