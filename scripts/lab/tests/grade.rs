//! Grades a small class of stage 01 as a teacher would, and once more as Gradescope would.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tempfile::TempDir;

/// Where the parent forks a worker: code put here runs in every stage.
const FORK: &str = "shared/src/process.rs";

fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn lab(args: &[&OsStr]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lab")).args(args).output().unwrap()
}

#[track_caller]
fn said(output: &Output) -> String {
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert!(output.status.success(), "{stdout}{stderr}");
    stdout.into_owned()
}

/// An export with nothing written.
fn blank(dir: &Path) {
    said(&lab(&["export".as_ref(), dir.as_ref()]));
}

/// An export with everything written as in the reference, and then `edit` of the forking file.
fn written(dir: &Path, edit: impl Fn(String) -> String) {
    blank(dir);
    for part in ["steps", "shared/src"] {
        copy_sources(&reference().join(part), &dir.join(part));
    }
    let text = fs::read_to_string(dir.join(FORK)).unwrap();
    fs::write(dir.join(FORK), edit(text)).unwrap();
}

fn copy_sources(from: &Path, to: &Path) {
    for entry in from.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_sources(&path, &to);
        } else if path.extension() == Some(OsStr::new("rs")) {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// Puts a statement at the beginning of the function that forks.
fn at_fork(statement: &str) -> impl Fn(String) -> String {
    move |text| {
        let begin = text.find("\npub fn spawn(").unwrap();
        let body = begin + text[begin..].find("{\n").unwrap() + 2;
        format!("{}{statement}\n{}", &text[..body], &text[body..])
    }
}

fn class(dir: &Path) {
    written(&dir.join("anna"), |text| text);
    blank(&dir.join("ben"));
    written(&dir.join("carl"), at_fork("let x: u32 = \"no number\";"));
    let answer = reference().join("shared/src/protocol.rs");
    written(&dir.join("dora"), at_fork(&format!("eprintln!(\"{{}}\", include_str!({answer:?}));")));
    written(&dir.join("emil"), at_fork("unsafe { libc::kill(-1, libc::SIGKILL) };"));
    let tampered = dir.join("frida");
    written(&tampered, |text| text);
    fs::write(tampered.join("shared/build.rs"), "fn main() { panic!() }").unwrap();
    fs::write(tampered.join("Cargo.toml"), "nonsense").unwrap();
    fs::create_dir_all(tampered.join(".cargo")).unwrap();
    fs::write(tampered.join(".cargo/config.toml"), "nonsense").unwrap();
    let file = File::create(dir.join("frida.tar.gz")).unwrap();
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
    tar.append_dir_all("frida-main", &tampered).unwrap();
    tar.into_inner().unwrap().finish().unwrap();
    fs::remove_dir_all(tampered).unwrap();
    fs::write(dir.join("gustav.zip"), "no zip").unwrap();
}

/// The lines of `class.csv`: by submission, score, status and remarks.
fn table(out: &Path) -> BTreeMap<String, (String, String, String)> {
    let mut reader = csv::Reader::from_path(out.join("class.csv")).unwrap();
    let rows = reader.records().map(|row| {
        let row = row.unwrap();
        let last = row.len() - 1;
        let [name, score, status, remarks] = [0, 1, last - 2, last].map(|at| row[at].to_owned());
        (name, (score, status, remarks))
    });
    rows.collect()
}

#[test]
fn class_is_graded_whoever_is_in_it() {
    let dir = TempDir::new().unwrap();
    let (submissions, out) = (dir.path().join("class"), dir.path().join("out"));
    fs::create_dir(&submissions).unwrap();
    class(&submissions);
    let grade = ["grade".as_ref(), submissions.as_os_str(), "--out".as_ref(), out.as_os_str()];
    let grade = [&grade[..], &["--step=1".as_ref(), "--format=junit".as_ref()]].concat();
    let first = said(&lab(&grade));
    assert!(!first.contains("(graded before)"), "{first}");

    let table = table(&out);
    let row = |name: &str| table[name].clone();
    let text = |score: &str, status: &str| (score.to_owned(), status.to_owned(), String::new());
    assert_eq!(row("anna"), text("100", "graded"));
    assert_eq!(row("ben"), text("0", "graded"));
    assert_eq!(row("carl"), text("0", "does not build"));
    assert_eq!(row("dora"), text("0", "does not build"));
    assert_eq!(row("emil").1, "graded");
    let (score, _, remarks) = row("frida");
    assert_eq!(score, "100", "what she has changed besides is not used: {remarks}");
    for file in ["shared/build.rs: changed", "Cargo.toml: changed", ".cargo/config.toml: changed"] {
        assert!(remarks.contains(file), "{remarks}");
    }
    let (score, status, remarks) = row("gustav");
    assert_eq!((&*score, &*status), ("0", "nothing to grade"));
    assert!(remarks.contains("not a .zip that can be read"), "{remarks}");
    for name in table.keys() {
        for file in ["result.json", "report.html", "junit.xml"] {
            assert!(out.join(name).join(file).is_file(), "{name}/{file}");
        }
    }

    // Nothing has changed, so nothing is graded again; another form is still made.
    let again = said(&lab(&[&grade[..], &["--format=gradescope".as_ref()]].concat()));
    assert_eq!(again.matches("(graded before)").count(), 7, "{again}");
    assert!(out.join("anna/results.json").is_file());
    // Something has.
    fs::write(submissions.join("ben/build.rs"), "").unwrap();
    let once_more = said(&lab(&grade));
    assert_eq!(once_more.matches("(graded before)").count(), 6, "{once_more}");
}

#[test]
fn classroom50_wants_to_know_whose_work_it_is_before_anything_is_graded() {
    let args = ["grade", "nowhere", "--one", "--step=1", "--out=nowhere", "--format=classroom50"];
    let output = lab(&args.map(AsRef::as_ref));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("not in the environment: COMMIT_URL, CLASSROOM"), "{error}");
}

/// Unpacks the archive as Gradescope does.
fn unpack(archive: &Path, into: &Path) {
    let mut zip = zip::ZipArchive::new(File::open(archive).unwrap()).unwrap();
    for index in 0..zip.len() {
        let mut file = zip.by_index(index).unwrap();
        let path = into.join(file.enclosed_name().unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::io::copy(&mut file, &mut File::create(&path).unwrap()).unwrap();
        let mode = fs::Permissions::from_mode(file.unix_mode().unwrap());
        fs::set_permissions(&path, mode).unwrap();
    }
}

#[test]
fn gradescope_archive_grades_a_submission() {
    let dir = TempDir::new().unwrap();
    let archive = dir.path().join("autograder.zip");
    let args = ["gradescope-zip".as_ref(), "--step=1".as_ref(), "--out".as_ref()];
    said(&lab(&[&args[..], &[archive.as_ref()]].concat()));
    let source = dir.path().join("source");
    unpack(&archive, &source);
    written(&dir.path().join("submission"), at_fork("std::thread::park();"));

    let home = env::var("HOME").unwrap();
    let run = |script: &str, budget: &str| {
        let mut command = Command::new(source.join(script)); // by its own first line
        command.env("AUTOGRADER", dir.path()).env("SKIP_INSTALL", "1").env("BUDGET", budget);
        for (variable, place) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            let there = env::var(variable).unwrap_or_else(|_| format!("{home}/{place}"));
            command.env(variable, there);
        }
        // Kept for the next run of this test: the dependencies are built once.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gradescope");
        said(&command.env("CARGO_TARGET_DIR", target).output().unwrap());
    };
    run("setup.sh", "");
    // It hangs in every check, which would take longer. Only where the machine is so slow that the
    // build alone takes this time does it get more.
    let is_out_of_time = ["30", "90"].into_iter().any(|budget| {
        run("run_autograder", budget);
        let results = fs::read_to_string(dir.path().join("results/results.json")).unwrap();
        let results: Value = serde_json::from_str(&results).unwrap();
        assert_eq!(results["score"], 0);
        let tests = results["tests"].as_array().unwrap();
        assert!(tests.iter().all(|test| test["status"] == "failed"), "{results:#}");
        let words = "when the time for the whole run was up";
        tests.iter().any(|test| test["output"].as_str().unwrap().contains(words))
    });
    assert!(is_out_of_time, "no check was told that the time is up");
}
