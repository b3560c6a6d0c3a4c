//! Stage 04, file-transfer, from outside: the bytes on the wire, and two programs that trust
//! nobody.
//!
//! What is checked: what a client of ours gets from the server, what `get` makes of servers of
//! ours, standard output and error, the exit status, `/proc`, system calls. How the stage is
//! written doesn't matter. Most checks hold for stages 04 to 08 alike and stand, one by one, in
//! `support::serving` and `support::receiving`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a check that fails panics"
)]

use assert_cmd::Command;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{ends_with, is_empty, starts_with};
use serial_test::serial;
use tempfile::TempDir;

use support::fake_server::FakeServer;
use support::files::{directory_in_memory, entries, same_bytes, sample, sample_bytes, sparse};
use support::server::{Server, Signal};
use support::serving::MORE_THAN_BUFFERS;
use support::stage::{NAME, Stage};
use support::wire::{Format, LONGEST_TAKEN_CHUNK, RawClient, assert_stream, chunk};
use support::{costs, habits, receiving, serving};

const STAGE: Stage =
    Stage { built: env!("CARGO_BIN_EXE_step04-file-transfer"), format: Format::Chunks };

// What is on the wire.

#[test]
fn every_size_is_sent_byte_for_byte() {
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
    let file = [&b"\x03\0\0\0\0\0\0\0"[..], &sample_bytes(3)].concat();
    let expected = [&name[..], &file, &[0; 8]].concat();
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
fn file_over_4_gib_is_sent_whole() {
    let dir = directory_in_memory();
    let file = sparse(dir.path(), (4 << 30) + 12_345);
    let server = STAGE.serve(&file, &["--workers", "1"]);
    let transfer = STAGE.assert_serves(&server, &file);
    serving::assert_well_formed(STAGE, &transfer, &file);
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
fn get_writes_to_the_current_directory_by_default() {
    let (dir, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = sample(dir.path(), 100_000);
    let server = STAGE.serve(&file, &["--workers", "1"]);
    let said = starts_with("received sample-100000.bin (100000 bytes) -> ")
        .and(ends_with("sample-100000.bin\n"));
    let mut get = Command::new(STAGE.bin());
    get.args(["get", "--port", &server.port().to_string()]).current_dir(&out);
    get.assert().success().stdout(said);
    same_bytes(&file, &out.path().join("sample-100000.bin"));
    assert_eq!(entries(out.path()), ["sample-100000.bin"]);
}

#[test]
fn quiet_get_says_only_what_it_received() {
    let (dir, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = STAGE.serve(&sample(dir.path(), 100_000), &["--workers", "1"]);
    let mut get = Command::new(STAGE.bin());
    get.args(["get", "--quiet", "--port", &server.port().to_string(), "--out"]).arg(out.path());
    get.assert().success().stdout(starts_with("received ")).stderr(is_empty());
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
fn get_says_that_its_worker_was_killed() {
    assert_cut(&receiving::reports_a_killed_worker(STAGE), MORE_THAN_BUFFERS);
}

/// `connection closed after X …` with X up to `most`: `… bytes, before the end of the file`.
#[track_caller]
fn assert_cut(error: &str, most: u64) {
    let came = error.strip_prefix("connection closed after ");
    let came = came.and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
    assert!(
        came.is_some_and(|came| came <= most),
        "get was to say `connection closed after N bytes, …`, and it says {error:?}"
    );
}

// A file that changes.

#[test]
fn replaced_file_is_seen() {
    serving::sees_a_replaced_file(STAGE);
}

#[test]
fn removed_file_is_sent_to_its_end() {
    serving::finishes_a_removed_file(STAGE);
}

#[test]
fn growing_file_harms_nobody() {
    serving::stops_at_the_announced_size(STAGE);
}

#[test]
fn shrinking_file_harms_nobody() {
    // No size was announced: what is left is a whole file, and so is an early end all right.
    let _ = serving::survives_a_shrinking_file(STAGE);
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
fn control_characters_never_reach_the_terminal() {
    receiving::shows_no_control_characters(STAGE);
}

#[test]
fn client_accepts_a_chunk_of_one_mebibyte() {
    let (dir, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = sample(dir.path(), LONGEST_TAKEN_CHUNK as usize);
    let header = STAGE.format.header(b"sample-1048576.bin", 0);
    let stream = [header, chunk(&sample_bytes(1 << 20)), vec![0; 8]].concat();
    STAGE.assert_gets(FakeServer::that_sends(stream).port(), &file, out.path());
}

#[test]
fn client_refuses_a_chunk_over_one_mebibyte() {
    let header = STAGE.format.header(NAME.as_bytes(), 0);
    for length in [LONGEST_TAKEN_CHUNK + 1, 1 << 32, i64::MAX as u64, 1 << 63, u64::MAX] {
        let stream = [&header[..], &length.to_le_bytes(), &[0; 100_000]].concat();
        let error = STAGE.refuses(&FakeServer::that_stops_after(stream), receiving::HASTY);
        assert!(!error.contains("no data"), "get waited for a chunk of {length} bytes: {error}");
    }
}

#[test]
fn stream_that_ends_early_is_an_error_at_every_byte() {
    let errors = receiving::reports_every_early_end(STAGE, b"abc");
    let in_the_first_length = &errors[3];
    let expected = "connection closed after 3 of 8 bytes of the header";
    assert_eq!(in_the_first_length, expected, "the error of get after 3 bytes");
    for error in &errors[8 + NAME.len() + 8..] {
        assert_cut(error, 3);
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
    receiving::bears_with_a_slow_server(STAGE);
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
fn unknown_host_is_an_error() {
    habits::reports_unknown_host(STAGE.bin());
}

#[test]
fn nonsense_on_the_command_line_is_refused() {
    habits::refuses_nonsense(STAGE.bin());
    for seconds in ["0", "86401", "-1", "soon"] {
        habits::refuses_usage(STAGE.bin(), &["--port", "0", "--stall-timeout", seconds]);
        habits::refuses_usage(STAGE.bin(), &["get", "--port", "1", "--stall-timeout", seconds]);
    }
}

#[test]
fn help_explains_the_commands() {
    let words = ["serve", "get", "demo", "--workers", "--file", "--stall-timeout", "--quiet"];
    habits::help_mentions(STAGE.bin(), &words);
}

#[test]
fn server_says_what_to_type_and_who_speaks() {
    let server = Server::start(STAGE.bin(), &["--workers", "2"]);
    habits::says_what_to_type(&server, "get");
    STAGE.connect(server.addr()).download();
    server.wait_narration("[worker ");
    habits::narrates_who_speaks(&server, &server.workers());
}

#[test]
fn quiet_server_says_nothing() {
    serving::says_nothing_when_quiet(STAGE);
}

#[test]
fn descriptors_are_close_on_exec() {
    habits::closes_on_exec(&Server::start(STAGE.bin(), &["--workers", "2"]));
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
