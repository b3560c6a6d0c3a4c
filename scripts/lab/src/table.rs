//! The table that a check prints, line by line.
//!
//! On a terminal it has a little colour (unless `NO_COLOR` is set, see no-color.org), and the last
//! line says what is being done. Elsewhere it is plain text.

use std::env;
use std::io::{self, IsTerminal, Write};

use crate::repo::Stage;
use crate::result::{CheckResult, Failure, StageResult, Status};
use crate::text::printable;

/// Where the text of a failure begins, after its key.
const INDENT: &str = "          ";
const KEY: usize = 10;

/// Room for the title of a check.
const TITLE: usize = 86;

/// A table on standard output.
pub struct Table {
    terminal: bool,
    colour: bool,
    /// The blank regions that a failure was shown with: once is enough.
    blanks: Vec<String>,
}

impl Table {
    /// Prints the heading.
    pub fn begin(stage: &Stage, tree: &str) -> Self {
        let terminal = io::stdout().is_terminal();
        let colour = terminal && env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
        let table = Self { terminal, colour, blanks: Vec::new() };
        let heading = format!("{} {}", stage.number, stage.name);
        let tree = if tree == "." { "" } else { tree };
        table.print(format!("{heading:<103}{tree}").trim_end());
        table.doing("building");
        table
    }

    /// Prints what came of a check.
    pub fn line(&mut self, check: &CheckResult) {
        let rows = self.rows(check).join("\n");
        self.print(&rows);
        self.doing("checking");
    }

    /// Prints the score, or why there is none.
    pub fn end(&mut self, result: &StageResult) {
        if let Some(said) = &result.build_error {
            let (word, max) = (self.word(Status::Build), result.max_score);
            self.print(&format!("  {word}  0/{max:<3}  the program doesn't build\n\n{said}\n"));
        }
        self.print(&format!("score {}/{}", result.score, result.max_score));
    }

    fn rows(&mut self, check: &CheckResult) -> Vec<String> {
        let word = self.word(check.status);
        let points = format!("{}/{}", check.score, check.max_score);
        let line = format!("  {word}{points:>6}  {:<TITLE$}", check.title);
        let Some(failure) = &check.failure else {
            return vec![format!("{line} {:>5.1} s", check.seconds)];
        };
        if let Some(blank) = failure.blank() {
            if self.blanks.iter().any(|shown| shown == blank) {
                return vec![format!("{line}  {blank} is not written yet")];
            }
            self.blanks.push(blank.to_owned());
        }
        match check.status {
            Status::NotChecked => vec![format!("{line}  NOT CHECKED: {}", failure.saw)],
            Status::Needs => vec![format!("{line}  {}", failure.saw)],
            _ => [vec![format!("{line} {:>5.1} s", check.seconds)], details(failure)].concat(),
        }
    }

    fn word(&self, status: Status) -> String {
        let (word, colour) = match status {
            Status::Ok => ("ok", 32),
            Status::Fail => ("FAIL", 31),
            Status::Timeout => ("TIMEOUT", 31),
            Status::Crash => ("CRASH", 31),
            Status::NotChecked => ("SKIP", 33),
            Status::Needs => ("NEEDS", 33),
            Status::Build => ("BUILD", 31),
        };
        match self.colour {
            true => format!("\u{1b}[{colour}m{word:<7}\u{1b}[0m"),
            false => format!("{word:<7}"),
        }
    }

    /// A line that the next one replaces.
    fn doing(&self, what: &str) {
        if self.terminal {
            print!("  … {what}");
            let _ = io::stdout().flush();
        }
    }

    fn print(&self, lines: &str) {
        let begin = if self.terminal { "\r\u{1b}[K" } else { "" };
        // Whoever reads it may have seen enough: that is no failure of the check.
        let _ = writeln!(io::stdout(), "{begin}{lines}");
        let _ = io::stdout().flush();
    }
}

impl Drop for Table {
    /// Takes back what it says is being done.
    fn drop(&mut self) {
        if self.terminal {
            print!("\r\u{1b}[K");
            let _ = io::stdout().flush();
        }
    }
}

/// What a student is told, a row for each fact.
fn details(failure: &Failure) -> Vec<String> {
    let mut rows = Vec::new();
    // What a test ran last is what it failed with; the server before is what that talked to.
    let ran = failure.ran[failure.ran.len().saturating_sub(2)..].join("\n");
    for (key, text) in [
        ("tried", &failure.tried),
        ("ran", &ran),
        ("expected", &failure.expected),
        ("saw", &failure.saw),
        ("again", &failure.again),
    ] {
        for (number, line) in printable(text).lines().enumerate() {
            let key = if number == 0 { key } else { "" };
            rows.push(format!("{INDENT}{key:<KEY$}{line}"));
        }
    }
    let Failure { read, hint, .. } = failure;
    rows.push(format!("{INDENT}{:<KEY$}{read}      hint  {hint}", "read"));
    rows
}

#[cfg(test)]
mod tests {
    use super::{CheckResult, Failure, Status, Table};

    fn check(saw: &str) -> CheckResult {
        CheckResult {
            id: "bytes".to_owned(),
            title: "every file arrives".to_owned(),
            status: Status::Fail,
            score: 0,
            max_score: 12,
            seconds: 0.1,
            failure: Some(Failure { saw: saw.to_owned(), ..Failure::default() }),
        }
    }

    #[test]
    fn a_blank_is_shown_in_full_once() {
        let mut table = Table { terminal: false, colour: false, blanks: Vec::new() };
        let pipe = check("error: 07.pipe is not written yet (a.rs:7): cargo lab hint 07");
        let header = check("error: 06.header is not written yet (a.rs:9): cargo lab hint 06");
        assert!(table.rows(&pipe).len() > 1);
        let again = table.rows(&pipe);
        assert_eq!(again.len(), 1);
        assert!(again[0].ends_with("  07.pipe is not written yet"), "{again:?}");
        assert!(table.rows(&header).len() > 1, "another blank");
        assert!(table.rows(&check("nothing came")).len() > 1, "no blank");
    }
}
