//! What `get` of stages 04 to 08 must make of a server, be it good, bad or dead.
//!
//! Each stage's tests call these under a name of their own: what stage 04 learned must not be
//! lost later.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

use crate::fake_server::FakeServer;
use crate::files::{BOUNDARY_SIZES, Landing, entries, sample, sample_bytes, sparse};
use crate::habits::start_on_ipv6;
use crate::not_checked;
use crate::proc;
use crate::process::Process;
use crate::server::{Finished, Signal};
use crate::serving::{BOUNDED_KIB, FEW, READING, WRITING};
use crate::stage::{NAME, Stage, assert_received, text};
use crate::tcp::ClosedPort;
use crate::trace;
use crate::wire::{Format, PATIENCE, chunk};

/// A sparse file that takes any machine seconds to send, so that there is time to interfere.
pub const LONG: u64 = 8 << 30;

/// For a `get` that must not wait for more: should it wait, the test ends all the same.
pub const HASTY: &[&str] = &["--quiet", "--stall-timeout", "5"];

/// `get` receives files of every size, and says so in one line.
#[track_caller]
pub fn gets_every_size(stage: Stage) -> Vec<Finished> {
    let (dir, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let gets = |size| {
        let file = sample(dir.path(), size);
        let server = stage.serve(&file, &["--workers", "1"]);
        stage.assert_gets(server.port(), &file, out.path())
    };
    let finished = BOUNDARY_SIZES.into_iter().map(gets).collect();
    assert_eq!(entries(out.path()).len(), BOUNDARY_SIZES.len(), "{:?}", entries(out.path()));
    finished
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
    assert_ne!(fs::read(&kept).unwrap(), fs::read(&target).unwrap(), "the old file was written to");
    assert_eq!(entries(landing.path()), ["sample-100000.bin"]);
}

/// Over IPv6.
#[track_caller]
pub fn gets_over_ipv6(stage: Stage) {
    let (dir, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = sample(dir.path(), 100_000);
    let Some(server) = start_on_ipv6(stage.bin, &["--file", text(&file)]) else {
        return;
    };
    let finished = stage.get(server.port(), out.path(), &["--host", "::1"]);
    assert_received(&finished, &file, out.path());
}

/// Its worker is killed in the middle: `get` says how far it came, and leaves nothing.
#[track_caller]
pub fn reports_a_killed_worker(stage: Stage) -> String {
    let dir = TempDir::new().unwrap();
    let file = sparse(dir.path(), LONG);
    let landing = Landing::with_old(file.file_name().unwrap().to_str().unwrap());
    let server = stage.serve(&file, &["--workers", "1"]);
    let client = stage.start_get(server.port(), landing.path(), &["--quiet"]);
    client.wait_writing(landing.path());
    server.kill(server.workers()[0]);
    let error = assert_failed(&client.finish());
    landing.assert_untouched();
    error
}

/// Exit status 1 and one line of error, which is returned without its `error: `.
#[track_caller]
pub fn assert_failed(finished: &Finished) -> String {
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    assert_eq!(finished.stdout, "", "standard output is for machines");
    let errors: Vec<&str> =
        finished.stderr.lines().filter_map(|it| it.strip_prefix("error: ")).collect();
    assert_eq!(errors.len(), 1, "expected one line `error: …`: {finished:#?}");
    errors[0].to_owned()
}

/// A name that isn't a plain file name is refused, whatever else is right.
#[track_caller]
pub fn refuses_hostile_names(stage: Stage) {
    let names: [&[u8]; 11] = [
        b"../file.bin",
        b"..",
        b".",
        b"/",
        b"/file.bin",
        b"a/b",
        b"file.bin/",
        b"./file.bin",
        b"file.bin\0",
        b"\0",
        b"a\0/../b",
    ];
    for name in names {
        let server = FakeServer::that_sends(stage.format.stream(name, b"abc"));
        let error = stage.refuses(&server, &[]);
        assert!(!error.contains("closed"), "for the name {}: {error}", name.escape_ascii());
    }
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
    assert_eq!(finished.status.code(), Some(0), "{finished:#?}");
    let contents = fs::read(landing.path().join(OsStr::from_bytes(EVIL.as_bytes())));
    assert_eq!(contents.expect("a file of exactly that name"), b"abc");
    assert_eq!(finished.stdout.lines().count(), 1, "{finished:#?}");

    let evil = [EVIL.as_bytes(), b"/"].concat();
    let server = FakeServer::that_sends(stage.format.stream(&evil, b"abc"));
    let refused = stage.get(server.port(), landing.path(), &[]);
    assert_failed(&refused);
    for said in [finished.stdout, finished.stderr, refused.stderr] {
        let control = said.chars().find(|&c| c.is_control() && c != '\n');
        assert_eq!(control, None, "reached the terminal: {said:?}");
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
        let error = stage.refuses(&server, &["--quiet"]);
        assert!(error.contains("connection closed after "), "cut after {cut} bytes: {error}");
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
        assert_eq!(assert_failed(&client.finish()), "no data for 1 s");
        landing.assert_untouched();
    }
}

/// A server that is slow but steady may take as long as it likes.
#[track_caller]
pub fn bears_with_a_slow_server(stage: Stage) {
    let (dir, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = sample(dir.path(), 100_000);
    let stream = stage.format.stream(b"sample-100000.bin", &sample_bytes(100_000));
    let server = FakeServer::start(move |mut client| {
        client.drip(&stream, stream.len() / 10, Duration::from_millis(250));
    });
    let finished = stage.get(server.port(), out.path(), &["--stall-timeout", "1"]);
    assert_received(&finished, &file, out.path());
}

/// `get` is ended by `signal` in the middle of a transfer: nothing is left behind.
#[track_caller]
pub fn leaves_nothing_when_ended_by(stage: Stage, signal: Signal) {
    let landing = Landing::with_old(NAME);
    let stream = stage.format.stream(NAME.as_bytes(), &sample_bytes(8 << 20));
    let server = FakeServer::that_stops_after(stream[..stream.len() / 2].to_vec());
    let client = stage.start_get(server.port(), landing.path(), &[]);
    client.wait_writing(landing.path());
    client.signal(signal);
    let finished = client.finish();
    assert!(!finished.status.success(), "{finished:#?}");
    landing.assert_untouched();
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
        assert!((0..MIB).all(|_| client.send(&mebibyte)), "the client left");
        let _ = sent.send(());
        client.wait_until_gone();
    });
    let client = stage.start_get(server.port(), out.path(), &[]);
    all_sent.recv_timeout(PATIENCE).expect("get takes what it is sent");
    let peak = proc::peak_memory_kib(client.pid());
    assert!((1..BOUNDED_KIB).contains(&peak), "for {MIB} MiB get used {peak} KiB");
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
    let Some((finished, trace)) = trace::client(stage.bin, &args, &calls) else {
        return;
    };
    assert_eq!(finished.status.code(), Some(0), "{finished:#?}");
    // A chunk that was cut on its way may cost one more.
    let chunks = SIZE.div_ceil(8192);
    for names in [READING, WRITING] {
        let moved = trace.calls(names).iter().filter(|call| call.bytes() > 0).count();
        assert!(moved <= chunks + FEW, "{moved} calls of {names} for {chunks} chunks");
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
    unshare.args([stage.bin, "get", "--quiet", "--port", &port]);
    let finished = Process::start(&mut unshare).finish();
    if finished.stderr.starts_with("unshare:") || finished.status.code() == Some(77) {
        not_checked(&format!("a full disk, for nothing can be mounted: {}", finished.stderr));
        return;
    }
    let complaint = finished.stderr.to_lowercase();
    assert_eq!(finished.status.code(), Some(1), "{finished:#?}");
    assert!(
        complaint.starts_with("error: ") && complaint.contains("no space left on device"),
        "{finished:#?}"
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
    assert_eq!(entries(occupied.path()), ["sample-100000.bin"]);
    assert!(entries(&occupied.path().join("sample-100000.bin")).is_empty());
}

/// Nobody listens: the error says where.
#[track_caller]
pub fn reports_a_closed_port(stage: Stage) {
    let closed = ClosedPort::take();
    let error = stage.get_fails(closed.number(), Path::new("."), &[]);
    let expected = format!("connect 127.0.0.1:{}: connection refused", closed.number());
    assert_eq!(error, expected);
}
