//! How the bytes of a file travelled: by which system calls.
//!
//! A stage is about a mechanism, so the mechanism is checked: `strace` has seen the calls. Which
//! process made them, and in which pieces, is left to the program. Server and client are judged
//! one by one, each against the other side of ours.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use tempfile::TempDir;

use crate::fake_server::FakeServer;
use crate::files::{sample, sample_bytes};
use crate::stage::{Stage, assert_received, text};
use crate::trace::{self, Call, Trace};
use crate::wait::{limit, poll_until};

/// The calls that move bytes by copying them from or to a process's memory.
const COPYING: &str = "read,readv,pread64,preadv,preadv2,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,\
     sendmmsg,recvfrom,recvmsg,recvmmsg";

/// The calls that move bytes inside the kernel.
const MOVING: &str = "splice,tee,vmsplice,sendfile,copy_file_range";

/// The calls that name one buffer; of all others the addresses stay hidden.
const PLAIN: &str = "read,write,sendto,recvfrom";

/// A size with many windows, chunks and pipes in it.
const SIZE: usize = (32 << 20) + 77;

/// So many bytes are next to nothing of a file of [`SIZE`] bytes.
const FEW: u64 = SIZE as u64 / 20;
/// And so many are nearly all of it.
const MOST: u64 = SIZE as u64 - FEW;

/// What one side did while a file of [`SIZE`] bytes travelled.
struct Evidence {
    who: &'static str,
    trace: Trace,
    /// Where its file is: the original, or the copy.
    dir: TempDir,
}

impl Evidence {
    /// The server, while a client of ours downloads the file. `None`: not checked, for nothing
    /// can be traced here.
    #[track_caller]
    fn of_server(stage: Stage, calls: &str) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let file = sample(dir.path(), SIZE);
        let args = ["--workers", "1", "--file", text(&file)];
        let (server, trace) = trace::server(stage.bin(), &args, &format!("{calls},execve"))?;
        stage.assert_serves(&server, &file);
        Some(Self { who: "the server", trace, dir }.of_one_program())
    }

    /// `get`, while it downloads the file from a server of ours.
    #[track_caller]
    fn of_client(stage: Stage, calls: &str) -> Option<Self> {
        let (original, dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let file = sample(original.path(), SIZE);
        let name = file.file_name().unwrap().as_encoded_bytes();
        let server = FakeServer::that_sends(stage.format.stream(name, &sample_bytes(SIZE)));
        let port = server.port().to_string();
        let args = ["get", "--quiet", "--port", &port, "--out", text(dir.path())];
        let (finished, trace) = trace::client(stage.bin(), &args, &format!("{calls},execve"))?;
        assert_received(&finished, &file, dir.path());
        Some(Self { who: "get", trace, dir }.of_one_program())
    }

    /// Whoever lets another program do the work has not done it.
    #[track_caller]
    fn of_one_program(self) -> Self {
        let started = self.trace.calls("execve");
        let started: Vec<&Call> = started.iter().filter(|call| call.result == 0).collect();
        let paths: Vec<&str> = started.iter().filter_map(|it| it.args.split(',').next()).collect();
        let (who, count) = (self.who, paths.len());
        assert!(count <= 1, "{who} runs {count} programs: {}", paths.join(", "));
        self
    }

    /// The calls of these names that have something to do with its file.
    fn on_file(&self, names: &str) -> Vec<Call> {
        let dir: &Path = &self.dir.path().canonicalize().unwrap();
        let within = format!("<{}/", text(dir));
        let mut calls = self.trace.calls(names);
        calls.retain(|call| call.args.contains(&within));
        calls
    }

    /// The calls of these names that have something to do with the connection.
    fn on_socket(&self, names: &str) -> Vec<Call> {
        let mut calls = self.trace.calls(names);
        calls.retain(is_on_socket);
        calls
    }

    /// The mappings of its file.
    fn mappings(&self) -> Vec<Mapping> {
        self.on_file("mmap").iter().filter_map(Mapping::made_by).collect()
    }
}

fn is_on_socket(call: &Call) -> bool {
    call.args.contains("<TCP:") || call.args.contains("<TCPv6:")
}

/// A piece of a file in the memory of a process.
struct Mapping {
    pid: i32,
    start: u64,
    length: u64,
    protection: String,
}

impl Mapping {
    fn made_by(call: &Call) -> Option<Self> {
        let start = (call.result != -1).then(|| call.result.cast_unsigned())?;
        let (pid, protection) = (call.pid, call.arg(2).to_owned());
        Some(Self { pid, start, length: call.arg(1).parse().ok()?, protection })
    }

    /// Is the buffer of this call, put on record with a star, in here?
    fn holds(&self, call: &Call) -> bool {
        let end = self.start + self.length;
        let buffer = call.number(1);
        self.pid == call.pid && buffer.is_some_and(|buffer| (self.start..end).contains(&buffer))
    }
}

/// How many bytes these calls moved, all together.
fn bytes<'a>(calls: impl IntoIterator<Item = &'a Call>) -> u64 {
    calls.into_iter().map(Call::bytes).sum()
}

/// What these calls moved, for messages: `read 33554509 bytes in 4097 calls`.
fn summary(calls: &[Call]) -> String {
    let mut sums: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.bytes() > 0) {
        let (bytes, count) = sums.entry(&call.name).or_default();
        *bytes += call.bytes();
        *count += 1;
    }
    let line = |(name, (bytes, count))| format!("{name} moved {bytes} bytes in {count} calls");
    let lines: Vec<String> = sums.into_iter().map(line).collect();
    if lines.is_empty() { "no call moved a byte".to_owned() } else { lines.join(", ") }
}

/// Stage 06: the server maps the file and doesn't read it.
#[track_caller]
pub fn server_maps_the_file(stage: Stage) {
    let calls = format!("{COPYING},{MOVING},mmap");
    let Some(evidence) = Evidence::of_server(stage, &calls) else { return };
    assert_mapped(&evidence, "PROT_READ");
}

/// Stage 06: the client maps its copy and doesn't write it.
#[track_caller]
pub fn client_maps_its_copy(stage: Stage) {
    let calls = format!("{COPYING},{MOVING},mmap");
    let Some(evidence) = Evidence::of_client(stage, &calls) else { return };
    assert_mapped(&evidence, "PROT_WRITE");
}

#[track_caller]
fn assert_mapped(evidence: &Evidence, protection: &str) {
    let who = evidence.who;
    let mappings = evidence.mappings();
    let fitting = mappings.iter().filter(|mapping| mapping.protection.contains(protection));
    let mapped: u64 = fitting.map(|mapping| mapping.length).sum();
    let moved = evidence.on_file(&format!("{COPYING},{MOVING}"));
    let by_calls = summary(&moved);
    assert!(
        mapped >= MOST,
        "{who} mapped {mapped} of the file's {SIZE} bytes with {protection}; on the file, {by_calls}"
    );
    assert!(
        bytes(&moved) < FEW,
        "{who} mapped the file, but of its {SIZE} bytes {by_calls} without the mapping"
    );
}

/// Stage 06: what the server sends is the mapping itself, not a copy of it.
#[track_caller]
pub fn server_sends_from_the_mapping(stage: Stage) {
    let Some(evidence) = Evidence::of_server(stage, &with_addresses()) else { return };
    assert_uses_mapping(&evidence, "sendto,write", "sendmsg,sendmmsg,writev");
}

/// Stage 06: the client receives into the mapping itself.
#[track_caller]
pub fn client_receives_into_the_mapping(stage: Stage) {
    let Some(evidence) = Evidence::of_client(stage, &with_addresses()) else { return };
    assert_uses_mapping(&evidence, "recvfrom,read", "recvmsg,recvmmsg,readv");
}

/// All calls that copy, [`PLAIN`] ones with their addresses.
fn with_addresses() -> String {
    let name = |name: &str| match PLAIN.split(',').any(|plain| plain == name) {
        true => format!("{name}*"),
        false => name.to_owned(),
    };
    let names: Vec<String> = COPYING.split(',').map(name).collect();
    format!("{},mmap", names.join(","))
}

/// Nearly all bytes went through `plain` calls whose buffer is in a mapping of the file, or
/// through `vectored` ones, whose buffers can't be seen.
#[track_caller]
fn assert_uses_mapping(evidence: &Evidence, plain: &str, vectored: &str) {
    let mappings = evidence.mappings();
    let calls = evidence.trace.calls(plain);
    let within = |call: &&Call| mappings.iter().any(|mapping| mapping.holds(call));
    let used = bytes(calls.iter().filter(within));
    let hidden = bytes(&evidence.on_socket(vectored));
    assert!(
        used + hidden >= MOST,
        "{} used mapped memory for {used} of {SIZE} bytes, and for the others a copy elsewhere: {}",
        evidence.who,
        summary(&calls),
    );
}

/// Stages 07 and 08: the server moves the file by `splice`, and nearly nothing through its own
/// memory.
#[track_caller]
pub fn server_splices_the_file(stage: Stage) {
    let calls = format!("{COPYING},{MOVING}");
    let Some(evidence) = Evidence::of_server(stage, &calls) else { return };
    assert_spliced(&evidence);
}

/// The same for the client.
#[track_caller]
pub fn client_splices_the_file(stage: Stage) {
    let calls = format!("{COPYING},{MOVING}");
    let Some(evidence) = Evidence::of_client(stage, &calls) else { return };
    assert_spliced(&evidence);
}

#[track_caller]
fn assert_spliced(evidence: &Evidence) {
    let who = evidence.who;
    let all = format!("{COPYING},{MOVING}");
    let (file, socket) = (summary(&evidence.on_file(&all)), summary(&evidence.on_socket(&all)));
    let did = format!("on the file, {file}; on the connection, {socket}");
    for (place, spliced, copied) in [
        ("file", evidence.on_file("splice"), evidence.on_file(COPYING)),
        ("connection", evidence.on_socket("splice"), evidence.on_socket(COPYING)),
    ] {
        let spliced = bytes(&spliced);
        assert!(spliced >= MOST, "{who} spliced {spliced} of {SIZE} bytes on the {place}: {did}");
        let copied = bytes(&copied);
        assert!(copied < FEW, "{who} had {copied} bytes of the {place} in its own memory: {did}");
    }
}

/// What any pipe holds that nobody made larger.
const DEFAULT: u64 = 64 << 10;

/// The server asks for a larger pipe, and where it gets one, it fills it: few calls move much.
///
/// All pipes of a user together may hold so much (`pipe(7)`). Others may have used that up, such as
/// a program that never closes its pipes and is judged at the same time. That passes: it is waited
/// for, and if it happened meanwhile, the server is looked at again.
#[track_caller]
pub fn pipe_is_large(stage: Stage) {
    const LOOKS: usize = 3;
    for _ in 0..LOOKS {
        let grants = poll_until(limit(), || large_pipe_is_granted().then_some(())).is_some();
        let Some(evidence) = Evidence::of_server(stage, "splice,fcntl") else { return };
        let mut asked = evidence.trace.calls("fcntl");
        asked.retain(|call| call.args.contains("F_SETPIPE_SZ"));
        assert!(!asked.is_empty(), "the server never asked for a larger pipe (F_SETPIPE_SZ)");
        if asked.iter().any(|call| call.bytes() > DEFAULT) {
            return assert_fills(&evidence);
        }
        if !grants {
            break;
        }
    }
    crate::not_checked("that a large pipe is filled, for the system grants none");
}

fn large_pipe_is_granted() -> bool {
    let (_reader, writer) = io::pipe().expect("pipe");
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(1 << 20)).is_ok()
}

#[track_caller]
fn assert_fills(evidence: &Evidence) {
    let fills = evidence.on_file("splice");
    assert!(!fills.is_empty(), "the server spliced nothing from the file");
    let average = bytes(&fills) / fills.len() as u64;
    assert!(average > DEFAULT, "{} splices of the file moved {average} bytes each", fills.len());
}
