//! How the server of stages 04 to 08 must treat its clients.
//!
//! Each stage's tests call these under a name of their own: what stage 04 learned must not be
//! lost later.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::files::{BOUNDARY_SIZES, Comparison, sample, sparse};
use crate::habits::fails_with_one_line;
use crate::not_checked;
use crate::proc;
use crate::server::{Server, ServerCommand};
use crate::stage::{Stage, text};
use crate::wait::{LIMIT, wait_for};
use crate::wire::{Format, LONGEST_SENT_CHUNK, RawClient, Transfer};
use crate::{tcp, trace};

/// A file that can't hide in the kernel's buffers (up to 4 MiB at the sender and some 32 MiB at
/// the receiver): while its client doesn't read, its worker can't be done.
pub const MORE_THAN_BUFFERS: u64 = 64 << 20;

/// No process that moves a file of any size needs more memory than this.
pub const BOUNDED_KIB: u64 = 32 << 10;

/// Calls that take bytes in.
pub const READING: &str = "read,pread64,readv,preadv,preadv2,recvfrom,recvmsg,recvmmsg";

/// Calls that put bytes out.
pub const WRITING: &str = "write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,sendmmsg";

/// So many calls a program may make for other reasons than a chunk: to start, to talk.
pub const FEW: usize = 100;

/// Some clients get a whole file each, one after the other, whatever its size. Returns what came.
#[track_caller]
pub fn sends_every_size(stage: Stage) -> Vec<Transfer> {
    let dir = TempDir::new().unwrap();
    let sends = |size| {
        let file = sample(dir.path(), size);
        let server = stage.serve(&file, &["--workers", "1"]);
        stage.assert_serves(&server, &file);
        // A worker that has served one client serves the next one as well.
        let transfer = stage.assert_serves(&server, &file);
        assert_well_formed(stage, &transfer, &file);
        transfer
    };
    BOUNDARY_SIZES.into_iter().map(sends).collect()
}

/// The header says what `file` is, and no chunk is empty or too long.
#[track_caller]
pub fn assert_well_formed(stage: Stage, transfer: &Transfer, file: &Path) {
    let size = file.metadata().expect("the file exists").len();
    let announced = match stage.format {
        Format::Chunks => None,
        Format::SizeAndChunks | Format::Header => Some(size.cast_signed()),
    };
    let name = file.file_name().unwrap().as_encoded_bytes();
    assert_eq!(transfer.header.name, name, "the name in the header");
    assert_eq!(transfer.header.size, announced, "the size in the header");
    assert_eq!(transfer.received, size, "the bytes that came");
    let allowed = 1..=LONGEST_SENT_CHUNK;
    let odd = transfer.chunks.iter().find(|len| !allowed.contains(len));
    assert_eq!(odd, None, "a chunk has to have {allowed:?} bytes");
}

/// The header holds the name of the file, not where it is.
#[track_caller]
pub fn sends_the_name_without_its_directory(stage: Stage) {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("some/where")).unwrap();
    let file = sample(&dir.path().join("some/where"), 3);
    for given in ["some/where/sample-3.bin", "./some/../some/where/sample-3.bin", text(&file)] {
        let server = ServerCommand::new(stage.bin).args(&["--file", given]).dir(&dir).start();
        let header = stage.connect(server.addr()).header();
        assert_eq!(header.name, b"sample-3.bin", "for --file {given}");
    }
}

/// Without `--file` a client gets the program itself.
#[track_caller]
pub fn sends_its_own_executable_by_default(stage: Stage) {
    let server = Server::start(stage.bin, &[]);
    let transfer = stage.assert_serves(&server, Path::new(stage.bin));
    assert_well_formed(stage, &transfer, Path::new(stage.bin));
}

/// A big file and a server for it with so many workers.
#[track_caller]
fn serve_big(stage: Stage, args: &[&str]) -> (TempDir, PathBuf, Server) {
    let dir = TempDir::new().unwrap();
    let file = sparse(dir.path(), MORE_THAN_BUFFERS);
    let server = stage.serve(&file, args);
    (dir, file, server)
}

/// A client in the middle of a transfer gets the rest, which is right.
#[track_caller]
fn assert_gets_the_rest(mut client: RawClient, file: &Path) {
    let header = client.header();
    let mut comparison = Comparison::with(file);
    let transfer = client.rest(header, |piece| comparison.piece(piece));
    comparison.end();
    transfer.expect("a whole transfer");
}

/// As many clients as there are workers are served at the same time: no transfer can end before
/// all of them have begun.
#[track_caller]
pub fn serves_as_many_at_once_as_it_has_workers(stage: Stage) {
    let (_dir, file, server) = serve_big(stage, &["--workers", "3"]);
    let begun = || {
        let mut client = stage.connect(server.addr());
        let header = client.header();
        (client, header)
    };
    let clients = [begun(), begun(), begun()];
    for (client, header) in clients.into_iter().rev() {
        let mut comparison = Comparison::with(&file);
        client.rest(header, |piece| comparison.piece(piece)).expect("a whole transfer");
        comparison.end();
    }
}

/// More clients than workers: those who come when all are busy wait their turn.
#[track_caller]
pub fn drops_nobody_when_all_workers_are_busy(stage: Stage) {
    let (_dir, file, server) = serve_big(stage, &["--workers", "2"]);
    let clients: Vec<RawClient> = (0..8).map(|_| stage.connect(server.addr())).collect();
    for client in clients {
        assert_gets_the_rest(client, &file);
    }
    server.wait_workers(2);
}

/// A worker is killed in the middle of two transfers: its client's connection ends early, the
/// other transfer goes on.
#[track_caller]
pub fn killed_worker_costs_only_its_own_client(stage: Stage) {
    let (_dir, file, server) = serve_big(stage, &["--workers", "2"]);
    let mut clients = [stage.connect(server.addr()), stage.connect(server.addr())];
    let headers = clients.each_mut().map(RawClient::header);
    server.kill(server.workers()[0]);
    let outcomes: Vec<Result<Transfer, String>> = clients
        .into_iter()
        .zip(headers)
        .map(|(client, header)| {
            let mut comparison = Comparison::with(&file);
            client.rest(header, |piece| comparison.piece(piece))
        })
        .collect();
    let whole = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(whole, 1, "one of two transfers had to survive: {outcomes:?}");
    server.wait_workers(2);
}

/// The only worker is killed in the middle of a transfer: the one that replaces it serves.
#[track_caller]
pub fn killed_worker_is_replaced(stage: Stage) {
    let (_dir, file, server) = serve_big(stage, &["--workers", "1"]);
    let mut client = stage.connect(server.addr());
    let header = client.header();
    let killed = server.workers()[0];
    server.kill(killed);
    client.rest(header, |_| {}).expect_err("the transfer of a killed worker can't be whole");
    stage.assert_serves(&server, &file);
    assert_ne!(server.wait_workers(1), [killed]);
}

/// Clients `leave`, each a little later in the transfer than the one before: the worker lives and
/// serves the next one.
#[track_caller]
pub fn worker_survives_clients_that(stage: Stage, leave: fn(RawClient)) {
    let (_dir, file, server) = serve_big(stage, &["--workers", "1"]);
    let workers = server.workers();
    for bytes in [0, 1, 8, 20, 40, 8_200, 300_000, 5_000_000, 40_000_000] {
        let mut client = stage.connect(server.addr());
        client.take(bytes);
        leave(client);
    }
    stage.assert_serves(&server, &file);
    assert_eq!(server.wait_workers(1), workers, "the worker had to be replaced");
}

/// A client that sends what nobody asked for, before and during the transfer, gets every byte.
#[track_caller]
pub fn sends_all_to_a_client_that_talks(stage: Stage) {
    let (_dir, file, server) = serve_big(stage, &["--workers", "1"]);
    let mut client = stage.connect(server.addr());
    client.send(&[b'?'; 20_000]);
    let header = client.header();
    client.send(&[b'!'; 20_000]);
    let mut comparison = Comparison::with(&file);
    let transfer = client.rest(header, |piece| comparison.piece(piece));
    transfer.expect("a whole transfer");
    comparison.end();
}

/// A client that stops reading is given up after the stall timeout: its worker is free again.
#[track_caller]
pub fn gives_up_a_client_that_stops_reading(stage: Stage) {
    let (_dir, file, server) = serve_big(stage, &["--workers", "1", "--stall-timeout", "1"]);
    let workers = server.workers();
    let mut stopped = stage.connect(server.addr());
    let header = stopped.header();
    stage.assert_serves(&server, &file);
    assert_eq!(server.wait_workers(1), workers, "the worker had to be replaced");
    server.wait_narration("no progress for 1 s");
    stopped.rest(header, |_| {}).expect_err("a client that was given up can't get all");
}

/// A client that reads slowly but steadily gets all, however long it takes.
#[track_caller]
pub fn bears_with_a_slow_client(stage: Stage) {
    const PACE: usize = 1 << 20; // every 100 ms; the whole takes three times the stall timeout
    let dir = TempDir::new().unwrap();
    let file = sparse(dir.path(), 32 << 20);
    let server = stage.serve(&file, &["--workers", "1", "--stall-timeout", "1"]);
    let mut client = stage.connect(server.addr());
    let header = client.header();
    let mut comparison = Comparison::with(&file);
    let mut at_once = 0;
    let transfer = client.rest(header, |piece| {
        comparison.piece(piece);
        at_once += piece.len();
        if at_once >= PACE {
            at_once = 0;
            thread::sleep(Duration::from_millis(100));
        }
    });
    transfer.expect("a whole transfer");
    comparison.end();
}

/// 300 clients, some of which leave early, leave no descriptor behind, nor a process.
#[track_caller]
pub fn leaves_no_descriptor_behind(stage: Stage) {
    const SLACK: usize = 3; // what a process may open once, at its first client
    let dir = TempDir::new().unwrap();
    // More than a client's buffer holds, and less than the server's: that one is soon done.
    let file = sample(dir.path(), 2_500_000);
    let server = stage.serve(&file, &["--workers", "2", "--quiet"]);
    let family = [vec![server.pid()], server.workers()].concat();
    let open = || family.iter().map(|&pid| proc::fds(pid).len());
    let before: Vec<usize> = open().collect();
    for number in 0..300 {
        let mut client = stage.connect(server.addr());
        match number % 3 {
            0 => drop(client.download()),
            1 => {
                client.take(10);
                client.reset();
            }
            _ => client.hang_up(),
        }
    }
    wait_for("the last connection to be closed", LIMIT, || tcp::accepted(server.port()).is_empty());
    assert_eq!([vec![server.pid()], server.wait_workers(2)].concat(), family);
    for ((after, before), pid) in open().zip(before).zip(&family) {
        let opened = proc::fds(*pid);
        assert!(after <= before + SLACK, "{before} descriptors became {after}: {opened:?}");
    }
}

/// A worker's memory doesn't grow with the file.
#[track_caller]
pub fn worker_memory_is_bounded(stage: Stage) {
    let dir = TempDir::new().unwrap();
    let file = sparse(dir.path(), 256 << 20);
    let server = stage.serve(&file, &["--workers", "1"]);
    stage.assert_serves(&server, &file);
    let peak = proc::peak_memory_kib(server.workers()[0]);
    assert!((1..BOUNDED_KIB).contains(&peak), "for 256 MiB a worker used {peak} KiB");
}

/// A chunk costs at most one call to read it and one to send it, the header hardly any more. Not
/// checked where tracing is impossible.
#[track_caller]
pub fn makes_at_most_one_call_a_chunk(stage: Stage) {
    let dir = TempDir::new().unwrap();
    let file = sample(dir.path(), 4_000_000);
    let args = ["--workers", "1", "--quiet", "--file", text(&file)];
    let calls = format!("{READING},{WRITING}");
    let Some((server, trace)) = trace::server(stage.bin, &args, &calls) else {
        return;
    };
    let chunks = stage.assert_serves(&server, &file).chunks.len();
    for names in [READING, WRITING] {
        let moved = trace.calls(names).iter().filter(|call| call.bytes() > 0).count();
        assert!(moved <= chunks + FEW, "{moved} calls of {names} for {chunks} chunks");
    }
}

/// A file that is replaced between two transfers is seen: name, size and contents go together.
#[track_caller]
pub fn sees_a_replaced_file(stage: Stage) {
    let dir = TempDir::new().unwrap();
    let file = sample(dir.path(), 70_000);
    let server = stage.serve(&file, &["--workers", "2"]);
    stage.assert_serves(&server, &file);
    for size in [200_000, 0, 5000] {
        fs::rename(sample(dir.path(), size), &file).unwrap();
        // Both workers have to look again, not only the first.
        for _ in 0..3 {
            let transfer = stage.assert_serves(&server, &file);
            assert_well_formed(stage, &transfer, &file);
        }
    }
}

/// A file that is removed: who is receiving it gets all, who comes later gets nothing, and once
/// there is a file again all is well.
#[track_caller]
pub fn finishes_a_removed_file(stage: Stage) {
    let (dir, file, server) = serve_big(stage, &["--workers", "1"]);
    let workers = server.workers();
    let mut client = stage.connect(server.addr());
    let header = client.header();
    let kept = dir.path().join("kept");
    fs::rename(&file, &kept).unwrap();
    let mut comparison = Comparison::with(&kept);
    client.rest(header, |piece| comparison.piece(piece)).expect("a whole transfer");
    comparison.end();

    let error = stage.get_fails(server.port(), dir.path(), &["--quiet"]);
    assert!(error.contains("connection closed after 0 of"), "got {error:?}");
    fs::rename(&kept, &file).unwrap();
    stage.assert_serves(&server, &file);
    assert_eq!(server.wait_workers(1), workers, "the worker had to be replaced");
}

/// A file that grows while it is sent: the client gets what was announced, or where nothing is
/// announced at least what was there.
#[track_caller]
pub fn stops_at_the_announced_size(stage: Stage) {
    let (_dir, file, server) = serve_big(stage, &["--workers", "1"]);
    let mut client = stage.connect(server.addr());
    let header = client.header();
    let longer = MORE_THAN_BUFFERS + 1_000_000;
    File::options().write(true).open(&file).unwrap().set_len(longer).unwrap();
    let mut comparison = Comparison::with(&file);
    let transfer = client.rest(header, |piece| comparison.piece(piece));
    let received = transfer.expect("a whole transfer").received;
    if stage.format == Format::Chunks {
        assert!((MORE_THAN_BUFFERS..=longer).contains(&received), "got {received} bytes");
    } else {
        assert_eq!(received, MORE_THAN_BUFFERS, "as many bytes as announced");
    }
}

/// A file that shrinks while it is sent: the transfer ends, and the worker lives. Returns what
/// the client of that transfer got.
#[track_caller]
pub fn survives_a_shrinking_file(stage: Stage) -> Result<Transfer, String> {
    let (dir, file, server) = serve_big(stage, &["--workers", "1"]);
    let workers = server.workers();
    let mut client = stage.connect(server.addr());
    let header = client.header();
    File::options().write(true).open(&file).unwrap().set_len(5000).unwrap();
    let outcome = client.rest(header, |_| {});
    fs::rename(sample(dir.path(), 70_000), &file).unwrap();
    stage.assert_serves(&server, &file);
    assert_eq!(server.wait_workers(1), workers, "the worker had to be replaced");
    outcome
}

/// `--file` has to be a regular file that can be read: anything else is an error at the start
/// that names it.
#[track_caller]
pub fn refuses_to_serve_what_is_no_file(stage: Stage) {
    let dir = TempDir::new().unwrap();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [&dir.path().join("missing"), dir.path(), &fifo, Path::new("/dev/null")] {
        let error = fails_with_one_line(stage.bin, &["--port", "0", "--file", text(path)]);
        assert!(error.contains(text(path)), "the error doesn't name {path:?}: {error}");
    }
}

/// The same for a file whose permissions forbid it; not checked for root, to whom nothing is
/// forbidden.
#[track_caller]
pub fn refuses_to_serve_an_unreadable_file(stage: Stage) {
    let dir = TempDir::new().unwrap();
    let file = sample(dir.path(), 3);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(&file).is_ok() {
        return not_checked("an unreadable file, for root may read every file");
    }
    let error = fails_with_one_line(stage.bin, &["--port", "0", "--file", text(&file)]);
    assert!(error.contains("permission denied"), "got {error:?}");
}

/// With `--quiet` the server says nothing, whatever its clients do.
#[track_caller]
pub fn says_nothing_when_quiet(stage: Stage) {
    let (_dir, file, server) = serve_big(stage, &["--workers", "1", "--quiet"]);
    stage.connect(server.addr()).header();
    stage.connect(server.addr()).reset();
    stage.assert_serves(&server, &file);
    crate::habits::has_been_quiet(&server);
}
