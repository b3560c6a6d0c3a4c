//! What came of one test: the verdict of its supervisor and the test's own report, put together.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::paths::ShortPaths;
use crate::result::Status;
use crate::supervise::{End, Verdict};
use crate::text;

/// What came of a test.
#[derive(Debug)]
pub struct Outcome {
    pub seconds: f64,
    /// Why it wasn't passed.
    pub trouble: Option<Trouble>,
}

/// Why a test wasn't passed.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub status: Status,
    /// What came, in a few lines.
    pub saw: String,
    /// The commands that the test ran.
    pub ran: Vec<String>,
    /// All that it printed.
    pub output: String,
}

/// What a test reports, see `tests/support/src/grading.rs`.
#[derive(Debug, Default)]
pub struct Report {
    ran: Vec<String>,
    not_checked: Option<String>,
    timeout: bool,
    saw: Option<String>,
}

impl Report {
    /// Reads it. A report that isn't there, or is damaged, has nothing to say.
    pub fn read(path: &Path) -> Self {
        const MOST: u64 = 256 << 10;
        let mut text = Vec::new();
        if let Ok(file) = File::open(path) {
            let _ = file.take(MOST).read_to_end(&mut text);
        }
        Self::parse(&String::from_utf8_lossy(&text))
    }

    fn in_vain(&self) -> bool {
        self.timeout || self.saw.as_deref().is_some_and(text::is_timeout)
    }

    fn parse(text: &str) -> Self {
        let mut report = Self::default();
        let (facts, saw) = match text.split_once("\nsaw ") {
            Some((facts, saw)) => (facts, Some(saw)),
            None => (text, text.strip_prefix("saw ")),
        };
        report.saw = saw.map(|saw| saw.trim_end().to_owned());
        for line in facts.lines() {
            match line.split_once(' ') {
                Some(("ran", command)) => report.ran.push(text::command(command)),
                Some(("not_checked", why)) => report.not_checked = Some(why.to_owned()),
                Some(("timeout", _)) => report.timeout = true,
                _ => {} // `at`: the line of the test is of no use to who hasn't written it
            }
        }
        report
    }
}

impl Outcome {
    /// Was something seen that is wrong?
    pub fn failed(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.status != Status::NotChecked)
    }

    /// Of a test that can't be run to its end, as the time for all of them is up.
    pub fn out_of_time() -> Self {
        let saw = "not over when the time for the whole run was up".to_owned();
        let (ran, output) = (Vec::new(), String::new());
        let trouble = Trouble { status: Status::Timeout, saw, ran, output };
        Self { seconds: 0.0, trouble: Some(trouble) }
    }

    /// Judges. It is an error of the rubric if there is no such test.
    pub fn new(test: &str, verdict: Verdict, report: Report, deadline: Duration) -> Result<Self> {
        let ran_it = |how: &str| verdict.stdout.contains(&format!("test result: {how}. 1 passed"));
        let no_such_test = verdict.stdout.contains("\nrunning 0 tests\n");
        let saw = |otherwise: &str| {
            text::saw(report.saw.as_deref().unwrap_or(otherwise), &verdict.stderr)
        };
        let (status, saw) = match &verdict.end {
            End::Exited(0) if no_such_test => {
                bail!("tests/rubric.toml names a test that doesn't exist: {test}")
            }
            End::Exited(0) if ran_it("ok") => match report.not_checked {
                None => return Ok(Self { seconds: verdict.seconds, trouble: None }),
                Some(why) => (Status::NotChecked, why),
            },
            End::Exited(_) if report.in_vain() => (Status::Timeout, saw("")),
            End::Exited(status) => {
                (Status::Fail, saw(&format!("the test ended with exit status {status}")))
            }
            End::Signal(signal) => {
                (Status::Crash, format!("the test was {}", text::killed(*signal)))
            }
            End::Deadline => {
                (Status::Timeout, saw(&format!("not over after {} s", deadline.as_secs())))
            }
            End::Bomb(processes) => (
                Status::Crash,
                format!("ended by force, with {processes} processes: does it fork without end?"),
            ),
            End::Flood => {
                let saw = "ended by force, with the disk nearly full: does it write without end?";
                (Status::Crash, saw.to_owned())
            }
            End::Lost(why) => (Status::Crash, why.clone()),
        };
        let output = text::output(&verdict.stdout, &verdict.stderr);
        let trouble = Trouble { status, saw, ran: report.ran, output };
        Ok(Self { seconds: verdict.seconds, trouble: Some(trouble) })
    }

    /// With paths of the workbench put as a person would.
    pub fn with(mut self, mut paths: ShortPaths) -> Self {
        if let Some(trouble) = &mut self.trouble {
            let texts = trouble.ran.iter_mut().chain([&mut trouble.saw, &mut trouble.output]);
            texts.for_each(|text| *text = paths.shorten(text));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Outcome, Report};
    use crate::result::Status;
    use crate::supervise::{End, Verdict};

    const PASSED: &str = "\nrunning 1 test\ntest x ... ok\n\ntest result: ok. 1 passed; 0 failed;";

    fn judge(end: End, stdout: &str, report: &str) -> Outcome {
        let (stdout, stderr) = (stdout.to_owned(), String::new());
        let verdict = Verdict { end, seconds: 0.1, stdout, stderr, stuck: vec![] };
        Outcome::new("x", verdict, Report::parse(report), Duration::from_secs(25)).unwrap()
    }

    fn status(end: End, stdout: &str, report: &str) -> (Status, String) {
        let trouble = judge(end, stdout, report).trouble.unwrap();
        (trouble.status, trouble.saw)
    }

    #[test]
    fn test_passes_when_it_and_the_harness_say_so() {
        assert!(judge(End::Exited(0), PASSED, "ran \"x\"\n").trouble.is_none());
        assert_eq!(status(End::Exited(0), "", "").0, Status::Fail);
        assert_eq!(status(End::Exited(101), PASSED, "").0, Status::Fail);
    }

    #[test]
    fn test_that_does_not_exist_is_an_error_of_the_rubric() {
        let stdout = "\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed;".to_owned();
        let (end, stderr) = (End::Exited(0), String::new());
        let verdict = Verdict { end, seconds: 0.1, stdout, stderr, stuck: vec![] };
        let outcome = Outcome::new("x", verdict, Report::default(), Duration::from_secs(25));
        assert!(outcome.unwrap_err().to_string().contains("a test that doesn't exist: x"));
    }

    #[test]
    fn what_was_left_out_is_never_passed() {
        let why = "strace is missing";
        let report = format!("not_checked {why}\n");
        assert_eq!(status(End::Exited(0), PASSED, &report), (Status::NotChecked, why.to_owned()));
    }

    #[test]
    fn waiting_in_vain_is_a_timeout() {
        let saw = "waited 10s in vain for a worker";
        let report = format!("timeout 10\nat x:1\nsaw {saw}\n");
        assert_eq!(status(End::Exited(101), "", &report), (Status::Timeout, saw.to_owned()));
        assert_eq!(
            status(End::Deadline, "", ""),
            (Status::Timeout, "not over after 25 s".to_owned())
        );
    }

    #[test]
    fn death_is_a_crash() {
        let expected = (Status::Crash, "the test was killed by signal 9 (SIGKILL)".to_owned());
        assert_eq!(status(End::Signal(9), "", "timeout 10\n"), expected);
    }
}
