//! Tells people, on standard error, what the processes do.
//!
//! Purpose: a class sees which process did what, in the order it happened.
//! Interface: a [`Narrator`] for each process and the macro [`say!`](crate::say).
//! Rule: a line is formatted whole and written with one `write(2)`, so that the lines of
//! several processes never mix. Standard output is for machines and stays untouched.
//! First used by stage 01.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::getpid;

/// Writes lines that begin with who speaks: `[parent pid 100]`, `[worker 2 pid 103]`.
#[derive(Clone)]
pub struct Narrator {
    who: String,
    quiet: bool,
}

impl Narrator {
    /// The voice of the parent, that is of the process that calls this. `quiet` silences it.
    #[must_use]
    pub fn parent(quiet: bool) -> Self {
        let who = format!("[parent pid {}]", getpid());
        Self { who, quiet }
    }

    /// The voice of a server that is a single process (stage 10).
    #[must_use]
    pub fn server(quiet: bool) -> Self {
        let who = format!("[server pid {}]", getpid());
        Self { who, quiet }
    }

    /// The voice of worker `number`. Call it in the worker: it takes the caller's pid.
    #[must_use]
    pub fn worker(number: usize, quiet: bool) -> Self {
        let who = format!("[worker {number} pid {}]", getpid());
        Self { who, quiet }
    }

    /// Writes one line. Use it through [`say!`](crate::say).
    pub fn line(&self, text: Arguments<'_>) {
        if !self.quiet {
            write_line(&format!("{} {text}", self.who));
        }
    }
}

/// Writes a whole line to standard error at once. That nobody listens is no reason to stop.
pub fn write_line(text: &str) {
    if somebody_reads() {
        let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
    }
}

/// What is told must not be what stops the work: where standard error is a full pipe, or a terminal
/// held by Ctrl-S, a line waits a moment and is then left out.
fn somebody_reads() -> bool {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    !matches!(poll(&mut fds, PollTimeout::from(PATIENCE)), Ok(0))
}

/// How long a line waits, in milliseconds.
const PATIENCE: u8 = 100;

/// `say!(narrator, "took {n} bytes")` writes one line of narration.
#[macro_export]
macro_rules! say {
    ($narrator:expr, $($text:tt)*) => { $narrator.line(format_args!($($text)*)) };
}

/// Bytes from a stranger, made fit for a terminal: control characters, and those that turn the
/// direction of writing, are escaped (`\u{1b}`), so that a name can't move the cursor, clear the
/// screen or pass for another.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for letter in String::from_utf8_lossy(bytes).chars() {
        match letter {
            '\u{61c}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                text.extend(letter.escape_unicode());
            }
            _ if letter.is_control() => text.extend(letter.escape_debug()),
            _ => text.push(letter),
        }
    }
    text
}
