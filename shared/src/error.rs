//! One way to say what failed: the call, its object, and the reason in plain words.
//!
//! Purpose: every error a user sees reads like `bind 127.0.0.1:8080: address already in use`.
//! Interface: [`Context::context`] on any result of a system call.
//! Rule: whoever makes the call adds the context; whoever passes the error on adds nothing.
//! First used by stage 01.

use std::fmt::Display;
use std::io;

use nix::errno::Errno;

/// Adds the call and its object to an error.
pub trait Context<T> {
    /// Turns an error into an [`io::Error`] that reads `what: reason`. Its kind is kept.
    ///
    /// # Errors
    /// The error it was given, with `what` in front.
    fn context(self, what: impl Display) -> io::Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl Display) -> io::Result<T> {
        self.map_err(|error| io::Error::new(error.kind(), format!("{what}: {}", reason(&error))))
    }
}

impl<T> Context<T> for Result<T, Errno> {
    fn context(self, what: impl Display) -> io::Result<T> {
        self.map_err(io::Error::from).context(what)
    }
}

/// The number behind an error, also where a library has wrapped it.
fn errno(error: &io::Error) -> Option<Errno> {
    let inner = || error.get_ref()?.source()?.downcast_ref::<io::Error>()?.raw_os_error();
    error.raw_os_error().or_else(inner).map(Errno::from_raw)
}

/// What went wrong, without Rust's `(os error 98)` and in the middle of a sentence.
fn reason(error: &io::Error) -> String {
    let text = match errno(error) {
        Some(Errno::EAGAIN) => "resource temporarily unavailable".to_owned(), // not "try again"
        Some(errno) => errno.desc().to_owned(),
        None => error.to_string(),
    };
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        // Only a word loses its capital: `Address already …`, but not `I/O error`.
        (Some(first), Some(second)) if second.is_lowercase() => {
            let rest = &text[first.len_utf8()..];
            format!("{}{rest}", first.to_lowercase())
        }
        _ => text,
    }
}
