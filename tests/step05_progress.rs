//! Stage 05, progress, from outside: the size comes first, and the client shows how far it is.
//!
//! What is checked: what a client of ours gets from the server, what `get` makes of servers of
//! ours, standard output and error, also on a terminal, the exit status, `/proc`. How the stage is
//! written doesn't matter. Most checks hold for stages 04 to 08 alike and stand, one by one, in
//! `support::serving` and `support::receiving`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a check that fails panics"
)]

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use serial_test::serial;
use tempfile::TempDir;

use support::fake_server::FakeServer;
use support::files::{
    Landing, directory_in_memory, room, same_marks, sample, sample_bytes, sparse,
};
use support::server::{Server, Signal};
use support::serving::MORE_THAN_BUFFERS;
use support::stage::{NAME, Stage};
use support::terminal::run_on_terminal;
use support::wait::limit;
use support::wire::{END_MARK, Format, LONGEST_TAKEN_CHUNK, RawClient, assert_stream, chunk};
use support::{costs, habits, not_checked, progress, receiving, serving};

const STAGE: Stage =
    Stage { built: env!("CARGO_BIN_EXE_step05-progress"), format: Format::SizeAndChunks };

/// A server that takes so many tenths of a second to send a mebibyte.
fn slow_server(tenths: usize) -> FakeServer {
    let stream = STAGE.format.stream(NAME.as_bytes(), &sample_bytes(1 << 20));
    FakeServer::start(move |mut client| {
        client.drip(&stream, stream.len() / tenths, Duration::from_millis(100));
    })
}

// Progress.

#[test]
fn progress_of_every_size_ends_at_all_of_it() {
    for size in [0, 1, 5000, 10_000_000] {
        let stream = STAGE.format.stream(NAME.as_bytes(), &sample_bytes(size));
        let (server, out) = (FakeServer::that_sends(stream), TempDir::new().unwrap());
        let finished = STAGE.get(server.port(), out.path(), &[]);
        assert!(finished.status.success(), "get of {size} bytes failed: {finished:#?}");
        let lines = progress::lines(&finished.stderr);
        progress::assert_complete(&lines);
        progress::assert_sound(&lines, size as u64);
    }
}

#[test]
fn progress_is_shown_about_once_a_second() {
    let watch = || {
        let (server, out) = (slow_server(35), TempDir::new().unwrap());
        let start = Instant::now();
        let finished = STAGE.get(server.port(), out.path(), &[]);
        let seconds = start.elapsed().as_secs() as usize;
        assert!(finished.status.success(), "get failed: {finished:#?}");
        let lines = progress::lines(&finished.stderr);
        progress::assert_complete(&lines);
        // One at the start, one a second, and the last one.
        let (expected, came) = (3..=seconds + 2, lines.len());
        (!expected.contains(&came)).then(|| {
            format!(
                "{came} lines came within {seconds} s; {expected:?} were to come: {finished:#?}"
            )
        })
    };
    // A get that a busy machine holds up for some seconds misses a line, but hardly three times.
    if let Some(wrong) = watch().and_then(|_| watch()).and_then(|_| watch()) {
        panic!("three times in a row: {wrong}");
    }
}

#[test]
fn progress_does_not_slow_the_transfer_down() {
    const LONG: Duration = Duration::from_secs(3); // a hundred times as long as it takes
    let stream = STAGE.format.stream(NAME.as_bytes(), &sample_bytes(4 << 20));
    let (server, out) = (FakeServer::that_sends(stream), TempDir::new().unwrap());
    // A machine that has other things to do may be slow once, but hardly three times in a row.
    let is_quick = || STAGE.start_get(server.port(), out.path(), &[]).ends_within(LONG);
    assert!((0..3).any(|_| is_quick()), "4 MiB took longer than {LONG:?}, three times in a row");
}

#[test]
fn rate_and_time_left_are_right() {
    // An eighth comes within four and a half seconds, so most of the time is left at every line, and
    // there are some even if get is held up for a moment.
    const SENT: i64 = 1 << 17;
    let header = STAGE.format.header(NAME.as_bytes(), 8 * SENT);
    let payload = chunks_of(SENT);
    let server = FakeServer::start(move |mut client| {
        client.send(&header);
        client.drip(&payload, payload.len() / 45, Duration::from_millis(100));
    });
    let landing = Landing::with_old(NAME);
    let start = Instant::now();
    let finished = STAGE.get(server.port(), landing.path(), &[]);
    let seconds = start.elapsed().as_secs_f64();
    receiving::assert_failed(&finished);
    let lines = progress::lines(&finished.stderr);
    assert!(!lines.is_empty(), "one line a second was to come: {finished:#?}");
    progress::assert_rate_and_time_left(&lines, SENT as f64 / seconds);
}

#[test]
fn progress_says_100_percent_only_at_the_end() {
    // A line is due at 99.96 %: the first bytes after a second in which none came. That second begins
    // when get has taken those before.
    let (head, middle, tail) = (999_500, 100, 400);
    let header = STAGE.format.header(NAME.as_bytes(), head + middle + tail);
    let start = [header, chunks_of(head)].concat();
    let server = FakeServer::start(move |mut client| {
        let pause = Duration::from_millis(1100);
        client.drip(&start, start.len(), Duration::ZERO);
        thread::sleep(pause);
        client.drip(&chunks_of(middle), usize::MAX, pause);
        client.send(&[chunks_of(tail), END_MARK.to_vec()].concat());
    });
    let out = TempDir::new().unwrap();
    let finished = STAGE.get(server.port(), out.path(), &[]);
    assert!(finished.status.success(), "get failed: {finished:#?}");
    let lines = progress::lines(&finished.stderr);
    progress::assert_sound(&lines, 1_000_000);
    progress::assert_complete(&lines);
}

/// So many bytes, in chunks.
fn chunks_of(size: i64) -> Vec<u8> {
    sample_bytes(size as usize).chunks(8192).flat_map(chunk).collect()
}

#[test]
fn progress_never_goes_beyond_the_total() {
    // Twice as much comes as was announced, slowly.
    let header = STAGE.format.header(NAME.as_bytes(), 1 << 19);
    let payload = chunks_of(1 << 20);
    let server = FakeServer::start(move |mut client| {
        client.send(&header);
        client.drip(&payload, payload.len() / 24, Duration::from_millis(100));
        client.send(&END_MARK);
    });
    let landing = Landing::with_old(NAME);
    let finished = STAGE.get(server.port(), landing.path(), &[]);
    receiving::assert_failed(&finished);
    landing.assert_untouched();
    progress::assert_sound(&progress::lines(&finished.stderr), 1 << 19);
}

#[test]
fn progress_of_a_file_over_4_gib_is_right() {
    const TOTAL: u64 = 5 << 30;
    let header = STAGE.format.header(NAME.as_bytes(), TOTAL.cast_signed());
    let payload = chunk(&[7; 8192]).repeat(1000);
    let server = FakeServer::start(move |mut client| {
        client.send(&header);
        client.drip(&payload, payload.len() / 30, Duration::from_millis(100));
    });
    let landing = Landing::with_old(NAME);
    let finished = STAGE.get(server.port(), landing.path(), &[]);
    let error = receiving::assert_failed(&finished);
    let expected = format!("connection closed after 8192000 of {TOTAL} bytes");
    assert_eq!(error, expected, "the error of get");
    landing.assert_untouched();
    let lines = progress::lines(&finished.stderr);
    assert!(!lines.is_empty(), "a line was to come within 3 s: {finished:#?}");
    progress::assert_sound(&lines, TOTAL);
}

#[test]
fn largest_size_there_is_does_no_harm() {
    let header = STAGE.format.header(NAME.as_bytes(), i64::MAX);
    let server = FakeServer::start(move |mut client| {
        // A byte after two and a half seconds: the time left has no sensible value.
        client.send(&header);
        client.drip(&1_u64.to_le_bytes(), 8, Duration::from_millis(2500));
        client.send(&[7]);
    });
    let error = STAGE.refuses(&server, &[]);
    let expected = format!("connection closed after 1 of {} bytes", i64::MAX);
    assert_eq!(error, expected, "the error of get");
}

#[test]
fn bar_is_drawn_on_a_terminal() {
    let (server, out) = (slow_server(12), TempDir::new().unwrap());
    let seen = get_on_terminal(&server, &out, &[]);
    let drawn = seen.matches('%').count();
    let back = seen.replace("\r\n", "\n"); // that's how a terminal ends a line
    let redrawn = back.contains('\r') || back.contains("\x1b[");
    assert!(drawn > 2 && redrawn, "a bar was to be drawn again and again: {seen:?}");
    let ways_to_say_it = ["1048576", "1,048,576", "1 MiB", "1.0 MiB", "1.00 MiB", "1.05 MB"];
    let total = ways_to_say_it.iter().any(|total| seen.contains(total));
    assert!(total && seen.contains("100"), "the bar was to end with all of the total: {seen:?}");
    let said = format!("received {NAME} (1048576 bytes) -> ");
    assert!(seen.lines().any(|line| line.contains(&said)), "no line with {said:?}: {seen:?}");
}

/// What a person sees of a `get` on a terminal, control sequences included.
#[track_caller]
fn get_on_terminal(server: &FakeServer, out: &TempDir, more: &[&str]) -> String {
    let mut get = std::process::Command::new(STAGE.bin());
    get.args(["get", "--port", &server.port().to_string(), "--out"]).arg(out.path()).args(more);
    let (status, seen) = run_on_terminal(&mut get);
    assert!(status.success(), "get failed on a terminal: {status}: {seen:?}");
    seen
}

#[test]
fn bar_is_not_drawn_for_every_chunk() {
    const SIZE: usize = 32 << 20;
    let stream = STAGE.format.stream(NAME.as_bytes(), &sample_bytes(SIZE));
    let (server, out) = (FakeServer::that_sends(stream), TempDir::new().unwrap());
    let start = Instant::now();
    let drawn = get_on_terminal(&server, &out, &[]).matches('%').count();
    let seconds = start.elapsed().as_secs_f64();
    // Nobody sees more than sixty pictures a second; a few may come at the start and at the end.
    let allowed = 20 + (60.0 * seconds) as usize;
    let chunks = SIZE / 8192;
    assert!(
        drawn <= allowed,
        "for {chunks} chunks in {seconds:.1} s the bar was drawn {drawn} times"
    );
}

#[test]
fn bar_for_an_empty_file_is_full() {
    let server = FakeServer::that_sends(STAGE.format.stream(NAME.as_bytes(), b""));
    let seen = get_on_terminal(&server, &TempDir::new().unwrap(), &[]);
    let nonsense = ["NaN", "inf"].iter().any(|word| seen.contains(word));
    assert!(seen.contains("100") && !nonsense, "the bar of 0 of 0 bytes is full: {seen:?}");
}

#[test]
fn quiet_get_shows_no_progress() {
    let (server, out) = (slow_server(12), TempDir::new().unwrap());
    let mut get = Command::new(STAGE.bin());
    get.args(["get", "--quiet", "--port", &server.port().to_string(), "--out"]).arg(out.path());
    get.assert().success().stdout(starts_with("received ")).stderr(contains("received ").not());
}

#[test]
fn quiet_get_draws_no_bar() {
    let server = FakeServer::that_sends(STAGE.format.stream(NAME.as_bytes(), b"abc"));
    let seen = get_on_terminal(&server, &TempDir::new().unwrap(), &["--quiet"]);
    let said = seen.lines().any(|line| line.starts_with("received "));
    assert!(said && !seen.contains('%'), "with --quiet, no progress was to come: {seen:?}");
}

// What is on the wire.

#[test]
fn every_size_is_announced_and_sent_byte_for_byte() {
    serving::sends_every_size(STAGE);
}

#[test]
fn empty_file_is_sent_without_a_chunk() {
    serving::sends_an_empty_file(STAGE);
}

#[test]
fn bytes_on_the_wire_are_those_of_the_notes() {
    let dir = TempDir::new().unwrap();
    let server = STAGE.serve(&sample(dir.path(), 3), &["--workers", "1"]);
    let name = b"\x0c\0\0\0\0\0\0\0sample-3.bin";
    let size = b"\x08\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0";
    let file = [&b"\x03\0\0\0\0\0\0\0"[..], &sample_bytes(3)].concat();
    let expected = [&name[..], size, &file, &[0; 8]].concat();
    let came = STAGE.connect(server.addr()).everything();
    assert_stream(&came, &expected, "the client of a file of 3 bytes");
}

#[test]
fn name_on_the_wire_has_no_directory() {
    serving::sends_the_name_without_its_directory(STAGE);
}

#[test]
fn server_sends_its_own_executable_by_default() {
    serving::sends_its_own_executable_by_default(STAGE);
}

#[test]
#[serial]
fn file_over_4_gib_arrives_whole() {
    const SIZE: u64 = (4 << 30) + 12_345;
    let (dir, out) = (directory_in_memory(), directory_in_memory());
    let file = sparse(dir.path(), SIZE);
    let server = STAGE.serve(&file, &["--workers", "1"]);
    if room(out.path()) < 2 * SIZE || free_memory() < 2 * SIZE {
        not_checked("get of a file over 4 GiB, for there is no room; only the server is");
        let transfer = STAGE.assert_serves(&server, &file);
        return serving::assert_well_formed(STAGE, &transfer, &file);
    }
    let get = STAGE.start_get(server.port(), out.path(), &[]);
    let finished = get.finish_within(limit() * 8);
    assert!(finished.status.success(), "get failed: {finished:#?}");
    same_marks(&file, &out.path().join(file.file_name().unwrap()));
    let lines = progress::lines(&finished.stderr);
    progress::assert_sound(&lines, SIZE);
    progress::assert_complete(&lines);
}

/// What programs could have, in bytes.
fn free_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.map_or(0, |kib| kib.parse::<u64>().unwrap() << 10)
}

// A client that means well.

#[test]
fn get_receives_every_size() {
    receiving::gets_every_size(STAGE);
}

#[test]
fn empty_file_is_received() {
    receiving::gets_an_empty_file(STAGE);
}

#[test]
fn every_legal_name_survives_the_trip() {
    receiving::takes_every_legal_name(STAGE);
}

#[test]
fn old_file_is_replaced_as_a_whole() {
    receiving::replaces_an_old_file_as_a_whole(STAGE);
    receiving::replaces_a_link(STAGE);
}

#[test]
fn get_works_over_ipv6() {
    receiving::gets_over_ipv6(STAGE);
}

// Many clients.

#[test]
fn as_many_clients_as_workers_are_served_at_once() {
    serving::serves_as_many_at_once_as_it_has_workers(STAGE);
}

#[test]
fn no_more_clients_than_workers_are_served_at_once() {
    serving::serves_no_more_at_once_than_it_has_workers(STAGE);
}

#[test]
fn nobody_is_dropped_when_all_workers_are_busy() {
    serving::drops_nobody_when_all_workers_are_busy(STAGE);
}

#[test]
fn many_clients_at_once_get_the_whole_file() {
    receiving::many_at_once_get_the_file(STAGE);
}

#[test]
fn three_hundred_clients_leave_no_descriptor_behind() {
    serving::leaves_no_descriptor_behind(STAGE);
}

// Clients that misbehave, and a worker that dies.

#[test]
fn worker_survives_clients_that_hang_up_midway() {
    serving::worker_survives_clients_that(STAGE, RawClient::hang_up);
}

#[test]
fn worker_survives_clients_that_reset_midway() {
    serving::worker_survives_clients_that(STAGE, RawClient::reset);
}

#[test]
fn worker_stops_sending_when_its_client_is_gone() {
    costs::sends_nothing_to_a_client_that_is_gone(STAGE);
}

#[test]
fn client_that_talks_while_it_receives_gets_every_byte() {
    serving::sends_all_to_a_client_that_talks(STAGE);
}

#[test]
fn client_that_stops_reading_is_given_up() {
    serving::gives_up_a_client_that_stops_reading(STAGE);
}

#[test]
fn slow_but_steady_client_is_not_cut() {
    serving::bears_with_a_slow_client(STAGE);
}

#[test]
fn worker_that_is_stopped_for_a_moment_goes_on() {
    serving::goes_on_after_a_stop(STAGE);
}

#[test]
fn killed_worker_costs_only_its_own_client() {
    serving::killed_worker_costs_only_its_own_client(STAGE);
}

#[test]
fn killed_worker_is_replaced() {
    serving::killed_worker_is_replaced(STAGE);
}

#[test]
fn get_says_how_far_it_came_when_its_worker_was_killed() {
    assert_cut(&receiving::reports_a_killed_worker(STAGE), MORE_THAN_BUFFERS);
}

/// `connection closed after X of TOTAL bytes` with X below TOTAL.
#[track_caller]
fn assert_cut(error: &str, total: u64) {
    let came = error
        .strip_prefix("connection closed after ")
        .and_then(|rest| rest.strip_suffix(&format!(" of {total} bytes")))
        .and_then(|came| came.parse::<u64>().ok());
    assert!(
        came.is_some_and(|came| came < total),
        "get was to say `connection closed after N of {total} bytes`, and it says {error:?}"
    );
}

// A file that changes.

#[test]
fn replaced_file_is_seen() {
    serving::sees_a_replaced_file(STAGE);
}

#[test]
fn size_and_contents_come_from_the_same_file() {
    serving::looks_at_its_file_once(STAGE);
}

#[test]
fn removed_file_is_sent_to_its_end() {
    serving::finishes_a_removed_file(STAGE);
}

#[test]
fn growing_file_is_sent_up_to_the_announced_size() {
    serving::stops_at_the_announced_size(STAGE);
}

#[test]
fn shrinking_file_ends_the_transfer_and_not_the_worker() {
    let outcome = serving::survives_a_shrinking_file(STAGE);
    assert!(outcome.is_err(), "the file shrank, and the client took it for whole: {outcome:?}");
}

#[test]
fn get_says_how_far_it_came_when_the_file_shrinks() {
    let shrink =
        |file: &Path, _| File::options().write(true).open(file).unwrap().set_len(5000).unwrap();
    assert_cut(&receiving::fails_in_the_middle(STAGE, shrink), MORE_THAN_BUFFERS);
}

// A server that can't be trusted.

#[test]
fn client_refuses_names_that_are_paths() {
    receiving::refuses_hostile_names(STAGE);
}

#[test]
fn client_refuses_impossible_name_lengths() {
    receiving::refuses_impossible_name_lengths(STAGE);
}

#[test]
fn client_refuses_a_size_record_that_is_not_8_bytes_long() {
    for length in [0_u64, 1, 7, 9, 16, 1 << 32, 1 << 63, u64::MAX] {
        let name = Format::Chunks.header(NAME.as_bytes(), 0);
        let server = FakeServer::that_stops_after([&name[..], &length.to_le_bytes()].concat());
        let error = STAGE.refuses(&server, receiving::HASTY);
        assert!(!error.contains("no data"), "get waited for a size of {length} bytes: {error}");
    }
}

#[test]
fn client_refuses_a_negative_size() {
    for size in [-1, -8192, i64::MIN] {
        let header = STAGE.format.header(NAME.as_bytes(), size);
        let error = STAGE.refuses(&FakeServer::that_stops_after(header), receiving::HASTY);
        assert!(!error.contains("no data"), "get waited for {size} bytes: {error}");
    }
}

#[test]
fn client_refuses_more_or_less_than_was_announced() {
    let (ten, none) = (chunk(b"ten bytes!"), Vec::new());
    for (announced, chunks) in [(9, &ten), (11, &ten), (0, &ten), (10, &none), (19, &ten.repeat(2))]
    {
        let header = STAGE.format.header(NAME.as_bytes(), announced);
        let stream = [&header[..], chunks, &END_MARK].concat();
        let landing = Landing::with_old(NAME);
        let server = FakeServer::that_sends(stream);
        let finished = STAGE.get(server.port(), landing.path(), &["--quiet"]);
        let case = format!("{} bytes came, announced were {announced}", chunks.len() / 18 * 10);
        assert!(!finished.status.success(), "{case}, and get was content: {finished:#?}");
        let error = receiving::assert_failed(&finished);
        assert!(!error.contains("closed"), "{case}, and get says {error:?}");
        landing.assert_untouched();
    }
}

#[test]
fn control_characters_never_reach_the_terminal() {
    receiving::shows_no_control_characters(STAGE);
}

#[test]
fn client_accepts_a_chunk_of_one_mebibyte() {
    let (dir, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = sample(dir.path(), LONGEST_TAKEN_CHUNK as usize);
    let header = STAGE.format.header(b"sample-1048576.bin", 1 << 20);
    let stream = [header, chunk(&sample_bytes(1 << 20)), vec![0; 8]].concat();
    STAGE.assert_gets(FakeServer::that_sends(stream).port(), &file, out.path());
}

#[test]
fn client_refuses_a_chunk_over_one_mebibyte() {
    let header = STAGE.format.header(NAME.as_bytes(), i64::MAX);
    for length in [LONGEST_TAKEN_CHUNK + 1, 1 << 32, i64::MAX as u64, 1 << 63, u64::MAX] {
        let stream = [&header[..], &length.to_le_bytes(), &[0; 100_000]].concat();
        let error = STAGE.refuses(&FakeServer::that_stops_after(stream), receiving::HASTY);
        assert!(!error.contains("no data"), "waited for a chunk of {length} bytes: {error}");
    }
}

#[test]
fn stream_that_ends_early_is_an_error_at_every_byte() {
    let errors = receiving::reports_every_early_end(STAGE, b"abc");
    let expected = "connection closed after 3 of 8 bytes of the header";
    assert_eq!(errors[3], expected, "the error of get after 3 bytes");
    let in_the_chunks = &errors[8 + NAME.len() + 8 + 8..];
    let (before_the_end, at_the_end) = in_the_chunks.split_at(8 + 3);
    before_the_end.iter().for_each(|error| assert_cut(error, 3));
    for error in at_the_end {
        assert_eq!(error, "connection closed after 3 of 3 bytes", "the error of get");
    }
}

#[test]
fn reset_instead_of_an_end_is_an_error() {
    receiving::reports_a_reset(STAGE);
}

#[test]
fn stream_that_comes_byte_by_byte_is_received() {
    receiving::takes_a_stream_byte_by_byte(STAGE);
}

#[test]
fn server_that_stops_sending_is_given_up() {
    receiving::gives_up_a_server_that_stops_sending(STAGE);
}

#[test]
fn slow_but_steady_server_is_not_given_up() {
    let (server, out) = (slow_server(35), TempDir::new().unwrap());
    let finished = STAGE.get(server.port(), out.path(), &["--stall-timeout", "3"]);
    assert!(finished.status.success(), "get gave up a server that was slow: {finished:#?}");
}

// What is left behind, and what it costs.

#[test]
fn interrupted_get_leaves_the_old_file_alone() {
    receiving::leaves_nothing_when_ended_by(STAGE, Signal::SIGINT);
}

#[test]
fn terminated_get_leaves_the_old_file_alone() {
    receiving::leaves_nothing_when_ended_by(STAGE, Signal::SIGTERM);
}

#[test]
fn full_disk_is_an_error_and_leaves_nothing() {
    receiving::reports_a_full_disk(STAGE);
}

#[test]
fn memory_of_a_worker_is_bounded() {
    serving::worker_memory_is_bounded(STAGE);
}

#[test]
fn memory_of_the_client_is_bounded() {
    receiving::client_memory_is_bounded(STAGE);
}

#[test]
fn server_makes_at_most_one_call_a_chunk() {
    serving::makes_at_most_one_call_a_chunk(STAGE);
}

#[test]
fn client_makes_at_most_one_call_a_chunk() {
    receiving::makes_at_most_one_call_a_chunk(STAGE);
}

#[test]
fn header_and_data_leave_together() {
    costs::header_and_data_leave_together(STAGE);
}

#[test]
fn server_never_sleeps_while_it_has_something_to_send() {
    costs::sends_without_a_sleep(STAGE);
}

#[test]
fn worker_sleeps_while_its_client_does_not_read() {
    costs::waiting_worker_sleeps(STAGE);
}

#[test]
fn get_sleeps_while_nothing_comes() {
    costs::waiting_get_sleeps(STAGE);
}

#[test]
fn idle_server_sleeps() {
    let dir = TempDir::new().unwrap();
    let file = sample(dir.path(), 100_000);
    let server = STAGE.serve(&file, &["--workers", "3"]);
    STAGE.assert_serves(&server, &file);
    habits::sleeps_when_idle(&server);
}

// The command line.

#[test]
fn file_has_to_be_a_readable_file() {
    serving::refuses_to_serve_what_is_no_file(STAGE);
    serving::refuses_to_serve_an_unreadable_file(STAGE);
}

#[test]
fn out_has_to_be_a_directory() {
    receiving::reports_a_bad_out(STAGE);
}

#[test]
fn closed_port_is_an_error() {
    receiving::reports_a_closed_port(STAGE);
}

#[test]
fn port_in_use_is_an_error() {
    habits::reports_port_in_use(STAGE.bin());
}

#[test]
fn nonsense_on_the_command_line_is_refused() {
    habits::refuses_nonsense(STAGE.bin());
}

#[test]
fn quiet_server_says_nothing() {
    serving::says_nothing_when_quiet(STAGE);
}

#[test]
fn workers_go_with_their_parent() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        habits::takes_workers_along(Server::start(STAGE.bin(), &["--workers", "3"]), signal);
    }
}

#[test]
fn demo_succeeds_and_leaves_nobody() {
    habits::demo_succeeds(STAGE.bin());
}
