//! Keeps a demo: its story is played by a process of its own, and somebody is left to clean up.
//!
//! Purpose: Ctrl-C, a blank, a demo that hangs: however it ends, no process and no file stays.
//! Interface: [`keep`].
//! First used by stage 01.

use std::env;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getpid};

use crate::demo::{LIMIT, itself};
use crate::error::Context;
use crate::exercise;
use crate::process;
use crate::signal;

/// In the environment of the process that plays.
const KEPT: &str = "LAB_DEMO_IS_KEPT";

/// Has a process of its own play this story, in a directory of its own for what it leaves, and ends
/// as that process ends.
///
/// # Errors
/// That of the story; it took too long; a signal killed it that nobody here has sent.
pub fn keep(story: fn() -> io::Result<()>) -> io::Result<()> {
    if env::var_os(KEPT).is_some() {
        return story();
    }
    signal::keep_children()?;
    // Whoever loses its parent becomes our child, so that we can end it.
    prctl::set_child_subreaper(true).context("prctl PR_SET_CHILD_SUBREAPER")?;
    let directory = tempfile::Builder::new()
        .prefix("demo-")
        .tempdir()
        .context("make a directory for the demo")?;
    let waited_for = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD];
    let waited_for: SigSet = waited_for.into_iter().collect();
    waited_for.thread_block().context("sigprocmask")?;
    let (status, asked) = wait(start(directory.path())?, &waited_for)?;
    process::end_all();
    drop(directory);
    end_as(status, asked)
}

/// Starts this program again, as the one that plays.
fn start(directory: &Path) -> io::Result<Child> {
    let mut command = itself(&["demo"])?;
    // SAFETY: between fork and exec the closure makes one sigprocmask call, which is
    // async-signal-safe.
    unsafe {
        command.pre_exec(|| Ok(SigSet::all().thread_unblock()?));
    }
    command.env(KEPT, "1").env("TMPDIR", directory).spawn().context("start the demo")
}

/// Waits for its end, and passes on what asks us to leave. Returns the last such signal, too.
fn wait(mut player: Child, signals: &SigSet) -> io::Result<(ExitStatus, Option<Signal>)> {
    let mut asked = None;
    loop {
        // SIGCHLD comes last of those that wait, for it has the highest number. So whoever has sent
        // the same signal to us and to the player (Ctrl-C) is heard of before the player's end.
        let signal = signals.wait().context("sigwait")?;
        if signal != Signal::SIGCHLD {
            asked = Some(signal);
            kill(Pid::from_raw(player.id().cast_signed()), signal).context("kill")?;
        } else if let Some(status) = player.try_wait().context("waitpid")? {
            return Ok((status, asked));
        }
    }
}

/// Ends this process as the story has ended. What there is to say it has said itself, unless it was
/// killed.
fn end_as(status: ExitStatus, asked: Option<Signal>) -> io::Result<()> {
    match (status.code(), asked) {
        (Some(code), _) => process::leave(code),
        (None, Some(signal)) => {
            // By the same signal: a shell looks at that to see whether its script should go on.
            SigSet::all().thread_unblock().context("unblock the signals")?;
            kill(getpid(), signal).context("kill")
        }
        _ => match status.signal().and_then(|it| Signal::try_from(it).ok()) {
            // Who comes to a blank says so, and ends whoever has started it.
            Some(Signal::SIGTERM) => process::leave(exercise::STATUS),
            Some(Signal::SIGALRM) => Err(io::Error::other(format!(
                "the demo isn't over after {LIMIT} s: something waits for what doesn't come"
            ))),
            _ => Err(io::Error::other(format!("the demo was ended: {status}"))),
        },
    }
}
