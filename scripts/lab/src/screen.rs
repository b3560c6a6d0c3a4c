//! Text for people: whole at once, coloured only where somebody looks at it.

use std::env;
use std::io::{self, ErrorKind, IsTerminal, Write};

use anyhow::{Context, Result};

/// How a piece of text looks on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As everything else.
    Plain,
    /// Titles.
    Bold,
    /// What can be overlooked.
    Dim,
    /// What came.
    Green,
    /// What went, what is wrong.
    Red,
    /// Where one is.
    Cyan,
}

/// Puts colour on text, or doesn't.
#[derive(Clone, Copy, Debug)]
pub struct Paint(bool);

impl Paint {
    /// For standard output: on a terminal, unless `NO_COLOR` is set (no-color.org).
    pub fn stdout() -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self(io::stdout().is_terminal() && !refused && !dumb)
    }

    /// For what is no terminal.
    pub fn none() -> Self {
        Self(false)
    }

    /// The text in this style.
    pub fn with(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Plain => return text.to_owned(),
            Style::Bold => 1,
            Style::Dim => 2,
            Style::Red => 31,
            Style::Green => 32,
            Style::Cyan => 36,
        };
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Writes to standard output. A reader who has seen enough (`… | head`) is no failure.
pub fn show(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("write standard output"),
    }
}
