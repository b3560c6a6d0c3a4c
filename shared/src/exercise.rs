//! What stands in the place of an answer that isn't written yet.
//!
//! Purpose: a program with a blank says which one it came to, in one line, and ends.
//! Interface: [`missing`]. With all the answers in place nobody calls it; `cargo lab export` puts
//! a call in the place of each answer that it takes out.
//! Rules: no panic, no backtrace, no unwinding through code that isn't there yet. The whole
//! program ends: a worker that ended alone would be replaced, and come to the same blank again.

use std::env;
use std::fs;
use std::iter;
use std::panic::Location;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use crate::cli;
use crate::narrate::write_line;
use crate::process::leave;

/// The exit status of a program that came to a blank. Nothing else here ends with it.
pub const STATUS: i32 = 3;

/// Says that the region `id` (`06.send_windows`) is to be written, and where, and ends this
/// process; in a worker its parent too, and in a demo whoever plays it.
#[track_caller]
pub fn missing(id: &str) -> ! {
    let place = Location::caller();
    let (file, line) = (place.file(), place.line());
    let stage = id.split('.').next().unwrap_or(id);
    write_line(&format!("error: {id} is not written yet ({file}:{line}): cargo lab hint {stage}"));
    let started_by = |pid: &Pid| parent(*pid).filter(|&it| runs_this_program(it));
    let mut ancestors: Vec<Pid> = iter::successors(started_by(&getpid()), started_by).collect();
    if env::var_os(cli::DEMO).is_some() {
        ancestors.pop(); // who keeps the demo is to clean up
    }
    // The eldest first: the others end with it, and have nothing to add.
    for pid in ancestors.into_iter().rev() {
        // SIGTERM and not SIGKILL: it is a request, and from stage 08 on the parent hears it.
        let _ = kill(pid, Signal::SIGTERM);
    }
    leave(STATUS)
}

/// See proc_pid_status(5).
fn parent(pid: Pid) -> Option<Pid> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok().map(Pid::from_raw)
}

/// A shell, cargo or a test that started us runs another program, and nothing of ours is its fault.
fn runs_this_program(pid: Pid) -> bool {
    let program = |pid: Pid| fs::read_link(format!("/proc/{pid}/exe")).ok();
    program(pid).is_some_and(|theirs| program(getpid()) == Some(theirs))
}
