//! Workers, parent and client that are killed, stopped or out of memory.

use std::collections::HashSet;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use support::files::{Comparison, Landing};
use support::line::LineClient;
use support::not_checked;
use support::proc;
use support::receiving::assert_failed;
use support::server::Signal;
use support::serving::MORE_THAN_BUFFERS;
use support::stage::assert_received;
use support::wait::{limit, wait_for};
use support::wire::broken_off;
use under_fire::halfway::Halfway;
use under_fire::scene::{at_once, plain, put_to};
use under_fire::{STAGES, Sample};

use crate::{FILES, LINES, SOON, TWO};

/// Parent, workers and client, one after the other and each at a point of its own, stand still
/// for a while in the middle of a transfer: it comes whole.
#[test]
fn processes_that_are_stopped_and_continued_in_a_transfer_lose_nothing() {
    put_to(FILES, plain(MORE_THAN_BUFFERS as usize), TWO, |scene| {
        let out = scene.sample.out("here");
        let halfway = Halfway::at(scene.server.addr(), 10 << 20);
        let client = scene.transfer().start_get(halfway.port(), &out, &["--quiet"]);
        halfway.wait_reached();
        let everybody = [scene.family(), vec![client.pid()]].concat();
        for &pid in &everybody {
            scene.server.freeze(pid);
        }
        halfway.go_on();
        for &pid in everybody.iter().rev() {
            scene.server.signal(pid, Signal::SIGCONT);
        }
        for round in 0..20 {
            let pid = everybody[round % everybody.len()];
            for signal in [Signal::SIGSTOP, Signal::SIGCONT] {
                let _ = kill(Pid::from_raw(pid), signal); // the client may be done by now
            }
        }
        assert_received(&client.finish(), scene.file(), &out);
    });
}

#[test]
fn processes_that_are_stopped_and_continued_in_a_talk_lose_nothing() {
    put_to(LINES, plain(0), TWO, |scene| {
        let mut client = LineClient::connect(scene.server.addr());
        for _ in 0..3 {
            for pid in scene.family() {
                scene.server.freeze(pid);
                client.send("still there?\nand now?\n");
                scene.server.signal(pid, Signal::SIGCONT);
                client.expect("STILL THERE?");
                client.expect("AND NOW?");
            }
        }
        drop(client);
    });
}

/// No memory left for the worker of a transfer: neither for a mapping nor for its heap. The
/// transfer may fail and the worker may die, but what comes is right, to the last byte or not;
/// and once there is memory again, all is well.
#[test]
fn worker_out_of_memory_costs_its_own_client_at_most() {
    for resource in ["--as", "--data"] {
        put_to(FILES, plain(24 << 20), TWO, |scene| {
            let mut client = scene.connect();
            let header = client.header();
            let workers = scene.server.workers();
            for &worker in &workers {
                if !has_memory(worker, resource, "4096") {
                    return not_checked("a worker out of memory, for prlimit doesn't work here");
                }
            }
            let mut comparison = Comparison::with(scene.file());
            if client.rest(header, |piece| comparison.piece(piece)).is_ok() {
                comparison.end();
            }
            for _ in 0..3 {
                let next = scene.connect();
                let _ = next.hears_something_within(limit());
                next.reset();
            }
            for &worker in &workers {
                has_memory(worker, resource, "unlimited");
            }
            scene.expect_workers(2);
        });
    }
}

/// Changes the soft limit of a process. One that has ended has none.
fn has_memory(pid: i32, resource: &str, limit: &str) -> bool {
    let args = ["--pid", &pid.to_string(), &format!("{resource}={limit}:")];
    let done = Command::new("prlimit").args(args).output();
    done.is_ok_and(|output| output.status.success()) || !proc::alive(pid)
}

/// Ten times in a second all workers are killed, with clients among them: each death is answered
/// by one fork, and soon the service is back.
#[test]
fn workers_that_are_all_killed_ten_times_in_a_second_are_soon_back() {
    const WORKERS: usize = 5;
    let pooled = STAGES[2..].iter().copied();
    put_to(pooled, plain(1 << 20), &["--workers", "5"], |scene| {
        let mut killed = HashSet::new();
        for _ in 0..10 {
            let _client = LineClient::connect(scene.server.addr());
            for worker in scene.server.workers() {
                if kill(Pid::from_raw(worker), Signal::SIGKILL).is_ok() {
                    killed.insert(worker);
                }
            }
            thread::sleep(Duration::from_millis(100)); // the second in which it happens
        }
        let back = || scene.server.workers().len() == WORKERS;
        wait_for("all workers to be back", SOON, back);
        let forks = || scene.server.narration().matches(" now\n").count();
        wait_for("a fork for each that was killed", limit(), || forks() >= killed.len());
        assert_eq!(forks(), killed.len(), "forks for those that were killed");
        scene.expect_workers(WORKERS);
    });
}

/// The parent is killed while workers send and clients of both kinds receive: soon nobody is left,
/// the clients see the end, and leave nothing.
#[test]
fn killed_parent_leaves_no_worker_and_no_debris() {
    at_once(FILES, |stage| {
        let sample = Sample::of(MORE_THAN_BUFFERS as usize);
        let mut server = stage.serve(sample.file(), TWO);
        let landing = Landing::with_old(sample.file().file_name().unwrap().to_str().unwrap());
        let halfway = Halfway::at(server.addr(), 1 << 20);
        let transfer = stage.of_files().unwrap();
        let get = transfer.start_get(halfway.port(), landing.path(), &["--quiet"]);
        halfway.wait_reached();
        let mut raw = transfer.connect(server.addr());
        let header = raw.header();
        let mut waiting = LineClient::connect(server.addr()); // in the kernel's queue
        server.kill(server.pid());
        server.wait_nobody_left(SOON);
        halfway.go_on();
        broken_off(raw.rest(header, |_| {}), "the server was killed");
        let error = assert_failed(&get.finish());
        assert!(error.contains("connection closed after "), "got {error:?}");
        landing.assert_untouched();
        waiting.expect_closed();
    });
}

#[test]
fn killed_parent_ends_every_talk() {
    at_once(STAGES[..3].iter().copied(), |stage| {
        let sample = Sample::of(0);
        let mut server = stage.serve(sample.file(), TWO);
        let workers = server.workers();
        // Whoever is frozen before it has begun has not asked yet to be killed with its parent.
        let asleep = || workers.iter().all(|&pid| proc::state(pid) == Some('S'));
        wait_for("all workers to sleep", limit(), asleep);
        server.freeze(workers[0]); // also one that stands still has to go
        let connect = |_| LineClient::connect(server.addr());
        let clients: Vec<LineClient> = (0..4).map(connect).collect();
        server.kill(server.pid());
        server.wait_nobody_left(SOON);
        for mut client in clients {
            client.wait_closed();
        }
    });
}

/// In 01 a dead worker stays dead: the table says so, whoever reads it meanwhile.
#[test]
fn workers_killed_while_the_table_is_sent_are_shown_as_ended() {
    const WORKERS: usize = 64;
    put_to([STAGES[0]], plain(0), &["--workers", "64"], |scene| {
        for (killed, worker) in scene.server.workers().into_iter().skip(1).enumerate() {
            let mut unread = LineClient::connect(scene.server.addr());
            scene.server.kill(worker);
            let during = unread.read_to_end();
            assert_eq!(lines(&during), WORKERS, "lines of a table");
            let shown = || ended(&LineClient::connect(scene.server.addr()).read_to_end());
            wait_for("the table to show it", limit(), || shown() == killed + 1);
        }
        scene.expect_workers(1);
    });
}

fn lines(table: &[u8]) -> usize {
    table.iter().filter(|&&byte| byte == b'\n').count()
}

fn ended(table: &[u8]) -> usize {
    String::from_utf8_lossy(table).matches(" ended: signal 9").count()
}
