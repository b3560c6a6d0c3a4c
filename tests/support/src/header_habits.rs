//! What stages 06 to 08 must do alike: a header with name and size, then the bytes of the file
//! as they are.
//!
//! Each stage's tests call these under a name of their own. What the stages have in common with
//! 04 and 05 is in [`crate::serving`] and [`crate::receiving`].

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::fake_server::FakeServer;
use crate::files::{BOUNDARY_SIZES, HUGE, Landing, entries, huge, sample, sample_bytes};
use crate::receiving::{self, assert_failed};
use crate::relay::relay;
use crate::server::{Server, Signal, run, send_signal};
use crate::stage::{NAME, Stage, assert_received, text};
use crate::wait::{limit, wait_for};
use crate::wire::broken_off;
use crate::{habits, proc, progress, serving};

/// A size that all the buffers on the way can't hold (see [`crate::serving::MORE_THAN_BUFFERS`])
/// and that ends within a page.
const BIG: usize = (64 << 20) + 100;

/// What comes is the header, the file and then the end: not a byte before, between or after.
#[track_caller]
pub fn sends_header_file_and_nothing_else(stage: Stage) {
    let dir = TempDir::new().unwrap();
    for size in [1, 5000] {
        let server = stage.serve(&sample(dir.path(), size), &["--workers", "1"]);
        let stream = stage.connect(server.addr()).everything();
        let name = format!("sample-{size}.bin");
        let expected = stage.format.stream(name.as_bytes(), &sample_bytes(size));
        let difference = || first_difference(&stream, &expected, name.len());
        assert!(stream == expected, "{name}: {}", difference());
    }
}

/// Where a stream isn't what it has to be, in the words of the format.
fn first_difference(stream: &[u8], expected: &[u8], name_length: usize) -> String {
    let at = stream.iter().zip(expected).take_while(|(came, wanted)| came == wanted).count();
    let name = 16..16 + name_length;
    let (field, range) = match at {
        ..8 => ("the length of the name", 0..8),
        8..16 => ("the size", 8..16),
        _ if at < name.end => ("the name", name),
        _ if at < expected.len() => ("the file", at..at + 8),
        _ => ("the end", at..at + 8),
    };
    let part = |bytes: &[u8]| match bytes.get(range.start..range.end.min(bytes.len())) {
        None | Some([]) => "nothing".to_owned(),
        Some(bytes) => bytes.iter().map(|it| format!("{it:02x}")).collect::<Vec<_>>().join(" "),
    };
    let (came, wanted) = (part(stream), part(expected));
    let count = match (stream.len(), expected.len()) {
        (all, as_many) if all == as_many => format!("{all} bytes came, as many as have to"),
        (all, right) => format!("{all} bytes came instead of {right}"),
    };
    let from = range.start;
    format!(
        "{count}; from byte {from} on, where {field} should be, came {came} instead of {wanted}"
    )
}

/// All of [`BOUNDARY_SIZES`] but nothing: an empty file is a case of its own.
fn sizes() -> impl Iterator<Item = usize> {
    BOUNDARY_SIZES.into_iter().filter(|&size| size > 0)
}

/// Two clients of one worker get a whole file each, whatever its size.
#[track_caller]
pub fn sends_every_size(stage: Stage) {
    let dir = TempDir::new().unwrap();
    for size in sizes() {
        let file = sample(dir.path(), size);
        let server = stage.serve(&file, &["--workers", "1"]);
        for _ in 0..2 {
            let transfer = stage.assert_serves(&server, &file);
            serving::assert_well_formed(stage, &transfer, &file);
        }
    }
}

/// `get` receives files of every size, and says so in one line.
#[track_caller]
pub fn gets_every_size(stage: Stage) {
    let (dir, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for size in sizes() {
        let file = sample(dir.path(), size);
        let server = stage.serve(&file, &["--workers", "1"]);
        stage.assert_gets(server.port(), &file, out.path());
    }
}

/// The lines of progress end with all of the file, also of an empty one.
#[track_caller]
pub fn shows_progress(stage: Stage) {
    for size in [0, 1, 5000, 10_000_000] {
        let out = TempDir::new().unwrap();
        let stream = stage.format.stream(NAME.as_bytes(), &sample_bytes(size));
        let server = FakeServer::that_sends(stream);
        let finished = stage.get(server.port(), out.path(), &[]);
        assert_eq!(finished.status.code(), Some(0), "for {size} bytes: {finished:#?}");
        let lines = progress::lines(&finished.stderr);
        progress::assert_complete(&lines);
        progress::assert_sound(&lines, size as u64);
    }
}

/// An empty file is a header and the end, and costs the worker nothing.
#[track_caller]
pub fn sends_an_empty_file(stage: Stage) {
    let dir = TempDir::new().unwrap();
    let file = sample(dir.path(), 0);
    let server = stage.serve(&file, &["--workers", "1"]);
    let workers = server.workers();
    let expected = stage.format.header(b"sample-0.bin", 0);
    for client in 1..=3 {
        let stream = stage.connect(server.addr()).everything();
        assert!(
            stream == expected,
            "client {client} got {} bytes instead of a header of {}: {}; the server said:\n{}",
            stream.len(),
            expected.len(),
            stream.escape_ascii(),
            server.narration(),
        );
    }
    serving::assert_same_workers(&server, &workers);
    // By now the worker has long said what came of its first clients.
    let said = server.narration();
    let failed = ["fail", "error"].iter().any(|word| said.to_lowercase().contains(word));
    assert!(!failed, "to send an empty file is no failure; the server said:\n{said}");
}

/// `get` makes an empty file of an empty file.
#[track_caller]
pub fn gets_an_empty_file(stage: Stage) {
    let (dir, landing) = (TempDir::new().unwrap(), Landing::with_old("sample-0.bin"));
    let file = sample(dir.path(), 0);
    let server = FakeServer::that_sends(stage.format.header(b"sample-0.bin", 0));
    stage.assert_gets(server.port(), &file, landing.path());
    assert_eq!(entries(landing.path()), ["sample-0.bin"], "what get left in its directory");
}

/// A file over 4 GiB: its size is right in the header, and so are the bytes at its end. The file
/// is kept in `dir`, where that can be written: a test of a grader may be another user.
#[track_caller]
pub fn sends_more_than_4_gib(stage: Stage, dir: &Path) {
    const END: u64 = 1 << 20;
    let own = TempDir::new().unwrap();
    let dir = if TempDir::new_in(dir).is_ok() { dir } else { own.path() };
    let Some(file) = huge(dir) else { return };
    let server = stage.serve(&file, &["--workers", "1"]);
    let mut client = stage.connect(server.addr());
    assert_eq!(client.header().size, Some(HUGE.cast_signed()), "the size in the header");
    client.discard(HUGE - END);
    let mut expected = vec![0; END as usize];
    File::open(&file).unwrap().read_exact_at(&mut expected, HUGE - END).unwrap();
    assert!(client.everything() == expected, "the last {END} bytes differ from the original");
}

/// After a transfer that broke off, wherever that was, the next client of the same worker gets
/// its own bytes and none that were on their way to the other.
#[track_caller]
pub fn next_client_gets_nothing_of_a_broken_transfer(stage: Stage) {
    let dir = TempDir::new().unwrap();
    let file = sample(dir.path(), BIG);
    let server = stage.serve(&file, &["--workers", "1", "--stall-timeout", "3"]);
    let workers = server.workers();
    for bytes in [0, 30, 100_000, 10 << 20] {
        let mut client = stage.connect(server.addr());
        client.take(bytes);
        client.reset();
        stage.assert_serves(&server, &file);
    }
    let mut stopped = stage.connect(server.addr());
    stopped.header();
    stage.assert_serves(&server, &file);
    serving::assert_same_workers(&server, &workers);
}

/// There is no room for what is announced: `get` says so at once, not when the room is used up.
///
/// The server of ours sends nothing but the header. The disk is a file system of 512 KiB in a
/// mount namespace of its own. Not checked where that is forbidden.
#[track_caller]
pub fn reserves_room_first(stage: Stage) {
    const SCRIPT: &str = r#"
        out=$1; shift
        mount -t tmpfs -o size=512k tmpfs "$out" || exit 77
        "$@" --out "$out""#;
    let out = TempDir::new().unwrap();
    let server = FakeServer::that_stops_after(stage.format.header(NAME.as_bytes(), 1_000_000));
    let port = server.port().to_string();
    let mut args = vec!["--mount", "--map-root-user", "sh", "-c", SCRIPT, "sh", text(out.path())];
    args.extend([stage.bin(), "get", "--quiet", "--stall-timeout", "5", "--port", &port]);
    let finished = run("unshare", &args);
    if finished.stderr.starts_with("unshare:") || finished.status.code() == Some(77) {
        let why = format!("a full disk, for nothing can be mounted: {}", finished.stderr);
        return crate::not_checked(&why);
    }
    let complaint = finished.stderr.to_lowercase();
    assert!(
        finished.status.code() == Some(1) && complaint.contains("no space left on device"),
        "with 1000000 bytes announced and room for 524288, {}, and it said: {:?}",
        finished.status,
        finished.stderr,
    );
}

/// A transfer of [`BIG`] bytes during which somebody can get at the file.
struct Scene {
    dir: TempDir,
    contents: Vec<u8>,
    server: Server,
    workers: Vec<i32>,
}

impl Scene {
    #[track_caller]
    fn set(stage: Stage) -> Self {
        let dir = TempDir::new().unwrap();
        let contents = sample_bytes(BIG);
        let file = dir.path().join(NAME);
        fs::write(&file, &contents).unwrap();
        let server = stage.serve(&file, &["--workers", "1"]);
        let workers = server.workers();
        Self { dir, contents, server, workers }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join(NAME)
    }

    /// The same worker still serves whoever comes.
    #[track_caller]
    fn assert_worker_serves(&self, stage: Stage) {
        stage.assert_serves(&self.server, &self.file());
        serving::assert_same_workers(&self.server, &self.workers);
    }

    /// Gives the file its old contents again.
    fn restore(&self) {
        fs::write(self.file(), &self.contents).unwrap();
    }
}

fn resize(file: &Path, size: u64) {
    File::options().write(true).open(file).unwrap().set_len(size).unwrap();
}

/// While it is sent, the file shrinks: to nothing, to a half, by a few bytes of its last page.
/// The client never gets the whole number of bytes (the rest of a mapped page reads as zeros, and
/// nobody could tell); the worker lives and says what happened.
#[track_caller]
pub fn never_fills_up_a_file_that_shrinks(stage: Stage) {
    let scene = Scene::set(stage);
    for size in [0, BIG / 2, BIG - 50] {
        let mut client = stage.connect(scene.server.addr());
        let header = client.header();
        let told = scene.server.narration().len();
        resize(&scene.file(), size as u64);
        let mut received = Vec::new();
        let outcome = client.rest(header, |piece| received.extend_from_slice(piece));
        broken_off(outcome, &format!("the file was cut to {size} bytes"));
        // Beyond its new end the file has no bytes any more, so those don't count.
        let kept = received.len().min(size);
        assert!(received[..kept] == scene.contents[..kept], "bytes came that the file never had");
        scene.assert_worker_serves(stage); // the shorter file, which is whole in itself
        scene.restore();
        wait_for("a word on standard error about the transfer that failed", limit(), || {
            let told = scene.server.narration()[told..].to_lowercase();
            ["error", "fail", "shr", "truncat"].iter().any(|word| told.contains(word))
        });
    }
}

/// The same, as `get` sees it: the connection closed too early, and nothing is left.
#[track_caller]
pub fn get_reports_a_file_that_shrinks(stage: Stage) {
    let scene = Scene::set(stage);
    for size in [0, BIG / 2, BIG - 50] {
        let file = scene.file();
        let server = relay(scene.server.addr(), 1 << 20, move || resize(&file, size as u64));
        assert_get_reports_an_early_end(stage, &server);
        scene.restore();
        scene.assert_worker_serves(stage);
    }
}

/// The worker is killed in the middle of a transfer: `get` says how far it came.
#[track_caller]
pub fn get_reports_a_killed_worker(stage: Stage) {
    let scene = Scene::set(stage);
    let worker = scene.workers[0];
    let server = relay(scene.server.addr(), 1 << 20, move || send_signal(worker, Signal::SIGKILL));
    assert_get_reports_an_early_end(stage, &server);
    stage.assert_serves(&scene.server, &scene.file());
}

/// `connection closed after X of Y bytes`, and nothing is left.
#[track_caller]
fn assert_get_reports_an_early_end(stage: Stage, server: &FakeServer) {
    let landing = Landing::with_old(NAME);
    let error = stage.get_fails(server.port(), landing.path(), &["--quiet"]);
    landing.assert_untouched();
    let received = error.strip_prefix("connection closed after ");
    let received = received.and_then(|rest| rest.strip_suffix(&format!(" of {BIG} bytes")));
    let received = received.and_then(|number| number.parse::<usize>().ok());
    assert!(received.is_some_and(|count| count < BIG), "get says {error:?}");
}

/// While it is sent, another file takes its name: the transfer goes on with the old one, and who
/// comes later gets the new one.
#[track_caller]
pub fn goes_on_with_a_file_that_is_replaced(stage: Stage) {
    let scene = Scene::set(stage);
    let kept = scene.dir.path().join("kept");
    fs::hard_link(scene.file(), &kept).unwrap();
    let mut client = stage.connect(scene.server.addr());
    let header = client.header();
    fs::rename(sample(scene.dir.path(), 5000), scene.file()).unwrap();
    let mut received = Vec::new();
    client.rest(header, |piece| received.extend_from_slice(piece)).expect("a whole transfer");
    assert!(received == fs::read(&kept).unwrap(), "the file changed under the transfer");
    scene.assert_worker_serves(stage);
}

/// A stream that ends in the file says how many of how many bytes came.
#[track_caller]
pub fn reports_every_early_end(stage: Stage) {
    let contents = b"the file";
    let errors = receiving::reports_every_early_end(stage, contents);
    let header = errors.len() - contents.len();
    for (came, error) in errors[header..].iter().enumerate() {
        assert_eq!(error, &format!("connection closed after {came} of {} bytes", contents.len()));
    }
}

/// What is refused is named: the header was understood.
#[track_caller]
pub fn names_what_it_refuses(stage: Stage) {
    let name = "some/where/file.bin";
    let server = FakeServer::that_sends(stage.format.stream(name.as_bytes(), b"abc"));
    let error = stage.refuses(&server, &["--quiet"]);
    assert!(error.contains(name), "sent the name {name:?}, get says: error: {error}");
}

/// A size below 0 is refused at once, before anything is made or waited for.
#[track_caller]
pub fn refuses_a_negative_size(stage: Stage) {
    for size in [-1, -4096, i64::MIN] {
        let server = FakeServer::that_stops_after(stage.format.header(NAME.as_bytes(), size));
        let error = stage.refuses(&server, &["--quiet"]);
        assert!(!error.contains("no data"), "waited for a file of {size} bytes: {error}");
    }
}

/// A size that no disk has room for (and that is nothing, or 4 GiB, to who counts with 32 bits),
/// from a server that sends some bytes and leaves.
#[track_caller]
pub fn survives_an_absurd_size(stage: Stage) {
    for size in [i64::MAX, i64::MAX - 4095, 1 << 62] {
        let header = stage.format.header(NAME.as_bytes(), size);
        let server = FakeServer::that_sends([header, sample_bytes(10_000)].concat());
        let _ = stage.refuses(&server, &["--quiet"]);
    }
}

/// A server that sends more than it announced doesn't get it into the file.
#[track_caller]
pub fn takes_no_more_than_announced(stage: Stage) {
    let contents = sample_bytes(5000);
    for more in [1, 100_000] {
        let stream = stage.format.stream(NAME.as_bytes(), &contents);
        let server = FakeServer::that_sends([stream, vec![b'x'; more]].concat());
        let landing = Landing::with_old(NAME);
        let finished = stage.get(server.port(), landing.path(), &["--quiet"]);
        if finished.status.success() {
            assert!(fs::read(landing.path().join(NAME)).unwrap() == contents, "{more} bytes more");
            assert_eq!(entries(landing.path()), [NAME]);
        } else {
            assert_failed(&finished);
            landing.assert_untouched();
        }
    }
}

/// Clients that leave in the middle cost the worker no mapping.
#[track_caller]
pub fn leaves_no_mapping_behind(stage: Stage) {
    const SLACK: usize = 3; // what the memory allocator may want in the course of time
    let scene = Scene::set(stage);
    let mappings = || proc::maps(scene.workers[0]).lines().count();
    stage.connect(scene.server.addr()).header();
    scene.assert_worker_serves(stage);
    let before = mappings();
    for number in 0..100 {
        let mut client = stage.connect(scene.server.addr());
        client.take(number * 10_000);
        if number % 2 == 0 {
            client.reset();
        }
    }
    scene.assert_worker_serves(stage);
    let after = mappings();
    assert!(after <= before + SLACK, "{before} mappings became {after} after 100 clients");
}

/// After a transfer, parent and workers sleep again.
#[track_caller]
pub fn sleeps_when_idle(stage: Stage) {
    let dir = TempDir::new().unwrap();
    let file = sample(dir.path(), 100_000);
    let server = stage.serve(&file, &["--workers", "3"]);
    stage.assert_serves(&server, &file);
    habits::sleeps_when_idle(&server);
}

/// Numbers that make no sense are wrong usage.
#[track_caller]
pub fn refuses_nonsense(stage: Stage) {
    habits::refuses_nonsense(stage.bin());
    for seconds in ["0", "86401", "-1", "soon"] {
        habits::refuses_usage(stage.bin(), &["--port", "0", "--stall-timeout", seconds]);
        habits::refuses_usage(stage.bin(), &["get", "--port", "1", "--stall-timeout", seconds]);
    }
}

/// Standard error has what to type, and every line says who speaks.
#[track_caller]
pub fn says_what_to_type_and_who_speaks(stage: Stage) {
    let server = Server::start(stage.bin(), &["--workers", "2"]);
    habits::says_what_to_type(&server, "get");
    stage.connect(server.addr()).download();
    server.wait_narration("[worker ");
    habits::narrates_who_speaks(&server, &server.workers());
}

/// Without arguments, server and client meet at port 8080, and the file is the program itself.
/// The caller marks its test `#[serial]`.
#[track_caller]
pub fn defaults_are_those_of_the_notes(stage: Stage) {
    let Some((_claim, _server)) = habits::start_with_defaults(stage.bin()) else { return };
    let out = TempDir::new().unwrap();
    let finished = run(stage.bin(), &["get", "--out", text(out.path())]);
    assert_received(&finished, Path::new(stage.bin()), out.path());
}

/// A server that was killed in the middle of things can be started again on its port at once.
#[track_caller]
pub fn restarts_on_its_port(stage: Stage) {
    let server = habits::restarts_on_the_same_port(stage.bin(), &["--workers", "2"]);
    stage.assert_serves(&server, Path::new(stage.bin()));
}

/// Descriptors don't leak into other programs, not even in the middle of a transfer.
#[track_caller]
pub fn closes_on_exec(stage: Stage) {
    let scene = Scene::set(stage);
    habits::closes_on_exec(&scene.server);
    let mut client = stage.connect(scene.server.addr());
    client.header();
    // The header may come long before the rest: what that needs is opened by the time its worker
    // waits for this client.
    scene.server.wait_all_asleep();
    habits::closes_on_exec(&scene.server);
}

/// The parent is killed, idle or in the middle of a transfer: soon nobody is left.
#[track_caller]
pub fn workers_go_with_their_parent(stage: Stage) {
    habits::takes_workers_along(Server::start(stage.bin(), &["--workers", "3"]), Signal::SIGKILL);
    let Scene { dir, server, .. } = Scene::set(stage);
    let mut client = stage.connect(server.addr());
    client.header();
    habits::takes_workers_along(server, Signal::SIGKILL);
    drop((client, dir)); // until here the client was there, and the file
}
