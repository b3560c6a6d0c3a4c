//! `cargo lab catchup`: the stages before are written, and nothing of the student's is lost.

#![allow(clippy::expect_used, reason = "a helper that fails must fail the test that called it")]

mod small_lab;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use small_lab::{Finished, SmallLab};

const GREET: &str = "shared/src/greet.rs";
const SERVER: &str = "steps/01-first-words/src/server.rs";
const MINE: &str = "let mine = name.len();\n    format!(\"bye {mine}\")";

/// A student who has written something of both stages.
fn student() -> SmallLab {
    let lab = SmallLab::export();
    lab.edit(GREET, "crate::exercise::missing(\"01.hello\");", "format!(\"hullo {name}\")");
    lab.edit(GREET, "crate::exercise::missing(\"02.goodbye\");", MINE);
    lab
}

fn dir(lab: &SmallLab) -> &str {
    lab.root().to_str().expect("paths of tests are UTF-8")
}

/// Catches up to stage 02; standard output with the path of the lab and the time taken out.
#[track_caller]
fn catch_up(student: &SmallLab) -> String {
    let said = SmallLab::reference().says(&["catchup", "2", "--dir", dir(student)]);
    let root = student.root().canonicalize().expect("it exists");
    let mut said = said.replace(&root.display().to_string(), "LAB");
    for kept in kept(student) {
        said = said.replace(&kept, "TIME");
    }
    said
}

/// The folders of kept files.
fn kept(student: &SmallLab) -> Vec<String> {
    let entries = fs::read_dir(student.path(".lab/kept")).into_iter().flatten();
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries.map(|entry| name(entry.expect("readable"))).collect()
}

#[track_caller]
fn kept_file(student: &SmallLab, file: &str) -> String {
    let kept = kept(student);
    assert_eq!(kept.len(), 1, "{kept:?}");
    student.read(&format!(".lab/kept/{}/{file}", kept[0]))
}

/// A second call finds nothing to do.
#[track_caller]
fn assert_nothing_left_to_do(student: &SmallLab) {
    let files = [GREET, SERVER, "shared/src/count.rs"];
    let (before, kept_before) = (files.map(|file| student.read(file)), kept(student));
    let said = catch_up(student);
    assert!(said.ends_with("\nnothing to do: all before stage 02 is written in LAB\n"), "{said}");
    assert_eq!(files.map(|file| student.read(file)), before);
    assert_eq!(kept(student), kept_before);
}

#[test]
fn earlier_regions_are_written_and_the_rest_stays() {
    let student = student();
    let before = student.read(GREET);
    student.edit(GREET, "/// Says goodbye.", "fn helper() {}\n\n/// Says goodbye.");
    let said = catch_up(&student);
    let expected = "\
shared/src/greet.rs  written: 01.hello
steps/01-first-words/src/server.rs  written: 01.serve

the versions before are kept in LAB/.lab/kept/TIME
all before stage 02 is written; go on: cd LAB && scripts/check-step.sh 02
";
    assert_eq!(said, expected);
    let after = before
        .replace("format!(\"hullo {name}\")", "format!(\"hello, {name}\")")
        .replace("/// Says goodbye.", "fn helper() {}\n\n/// Says goodbye.");
    assert_eq!(student.read(GREET), after);
    assert!(kept_file(&student, GREET).contains("hullo"));
    assert!(student.read("shared/src/count.rs").contains("missing(\"02.count\")"));
    assert_nothing_left_to_do(&student);
}

#[test]
fn what_is_right_already_is_left_alone() {
    let student = SmallLab::export();
    let reference = SmallLab::reference();
    student.write(SERVER, &reference.read(SERVER));
    let said = catch_up(&student);
    assert!(said.contains("steps/01-first-words/src/server.rs  as it was\n"), "{said}");
    assert!(!student.path(&format!(".lab/kept/{}/{SERVER}", kept(&student)[0])).exists());
}

#[test]
fn before_the_first_stage_there_is_nothing_to_write() {
    let student = student();
    let before = student.read(GREET);
    let said = SmallLab::reference().says(&["catchup", "1", "--dir", dir(&student)]);
    assert!(said.contains("nothing to do"), "{said}");
    assert_eq!(student.read(GREET), before);
}

#[test]
fn file_without_the_markers_is_replaced_and_the_later_regions_are_carried_over() {
    let student = student();
    student.edit(GREET, "    // END 01.hello\n", "");
    let said = catch_up(&student);
    let expected = "\
shared/src/greet.rs  REPLACED by the file as it was given out: shared/src/greet.rs:13: 02.goodbye is inside 01.hello, which begins in line 7
    carried over: 02.goodbye
    what was written outside the markers is in the kept file only
";
    assert!(said.starts_with(expected), "{said}");
    let text = student.read(GREET);
    assert!(text.contains("    // LAB 01.hello: greet whoever it is by name\n    format!(\"hello, {name}\")\n    // END 01.hello\n"), "{text}");
    assert!(text.contains(&format!("    {MINE}\n    // END 02.goodbye\n")), "{text}");
    assert!(kept_file(&student, GREET).contains("hullo"));
    assert_nothing_left_to_do(&student);
}

#[test]
fn region_that_was_thrown_out_with_its_markers_comes_back() {
    let student = student();
    let text = student.read(GREET);
    let (first, rest) = text.split_once("    // LAB 01.hello").expect("the marker");
    let (_, last) = rest.split_once("// END 01.hello\n").expect("the marker");
    student.write(GREET, &format!("{first}{last}"));
    let said = catch_up(&student);
    assert!(
        said.contains("the markers of 01.hello are gone\n    carried over: 02.goodbye\n"),
        "{said}"
    );
    assert!(student.read(GREET).contains(MINE));
    assert_nothing_left_to_do(&student);
}

#[test]
fn what_cannot_be_carried_over_is_said_loudly_and_kept() {
    let student = student();
    student.edit(GREET, "    // END 01.hello\n", "");
    student.edit(GREET, "    // END 02.goodbye\n", "");
    let said = catch_up(&student);
    let loud = "\n    NOT CARRIED OVER: 02.goodbye: its markers are broken, too\n";
    assert!(said.contains(loud), "{said}");
    assert!(student.read(GREET).contains("missing(\"02.goodbye\")"));
    assert!(kept_file(&student, GREET).contains(MINE));
    assert_nothing_left_to_do(&student);
}

#[test]
fn missing_or_binary_file_is_written_anew() {
    let student = student();
    fs::remove_file(student.path(SERVER)).expect("remove");
    fs::write(student.path(GREET), b"\xff\xfe").expect("write");
    let said = catch_up(&student);
    assert!(
        said.contains("server.rs  REPLACED by the file as it was given out: it was missing\n"),
        "{said}"
    );
    assert!(
        said.contains("greet.rs  REPLACED by the file as it was given out: it is no text\n"),
        "{said}"
    );
    assert_eq!(student.read(SERVER), SmallLab::reference().read(SERVER));
    let kept = student.path(&format!(".lab/kept/{}", kept(&student)[0]));
    assert_eq!(fs::read(kept.join(GREET)).expect("kept"), b"\xff\xfe");
    assert!(!kept.join(SERVER).exists());
    assert_nothing_left_to_do(&student);
}

#[test]
fn permissions_stay_and_nothing_else_is_left() {
    let student = student();
    fs::set_permissions(student.path(GREET), fs::Permissions::from_mode(0o640)).expect("chmod");
    catch_up(&student);
    let mode = fs::metadata(student.path(GREET)).expect("stat").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let names = |dir: &Path| fs::read_dir(dir).expect("readable").count();
    assert_eq!(names(&student.path("shared/src")), 3);
}

#[test]
fn it_needs_the_answers_here_and_a_students_lab_there() {
    let (reference, student) = (SmallLab::reference(), student());
    let refused = |lab: &SmallLab, dir: &str, why: &str| {
        let Finished { code, stderr, .. } = lab.run(&["catchup", "2", "--dir", dir]);
        assert!(code == Some(1) && stderr.contains(why), "{code:?} {stderr}");
    };
    refused(&student, dir(&student), "this checkout doesn't have the answers");
    refused(&reference, dir(&reference), "has the answers already");
    let empty = tempfile::tempdir().expect("a temporary directory");
    let path = empty.path().to_str().expect("paths of tests are UTF-8");
    refused(&reference, path, "is no checkout of the lab: it has no Cargo.toml");
    refused(&reference, "/no/such/place", "/no/such/place: No such file or directory");
    assert!(kept(&student).is_empty());
}
