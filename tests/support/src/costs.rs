//! What a transfer of stages 04 to 08 may cost: calls, packets, processor time.
//!
//! Interface: a function for each check; a stage's tests call them under names of their own.
//! Rules: what can only be seen with `strace` is not checked where that is impossible, and it is
//! said so.

use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::fake_server::FakeServer;
use crate::files::{sample, sample_bytes, sparse};
use crate::serving::MORE_THAN_BUFFERS;
use crate::stage::{NAME, Stage, assert_gets_the_rest, text};
use crate::trace::Call;
use crate::wire::whole;
use crate::{habits, proc, trace};

/// Calls that hand bytes to a connection.
const SENDING: &str = "write,writev,sendto,sendmsg,sendmmsg,splice,sendfile";

/// Calls that do nothing but let time pass.
const SLEEPING: &str = "nanosleep,clock_nanosleep";

/// So often a client of ours rests, in bytes.
const REST_EVERY: u64 = 8 << 20;

/// The first packet holds more than the header. Were the header sent alone, the data behind it
/// would wait until the other side acknowledges it (Nagle), which that side delays.
///
/// Whether two calls fill one packet is up to the kernel and the clock, so the calls are judged:
/// one that sends no more than the header has to say that more follows (`MSG_MORE`, `TCP_CORK`).
#[track_caller]
pub fn header_and_data_leave_together(stage: Stage) {
    let dir = TempDir::new().unwrap();
    let file = sample(dir.path(), 5000);
    let args = ["--workers", "1", "--quiet", "--file", text(&file)];
    let calls = format!("{SENDING},setsockopt");
    let Some((server, trace)) = trace::server(stage.bin(), &args, &calls) else { return };
    let header = stage.format.header(b"sample-5000.bin", 5000).len() as u64;
    let _ = stage.connect(server.addr()).everything(); // every call is on record by then
    let mut sent = 0;
    let mut corked = false;
    let to_the_client = |call: &Call| {
        let target = if call.name == "splice" { call.arg(2) } else { call.arg(0) };
        target.contains("TCP")
    };
    for call in trace.calls(&calls).into_iter().filter(to_the_client) {
        corked |= call.args.contains("TCP_CORK, [1]");
        sent += call.bytes();
        let more_follows = corked || call.args.contains("_MORE");
        if sent > header {
            return;
        }
        assert!(
            call.bytes() == 0 || more_follows,
            "{} sent the header, or a part of it, without a word that more follows: {} of {header} bytes",
            call.name,
            call.bytes(),
        );
    }
    panic!("of the header's {header} bytes {sent} were sent");
}

/// While it sends, no process of the server sleeps for a time: a send that can't go on waits by
/// itself, and goes on as soon as it can.
#[track_caller]
pub fn sends_without_a_sleep(stage: Stage) {
    let dir = TempDir::new().unwrap();
    let file = sparse(dir.path(), MORE_THAN_BUFFERS);
    let args = ["--workers", "1", "--quiet", "--file", text(&file)];
    let Some((server, trace)) = trace::server(stage.bin(), &args, SLEEPING) else {
        return;
    };
    let mut client = stage.connect(server.addr());
    let header = client.header();
    let mut came = 0;
    let transfer = client.rest(header, |piece| {
        // A client that rests now and then: the server has to wait for it.
        if (came + piece.len() as u64) / REST_EVERY > came / REST_EVERY {
            thread::sleep(Duration::from_millis(30));
        }
        came += piece.len() as u64;
    });
    whole(transfer);
    let sleeps = trace.calls(SLEEPING).len();
    assert!(sleeps == 0, "while it sent 64 MiB the server slept {sleeps} times ({SLEEPING})");
}

/// A client that is gone gets no more bytes: the first error ends its transfer.
#[track_caller]
pub fn sends_nothing_to_a_client_that_is_gone(stage: Stage) {
    const FEW: usize = 5;
    let dir = TempDir::new().unwrap();
    let file = sparse(dir.path(), MORE_THAN_BUFFERS);
    let args = ["--workers", "1", "--quiet", "--file", text(&file)];
    let Some((server, trace)) = trace::server(stage.bin(), &args, SENDING) else {
        return;
    };
    let mut client = stage.connect(server.addr());
    client.header();
    client.reset();
    stage.assert_serves(&server, &file); // by then the worker is done with the other one
    let is_gone = |error: &str| error == "EPIPE" || error == "ECONNRESET";
    let in_vain = trace.calls(SENDING).iter().filter(|call| is_gone(&call.error)).count();
    assert!(in_vain <= FEW, "{in_vain} sends failed, as the client was gone, and it went on");
}

/// A worker whose client doesn't read waits for it without using the processor.
#[track_caller]
pub fn waiting_worker_sleeps(stage: Stage) {
    let dir = TempDir::new().unwrap();
    let file = sparse(dir.path(), MORE_THAN_BUFFERS);
    let server = stage.serve(&file, &["--workers", "1"]);
    let client = stage.connect(server.addr());
    habits::sleeps_when_idle(&server);
    assert_gets_the_rest(client, &file);
}

/// `get` waits for a server that is silent, before the header and in the middle of the file,
/// without using the processor.
#[track_caller]
pub fn waiting_get_sleeps(stage: Stage) {
    let out = TempDir::new().unwrap();
    let stream = stage.format.stream(NAME.as_bytes(), &sample_bytes(100_000));
    let start = |cut: usize| {
        let server = FakeServer::that_stops_after(stream[..cut].to_vec());
        (stage.start_get(server.port(), out.path(), &[]), server)
    };
    let waiting = [0, 4, stream.len() / 2].map(start);
    let pids = || waiting.iter().map(|(client, _)| client.pid()).collect::<Vec<_>>();
    habits::all_sleep(pids);
    let ended = pids().into_iter().filter(|&pid| !proc::alive(pid)).count();
    assert!(ended == 0, "{ended} of 3 downloads ended while the server was silent for a second");
}
