//! `cargo lab watch`, with a check of ours in the place of the real one.

#![allow(clippy::expect_used, reason = "a helper that fails must fail the test that called it")]

mod small_lab;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use small_lab::SmallLab;
use support::proc;
use support::terminal::run_on_terminal;
use support::wait::{limit, wait_for, wait_until};
use tempfile::NamedTempFile;

const SOURCE: &str = "shared/src/count.rs";

/// A check that writes down its beginning, does `middle`, and writes down its end: a script for
/// `sh check 02`, run at the top level. It isn't started itself: the child that another test has
/// just forked may still have it open, and what somebody can write to isn't started (ETXTBSY).
fn checker(lab: &SmallLab, middle: &str) -> &'static str {
    let log = lab.path("log");
    let log = log.display();
    let script = format!("echo \"begin check $*\" >>{log}\n{middle}\necho end >>{log}\n");
    lab.write("check", &script);
    "/bin/sh"
}

/// Saves the source in a single step: its length stays, so it isn't emptied before.
#[track_caller]
fn save(lab: &SmallLab, from: &str, to: &str) {
    assert_eq!(from.len(), to.len(), "{from:?}, {to:?}");
    let at = lab.read(SOURCE).find(from).expect("it is in the source");
    let file = OpenOptions::new().write(true).open(lab.path(SOURCE)).expect("open the source");
    file.write_all_at(to.as_bytes(), at as u64).expect("write to the source");
}

fn count(lab: &SmallLab, line: &str) -> usize {
    let log = fs::read_to_string(lab.path("log")).unwrap_or_default();
    log.lines().filter(|it| it.starts_with(line)).count()
}

#[track_caller]
fn wait_count(lab: &SmallLab, line: &str, wanted: usize) {
    wait_for(&format!("{wanted} × {line}"), limit(), || count(lab, line) >= wanted);
    assert_eq!(count(lab, line), wanted, "{line}");
}

/// A running watch, ended with the test.
struct Watch {
    process: Child,
    /// Its standard output. Not a pipe: who should have been ended would keep that open.
    said: NamedTempFile,
}

impl Watch {
    fn start(mut command: Command) -> Self {
        let said = NamedTempFile::new().expect("a temporary file");
        command.stdout(said.reopen().expect("open it again"));
        Self { process: command.spawn().expect("start lab"), said }
    }

    fn of(lab: &SmallLab, checker: &str, args: &[&str]) -> Self {
        let mut command = lab.command(&[&["watch", "2", "--checker", checker], args].concat());
        command.current_dir(lab.root());
        Self::start(command)
    }

    fn pid(&self) -> i32 {
        self.process.id().cast_signed()
    }

    /// All of its standard output so far.
    fn said(&self) -> String {
        fs::read_to_string(self.said.path()).expect("read its output")
    }

    /// Waits until so many checks have ended, and the watch knows of it: a check that has written
    /// down its end runs a little longer, and a save would stop it.
    #[track_caller]
    fn wait_checked(&self, wanted: usize) {
        let checked = || self.said().matches("to check 02 again, Ctrl-C to end\n").count();
        wait_for(&format!("check {wanted} to be over"), limit(), || checked() >= wanted);
        assert_eq!(checked(), wanted, "{}", self.said());
    }

    /// Sends a signal, waits for the end. Returns the exit status and standard output.
    #[track_caller]
    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        kill(Pid::from_raw(self.pid()), signal).expect("kill");
        let status =
            wait_until("the watch to end", limit(), || self.process.try_wait().expect("waitpid"));
        (status.code(), self.said())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn checks_again_on_save(lab: &SmallLab, watch: Watch) -> String {
    watch.wait_checked(1);
    save(lab, "one by one", "two by two");
    watch.wait_checked(2);
    // As some editors do it: a new file takes the place of the old one. It is written where nobody
    // watches.
    lab.write("new.rs", "//! New.\n");
    fs::rename(lab.path("new.rs"), lab.path(SOURCE)).expect("rename");
    watch.wait_checked(3);
    let (status, said) = watch.end(Signal::SIGINT);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!((count(lab, "begin"), count(lab, "end")), (3, 3), "{said}");
    said
}

#[test]
fn a_stage_is_checked_at_once_and_again_on_every_save() {
    let lab = SmallLab::export();
    let checker = checker(&lab, "echo 'score 40/100'");
    let said = checks_again_on_save(&lab, Watch::of(&lab, checker, &["--only", "leaves"]));
    assert_eq!(count(&lab, "begin check 02 --only leaves"), 3);
    let text = "\
score 40/100

watching steps/ and shared/
save a file to check 02 again, Ctrl-C to end
saved: shared/src/count.rs
score 40/100
";
    assert!(said.starts_with(text), "{said}");
    assert!(said.ends_with("\nwatch ended\n"), "{said}");
    assert!(!said.contains('\x1b'), "{said}");
}

#[test]
fn a_save_is_noticed_also_without_inotify() {
    let lab = SmallLab::export();
    let checker = checker(&lab, "");
    let said = checks_again_on_save(&lab, Watch::of(&lab, checker, &["--poll"]));
    assert!(said.contains("watching steps/ and shared/, looking once a second\n"), "{said}");
}

#[test]
fn where_the_limits_of_inotify_are_used_up_it_looks_by_itself() {
    let limit = "/proc/sys/user/max_inotify_instances";
    let script = format!("echo 0 >{limit} && exec \"$@\"");
    let unshared = ["--user", "--map-root-user", "sh", "-c", script.as_str(), "sh"];
    let mut possible = Command::new("unshare");
    possible.args(unshared).arg("true").stderr(Stdio::null());
    if !possible.status().is_ok_and(|status| status.success()) {
        return support::not_checked("a user namespace can't be made here");
    }
    let lab = SmallLab::export();
    let checker = checker(&lab, "");
    let real = lab.command(&["watch", "2", "--checker", checker]);
    let mut command = Command::new("unshare");
    command.args(unshared).arg(real.get_program()).args(real.get_args());
    command.env("LAB_ROOT", lab.root()).current_dir(lab.root());
    let said = checks_again_on_save(&lab, Watch::start(command));
    let why = "(the limit fs.inotify.max_user_instances is reached)";
    assert!(said.contains(&format!(", looking once a second {why}\n")), "{said}");
}

#[test]
fn a_burst_of_saves_is_one_check() {
    // Who is held up in the middle of a burst takes that for its end: then once more.
    let is_one = (0..3).any(|_| {
        let (checks, said) = burst_of_saves();
        checks == 2 && said.contains("saved: shared/src/file0.rs and 19 more\n")
    });
    assert!(is_one, "it was more, each time");
}

/// Returns the number of checks, the one before it included, and what was said.
fn burst_of_saves() -> (usize, String) {
    let lab = SmallLab::export();
    let checker = checker(&lab, "");
    let watch = Watch::of(&lab, checker, &[]);
    watch.wait_checked(1);
    // However slow the machine is: to the watch they come at once.
    kill(Pid::from_raw(watch.pid()), Signal::SIGSTOP).expect("kill");
    for number in 0..20 {
        lab.write(&format!("shared/src/file{number}.rs"), "//! New.\n");
        // What editors leave beside a file is no save.
        lab.write(&format!("shared/src/.file{number}.rs.swp"), "b0VIM");
        lab.write("shared/src/4913", "");
    }
    kill(Pid::from_raw(watch.pid()), Signal::SIGCONT).expect("kill");
    wait_for("a check that ends", limit(), || count(&lab, "end") > 1);
    let (_, said) = watch.end(Signal::SIGINT);
    (count(&lab, "begin"), said)
}

#[test]
fn a_save_during_a_check_starts_it_anew() {
    let lab = SmallLab::export();
    // The first check never ends.
    let checker = checker(&lab, "[ $(wc -l <log) != 1 ] || exec sleep 1000");
    let mut command = lab.command(&["watch", "2", "--checker", checker]);
    let watch = Watch::start({
        command.current_dir(lab.root());
        command
    });
    wait_count(&lab, "begin", 1);
    save(&lab, "one by one", "two by two");
    wait_count(&lab, "end", 1);
    let (_, said) = watch.end(Signal::SIGINT);
    assert_eq!(count(&lab, "begin"), 2, "{said}");
}

#[test]
fn reading_the_sources_is_no_save_and_idle_is_asleep() {
    let lab = SmallLab::export();
    let checker = checker(&lab, "cat shared/src/*.rs steps/*/src/*.rs");
    let mut command = lab.command(&["watch", "2", "--checker", checker]);
    command.current_dir(lab.root());
    let watch = Watch::start(command);
    watch.wait_checked(1);
    wait_for("the watch to sleep", limit(), || proc::state(watch.pid()) == Some('S'));
    let before = proc::stat(watch.pid()).expect("it runs").cpu_ticks;
    // Not to wait for anything, but to give it time to be busy in.
    thread::sleep(Duration::from_secs(1));
    let after = proc::stat(watch.pid()).expect("it runs").cpu_ticks;
    assert!(after - before <= 1, "{} ticks of CPU in a second of nothing", after - before);
    let (_, said) = watch.end(Signal::SIGTERM);
    assert_eq!(count(&lab, "begin"), 1, "{said}");
}

/// A check with one child that has left the session, and one that has also lost its parent.
fn family(lab: &SmallLab, trap: &str) -> Command {
    let middle = "\
(setsid sleep 1000 & echo $! >>pids; setsid sleep 1000 & echo $! >>pids) &
setsid sleep 1000 & echo $! >>pids
echo $$ >>pids
echo ready >>log
sleep 1000";
    let checker = checker(lab, &format!("{trap}\n{middle}"));
    let mut command = lab.command(&["watch", "2", "--checker", checker]);
    command.current_dir(lab.root());
    command
}

#[track_caller]
fn wait_ready(lab: &SmallLab) {
    wait_count(lab, "ready", 1);
    wait_for("four pids", limit(), || lab.read("pids").lines().count() == 4);
}

#[track_caller]
fn assert_nobody_left(lab: &SmallLab) {
    let pids = lab.read("pids");
    let mut left: Vec<i32> = pids.lines().map(|pid| pid.parse().expect("a pid")).collect();
    left.retain(|&pid| proc::exists(pid));
    for &pid in &left {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    assert!(left.is_empty(), "{left:?} are left");
}

#[test]
fn ctrl_c_leaves_nobody_behind() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let lab = SmallLab::export();
        let watch = Watch::start(family(&lab, ""));
        wait_ready(&lab);
        let (status, said) = watch.end(signal);
        assert_eq!(status, Some(0), "{signal}: {said}");
        assert_nobody_left(&lab);
    }
}

#[test]
fn second_ctrl_c_does_not_wait_for_a_check_that_ignores_the_first() {
    let lab = SmallLab::export();
    let mut watch = Watch::start(family(&lab, "trap '' INT TERM"));
    wait_ready(&lab);
    let begin = Instant::now();
    let pid = Pid::from_raw(watch.pid());
    wait_for("the watch to end", limit(), || {
        let _ = kill(pid, Signal::SIGINT);
        watch.process.try_wait().expect("waitpid").is_some()
    });
    let spent = begin.elapsed();
    assert!(spent < Duration::from_secs(9), "{spent:?}: it waited for the check");
    assert_nobody_left(&lab);
}

#[test]
fn a_check_that_crashes_does_not_end_the_watch() {
    let lab = SmallLab::export();
    let checker = checker(&lab, "[ -e shared/src/good.rs ] || kill -SEGV $$");
    let mut command = lab.command(&["watch", "2", "--checker", checker]);
    command.current_dir(lab.root());
    let watch = Watch::start(command);
    watch.wait_checked(1);
    lab.write("shared/src/good.rs", "//! Good.\n");
    wait_for("a check that ends", limit(), || count(&lab, "end") > 0);
    let (_, said) = watch.end(Signal::SIGINT);
    assert!(said.contains("the check was ended by signal: 11 (SIGSEGV)"), "{said}");
}

#[test]
fn another_tree_is_watched_where_it_is() {
    let (lab, student) = (SmallLab::reference(), SmallLab::export());
    let checker = checker(&lab, "");
    let dir = student.root().to_str().expect("paths of tests are UTF-8");
    let watch = Watch::of(&lab, checker, &["--dir", dir]);
    watch.wait_checked(1);
    save(&student, "missing", "written");
    watch.wait_checked(2);
    let (_, said) = watch.end(Signal::SIGINT);
    assert_eq!(count(&lab, &format!("begin check 02 --dir {dir}")), 2, "{said}");
}

#[test]
fn a_terminal_is_cleared_before_each_check() {
    let lab = SmallLab::export();
    let checker = checker(
        &lab,
        "if [ -e shared/src/second.rs ]; then kill -INT $PPID; else echo >shared/src/second.rs; fi",
    );
    let mut command = lab.command(&["watch", "2", "--checker", checker]);
    let (status, seen) = run_on_terminal(command.current_dir(lab.root()));
    assert_eq!(status.code(), Some(0), "{seen}");
    assert_eq!(seen.matches("\x1b[2J\x1b[H").count(), 2, "{seen}");
}

#[test]
fn a_stage_that_does_not_exist_is_an_error() {
    let lab = SmallLab::export();
    let error = lab.fails(&["watch", "9"]);
    assert_eq!(error, "error: there is no stage 9; the stages are 01, 02\n");
}
