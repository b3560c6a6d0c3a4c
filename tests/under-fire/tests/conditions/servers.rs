//! Servers that leave their client at any position.

use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::thread;

use support::fake_server::FakeServer;
use support::files::{Landing, sample_bytes};
use support::receiving::assert_failed;
use support::server::run;
use support::stage::NAME;
use support::tcp::read_some;
use under_fire::scene::at_once;

use crate::clients::positions;
use crate::{FILES, LINES};

const SIZE: usize = 9000;

/// A server that plays one part, whichever client comes.
struct Part {
    what: &'static str,
    play: fn(Vec<u8>) -> (u16, Option<FakeServer>),
}

const PARTS: [Part; 3] = [
    Part { what: "closes", play: |start| fake(FakeServer::that_sends(start)) },
    Part { what: "resets", play: |start| fake(that_resets_after(start)) },
    Part { what: "half-closes", play: that_half_closes_after },
];

fn fake(server: FakeServer) -> (u16, Option<FakeServer>) {
    (server.port(), Some(server))
}

fn that_resets_after(start: Vec<u8>) -> FakeServer {
    FakeServer::start(move |mut client| {
        client.send(&start);
        client.reset();
    })
}

/// Says that nothing more will come, and stays until its one client leaves.
#[expect(clippy::disallowed_methods, reason = "a test has to be client and server at once")]
fn that_half_closes_after(start: Vec<u8>) -> (u16, Option<FakeServer>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let _ = client.write_all(&start);
        let _ = client.shutdown(Shutdown::Write);
        while matches!(read_some(&mut client, &mut [0; 4096]), Ok(1..)) {}
    });
    (port, None)
}

/// Before the first byte, in the header, at the edge of a chunk and in it, before the end mark and
/// after the end: either all has come, or `get` fails and leaves nothing.
#[test]
fn server_that_leaves_at_any_position_gives_a_whole_file_or_an_error() {
    at_once(FILES, |stage| {
        let transfer = stage.of_files().unwrap();
        let contents = sample_bytes(SIZE);
        let stream = transfer.format.stream(NAME.as_bytes(), &contents);
        for position in positions(transfer.format, NAME, SIZE) {
            for part in &PARTS {
                let (port, _server) = (part.play)(stream[..position].to_vec());
                let landing = Landing::with_old(NAME);
                let finished = transfer.get(port, landing.path(), &["--quiet"]);
                let what = format!("a server that {} after {position} bytes", part.what);
                if finished.status.success() {
                    assert_eq!(position, stream.len(), "{what}, and get is content");
                    let came = std::fs::read(landing.path().join(NAME)).unwrap();
                    assert!(came == contents, "{what}, and get took something else");
                    continue;
                }
                // A reset may throw away what has come and wasn't read yet, even all of it.
                let excused = position < stream.len() || part.what == "resets";
                assert!(excused, "{what}, and get wants more: {finished:?}");
                let error = assert_failed(&finished);
                assert!(error.contains("connection closed after "), "{what}: {error:?}");
                landing.assert_untouched();
            }
        }
    });
}

#[test]
fn server_that_leaves_at_any_position_of_its_answer_is_reported_by_echo() {
    const ANSWER: &[u8] = b"PROCESS[PID 1]: HELLO\n";
    at_once(LINES, |stage| {
        for position in 0..=ANSWER.len() {
            for part in &PARTS {
                let (port, _server) = (part.play)(ANSWER[..position].to_vec());
                let finished = run(stage.bin(), &["echo", "--port", &port.to_string(), "hello"]);
                let what = format!("a server that {} after {position} bytes", part.what);
                if finished.status.success() {
                    assert_eq!(finished.stdout.as_bytes(), ANSWER, "{what}");
                    continue;
                }
                let excused = position < ANSWER.len() || part.what == "resets";
                assert!(excused, "{what}, and echo wants more: {finished:?}");
                let error = "error: connection closed after 0 of 1 answers\n";
                assert_eq!(finished.stderr, error, "{what}");
            }
        }
    });
}
