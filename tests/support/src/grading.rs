//! What the grader tells a test, and what a test tells the grader, by variables of the environment.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `LAB_PROGRAM` | judge this program instead of the one that cargo built beside the test |
//! | `LAB_PATIENCE` | wait so many seconds at most for something that should happen at once |
//! | `LAB_REPORT` | append to this file what a failing test did and saw |
//! | `LAB_GUARD` | let no process of the same user look into the test itself |
//!
//! Without them a test is an ordinary test. The report has a line for each fact: `ran COMMAND`,
//! `not_checked WHY`, `timeout SECONDS`, `at FILE:LINE`; the last, `saw MESSAGE`, goes to the end
//! of the file.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;
use std::panic::{self, PanicHookInfo};
use std::sync::Once;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use nix::sys::prctl;

use crate::process::{complaints, last_words};

/// The program to judge: `built`, unless the grader has named another.
#[must_use]
pub fn program(built: &'static str) -> &'static str {
    static OTHER: OnceLock<Option<String>> = OnceLock::new();
    begin();
    OTHER.get_or_init(|| env::var("LAB_PROGRAM").ok()).as_deref().unwrap_or(built)
}

/// Sets up the report of a failure. Every test begins with the program it judges, so it begins here.
fn begin() {
    static BEGIN: Once = Once::new();
    BEGIN.call_once(|| {
        if env::var_os("LAB_GUARD").is_some() {
            prctl::set_dumpable(false).expect("prctl PR_SET_DUMPABLE");
        }
        if env::var_os("LAB_REPORT").is_some() {
            let print = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                report_panic(info);
                print(info);
            }));
        }
    });
}

fn report_panic(info: &PanicHookInfo<'_>) {
    static FIRST: Once = Once::new();
    // Only the first: what comes later is its consequence.
    FIRST.call_once(|| {
        if let Some(at) = info.location() {
            report("at", &format!("{}:{}", at.file(), at.line()));
        }
        let payload = info.payload();
        let literal = payload.downcast_ref::<&str>().copied();
        let message = literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = message.unwrap_or("a panic without a message");
        // What a program said as it failed may still be on its way here.
        thread::sleep(Duration::from_millis(50));
        let said = with_complaints(message, &complaints());
        report("saw", &said.unwrap_or_else(|| with_last_words(message, &last_words())));
    });
}

/// Adds the last things that the programs under test have complained of, unless they are in the
/// message anyway; `None` if there is nothing to add.
fn with_complaints(message: &str, complaints: &[String]) -> Option<String> {
    const LAST: usize = 3;
    let unsaid: Vec<&String> = complaints.iter().filter(|it| !message.contains(*it)).collect();
    let last = unsaid.len().saturating_sub(LAST);
    let said: String = unsaid[last..].iter().map(|line| format!("\n  {line}")).collect();
    (!said.is_empty()).then(|| format!("{message}\nthe program said:{said}"))
}

/// Adds what the server did last to a message about something that never came, or a connection
/// that ended.
fn with_last_words(message: &str, words: &[String]) -> String {
    const LOST: [&str; 5] = [
        " in vain for ",
        "nothing came for ",
        "the connection was ",
        "the connection ended",
        "the transfer stopped after",
    ];
    let said: String = words.iter().map(|line| format!("\n  {line}")).collect();
    match LOST.iter().any(|it| message.contains(it)) && !said.is_empty() {
        true => format!("{message}\nthe program said last:{said}"),
        false => message.to_owned(),
    }
}

/// Appends a fact to the report, if there is to be one.
pub(crate) fn report(key: &str, value: &str) {
    if let Some(path) = env::var_os("LAB_REPORT") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(format!("{key} {value}\n").as_bytes()));
    }
}
