//! Exports the exercise and looks at it as a student would, and as one who looks for the answers.
//!
//! The markers are read here in a way of our own: a mistake in the tool's reader must not hide
//! itself.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

/// Shorter lines of code than this give nothing away.
const TELLING: usize = 25;
/// Longer ones that don't either: any program of this kind has them.
const IDIOMS: [&str; 18] = [
    "Err(Errno::EAGAIN | Errno::EINTR) => {}",
    "Err(error) => return Err(error),",
    "Ok(0) => self.end_typing(),",
    "Ok(None) => return Ok(()),",
    "Token::Worker(number) => {",
    "for member in self.seats.iter_mut().flatten() {",
    "if Instant::now() >= deadline {",
    "let flags = SpliceFFlags::SPLICE_F_NONBLOCK;",
    "let mut events = PollFlags::empty();",
    "let mut fds = Vec::new();",
    "let now = Instant::now();",
    "match poll(&mut fds, timeout) {",
    "match tcp::try_recv(&self.socket, &mut buffer) {",
    "poller.remove(&listener)?;",
    "result => result.context(\"poll\")?,",
    "return self.copy_typed();",
    "self.clients.insert(id, client);",
    "while !bytes.is_empty() {",
];

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn lab(args: &[&OsStr]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lab")).args(args).output().unwrap()
}

/// Exports into a fresh directory; the path is one that doesn't exist before.
#[track_caller]
fn export(from: &str) -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("my lab");
    let output = lab(&["export".as_ref(), dir.as_ref(), "--from".as_ref(), from.as_ref()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    (temp, dir)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// All files below `dir`, but git's own.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.file_name() == Some(OsStr::new(".git")) || path.ends_with("target") {
            continue;
        }
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files
}

/// The lines between the markers of each region below `dir`, by id.
fn regions(dir: &Path) -> BTreeMap<String, Vec<String>> {
    let mut regions = BTreeMap::<String, Vec<String>>::new();
    for part in ["steps", "shared"] {
        for file in files(&dir.join(part)) {
            let mut open = None;
            for line in fs::read_to_string(&file).unwrap().lines().map(str::trim) {
                if let Some(rest) = line.strip_prefix("// LAB ") {
                    open = Some(rest.split(':').next().unwrap().to_owned());
                } else if line.starts_with("// END ") {
                    open = None;
                } else if let Some(id) = &open {
                    regions.entry(id.clone()).or_default().push(line.to_owned());
                }
            }
        }
    }
    regions
}

#[test]
fn no_line_of_an_answer_is_in_an_export() {
    let answers = regions(&reference());
    assert!(answers.len() >= 16, "{} regions", answers.len());
    let mut found = Vec::new();
    let stages: BTreeSet<_> = answers.keys().map(|id| id[..2].to_owned()).collect();
    for from in stages {
        let (_temp, dir) = export(&from);
        let texts: Vec<_> =
            files(&dir).into_iter().map(|it| (text(&fs::read(&it).unwrap()), it)).collect();
        for (id, lines) in answers.range(from..) {
            let code = lines.iter().filter(|line| !line.starts_with("//"));
            let code = code.filter(|line| line.len() >= TELLING);
            for line in code.filter(|line| !IDIOMS.contains(&line.as_str())) {
                let holders = texts.iter().filter(|(text, _)| text.contains(line.as_str()));
                let name = |path: &PathBuf| path.strip_prefix(&dir).unwrap().display().to_string();
                found.extend(holders.map(|(_, path)| format!("{id}: {line}: {}", name(path))));
            }
        }
    }
    found.sort();
    found.dedup();
    assert!(found.is_empty(), "found in an export:\n{}", found.join("\n"));
}

#[test]
fn stages_before_the_first_stay_complete() {
    let answers = regions(&reference());
    let (_temp, dir) = export("5"); // as good as 05
    let exported = regions(&dir);
    assert!(answers.keys().eq(exported.keys()), "every region keeps its markers");
    for (id, lines) in &exported {
        let call = format!("exercise::missing(\"{id}\");");
        let is_blank = lines.len() == 1 && lines[0].ends_with(&call);
        assert_eq!(is_blank, id.as_str() >= "05", "{id}");
        assert!(is_blank || *lines == answers[id], "{id} has changed");
    }
}

#[test]
fn nothing_of_the_teacher_is_in_an_export() {
    let (_temp, dir) = export("01");
    let parts = ["tests/gallery", "tests/fuzz", "shared/tests", ".ci", ".github"];
    for part in parts.into_iter().chain(["scripts/lab/tests", "notes/src/diffs"]) {
        assert!(!dir.join(part).exists(), "{part}");
    }
    for part in ["Cargo.lock", ".cargo/config.toml", ".gitignore", ".devcontainer", "EXERCISE.md"] {
        assert!(dir.join(part).exists(), "{part}");
    }
    let log = git(&dir, &["rev-list", "--all", "--objects", "--no-object-names"]);
    let ours = git(&reference(), &["rev-parse", "HEAD"]);
    assert!(!log.contains(ours.trim()), "our last commit");
    assert_eq!(git(&dir, &["rev-list", "--all", "--count"]).trim(), "1");
    assert_eq!(git(&dir, &["status", "--porcelain"]), "", "all is committed");
    for file in files(&dir) {
        let text = text(&fs::read(&file).unwrap());
        assert!(!text.contains(reference().to_str().unwrap()), "{}", file.display());
    }
}

fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(dir).args(args).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn git_needs_not_know_who_the_student_is() {
    let temp = tempfile::tempdir().unwrap();
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"));
    lab.args(["export".as_ref(), temp.path().join("new").as_os_str()]);
    lab.env("HOME", temp.path()).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_DIR", "/nowhere");
    lab.env_remove("XDG_CONFIG_HOME").env_remove("EMAIL");
    let output = lab.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("scripts/check-step.sh 01"), "says what to type next");
}

#[test]
fn directory_that_is_not_empty_is_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("mine"), "mine").unwrap();
    let output = lab(&["export".as_ref(), temp.path().as_ref()]);
    assert_eq!(output.status.code(), Some(1));
    let error = format!("error: {} is not empty\n", temp.path().display());
    assert_eq!(text(&output.stderr), error);
    assert_eq!(files(temp.path()), [temp.path().join("mine")]);
    assert_eq!(fs::read(temp.path().join("mine")).unwrap(), b"mine");
}

#[test]
fn unknown_stage_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let args = ["export".as_ref(), temp.path().as_os_str(), "--from".as_ref(), "99".as_ref()];
    let output = lab(&args);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.starts_with("error: there is no stage 99; the stages are 01, "), "{error}");
    assert_eq!(files(temp.path()).len(), 0);
}

/// The slow one: everything is built, and every stage is run.
#[test]
fn export_builds_without_a_warning_and_names_its_blanks() {
    let (_temp, dir) = export("01");
    let built = build(&dir, &["--workspace", "--all-targets"]);

    for stage in dir.join("steps").read_dir().unwrap() {
        let stage = format!("step{}", stage.unwrap().file_name().display());
        let output = limited(&built.program(&stage), &["--port", "0", "--quiet"]);
        assert_eq!(output.status.code(), Some(3), "{stage}: {}", text(&output.stderr));
        assert_names_a_blank(&dir, &stage, &text(&output.stderr));
    }

    let output = limited(&built.program("lab"), &["export", "again"]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains(" has no answers: it is an export itself\n"), "{error}");
}

/// What a build made, until it is dropped: the next one writes to the same place.
struct Built(PathBuf, #[expect(dead_code, reason = "held")] MutexGuard<'static, ()>);

impl Built {
    fn program(&self, name: &str) -> PathBuf {
        self.0.join("debug").join(name)
    }
}

/// Builds without a warning, or the test fails. The packages that all exports need are built once.
#[track_caller]
fn build(dir: &Path, what: &[&str]) -> Built {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("export");
    let mut cargo = Command::new("cargo");
    cargo.arg("build").args(what).args(["--locked", "--offline", "--quiet"]);
    cargo.current_dir(dir).env("CARGO_TARGET_DIR", &target).env_remove("RUSTFLAGS");
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "warnings");
    Built(target, turn)
}

/// Runs a program that ends soon; if it doesn't, `timeout` ends it with status 124.
fn limited(program: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.arg("20").arg(program).args(args).stdin(Stdio::null());
    command.output().unwrap()
}

/// One line, and where it points there is that blank.
#[track_caller]
fn assert_names_a_blank(dir: &Path, stage: &str, error: &str) {
    let parts = error.strip_prefix("error: ").and_then(|it| it.split_once(" is not written yet ("));
    let (id, rest) = parts.unwrap_or_else(|| panic!("{stage}: {error}"));
    let (place, rest) = rest.split_once(')').unwrap();
    assert_eq!(rest, format!(": cargo lab hint {}\n", &id[..2]), "{stage}: one line");
    let (file, line) = place.split_once(':').unwrap();
    let text = fs::read_to_string(dir.join(file)).unwrap();
    let line = text.lines().nth(line.parse::<usize>().unwrap() - 1).unwrap();
    assert!(line.contains(&format!("missing(\"{id}\")")), "{place}: {line}");
}

/// A worker that comes to a blank ends its server too, once; the stages before work.
#[test]
fn export_from_a_stage_names_that_stage() {
    let (_temp, dir) = export("03");
    let built = build(&dir, &["-p", "step02-socketpair-echo", "-p", "step03-sendfd"]);

    let output = limited(&built.program("step02-socketpair-echo"), &["demo"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output =
        limited(&built.program("step03-sendfd"), &["--quiet", "--port", "0", "--workers", "1"]);
    assert_names_a_blank(&dir, "03", &text(&output.stderr));
    assert_ne!(output.status.code(), Some(124), "the server has ended");

    // A demo ends there, and leaves nothing. Each worker may come to the blank, and say so.
    let files = tempfile::tempdir().unwrap();
    let mut demo = Command::new("timeout");
    demo.arg("20").arg(built.program("step03-sendfd")).arg("demo").env("TMPDIR", files.path());
    let output = demo.stdin(Stdio::null()).output().unwrap();
    let said = text(&output.stderr);
    for error in said.lines().filter(|line| !line.starts_with('[')) {
        assert_names_a_blank(&dir, "03", &format!("{error}\n"));
    }
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert_eq!(files.path().read_dir().unwrap().count(), 0, "it has cleaned up");
}
