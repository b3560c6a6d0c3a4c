//! How the server of stages 04 to 08 must treat its clients.
//!
//! Each stage's tests call these under a name of their own: what stage 04 learned must not be
//! lost later.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::fcntl::{AT_FDCWD, RenameFlags};
use tempfile::TempDir;

use crate::files::{Comparison, sample, sample_bytes, sizes_from_one_byte_up, sparse};
use crate::habits::fails_with_one_line;
use crate::not_checked;
use crate::proc;
use crate::server::{Server, ServerCommand, Signal};
use crate::stage::{Stage, assert_gets_the_rest, text};
use crate::wait::{limit, poll_until, wait_for};
use crate::wire::{Format, LONGEST_SENT_CHUNK, RawClient, Shown, Transfer, assert_stream, whole};
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

/// Some clients get a whole file each, one after the other, whatever its size.
#[track_caller]
pub fn sends_every_size(stage: Stage) {
    let dir = TempDir::new().unwrap();
    for size in sizes_from_one_byte_up() {
        let file = sample(dir.path(), size);
        let server = stage.serve(&file, &["--workers", "1"]);
        // A worker that has served one client serves the next one as well.
        for _ in 0..2 {
            let transfer = stage.assert_serves(&server, &file);
            assert_well_formed(stage, &transfer, &file);
        }
    }
}

/// An empty file is what comes before and after the bytes of any file, and costs the worker
/// nothing.
#[track_caller]
pub fn sends_an_empty_file(stage: Stage) {
    let dir = TempDir::new().unwrap();
    let server = stage.serve(&sample(dir.path(), 0), &["--workers", "1"]);
    let workers = server.workers();
    let expected = stage.format.stream(b"sample-0.bin", b"");
    for client in 1..=3 {
        let came = stage.connect(server.addr()).everything();
        assert_stream(&came, &expected, &format!("client {client} of a file of 0 bytes"));
    }
    assert_same_workers(&server, &workers);
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
    assert_eq!(Shown(&transfer.header.name), Shown(name), "the name in the header");
    assert_eq!(transfer.header.size, announced, "the size in the header of {size} bytes");
    assert_eq!(transfer.received, size, "the bytes that came");
    let allowed = 1..=LONGEST_SENT_CHUNK;
    let odd = transfer.chunks.iter().find(|len| !allowed.contains(len));
    if let Some(odd) = odd {
        panic!("a chunk of {odd} bytes came; a chunk has {allowed:?} bytes");
    }
}

/// The header holds the name of the file, not where it is.
#[track_caller]
pub fn sends_the_name_without_its_directory(stage: Stage) {
    let dir = TempDir::new().unwrap();
    fs::create_dir_all(dir.path().join("some/where")).unwrap();
    let file = sample(&dir.path().join("some/where"), 3);
    for given in ["some/where/sample-3.bin", "./some/../some/where/sample-3.bin", text(&file)] {
        let server = ServerCommand::new(stage.bin()).args(&["--file", given]).dir(&dir).start();
        let header = stage.connect(server.addr()).header();
        let name = Shown(&header.name);
        assert_eq!(name, Shown(b"sample-3.bin"), "the name in the header, for --file {given}");
    }
}

/// Without `--file` a client gets the program itself.
#[track_caller]
pub fn sends_its_own_executable_by_default(stage: Stage) {
    let server = Server::start(stage.bin(), &[]);
    let transfer = stage.assert_serves(&server, Path::new(stage.bin()));
    assert_well_formed(stage, &transfer, Path::new(stage.bin()));
}

/// A big file and a server for it with so many workers.
#[track_caller]
fn serve_big(stage: Stage, args: &[&str]) -> (TempDir, PathBuf, Server) {
    let dir = TempDir::new().unwrap();
    let file = sparse(dir.path(), MORE_THAN_BUFFERS);
    let server = stage.serve(&file, args);
    (dir, file, server)
}

/// Nobody has died and been replaced.
#[track_caller]
pub fn assert_same_workers(server: &Server, workers: &[i32]) {
    let now = server.wait_workers(workers.len());
    let died: Vec<String> =
        workers.iter().filter(|pid| !now.contains(pid)).map(ToString::to_string).collect();
    let said = server.narration();
    let endings: Vec<&str> = said.lines().filter(|line| line.contains(" ended: ")).collect();
    assert!(
        died.is_empty(),
        "worker {} died and had to be replaced; the server said:\n{}",
        died.join(" and "),
        endings.join("\n")
    );
}

/// The server consists of these processes.
#[track_caller]
fn assert_nobody_but(server: &Server, family: &[i32]) {
    let mut strangers = proc::session(server.pid());
    strangers.retain(|pid| !family.contains(pid));
    let (count, some) = (strangers.len(), strangers.iter().take(3));
    let some: Vec<String> = some.map(|&pid| proc::describe(pid)).collect();
    assert!(count == 0, "besides parent and workers there are {count} more: {}", some.join("; "));
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
        whole(client.rest(header, |piece| comparison.piece(piece)));
        comparison.end();
    }
}

/// Only so many clients are served at the same time as there are workers, and by them alone: the
/// next one's turn comes when one is done.
#[track_caller]
pub fn serves_no_more_at_once_than_it_has_workers(stage: Stage) {
    let (_dir, file, server) = serve_big(stage, &["--workers", "2"]);
    let family = [vec![server.pid()], server.workers()].concat();
    let mut served = [stage.connect(server.addr()), stage.connect(server.addr())];
    let headers = served.each_mut().map(RawClient::header);
    let waiting = stage.connect(server.addr());
    let came = waiting.hears_something_within(Duration::from_millis(300));
    assert!(
        !came,
        "both workers had a client that didn't read, and a third one was sent something"
    );
    server.wait_all_asleep(); // whoever wants more processes for a transfer has made them by then
    assert_nobody_but(&server, &family);
    for (client, header) in served.into_iter().zip(headers) {
        whole(client.rest(header, |_| {}));
    }
    assert_gets_the_rest(waiting, &file);
    assert_same_workers(&server, &family[1..]);
}

/// More clients than workers: those who come when all are busy wait their turn.
#[track_caller]
pub fn drops_nobody_when_all_workers_are_busy(stage: Stage) {
    let (_dir, file, server) = serve_big(stage, &["--workers", "2"]);
    let workers = server.workers();
    let clients: Vec<RawClient> = (0..8).map(|_| stage.connect(server.addr())).collect();
    for client in clients {
        assert_gets_the_rest(client, &file);
    }
    assert_same_workers(&server, &workers);
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
    let broken: Vec<&String> =
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(
        whole == 1,
        "one of two workers was killed, {whole} of 2 transfers survived: {broken:?}"
    );
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
    let outcome = client.rest(header, |_| {});
    assert!(
        outcome.is_err(),
        "its worker was killed, and a client got the whole file all the same"
    );
    stage.assert_serves(&server, &file);
    server.wait_workers(1);
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
    assert_same_workers(&server, &workers);
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
    whole(client.rest(header, |piece| comparison.piece(piece)));
    comparison.end();
}

/// A client that stops reading is given up after the stall timeout: its worker is free again.
///
/// The second client reads all the time, but on a busy machine it may be held up for a second or
/// two. The timeout is longer than that.
#[track_caller]
pub fn gives_up_a_client_that_stops_reading(stage: Stage) {
    let (_dir, file, server) = serve_big(stage, &["--workers", "1", "--stall-timeout", "3"]);
    let workers = server.workers();
    let mut stopped = stage.connect(server.addr());
    let header = stopped.header();
    let second = stage.connect(server.addr());
    assert!(
        second.hears_something_within(limit()),
        "the worker isn't free for the second client: nothing came for {:?}",
        limit()
    );
    assert_gets_the_rest(second, &file);
    assert_same_workers(&server, &workers);
    wait_for("a word on standard error about the client that was given up", limit(), || {
        let told = server.narration().to_lowercase();
        ["no progress", "fail", "error", "gave up", "given up", "stall", "time"]
            .iter()
            .any(|word| told.contains(word))
    });
    let outcome = stopped.rest(header, |_| {});
    assert!(outcome.is_err(), "a client that was given up got the whole file all the same");
}

/// A client that reads slowly but steadily gets all, however long it takes.
///
/// It rests so long that a send which waits for it times out twice: at first it comes back half
/// done, then with nothing. A splice waits inside up to three times before it comes back half done,
/// which is three quarters of the stall timeout: so the first rest is longer, and begins when the
/// worker waits, and the next splice lasts into the second. The client never rests so long that it
/// could be taken for one that has stopped, but all in all it takes longer than that.
#[track_caller]
pub fn bears_with_a_slow_client(stage: Stage) {
    const STALL_TIMEOUT: &str = "10"; // so that a second more or less doesn't matter
    const FIRST_REST: Duration = Duration::from_millis(8700);
    const SECOND_REST: Duration = Duration::from_millis(4000);
    const BETWEEN: usize = 512 << 10; // bytes: little, or the kernel's buffers would even it out
    let dir = TempDir::new().unwrap();
    // No two parts of it are alike: one that is sent twice, or never, is seen.
    let file = sample(dir.path(), 20 << 20);
    let server = stage.serve(&file, &["--workers", "1", "--stall-timeout", STALL_TIMEOUT]);
    let worker = server.workers()[0];
    let mut client = stage.connect(server.addr());
    let header = client.header();
    wait_for("the worker to wait for its client", limit(), || proc::state(worker) == Some('S'));
    thread::sleep(FIRST_REST);
    let mut comparison = Comparison::with(&file);
    let mut came = 0;
    let transfer = client.rest(header, |piece| {
        comparison.piece(piece);
        let before = came;
        came += piece.len();
        if (before..came).contains(&BETWEEN) {
            thread::sleep(SECOND_REST);
        }
    });
    whole(transfer);
    comparison.end();
}

/// A worker that is stopped while it waits for its client, and let go on, sends the rest: as the
/// send can time out, the stop interrupts it with `EINTR` although no handler runs (`signal(7)`).
///
/// An interrupted call that has moved something says so, and the next one waits with nothing moved.
/// So it is stopped more than once.
#[track_caller]
pub fn goes_on_after_a_stop(stage: Stage) {
    let (_dir, file, server) = serve_big(stage, &["--workers", "1"]);
    let worker = server.workers()[0];
    let mut client = stage.connect(server.addr());
    let header = client.header();
    for _ in 0..5 {
        wait_for("the worker to wait for its client", limit(), || proc::state(worker) == Some('S'));
        server.freeze(worker);
        server.signal(worker, Signal::SIGCONT);
    }
    let mut comparison = Comparison::with(&file);
    let transfer = client.rest(header, |piece| comparison.piece(piece));
    if let Err(error) = transfer {
        panic!("the client was cut off: {error}; the server said:\n{}", server.narration());
    }
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
    let before: Vec<usize> = family.iter().map(|&pid| proc::fds(pid).len()).collect();
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
    wait_for("the last connection to be closed", limit(), || {
        tcp::accepted(server.port()).is_empty()
    });
    assert_same_workers(&server, &family[1..]);
    assert_nobody_but(&server, &family);
    // A client that has reset its connection, or still waits for its turn, isn't among the accepted
    // ones; what it costs is given back a moment later.
    let kept = || {
        family.iter().zip(&before).find_map(|(&pid, &before)| {
            let open = proc::fds(pid);
            let (after, last) = (open.len(), &open[open.len().saturating_sub(3)..]);
            let who = if pid == server.pid() { "the parent" } else { "a worker" };
            (after > before + SLACK).then(|| {
                format!("{before} descriptors of {who} became {after}, the last of them {last:?}")
            })
        })
    };
    let given_back = poll_until(limit(), || kept().is_none().then_some(()));
    if given_back.is_none()
        && let Some(kept) = kept()
    {
        panic!("{kept}");
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
    let allowed = 1..BOUNDED_KIB;
    assert!(
        allowed.contains(&peak),
        "to send 256 MiB a worker used {peak} KiB of memory ({BOUNDED_KIB} are allowed)"
    );
}

/// A chunk costs at most one call to read it and one to send it, the header hardly any more. Not
/// checked where tracing is impossible.
#[track_caller]
pub fn makes_at_most_one_call_a_chunk(stage: Stage) {
    let dir = TempDir::new().unwrap();
    let file = sample(dir.path(), 4_000_000);
    let args = ["--workers", "1", "--quiet", "--file", text(&file)];
    let calls = format!("{READING},{WRITING}");
    let Some((server, trace)) = trace::server(stage.bin(), &args, &calls) else {
        return;
    };
    let chunks = stage.assert_serves(&server, &file).chunks.len();
    for names in [READING, WRITING] {
        let moved = trace.calls(names).iter().filter(|call| call.bytes() > 0).count();
        let allowed = chunks + FEW;
        assert!(moved <= allowed, "the server made {moved} calls ({names}) for {chunks} chunks");
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

/// Two files take turns at one path all the time: whoever comes gets one of them, and size and
/// contents go together. To look at the path twice (`stat`, then `open`) may be to look at two
/// files. Each look is slowed down, so that this doesn't depend on luck. Neither file begins like
/// the other: the short one's size with a part of the long one is seen, too.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "somebody has to replace the file all the time")]
pub fn looks_at_its_file_once(stage: Stage) {
    const LOOKING: &str = "open,openat,openat2,stat,newfstatat,statx";
    const REST: Duration = Duration::from_millis(30);
    const CLIENTS: usize = 20;
    let dir = TempDir::new().unwrap();
    let [path, other] = ["file", "other"].map(|name| dir.path().join(name));
    let contents = [sample_bytes(1000), sample_bytes(3000).split_off(1000)];
    fs::write(&path, &contents[0]).unwrap();
    fs::write(&other, &contents[1]).unwrap();
    let args = ["--workers", "1", "--quiet", "--file", text(&path)];
    let Some((server, _trace)) = trace::slow_server(stage.bin(), &args, LOOKING, REST) else {
        return;
    };
    let done = Arc::new(AtomicBool::new(false));
    let enough = Arc::clone(&done);
    let swapper = thread::spawn(move || {
        let (exchange, here) = (RenameFlags::RENAME_EXCHANGE, AT_FDCWD);
        while !enough.load(Ordering::Relaxed) {
            nix::fcntl::renameat2(here, &path, here, &other, exchange).expect("renameat2");
        }
    });
    let outcome = (0..CLIENTS).try_for_each(|_| one_of_these_files(stage, &server, &contents));
    done.store(true, Ordering::Relaxed);
    swapper.join().expect("the thread that exchanges the files");
    if let Err(broken) = outcome {
        panic!("files of 1000 and 2000 bytes take turns at the path: {broken}");
    }
}

/// A client gets one of the files `contents`, and its size.
fn one_of_these_files(stage: Stage, server: &Server, contents: &[Vec<u8>]) -> Result<(), String> {
    let mut client = stage.connect(server.addr());
    let header = client.header();
    let mut came = Vec::new();
    let announced = header.size.unwrap_or_default();
    let outcome = client.rest(header, |piece| came.extend_from_slice(piece));
    outcome.map_err(|broken| format!("{announced} bytes were announced, and {broken}"))?;
    if contents.contains(&came) && announced == came.len() as i64 {
        return Ok(());
    }
    Err(format!(
        "{announced} bytes were announced, and the {} that came are no file of these",
        came.len()
    ))
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
    whole(client.rest(header, |piece| comparison.piece(piece)));
    comparison.end();

    let error = stage.get_fails(server.port(), dir.path(), &["--quiet"]);
    assert!(error.contains("connection closed after 0 of"), "got {error:?}");
    fs::rename(&kept, &file).unwrap();
    stage.assert_serves(&server, &file);
    assert_same_workers(&server, &workers);
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
    let received = whole(transfer).received;
    if stage.format == Format::Chunks {
        assert!((MORE_THAN_BUFFERS..=longer).contains(&received), "got {received} bytes");
    } else {
        assert_eq!(received, MORE_THAN_BUFFERS, "the bytes that came of a file that has grown");
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
    assert_same_workers(&server, &workers);
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
        let error = fails_with_one_line(stage.bin(), &["--port", "0", "--file", text(path)]);
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
    let error = fails_with_one_line(stage.bin(), &["--port", "0", "--file", text(&file)]);
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
