//! What `get` of stages 04 to 08 must make of a server, be it good, bad or dead.
//!
//! Each stage's tests call these under a name of their own: what stage 04 learned must not be
//! lost later.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

use crate::fake_server::FakeServer;
use crate::files::{Landing, entries, sample, sample_bytes, sizes_from_one_byte_up, sparse};
use crate::habits::start_on_ipv6;
use crate::not_checked;
use crate::proc;
use crate::process::Process;
use crate::relay::relay;
use crate::server::{Finished, Signal, send_signal};
use crate::serving::{BOUNDED_KIB, FEW, MORE_THAN_BUFFERS, READING, WRITING};
use crate::stage::{NAME, Stage, assert_received, text};
use crate::tcp::ClosedPort;
use crate::trace;
use crate::wait::{limit, wait_until};
use crate::wire::{Format, chunk};

/// For a `get` that must not wait for more: should it wait, the test ends all the same.
pub const HASTY: &[&str] = &["--quiet", "--stall-timeout", "5"];

/// `get` receives files of every size, and says so in one line.
#[track_caller]
pub fn gets_every_size(stage: Stage) {
    let (dir, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for size in sizes_from_one_byte_up() {
        let file = sample(dir.path(), size);
        let server = stage.serve(&file, &["--workers", "1"]);
        stage.assert_gets(server.port(), &file, out.path());
    }
    let (left, files) = (entries(out.path()), sizes_from_one_byte_up().count());
    assert!(left.len() == files, "{files} downloads left this in the directory: {left:?}");
}

/// `get` makes an empty file of an empty file, also where an old one has the name.
#[track_caller]
pub fn gets_an_empty_file(stage: Stage) {
    let (dir, landing) = (TempDir::new().unwrap(), Landing::with_old("sample-0.bin"));
    let file = sample(dir.path(), 0);
    let server = FakeServer::that_sends(stage.format.stream(b"sample-0.bin", b""));
    stage.assert_gets(server.port(), &file, landing.path());
    assert_eq!(entries(landing.path()), ["sample-0.bin"], "what get left in its directory");
}

/// Names of every legal kind survive the trip: blanks, a dash in front, not ASCII, as long as can
/// be.
#[track_caller]
pub fn takes_every_legal_name(stage: Stage) {
    let longest = "n".repeat(255);
    for name in ["a", "two words.txt", "-rf", "...", ".hidden", "größe-統計.bin", &longest] {
        let (dir, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let file = dir.path().join(name);
        fs::write(&file, name).unwrap();
        let server = stage.serve(&file, &["--workers", "1"]);
        stage.assert_gets(server.port(), &file, out.path());
    }
}

/// Several clients at once, more than there are workers: each gets the whole file.
#[track_caller]
pub fn many_at_once_get_the_file(stage: Stage) {
    let dir = TempDir::new().unwrap();
    let file = sample(dir.path(), 1_000_000);
    let server = stage.serve(&file, &["--workers", "2"]);
    let start = |_| {
        let out = TempDir::new().unwrap();
        (stage.start_get(server.port(), out.path(), &[]), out)
    };
    let clients: Vec<_> = (0..8).map(start).collect();
    for (client, out) in clients {
        assert_received(&client.finish(), &file, out.path());
    }
}

/// A file that has the name already is replaced in one step: who has it open keeps the old one.
#[track_caller]
pub fn replaces_an_old_file_as_a_whole(stage: Stage) {
    let dir = TempDir::new().unwrap();
    let file = sample(dir.path(), 100_000);
    let landing = Landing::with_old("sample-100000.bin");
    let target = landing.path().join("sample-100000.bin");
    let kept = dir.path().join("kept");
    fs::hard_link(&target, &kept).unwrap();
    let server = stage.serve(&file, &["--workers", "1"]);
    stage.assert_gets(server.port(), &file, landing.path());
    let changed = fs::read(&kept).unwrap() == fs::read(&target).unwrap();
    assert!(!changed, "the old file was written to, instead of being replaced by a new one");
    assert_eq!(entries(landing.path()), ["sample-100000.bin"], "what get left in its directory");
}

/// A link that has the name is replaced, and not followed to the file it leads to.
#[track_caller]
pub fn replaces_a_link(stage: Stage) {
    let (dir, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = sample(dir.path(), 100_000);
    let precious = dir.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, out.path().join("sample-100000.bin")).unwrap();
    let server = stage.serve(&file, &["--workers", "1"]);
    stage.assert_gets(server.port(), &file, out.path());
    let kept = fs::read(&precious).unwrap() == b"precious";
    assert!(kept, "get followed a link out of its directory and wrote over what was there");
    let link = fs::symlink_metadata(out.path().join("sample-100000.bin")).unwrap().is_symlink();
    assert!(!link, "the link is still there, in place of the file");
}

/// Over IPv6.
#[track_caller]
pub fn gets_over_ipv6(stage: Stage) {
    let (dir, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = sample(dir.path(), 100_000);
    let Some(server) = start_on_ipv6(stage.bin(), &["--file", text(&file)]) else {
        return;
    };
    let finished = stage.get(server.port(), out.path(), &["--host", "::1"]);
    assert_received(&finished, &file, out.path());
}

/// Its worker is killed in the middle: `get` says how far it came, and leaves nothing.
#[track_caller]
pub fn reports_a_killed_worker(stage: Stage) -> String {
    fails_in_the_middle(stage, |_, worker| send_signal(worker, Signal::SIGKILL))
}

/// When a mebibyte of it has been sent, something happens to the file (of [`MORE_THAN_BUFFERS`]) or
/// to its worker, and `get` fails. Returns its error.
#[track_caller]
pub fn fails_in_the_middle(stage: Stage, happens: fn(&Path, i32)) -> String {
    let dir = TempDir::new().unwrap();
    let file = sparse(dir.path(), MORE_THAN_BUFFERS);
    let landing = Landing::with_old(file.file_name().unwrap().to_str().unwrap());
    let server = stage.serve(&file, &["--workers", "1"]);
    let worker = server.workers()[0];
    let relay = relay(server.addr(), 1 << 20, move || happens(&file, worker));
    let error = stage.get_fails(relay.port(), landing.path(), &["--quiet"]);
    landing.assert_untouched();
    error
}

/// Exit status 1 and one line of error, which is returned without its `error: `.
#[track_caller]
pub fn assert_failed(finished: &Finished) -> String {
    assert!(
        finished.status.code() == Some(1),
        "it had to fail with exit status 1, and ended with {finished:#?}"
    );
    assert_eq!(finished.stdout, "", "standard output of a get that failed");
    let errors: Vec<&str> =
        finished.stderr.lines().filter_map(|it| it.strip_prefix("error: ")).collect();
    assert!(errors.len() == 1, "it had to say one line `error: …`: {finished:#?}");
    errors[0].to_owned()
}

/// A name that isn't a plain file name is refused, whatever else is right.
#[track_caller]
pub fn refuses_hostile_names(stage: Stage) {
    let elsewhere = TempDir::new().unwrap();
    let absolute = text(&elsewhere.path().join("file.bin")).to_owned();
    let names: [&[u8]; 12] = [
        b"../file.bin",
        absolute.as_bytes(),
        b"..",
        b".",
        b"/",
        b"//",
        b"a/b",
        b"file.bin/",
        b"./file.bin",
        b"file.bin\0",
        b"\0",
        b"a\0/../b",
    ];
    for name in names {
        let shown = name.escape_ascii();
        let landing = Landing::with_old(NAME);
        let server = FakeServer::that_sends(stage.format.stream(name, b"abc"));
        let finished = stage.get(server.port(), landing.path(), &[]);
        assert!(!finished.status.success(), "the name {shown} was accepted: {finished:#?}");
        let error = assert_failed(&finished);
        assert!(!error.contains("closed"), "for the name {shown}, get says {error:?}");
        landing.assert_untouched();
    }
    let escaped = entries(elsewhere.path());
    assert!(escaped.is_empty(), "get wrote to an absolute path that the server named: {escaped:?}");
}

/// The length of a name is looked at before the name is waited for, let alone room made for it.
#[track_caller]
pub fn refuses_impossible_name_lengths(stage: Stage) {
    for length in [0, 256, 4096, 1 << 32, i64::MAX as u64, 1 << 63, u64::MAX] {
        let header = stage.format.header_that_claims(length, &[b'n'; 256], 3);
        let server = FakeServer::that_stops_after(header);
        let error = stage.refuses(&server, HASTY);
        assert!(!error.contains("no data"), "waited for a name of {length} bytes: {error}");
    }
}

/// A name may hold control characters; the terminal must never get them.
#[track_caller]
pub fn shows_no_control_characters(stage: Stage) {
    const EVIL: &str = "in\x1b[31mred\x07\r\n\u{9b}7m\x7f.bin";
    let landing = Landing::with_old(NAME);
    let server = FakeServer::that_sends(stage.format.stream(EVIL.as_bytes(), b"abc"));
    let finished = stage.get(server.port(), landing.path(), &[]);
    assert!(finished.status.success(), "get of {EVIL:?} failed: {finished:#?}");
    let contents = fs::read(landing.path().join(OsStr::from_bytes(EVIL.as_bytes())));
    let left = entries(landing.path());
    assert!(contents.is_ok_and(|it| it == b"abc"), "there is no file {EVIL:?} in {left:?}");
    assert!(finished.stdout.lines().count() == 1, "one line was to come: {finished:#?}");

    let evil = [EVIL.as_bytes(), b"/"].concat();
    let server = FakeServer::that_sends(stage.format.stream(&evil, b"abc"));
    let refused = stage.get(server.port(), landing.path(), &[]);
    assert_failed(&refused);
    for said in [finished.stdout, finished.stderr, refused.stderr] {
        let control = said.chars().find(|&c| c.is_control() && c != '\n');
        if let Some(control) = control {
            panic!("the control character {control:?} of a name reached the terminal: {said:?}");
        }
    }
}

/// A stream that ends early, at whatever byte, is an error that says so. Returns the errors, the
/// first one for a stream of 0 bytes.
#[track_caller]
pub fn reports_every_early_end(stage: Stage, contents: &[u8]) -> Vec<String> {
    let stream = stage.format.stream(NAME.as_bytes(), contents);
    let (count, mut cuts) = (stream.len(), 0..);
    let server = FakeServer::start(move |mut client| {
        client.send(&stream[..cuts.next().unwrap()]);
    });
    let report = |cut| {
        let landing = Landing::with_old(NAME);
        let finished = stage.get(server.port(), landing.path(), &["--quiet"]);
        let cut = format!("{cut} of the {count} bytes were sent");
        assert!(!finished.status.success(), "{cut}, and get was content: {finished:#?}");
        let error = assert_failed(&finished);
        assert!(error.contains("connection closed after "), "{cut}, and get says {error:?}");
        landing.assert_untouched();
        error
    };
    (0..count).map(report).collect()
}

/// A reset instead of an end, in the header and in the file, is an error too.
#[track_caller]
pub fn reports_a_reset(stage: Stage) {
    let stream = stage.format.stream(NAME.as_bytes(), &sample_bytes(20_000));
    for cut in [0, 5, 20, 45, 10_000] {
        let start = stream[..cut].to_vec();
        let server = FakeServer::start(move |mut client| {
            client.send(&start);
            client.reset();
        });
        let _ = stage.refuses(&server, &["--quiet"]);
    }
}

/// A stream that comes byte by byte is the same stream.
#[track_caller]
pub fn takes_a_stream_byte_by_byte(stage: Stage) {
    let (dir, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = sample(dir.path(), 30);
    let stream = stage.format.stream(b"sample-30.bin", &sample_bytes(30));
    let server = FakeServer::start(move |mut client| {
        client.drip(&stream, 1, Duration::from_millis(2));
    });
    stage.assert_gets(server.port(), &file, out.path());
}

/// A server that stops sending, in whatever part of the transfer, is given up.
#[track_caller]
pub fn gives_up_a_server_that_stops_sending(stage: Stage) {
    let stream = stage.format.stream(NAME.as_bytes(), &sample_bytes(100_000));
    let start = |cut: usize| {
        let server = FakeServer::that_stops_after(stream[..cut].to_vec());
        let landing = Landing::with_old(NAME);
        let args = ["--stall-timeout", "1", "--quiet"];
        (stage.start_get(server.port(), landing.path(), &args), server, landing)
    };
    for (client, _server, landing) in [0, 11, stream.len() / 2, stream.len() - 1].map(start) {
        let error = assert_failed(&client.finish());
        assert_eq!(error, "no data for 1 s", "the error of get");
        landing.assert_untouched();
    }
}

/// A server that is slow but steady may take as long as it likes: each pause is short, even one that
/// a busy machine makes longer by a second or two, but together they last longer than the timeout.
#[track_caller]
pub fn bears_with_a_slow_server(stage: Stage) {
    let (dir, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = sample(dir.path(), 100_000);
    let stream = stage.format.stream(b"sample-100000.bin", &sample_bytes(100_000));
    let server = FakeServer::start(move |mut client| {
        client.drip(&stream, stream.len() / 14, Duration::from_millis(250));
    });
    let finished = stage.get(server.port(), out.path(), &["--stall-timeout", "3"]);
    assert_received(&finished, &file, out.path());
}

/// `get` is ended by `signal` in the middle of a transfer: the old file is as it was, and nothing
/// is left behind that could be taken for the file. Where its bytes are collected, and whether a
/// signal lets `get` clean up, is its own affair.
#[track_caller]
pub fn leaves_nothing_when_ended_by(stage: Stage, signal: Signal) {
    let landing = Landing::with_old(NAME);
    let stream = stage.format.stream(NAME.as_bytes(), &sample_bytes(8 << 20));
    let server = FakeServer::that_stops_after(stream[..stream.len() / 2].to_vec());
    let client = stage.start_get(server.port(), landing.path(), &[]);
    client.wait_writing(landing.path());
    client.signal(signal);
    let finished = client.finish();
    assert!(!finished.status.success(), "{signal} in the middle of a transfer: {finished:#?}");
    landing.assert_untouched_but_for_a_part();
}

/// The client's memory doesn't grow with the file.
#[track_caller]
pub fn client_memory_is_bounded(stage: Stage) {
    const MIB: usize = 128;
    let out = TempDir::new().unwrap();
    let header = stage.format.header(NAME.as_bytes(), (MIB as i64) << 20 | 1);
    let mebibyte = match stage.format {
        Format::Chunks | Format::SizeAndChunks => chunk(&[0; 8192]).repeat(128),
        Format::Header => vec![0; 1 << 20],
    };
    let (sent, all_sent) = mpsc::channel();
    let server = FakeServer::start(move |mut client| {
        client.send(&header);
        let taken = (0..MIB).take_while(|_| client.send(&mebibyte)).count();
        let _ = sent.send(taken);
        client.wait_until_gone();
    });
    let client = stage.start_get(server.port(), out.path(), &[]);
    let taken = wait_until("get to take what it is sent", limit(), || all_sent.try_recv().ok());
    let peak = proc::peak_memory_kib(client.pid());
    if taken < MIB || peak == 0 {
        panic!("get left after {taken} of {MIB} MiB: {:#?}", client.finish());
    }
    assert!(
        peak < BOUNDED_KIB,
        "to receive {MIB} MiB get used {peak} KiB of memory ({BOUNDED_KIB} are allowed)"
    );
}

/// A chunk costs at most one call to receive it and one to write it. Not checked where tracing is
/// impossible.
#[track_caller]
pub fn makes_at_most_one_call_a_chunk(stage: Stage) {
    const SIZE: usize = 4_000_000;
    let out = TempDir::new().unwrap();
    let stream = stage.format.stream(NAME.as_bytes(), &sample_bytes(SIZE));
    let server = FakeServer::that_sends(stream);
    let port = server.port().to_string();
    let args = ["get", "--quiet", "--port", &port, "--out", text(out.path())];
    let calls = format!("{READING},{WRITING}");
    let Some((finished, trace)) = trace::client(stage.bin(), &args, &calls) else {
        return;
    };
    assert!(finished.status.success(), "get failed: {finished:#?}");
    // A chunk that was cut on its way may cost one more.
    let chunks = SIZE.div_ceil(8192);
    for names in [READING, WRITING] {
        let moved = trace.calls(names).iter().filter(|call| call.bytes() > 0).count();
        assert!(moved <= chunks + FEW, "get made {moved} calls ({names}) for {chunks} chunks");
    }
}

/// A full disk is an error that says so; nothing is left.
///
/// The disk is a file system of 512 KiB in a mount namespace of its own, which goes with the
/// processes in it. Not checked where that is forbidden.
#[track_caller]
pub fn reports_a_full_disk(stage: Stage) {
    const SCRIPT: &str = r#"
        out=$1; shift
        mount -t tmpfs -o size=512k tmpfs "$out" || exit 77
        printf old > "$out/sample-1000000.bin"
        "$@" --out "$out"; status=$?
        ls -A "$out"; cat "$out/sample-1000000.bin"
        exit $status"#;
    let (dir, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = stage.serve(&sample(dir.path(), 1_000_000), &["--workers", "1"]);
    let port = server.port().to_string();
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--map-root-user", "sh", "-c", SCRIPT, "sh", text(out.path())]);
    unshare.args([stage.bin(), "get", "--quiet", "--port", &port]);
    let finished = Process::start(&mut unshare).finish();
    if finished.stderr.starts_with("unshare:") || finished.status.code() == Some(77) {
        not_checked(&format!("a full disk, for nothing can be mounted: {}", finished.stderr));
        return;
    }
    let complaint = finished.stderr.to_lowercase();
    assert!(
        finished.status.code() == Some(1),
        "it had to fail with exit status 1, and ended with {finished:#?}"
    );
    assert!(
        complaint.contains("error: ") && complaint.contains("no space left on device"),
        "the error was to say that no space is left: {finished:#?}"
    );
    assert_eq!(finished.stdout, "sample-1000000.bin\nold", "what is left on the full disk");
}

/// `--out` has to be a directory, and what has the file's name there must not be one.
#[track_caller]
pub fn reports_a_bad_out(stage: Stage) {
    let dir = TempDir::new().unwrap();
    let file = sample(dir.path(), 100_000);
    let server = stage.serve(&file, &["--workers", "1"]);
    let missing = dir.path().join("missing");
    for out in [&missing, &file] {
        let error = stage.get_fails(server.port(), out, &["--quiet"]);
        assert!(error.contains(text(out)), "the error doesn't name {out:?}: {error}");
        assert_eq!(entries(dir.path()), ["sample-100000.bin"], "after --out {out:?}");
    }
    let occupied = TempDir::new().unwrap();
    fs::create_dir(occupied.path().join("sample-100000.bin")).unwrap();
    let error = stage.get_fails(server.port(), occupied.path(), &["--quiet"]);
    assert!(error.contains("sample-100000.bin"), "the error doesn't name the directory: {error}");
    assert_eq!(entries(occupied.path()), ["sample-100000.bin"], "what get left in its directory");
    let inside = entries(&occupied.path().join("sample-100000.bin"));
    assert!(
        inside.is_empty(),
        "get put this into a directory that has the file's name: {inside:?}"
    );
}

/// Nobody listens: the error says where.
#[track_caller]
pub fn reports_a_closed_port(stage: Stage) {
    let closed = ClosedPort::take();
    let error = stage.get_fails(closed.number(), Path::new("."), &[]);
    let expected = format!("connect 127.0.0.1:{}: connection refused", closed.number());
    assert_eq!(error, expected);
}
