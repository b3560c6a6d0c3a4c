//! Signals in bursts.

use std::thread;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use support::line::LineClient;
use support::server::Signal;
use support::serving::MORE_THAN_BUFFERS;
use support::stage::assert_received;
use support::wait::limit;
use under_fire::halfway::Halfway;
use under_fire::scene::{plain, put_to};
use under_fire::{STAGES, Sample};

use crate::{FILES, LINES, SOON, TWO};

/// Signals that end nobody. SIGSTOP, with SIGCONT right behind it, interrupts what waits.
const HARMLESS: [Signal; 5] =
    [Signal::SIGCHLD, Signal::SIGWINCH, Signal::SIGURG, Signal::SIGSTOP, Signal::SIGCONT];

/// So many of each signal to each process.
const BURST: usize = 1000;

/// Sends each of `signals` so many times to each of `pids`. Who has ended gets none.
fn burst(pids: &[i32], signals: &[Signal], times: usize) {
    for _ in 0..times {
        for &pid in pids {
            for &signal in signals {
                let _ = kill(Pid::from_raw(pid), signal);
            }
        }
    }
}

/// Half of the burst comes while the transfer stands still, the other half while it goes on.
#[test]
fn burst_of_signals_in_a_transfer_harms_nobody() {
    put_to(FILES, plain(MORE_THAN_BUFFERS as usize), TWO, |scene| {
        let out = scene.sample.out("here");
        let halfway = Halfway::at(scene.server.addr(), 1 << 20);
        let client = scene.transfer().start_get(halfway.port(), &out, &["--quiet"]);
        halfway.wait_reached();
        let everybody = [scene.family(), vec![client.pid()]].concat();
        burst(&everybody, &HARMLESS, BURST / 2);
        halfway.go_on();
        burst(&everybody, &HARMLESS, BURST / 2);
        if scene.stage.name == "step08-graceful-exit" {
            // What asks the parent to leave is none of its workers' business.
            let leave = [Signal::SIGUSR1, Signal::SIGTERM, Signal::SIGINT];
            burst(&scene.server.workers(), &leave, BURST);
        }
        assert_received(&client.finish(), scene.file(), &out);
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "signals have to come while the client talks")]
fn burst_of_signals_in_a_talk_harms_nobody() {
    put_to(LINES, plain(0), TWO, |scene| {
        let family = scene.family();
        let sender = thread::spawn(move || burst(&family, &HARMLESS, BURST));
        let mut client = LineClient::connect(scene.server.addr());
        while !sender.is_finished() {
            client.ask("all well?");
        }
        sender.join().unwrap();
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "signals have to come while clients come")]
fn burst_of_signals_while_tables_are_sent_harms_nobody() {
    put_to([STAGES[0]], plain(0), TWO, |scene| {
        let family = scene.family();
        let sender = thread::spawn(move || burst(&family, &HARMLESS, BURST));
        while !sender.is_finished() {
            scene.stage.assert_serves(&scene.server, scene.file());
        }
        sender.join().unwrap();
    });
}

/// Stage 08 is asked to leave, a thousand times in a row: the first is the request, and one that
/// comes later is the second signal, which kills who is still busy. So the server has two ways to
/// end, and in any case it ends at once and leaves nobody.
#[test]
fn burst_of_requests_to_leave_ends_stage_08_at_once() {
    let stage = STAGES[7];
    for signal in [Signal::SIGUSR1, Signal::SIGTERM, Signal::SIGINT] {
        let sample = Sample::of(MORE_THAN_BUFFERS as usize);
        let mut server = stage.serve(sample.file(), TWO);
        let mut client = stage.of_files().unwrap().connect(server.addr());
        let header = client.header();
        burst(&[server.pid()], &[signal], BURST);
        let came_whole = client.rest(header, |_| {}).is_ok();
        let status = server.wait_exit(limit()).code();
        assert!(matches!(status, Some(0 | 1)), "the exit status is {status:?}");
        assert!(came_whole || status == Some(1), "a client was cut short, and all is well");
        server.wait_nobody_left(SOON);
    }
}
