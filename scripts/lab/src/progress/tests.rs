//! Tests of what is remembered.

use std::thread;

use super::*;
use crate::result::Failure;

fn checkout() -> (tempfile::TempDir, Repo) {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["shared", "steps"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
    }
    fs::write(dir.path().join("Cargo.toml"), "").unwrap();
    let repo = Repo::at(dir.path()).unwrap();
    (dir, repo)
}

/// A run in which each of these checks was worth 100 / `of` points.
fn run(date: &str, of: u32, checks: &[(&str, Status)]) -> StageResult {
    let points = 100 / of;
    let score = |status| if status == Status::Ok { points } else { 0 };
    let check = |&(id, status): &(&str, Status)| CheckResult {
        id: id.to_owned(),
        title: String::new(),
        status,
        score: score(status),
        max_score: points,
        seconds: 0.0,
        failure: None,
    };
    StageResult {
        schema: crate::result::SCHEMA.to_owned(),
        stage: "06".to_owned(),
        name: "mmap-zero-copy".to_owned(),
        submission: String::new(),
        score: checks.iter().map(|&(_, status)| score(status)).sum(),
        max_score: checks.iter().map(|_| points).sum(),
        seconds: 0.0,
        datetime: date.to_owned(),
        build_error: None,
        ignored: Vec::new(),
        checks: checks.iter().map(check).collect(),
    }
}

fn known(repo: &Repo) -> StageProgress {
    load(repo).stages.remove("06").unwrap_or_default()
}

fn score(score: u32, date: &str) -> Option<Score> {
    Some(Score { score, date: date.to_owned() })
}

#[test]
fn last_and_best_score_are_kept_with_their_dates() {
    let (_dir, repo) = checkout();
    record(&repo, &run("1", 2, &[("a", Status::Ok), ("b", Status::Fail)]));
    record(&repo, &run("2", 2, &[("a", Status::Ok), ("b", Status::Timeout)]));
    assert_eq!((known(&repo).last, known(&repo).best), (score(50, "2"), score(50, "1")));
    record(&repo, &run("3", 2, &[("a", Status::Ok), ("b", Status::Ok)]));
    record(&repo, &run("4", 2, &[("a", Status::Crash), ("b", Status::Fail)]));
    assert_eq!((known(&repo).last, known(&repo).best), (score(0, "4"), score(100, "3")));
}

#[test]
fn failing_checks_are_kept_in_order() {
    let (_dir, repo) = checkout();
    let all = [Status::Fail, Status::Ok, Status::Crash, Status::Needs, Status::NotChecked];
    let ids = ["e", "d", "c", "b", "a"];
    record(&repo, &run("1", 5, &ids.into_iter().zip(all).collect::<Vec<_>>()));
    assert_eq!(known(&repo).failing, ["e", "c"]);
}

#[test]
fn blank_that_the_first_failure_came_to_is_kept() {
    let (_dir, repo) = checkout();
    let mut result = run("1", 3, &[("a", Status::Ok), ("b", Status::Fail), ("c", Status::Fail)]);
    for (check, id) in result.checks.iter_mut().zip(["", "06.header", "06.get"]) {
        let saw = format!("error: {id} is not written yet (shared/src/a.rs:7): cargo lab hint 06");
        check.failure = Some(Failure { saw, ..Failure::default() });
    }
    record(&repo, &result);
    assert_eq!(known(&repo).blank.as_deref(), Some("06.header"));
    record(&repo, &run("2", 3, &[("a", Status::Ok), ("b", Status::Fail), ("c", Status::Ok)]));
    assert_eq!(known(&repo).blank, None);
}

#[test]
fn region_that_is_needed_is_kept() {
    let (_dir, repo) = checkout();
    let mut result = run("1", 2, &[("a", Status::Fail), ("b", Status::Needs)]);
    let saw = "needs 03.send_fd, which fails".to_owned();
    result.checks[1].failure = Some(Failure { saw, ..Failure::default() });
    record(&repo, &result);
    assert_eq!(known(&repo).needs.as_deref(), Some("03.send_fd"));
    record(&repo, &run("2", 2, &[("a", Status::Ok), ("b", Status::Ok)]));
    assert_eq!(known(&repo).needs, None);
}

#[test]
fn single_check_changes_what_fails_but_not_the_score() {
    let (_dir, repo) = checkout();
    record(
        &repo,
        &run(
            "1",
            4,
            &[("a", Status::Fail), ("b", Status::Fail), ("c", Status::Ok), ("d", Status::Ok)],
        ),
    );
    record(&repo, &run("2", 4, &[("a", Status::Ok)]));
    assert_eq!(known(&repo).failing, ["b"]);
    record(&repo, &run("3", 4, &[("c", Status::Timeout)]));
    assert_eq!(known(&repo).failing, ["c", "b"]);
    assert_eq!(known(&repo).last, score(50, "1"));
}

#[test]
fn build_failure_says_nothing_about_the_checks() {
    let (_dir, repo) = checkout();
    record(&repo, &run("1", 2, &[("a", Status::Fail), ("b", Status::Ok)]));
    let mut broken = run("2", 2, &[("a", Status::Build), ("b", Status::Build)]);
    broken.build_error = Some("error[E0425]".to_owned());
    record(&repo, &broken);
    assert!(known(&repo).build_failed);
    assert_eq!((known(&repo).failing, known(&repo).last), (vec!["a".to_owned()], score(0, "2")));
}

#[test]
fn what_is_damaged_or_of_another_version_is_kept_aside() {
    let (_dir, repo) = checkout();
    let other = "{\"schema\": \"process-pool-lab/progress/v0\", \"stages\": {}}";
    for (number, text) in (1..).zip(["", "{\"schema\":", "\u{0}", "[]", other]) {
        fs::create_dir_all(repo.state()).unwrap();
        fs::write(file(&repo), text).unwrap();
        assert!(load(&repo).stages.is_empty());
        let kept = repo.state().join(format!("progress-{number}.json"));
        assert_eq!(fs::read_to_string(kept).unwrap(), text);
        record(&repo, &run("1", 1, &[("a", Status::Ok)]));
        assert_eq!(known(&repo).best, score(100, "1"));
    }
}

#[test]
fn checkout_that_cannot_be_written_breaks_nothing() {
    let (_dir, repo) = checkout();
    fs::write(repo.state(), "a file where the folder should be").unwrap();
    record(&repo, &run("1", 1, &[("a", Status::Ok)]));
    assert_eq!(update(&repo, |progress| progress.hints.len()), 0);
}

#[test]
fn looking_makes_nothing() {
    let (_dir, repo) = checkout();
    load(&repo);
    assert!(!repo.state().exists());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "tests may have threads, and nobody forks here")]
fn nothing_is_lost_between_two_commands_at_once() {
    let (_dir, repo) = checkout();
    let count = || {
        for _ in 0..50 {
            update(&repo, |progress| {
                *progress.hints.entry("06.header".to_owned()).or_default() += 1
            });
        }
    };
    thread::scope(|scope| {
        scope.spawn(count);
        scope.spawn(count);
    });
    assert_eq!(load(&repo).hints["06.header"], 100);
}
