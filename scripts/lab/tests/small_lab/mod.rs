//! A lab of two stages in a directory of its own: enough to try a command of `cargo lab` on.
#![allow(dead_code, reason = "every test file needs another part of it")]
#![allow(clippy::expect_used, reason = "a helper that fails must fail the test that called it")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::sys::prctl;
use nix::sys::signal::Signal;
use tempfile::TempDir;

/// The files of the lab with its answers.
const FILES: [(&str, &str); 10] = [
    ("Cargo.toml", "[workspace]\n"),
    ("shared/src/lib.rs", "//! The primitives.\n\npub mod greet;\npub mod count;\n"),
    ("shared/src/greet.rs", GREET),
    ("shared/src/count.rs", COUNT),
    ("steps/01-first-words/src/main.rs", FIRST_MAIN),
    ("steps/01-first-words/src/server.rs", FIRST_SERVER),
    ("steps/02-head-count/src/main.rs", SECOND_MAIN),
    ("steps/02-head-count/src/server.rs", SECOND_SERVER),
    ("steps/02-head-count/src/client.rs", "//! The client.\n"),
    ("tests/rubric.toml", RUBRIC),
];

const GREET: &str = "\
//! Greetings and goodbyes.
//!
//! First used by stage 01.

/// Says hello.
pub fn hello(name: &str) -> String {
    // LAB 01.hello: greet whoever it is by name
    format!(\"hello, {name}\")
    // END 01.hello
}

/// Says goodbye.
pub fn goodbye(name: &str) -> String {
    // LAB 02.goodbye: take leave of whoever it is
    format!(\"goodbye, {name}\")
    // END 02.goodbye
}
";

const COUNT: &str = "\
//! Counting who is there,
//! one by one.
//!
//! First used by stage 02.

/// Counts.
pub fn count(names: &[&str]) -> usize {
    // LAB 02.count: count the names, each once
    let mut names = names.to_vec();
    names.dedup();
    names.len()
    // END 02.count
}
";

const FIRST_MAIN: &str = "//! Stage 01, first-words: hello.\n//! Usage: `cargo run -p step01-first-words`.\n\nfn main() {}\n";
const SECOND_MAIN: &str = "//! Stage 02, head-count: hello.\n//! Usage: `cargo run -p step02-head-count`.\n\nfn main() {}\n";

const FIRST_SERVER: &str = "\
//! The server.

fn serve() {
    // LAB 01.serve: greet the world
    shared::greet::hello(\"world\");
    // END 01.serve
}
";

const SECOND_SERVER: &str = "\
//! The server.

fn serve() {
    shared::greet::hello(\"world\");
    shared::count::count(&[]);
}
";

const RUBRIC: &str = "\
[stage.01]
floor = 0
[[stage.01.check]]
id = \"greets\"
title = \"the world is greeted\"
points = 60
tests = [\"greets\"]
notes = \"01-first-words.md#hello\"
regions = [\"01.serve\", \"01.hello\"]
[[stage.01.check]]
id = \"polite\"
title = \"a name is never forgotten\"
points = 40
tests = [\"polite\"]
notes = \"01-first-words.md#names\"
regions = [\"01.hello\"]

[stage.02]
floor = 10
needs = [\"01.hello\"]
[[stage.02.check]]
id = \"leaves\"
title = \"it takes its leave\"
points = 100
tests = [\"leaves\"]
notes = \"02-head-count.md#leave\"
regions = [\"02.goodbye\"]

[region.\"01.hello\"]
notes = \"01-first-words.md#names\"
hints = [\"Whom do you greet?\", \"A format string holds a name in braces.\", \"\"\"
Nearly all of it:
    format!(\\\"hello, {…}\\\")\"\"\"]
shown_by = \"01:polite\"
[region.\"01.serve\"]
notes = \"01-first-words.md#names\"
hints = [\"Who is there?\", \"All are.\", \"hello(world)\"]
shown_by = \"01:greets\"
[region.\"02.goodbye\"]
notes = \"02-head-count.md#leave\"
hints = [\"one\", \"two\", \"three\"]
shown_by = \"02:leaves\"
[region.\"02.count\"]
notes = \"02-head-count.md#count\"
hints = [\"eins\", \"zwei\", \"drei\"]
shown_by = \"02:leaves\"
";

/// The lab, gone at the end of the test.
pub struct SmallLab(TempDir);

impl SmallLab {
    /// With its answers.
    pub fn reference() -> Self {
        let lab = Self(tempfile::tempdir().expect("a temporary directory"));
        for (path, text) in FILES {
            lab.write(path, text);
        }
        lab.write("tests/gallery/README", "");
        lab
    }

    /// As a student gets it.
    pub fn export() -> Self {
        let lab = Self::reference();
        fs::remove_dir_all(lab.path("tests/gallery")).expect("remove the gallery");
        for path in ["shared/src/greet.rs", "shared/src/count.rs"] {
            lab.write(path, &blank(&lab.read(path), "crate"));
        }
        let path = "steps/01-first-words/src/server.rs";
        lab.write(path, &blank(&lab.read(path), "shared"));
        lab
    }

    /// Its top level.
    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// A file in it.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root().join(relative)
    }

    /// Writes a file, folders included.
    #[track_caller]
    pub fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().expect("below the top level")).expect("create folders");
        fs::write(path, text).expect("write a file");
    }

    /// Reads a file.
    #[track_caller]
    pub fn read(&self, relative: &str) -> String {
        fs::read_to_string(self.path(relative)).expect("read a file")
    }

    /// Replaces a piece of a file, which must be there.
    #[track_caller]
    pub fn edit(&self, relative: &str, from: &str, to: &str) {
        let text = self.read(relative);
        assert!(text.contains(from), "{relative} doesn't hold {from:?}:\n{text}");
        self.write(relative, &text.replacen(from, to, 1));
    }

    /// `cargo lab ARGS`, to be started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.args(args).env("LAB_ROOT", self.root()).env_remove("NO_COLOR");
        let end_with_us = || prctl::set_pdeathsig(Signal::SIGKILL).map_err(Into::into);
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; this is one
        // plain system call.
        unsafe { command.pre_exec(end_with_us) };
        command
    }

    /// Runs `cargo lab ARGS` to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Finished {
        Finished::from(self.command(args).output().expect("start lab"))
    }

    /// Runs it and returns its standard output. It must succeed and say nothing else.
    #[track_caller]
    pub fn says(&self, args: &[&str]) -> String {
        let finished = self.run(args);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert_eq!(finished.stderr, "", "{finished:?}");
        finished.stdout
    }

    /// Runs it and returns its standard error. It must fail, with status 1.
    #[track_caller]
    pub fn fails(&self, args: &[&str]) -> String {
        let finished = self.run(args);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert_eq!(finished.stdout, "", "{finished:?}");
        finished.stderr
    }
}

/// What remains of a command.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

/// Takes the bodies out of all regions.
fn blank(text: &str, path: &str) -> String {
    let mut blanked = String::new();
    let mut inside = false;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (first, second, third) = (words.next(), words.next(), words.next());
        if (first, second) == (Some("//"), Some("END")) {
            inside = false;
        }
        if !inside {
            blanked += &format!("{line}\n");
        }
        if (first, second) == (Some("//"), Some("LAB")) {
            let id = third.expect("an id").trim_end_matches(':');
            blanked += &format!("    {path}::exercise::missing(\"{id}\");\n");
            inside = true;
        }
    }
    blanked
}
