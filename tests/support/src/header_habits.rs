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
use crate::files::{HUGE, Landing, entries, huge, sample, sample_bytes};
use crate::receiving::{self, assert_failed};
use crate::relay::relay;
use crate::server::{Server, Signal, run, send_signal};
use crate::stage::{NAME, Stage, assert_received, text};
use crate::wait::{LIMIT, wait_for};
use crate::{habits, proc, progress};

/// A size that all the buffers on the way can't hold (see [`crate::serving::MORE_THAN_BUFFERS`])
/// and that ends within a page.
const BIG: usize = (64 << 20) + 100;

/// What comes is the header, the file and then the end: not a byte before, between or after.
#[track_caller]
pub fn sends_header_file_and_nothing_else(stage: Stage) {
    let dir = TempDir::new().unwrap();
    for size in [0, 5000] {
        let server = stage.serve(&sample(dir.path(), size), &["--workers", "1"]);
        let stream = stage.connect(server.addr()).everything();
        let name = format!("sample-{size}.bin");
        let expected = stage.format.stream(name.as_bytes(), &sample_bytes(size));
        assert!(
            stream == expected,
            "for {size} bytes the stream has to have {} bytes, starting with {:?}; {} bytes came: {:?}",
            expected.len(),
            expected[..16 + name.len()].escape_ascii().to_string(),
            stream.len(),
            stream[..stream.len().min(16 + name.len())].escape_ascii().to_string(),
        );
    }
}

/// `get` receives files of every size, and its lines of progress end with all of it.
#[track_caller]
pub fn gets_every_size_and_shows_progress(stage: Stage) {
    for finished in receiving::gets_every_size(stage) {
        let lines = progress::lines(&finished.stderr);
        progress::assert_complete(&lines);
        progress::assert_sound(&lines, lines[0].total);
    }
}

/// A file over 4 GiB: its size is right in the header, and so are the bytes at its end. The file
/// is kept in `dir`.
#[track_caller]
pub fn sends_more_than_4_gib(stage: Stage, dir: &Path) {
    const END: u64 = 1 << 20;
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
    let server = stage.serve(&file, &["--workers", "1", "--stall-timeout", "1"]);
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
    assert_eq!(server.wait_workers(1), workers, "the worker had to be replaced");
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
        assert_eq!(self.server.wait_workers(1), self.workers, "the worker had to be replaced");
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
        assert!(outcome.is_err(), "a file that shrank to {size} bytes came whole: {outcome:?}");
        // Beyond its new end the file has no bytes any more, so those don't count.
        let kept = received.len().min(size);
        assert!(received[..kept] == scene.contents[..kept], "bytes came that the file never had");
        scene.assert_worker_serves(stage); // the shorter file, which is whole in itself
        scene.restore();
        wait_for("a word on standard error about the transfer that failed", LIMIT, || {
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
    habits::refuses_nonsense(stage.bin);
    for seconds in ["0", "86401", "-1", "soon"] {
        habits::refuses_usage(stage.bin, &["--port", "0", "--stall-timeout", seconds]);
        habits::refuses_usage(stage.bin, &["get", "--port", "1", "--stall-timeout", seconds]);
    }
}

/// Standard error has what to type, and every line says who speaks.
#[track_caller]
pub fn says_what_to_type_and_who_speaks(stage: Stage) {
    let server = Server::start(stage.bin, &["--workers", "2"]);
    habits::says_what_to_type(&server, "get");
    stage.connect(server.addr()).download();
    server.wait_narration("[worker ");
    habits::narrates_who_speaks(&server, &server.workers());
}

/// Without arguments, server and client meet at port 8080, and the file is the program itself.
/// The caller marks its test `#[serial]`.
#[track_caller]
pub fn defaults_are_those_of_the_notes(stage: Stage) {
    let Some((_claim, _server)) = habits::start_with_defaults(stage.bin) else { return };
    let out = TempDir::new().unwrap();
    let finished = run(stage.bin, &["get", "--out", text(out.path())]);
    assert_received(&finished, Path::new(stage.bin), out.path());
}

/// A server that was killed in the middle of things can be started again on its port at once.
#[track_caller]
pub fn restarts_on_its_port(stage: Stage) {
    let server = habits::restarts_on_the_same_port(stage.bin, &["--workers", "2"]);
    stage.assert_serves(&server, Path::new(stage.bin));
}

/// Descriptors don't leak into other programs.
#[track_caller]
pub fn closes_on_exec(stage: Stage) {
    habits::closes_on_exec(&Server::start(stage.bin, &["--workers", "2"]));
}

/// The parent is killed, idle or in the middle of a transfer: a second later nobody is left.
#[track_caller]
pub fn workers_go_with_their_parent(stage: Stage) {
    habits::takes_workers_along(Server::start(stage.bin, &["--workers", "3"]), Signal::SIGKILL);
    let Scene { dir, server, .. } = Scene::set(stage);
    let mut client = stage.connect(server.addr());
    client.header();
    habits::takes_workers_along(server, Signal::SIGKILL);
    drop((client, dir)); // until here the client was there, and the file
}
