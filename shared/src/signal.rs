//! Signals as events of the same loop as everything else: `signalfd(2)`.
//!
//! Purpose: Ctrl-C, `kill` and the notes' SIGUSR1 ask the server to leave, and the loop acts.
//! Interface: [`Signals::catch`] in the parent, [`leave_to_parent`] in each worker.
//! Rules: there is no handler, so nothing can go wrong inside one. Catch before forking, so that
//! no signal finds the default action in between. Workers ignore these signals: Ctrl-C reaches
//! the whole foreground group, and it is the parent that tells them when to end.
//! First used by stage 08; [`keep_children`] by stage 01,
//! [`ignore`] by stage 04.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::Context;

/// The signals that mean "leave".
pub const LEAVE: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR1];

/// Signals that wait to be read.
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks `signals` in this process, so that they wait, and opens a descriptor that is
    /// readable when one does.
    ///
    /// # Errors
    /// `sigprocmask(2)`, `signalfd(2)`.
    pub fn catch(signals: &[Signal]) -> io::Result<Self> {
        // LAB 08.catch: block the signals, then open a signalfd, close-on-exec and non-blocking
        let set: SigSet = signals.iter().copied().collect();
        set.thread_block().context("sigprocmask")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self(SignalFd::with_flags(&set, flags).context("signalfd")?))
        // END 08.catch
    }

    /// The next waiting signal, by its name; `None` when there is none.
    ///
    /// # Errors
    /// `read(2)` of the descriptor.
    pub fn next(&self) -> io::Result<Option<&'static str>> {
        let info = loop {
            match self.0.read_signal() {
                Err(Errno::EINTR) => {}
                result => break result.context("read signalfd")?,
            }
        };
        let number = info.and_then(|info| i32::try_from(info.ssi_signo).ok());
        Ok(number.and_then(|number| Signal::try_from(number).ok()).map(Signal::as_str))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// For a worker: from now on these signals do nothing, and no signal is blocked any more. In this
/// order: one that came in the meantime is dropped and doesn't kill.
///
/// # Errors
/// `sigaction(2)`, `sigprocmask(2)`.
pub fn leave_to_parent(signals: &[Signal]) -> io::Result<()> {
    // LAB 08.ignore: ignore each of the signals, then unblock all there are
    for &signal in signals {
        ignore(signal)?;
    }
    SigSet::empty().thread_set_mask().context("sigprocmask")
    // END 08.ignore
}

/// From now on this signal does nothing.
///
/// # Errors
/// `sigaction(2)`.
pub fn ignore(signal: Signal) -> io::Result<()> {
    set_disposition(signal, SigHandler::SigIgn)
}

/// For a parent: how a child ended is kept until `waitpid(2)` asks. Whoever started us may have
/// had SIGCHLD ignored; we would inherit that, and the kernel would forget each child at its end.
///
/// # Errors
/// `sigaction(2)`.
pub fn keep_children() -> io::Result<()> {
    use std::sync::atomic::{AtomicBool, Ordering};

    // Once is enough, and more would be wrong: setting SIGCHLD to its default discards one that
    // waits to be read (see `sigaction(2)` in POSIX), and with it the news of a child's end.
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::Relaxed) {
        set_disposition(Signal::SIGCHLD, SigHandler::SigDfl)?;
    }
    Ok(())
}

/// For a process that is about to become another program (stage 09): every signal does what it
/// does by default, and none is blocked. What is ignored or blocked stays so across `exec(2)`, and
/// each Rust program ignores SIGPIPE from its start.
///
/// # Errors
/// `sigprocmask(2)`.
pub fn reset_all() -> io::Result<()> {
    for signal in Signal::iterator() {
        let _ = set_disposition(signal, SigHandler::SigDfl); // SIGKILL and SIGSTOP can't be set
    }
    SigSet::empty().thread_set_mask().context("sigprocmask")
}

fn set_disposition(signal: Signal, handler: SigHandler) -> io::Result<()> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    #[expect(clippy::disallowed_methods, reason = "the one home of signal dispositions")]
    // SAFETY: SIG_IGN and SIG_DFL run no code of ours, and nothing else is passed here.
    unsafe { sigaction(signal, &action) }.context("sigaction").map(drop)
}
