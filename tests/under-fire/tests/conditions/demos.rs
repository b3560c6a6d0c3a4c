//! Demos that are interrupted.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::{kill, killpg};
use nix::unistd::Pid;
use support::server::Signal;
use support::terminal::Terminal;
use support::wait::{limit, wait_for};
use tempfile::TempDir;
use under_fire::{OTHERS, STAGES};

/// In the middle of the story of each stage, `interrupt` the demo, whose group has this number. It
/// ends by `signal`, and leaves nobody and nothing.
#[track_caller]
fn leaves_nothing(signal: Signal, interrupt: fn(Pid)) {
    for bin in STAGES.iter().chain(&OTHERS).map(|stage| stage.bin()) {
        let what = format!("a demo of {bin} to be interrupted");
        wait_for(&what, limit(), || is_interrupted(bin, signal, interrupt));
    }
}

/// False if the demo was over before it could be interrupted, as may happen on a busy machine.
#[track_caller]
fn is_interrupted(bin: &str, signal: Signal, interrupt: fn(Pid)) -> bool {
    let directory = TempDir::new().unwrap();
    let mut command = Command::new(bin);
    let mut demo =
        Terminal::start(command.arg("demo").env("TMPDIR", directory.path()).process_group(0));
    demo.wait_for("[demo] starting a client");
    let group = Pid::from_raw(demo.pid());
    interrupt(group);
    let (status, seen) = demo.finish();
    let ended_by = status.signal();
    let right = status.success() || ended_by == Some(signal as i32);
    assert!(right, "{bin}: {status}\n{seen}");
    assert_eq!(killpg(group, None), Err(Errno::ESRCH), "{bin}: somebody is left\n{seen}");
    let left: Vec<_> = directory.path().read_dir().unwrap().collect();
    assert!(left.is_empty(), "{bin}: {left:?}");
    ended_by.is_some()
}

#[test]
fn demo_leaves_nothing_after_ctrl_c() {
    leaves_nothing(Signal::SIGINT, |group| killpg(group, Signal::SIGINT).unwrap());
}

#[test]
fn demo_leaves_nothing_after_kill() {
    leaves_nothing(Signal::SIGTERM, |demo| kill(demo, Signal::SIGTERM).unwrap());
}
