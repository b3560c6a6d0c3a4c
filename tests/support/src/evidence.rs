//! How the bytes of a file travelled: by which system calls.
//!
//! A stage is about a mechanism, so the mechanism is checked: `strace` has seen the calls. Which
//! process made them, and in which pieces, is left to the program.

use tempfile::TempDir;

use crate::files::sample;
use crate::stage::{Stage, assert_received, text};
use crate::trace::{self, Call, Trace};

/// The calls that move bytes by copying them from or to a process's memory.
const COPYING: &str = "read,readv,pread64,preadv,preadv2,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,\
     sendmmsg,recvfrom,recvmsg,recvmmsg";

/// The calls that move bytes inside the kernel.
const MOVING: &str = "splice,tee,vmsplice,sendfile,copy_file_range";

/// A size with many windows, chunks and pipes in it.
const SIZE: usize = (32 << 20) + 77;

/// A record of the server while it sends a file of [`SIZE`] bytes, and of `get` while it receives
/// one.
struct Evidence {
    server: Trace,
    client: Trace,
    /// Where the original is, and where the copy.
    from: TempDir,
    to: TempDir,
}

impl Evidence {
    /// `None`: not checked, for nothing can be traced here.
    #[track_caller]
    fn collect(stage: Stage, more_calls: &str) -> Option<Self> {
        let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let file = sample(from.path(), SIZE);
        let calls = format!("{COPYING},{MOVING},{more_calls}");
        let args = ["--workers", "1", "--file", text(&file)];
        let (server, server_trace) = trace::server(stage.bin, &args, &calls)?;
        stage.assert_serves(&server, &file);
        let port = server.port().to_string();
        let args = ["get", "--quiet", "--port", &port, "--out", text(to.path())];
        let (finished, client_trace) = trace::client(stage.bin, &args, &calls)?;
        assert_received(&finished, &file, to.path());
        Some(Self { server: server_trace, client: client_trace, from, to })
    }
}

/// How many bytes these calls moved, all together.
fn bytes<'a>(calls: impl IntoIterator<Item = &'a Call>) -> u64 {
    calls.into_iter().map(Call::bytes).sum()
}

/// The calls that have something to do with a file in `dir`.
fn about(calls: Vec<Call>, dir: &TempDir) -> Vec<Call> {
    let within = format!("<{}/", text(&dir.path().canonicalize().unwrap()));
    calls.into_iter().filter(|call| call.args.contains(&within)).collect()
}

/// So many bytes are next to nothing of a file of [`SIZE`] bytes.
const FEW: u64 = SIZE as u64 / 20;

/// Stage 06: the server maps the file and doesn't read it; the client maps its copy and doesn't
/// write it.
#[track_caller]
pub fn the_file_is_mapped_at_both_ends(stage: Stage) {
    let Some(evidence) = Evidence::collect(stage, "mmap") else { return };
    let sides = [
        ("the server", evidence.server, evidence.from, "PROT_READ"),
        ("get", evidence.client, evidence.to, "PROT_WRITE"),
    ];
    for (who, trace, dir, protection) in sides {
        let mapped = about(trace.calls("mmap"), &dir);
        let mapped =
            mapped.iter().filter(|call| call.result != -1 && call.args.contains(protection));
        let mapped: u64 = mapped.filter_map(|call| call.arg(1).parse::<u64>().ok()).sum();
        assert!(mapped >= SIZE as u64 - FEW, "{who} mapped {mapped} of {SIZE} bytes of the file");
        let moved = bytes(&about(trace.calls(&format!("{COPYING},{MOVING}")), &dir));
        assert!(moved < FEW, "{who} moved {moved} of {SIZE} bytes without the mapping");
    }
}

/// Stages 07 and 08: both sides move the file by `splice`, and nearly nothing through their own
/// memory.
#[track_caller]
pub fn the_file_is_spliced_at_both_ends(stage: Stage) {
    let Some(evidence) = Evidence::collect(stage, "fcntl") else { return };
    for (who, trace, dir) in
        [("the server", &evidence.server, &evidence.from), ("get", &evidence.client, &evidence.to)]
    {
        let splices = trace.calls("splice");
        let with_file = bytes(&about(splices.clone(), dir));
        let with_socket = bytes(splices.iter().filter(|call| is_about_socket(call)));
        let enough = SIZE as u64 - FEW;
        assert!(with_file >= enough, "{who} spliced {with_file} of {SIZE} bytes of the file");
        assert!(with_socket >= enough, "{who} spliced {with_socket} of {SIZE} bytes on the socket");
        let copied = trace.calls(COPYING);
        let on_socket = bytes(copied.iter().filter(|call| is_about_socket(call)));
        let copied = bytes(&about(copied, dir)).max(on_socket);
        assert!(copied < FEW, "{who} moved {copied} of {SIZE} bytes through its own memory");
    }
    the_pipe_is_large(&evidence);
}

fn is_about_socket(call: &Call) -> bool {
    call.args.contains("<TCP:") || call.args.contains("<TCPv6:")
}

/// The server asks for a larger pipe, and where it gets one, it fills it: few calls move much.
#[track_caller]
fn the_pipe_is_large(evidence: &Evidence) {
    const DEFAULT: u64 = 64 << 10;
    let asked = evidence.server.calls("fcntl");
    let asked: Vec<&Call> =
        asked.iter().filter(|call| call.args.contains("F_SETPIPE_SZ")).collect();
    assert!(!asked.is_empty(), "the server never asked for a larger pipe (F_SETPIPE_SZ)");
    if asked.iter().all(|call| call.bytes() <= DEFAULT) {
        crate::not_checked("that a large pipe is filled, for the system grants none");
        return;
    }
    let fills = about(evidence.server.calls("splice"), &evidence.from);
    let average = bytes(&fills) / fills.len() as u64;
    assert!(average > DEFAULT, "{} splices of the file moved {average} bytes each", fills.len());
}

/// Header and first data leave together: with one call, or held back (`MSG_MORE`, `TCP_CORK`)
/// until data follow. Otherwise the first data wait for the other side to acknowledge the header.
#[track_caller]
pub fn the_header_leaves_with_the_first_bytes(stage: Stage) {
    let dir = TempDir::new().unwrap();
    let file = sample(dir.path(), 5000);
    let header = stage.format.header(b"sample-5000.bin", 5000).len() as u64;
    let calls = format!("{COPYING},{MOVING},setsockopt");
    let args = ["--workers", "1", "--file", text(&file)];
    let Some((server, trace)) = trace::server(stage.bin, &args, &calls) else { return };
    stage.assert_serves(&server, &file);
    let calls = trace.all();
    let is_cork = |call: &Call| call.name == "setsockopt" && call.args.contains("TCP_CORK, [1]");
    let mut sends = calls.iter().filter(|call| is_about_socket(call) && call.bytes() > 0);
    let first = sends.next().expect("something was sent");
    let held_back = first.args.contains("_MORE") || calls.iter().any(is_cork);
    assert!(
        first.bytes() > header || held_back,
        "the header left alone: {}({}) = {}",
        first.name,
        first.args,
        first.result
    );
}
