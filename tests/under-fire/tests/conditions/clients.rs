//! Clients that leave, are silent, never stop or never read.

use std::io::{Read, Write};
use std::time::Duration;

use support::line::LineClient;
use support::proc;
use support::server::Signal;
use support::wait::limit;
use support::wire::{Format, assert_stream};
use under_fire::STAGES;
use under_fire::scene::{holes, plain, put_to};

use crate::{FILES, LINES, TWO};

/// How a client leaves.
const WAYS: [fn(LineClient); 2] = [LineClient::reset, drop];

/// Where something begins or ends in a transfer of `size` bytes, and right before and after it.
pub fn positions(format: Format, name: &str, size: usize) -> Vec<usize> {
    let contents = vec![0; size];
    let header = format.header(name.as_bytes(), size as i64).len();
    let end = format.stream(name.as_bytes(), &contents).len();
    let chunks = (header..end).step_by(8 + 8192).flat_map(|start| [start, start + 8]);
    let edges = [0, 8, 16, header, end - 8, end].into_iter().chain(chunks);
    let near = edges.flat_map(|edge| edge.saturating_sub(1)..=edge + 1);
    let mut positions: Vec<usize> = near.filter(|&position| position <= end).collect();
    positions.sort_unstable();
    positions.dedup();
    positions
}

/// Takes so many bytes off the wire.
fn take(client: &LineClient, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    client.stream().set_read_timeout(Some(limit())).unwrap();
    client.stream().read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn clients_that_leave_a_transfer_at_any_position_harm_nobody() {
    const SIZE: usize = 20_000;
    put_to(FILES, plain(SIZE), TWO, |scene| {
        let name = format!("sample-{SIZE}.bin");
        for position in positions(scene.transfer().format, &name, SIZE) {
            for leave in WAYS {
                let client = LineClient::connect(scene.server.addr());
                take(&client, position);
                leave(client);
            }
        }
    });
}

#[test]
fn clients_that_half_close_at_any_position_get_the_rest() {
    const SIZE: usize = 20_000;
    put_to(FILES, plain(SIZE), TWO, |scene| {
        let format = scene.transfer().format;
        let name = format!("sample-{SIZE}.bin");
        let stream = format.stream(name.as_bytes(), &std::fs::read(scene.file()).unwrap());
        for position in positions(format, &name, SIZE) {
            let mut client = LineClient::connect(scene.server.addr());
            let start = take(&client, position);
            client.half_close();
            let came = [start, client.read_to_end()].concat();
            assert_stream(&came, &stream, &format!("a client that half-closed at {position}"));
        }
    });
}

#[test]
fn clients_that_leave_a_talk_at_any_position_harm_nobody() {
    const TALK: &[u8] = b"one\n\nthree\nfour";
    put_to(LINES, plain(0), TWO, |scene| {
        for said in 0..=TALK.len() {
            for leave in WAYS {
                let mut client = LineClient::connect(scene.server.addr());
                client.send(&TALK[..said]);
                leave(client); // with its answers under way
                let mut client = LineClient::connect(scene.server.addr());
                client.send(&TALK[..said]);
                for _ in 0..TALK[..said].iter().filter(|&&byte| byte == b'\n').count() {
                    client.answer();
                }
                leave(client); // with the rest of a line unanswered
            }
        }
    });
}

#[test]
fn clients_that_half_close_a_talk_at_any_position_get_all_their_answers() {
    const TALK: &str = "one\n\nthree\nfour";
    put_to(LINES, plain(0), TWO, |scene| {
        for said in 0..=TALK.len() {
            let mut client = LineClient::connect(scene.server.addr());
            client.send(&TALK[..said]);
            client.half_close();
            for line in TALK[..said].lines() {
                client.expect(line.to_ascii_uppercase());
            }
            client.expect_end();
        }
    });
}

/// All of it is in the kernel before anybody looks: lines, their end, the end of the input.
#[test]
fn clients_that_have_said_all_before_they_are_accepted_get_all_their_answers() {
    put_to(LINES, plain(0), TWO, |scene| {
        scene.server.freeze(scene.server.pid());
        let talk = || {
            let mut client = LineClient::connect(scene.server.addr());
            client.send("line\n".repeat(2000));
            client.half_close();
            client
        };
        let clients = [talk(), talk(), talk()];
        scene.server.signal(scene.server.pid(), Signal::SIGCONT);
        for mut client in clients {
            for _ in 0..2000 {
                client.expect("LINE");
            }
            client.expect_end();
        }
    });
}

#[test]
fn clients_that_leave_the_table_at_any_position_harm_nobody() {
    put_to([STAGES[0]], plain(0), TWO, |scene| {
        let table = LineClient::connect(scene.server.addr()).read_to_end();
        for position in 0..=table.len() {
            for leave in WAYS {
                let client = LineClient::connect(scene.server.addr());
                take(&client, position);
                leave(client);
            }
            let mut client = LineClient::connect(scene.server.addr());
            let start = take(&client, position);
            client.half_close();
            assert_eq!([start, client.read_to_end()].concat(), table);
        }
    });
}

/// A port scan: when the server comes to accept them, they have all left again.
#[test]
fn a_hundred_clients_that_reset_before_they_are_accepted_harm_nobody() {
    put_to(STAGES, plain(100_000), TWO, |scene| {
        for leave in WAYS {
            scene.server.freeze(scene.server.pid());
            let connect = |_| LineClient::connect(scene.server.addr());
            let clients: Vec<LineClient> = (0..100).map(connect).collect();
            clients.into_iter().for_each(leave);
            scene.server.signal(scene.server.pid(), Signal::SIGCONT);
            scene.stage.assert_serves(&scene.server, scene.file());
        }
    });
}

/// By design, what becomes of the others differs. In 01 a client has nothing to say. In 02 all
/// are accepted, and who says a line is answered. In 03 a worker is its client's alone, for as
/// long as that one likes: the others wait in the kernel's queue, and nobody is dropped.
#[test]
fn silent_clients_harm_nobody_and_more_than_workers_hold_up_stage_03_alone() {
    put_to(STAGES[..3].iter().copied(), plain(0), TWO, |scene| {
        let connect = |_| LineClient::connect(scene.server.addr());
        let silent: Vec<LineClient> = (0..6).map(connect).collect();
        if scene.stage.name != "step03-sendfd" {
            scene.stage.assert_serves(&scene.server, scene.file());
            return;
        }
        let mut waiting = LineClient::connect(scene.server.addr());
        waiting.send("am I heard?\n");
        waiting.expect_silence(Duration::from_millis(200));
        drop(silent);
        waiting.expect("AM I HEARD?");
    });
}

/// From 04 on the server speaks first, so a silent client is one that doesn't read. It is given
/// up after the stall timeout, and those who wait have their turn. The timeout also holds for a
/// good client of ours, which may stand still for a moment on a busy machine.
#[test]
fn clients_that_do_not_read_are_given_up_one_after_the_other() {
    const ARGS: &[&str] = &["--workers", "2", "--stall-timeout", "5"];
    put_to(FILES, holes(24 << 20), ARGS, |scene| {
        let connect = |_| LineClient::connect(scene.server.addr());
        let silent: Vec<LineClient> = (0..3).map(connect).collect();
        scene.stage.assert_serves(&scene.server, scene.file());
        drop(silent);
    });
}

#[test]
fn three_hundred_clients_that_never_read_their_table_harm_nobody() {
    put_to([STAGES[0]], plain(0), &["--workers", "64"], |scene| {
        let connect = |_| LineClient::connect(scene.server.addr());
        let silent: Vec<LineClient> = (0..300).map(connect).collect();
        scene.stage.assert_serves(&scene.server, scene.file());
        drop(silent);
    });
}

/// Nobody keeps what has been answered: memory is bounded, whether the answers are read or not.
#[test]
fn a_line_without_end_costs_bounded_memory() {
    const LENGTH: usize = 32 << 20;
    const MEMORY: u64 = 16 << 10; // KiB
    put_to(LINES, plain(0), TWO, |scene| {
        let block = vec![b'a'; 1 << 20];
        let mut unread = LineClient::connect(scene.server.addr());
        unread.send_what_fits(&block.repeat(32), Duration::from_millis(200));
        let mut client = LineClient::connect(scene.server.addr());
        read_while_sending(&mut client, &block, LENGTH / block.len());
        for pid in scene.family() {
            let peak = proc::peak_memory_kib(pid);
            assert!((1..MEMORY).contains(&peak), "process {pid} used {peak} KiB of memory");
        }
        unread.reset();
        client.half_close();
        client.wait_closed();
    });
}

/// Sends `block` so many times, and takes what is answered in the meantime.
fn read_while_sending(client: &mut LineClient, block: &[u8], times: usize) {
    let (mut stream, mut sent, mut buffer) = (client.stream(), 0, vec![0; 1 << 20]);
    stream.set_nonblocking(true).unwrap();
    while sent < times * block.len() {
        sent += stream.write(&block[sent % block.len()..]).unwrap_or(0);
        let _ = stream.read(&mut buffer);
    }
    stream.set_nonblocking(false).unwrap();
}
