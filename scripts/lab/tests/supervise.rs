//! The supervisor, with shell scripts in the place of tests: what it reports, and that nobody is
//! left, whatever the script has tried.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on panics")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Lets a process put itself on record, and the script wait for `$1` records.
const RECORD: &str = "
    record() { echo $(exec sh -c 'echo $PPID') >> pids; }
    recorded() { until [ -f pids ] && [ $(wc -l < pids) -ge $1 ]; do sleep 0.01; done; }
";

/// A script under a supervisor.
struct Supervised {
    supervisor: Child,
    dir: TempDir,
}

impl Supervised {
    fn start(script: &str, deadline: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let script = format!("{RECORD}\n{script}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.args(["supervise", "--output", "4000", "--processes", "40"]);
        command.args(["--deadline", deadline, "--"]);
        command.args(["sh", "-c", &script]).current_dir(&dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self { supervisor: command.spawn().unwrap(), dir }
    }

    /// Waits for the verdict. Nobody who is on record is left then.
    fn verdict(mut self) -> Value {
        // Kept open: its end would be the end of the tool.
        let stdin = self.supervisor.stdin.take();
        let output = self.supervisor.wait_with_output().unwrap();
        drop(stdin);
        assert_eq!(left(self.dir.path()), [0; 0], "these are left");
        let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(verdict["stuck"], json!([]));
        verdict
    }

    /// Waits until so many processes are on record.
    fn wait_recorded(&self, count: usize) {
        wait_for(|| recorded(self.dir.path()).len() >= count);
    }
}

fn recorded(dir: &Path) -> Vec<i32> {
    let pids = fs::read_to_string(dir.join("pids")).unwrap_or_default();
    pids.lines().map(|pid| pid.parse().unwrap()).collect()
}

fn left(dir: &Path) -> Vec<i32> {
    let mut pids = recorded(dir);
    pids.retain(|pid| Path::new(&format!("/proc/{pid}")).exists());
    pids
}

fn wait_for(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn exit_status_and_output_are_reported() {
    let verdict = Supervised::start("record; echo out; echo err >&2; exit 3", "60").verdict();
    assert_eq!(verdict["end"], json!({"Exited": 3}));
    assert_eq!((&verdict["stdout"], &verdict["stderr"]), (&json!("out\n"), &json!("err\n")));
}

#[test]
fn death_by_a_signal_is_reported() {
    let verdict = Supervised::start("record; kill -SEGV $$", "60").verdict();
    assert_eq!(verdict["end"], json!({"Signal": 11}));
}

#[test]
fn command_that_is_not_there_is_reported() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.args(["supervise", "--output", "9", "--processes", "9", "--deadline", "9"]);
    command.args(["--", "/no/such/command"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(verdict["end"]["Lost"].as_str().unwrap().contains("/no/such/command"), "{verdict}");
}

#[test]
fn endless_command_is_ended_at_its_deadline() {
    let script = "(record; exec sleep 1000) & record; recorded 2; echo done; while :; do :; done";
    // A busy machine may need longer to come so far: then it gets more time.
    let done = ["1", "5", "25"].into_iter().any(|deadline| {
        let verdict = Supervised::start(script, deadline).verdict();
        assert_eq!(verdict["end"], json!("Deadline"));
        verdict["stdout"] == json!("done\n")
    });
    assert!(done, "what it printed is lost");
}

#[test]
fn daemon_of_a_session_of_its_own_is_ended() {
    let script = r#"
        (setsid sh -c 'echo $$ >> pids; (setsid sh -c "echo \$\$ >> pids; sleep 1000" &)' &)
        recorded 2"#;
    let verdict = Supervised::start(script, "60").verdict();
    assert_eq!(verdict["end"], json!({"Exited": 0}));
}

#[test]
fn stopped_processes_are_ended() {
    let script = "
        for i in 1 2 3; do (record; kill -STOP $(exec sh -c 'echo $PPID')) & done; recorded 3
        for pid in $(cat pids); do until grep -q '^State:.T' /proc/$pid/status; do sleep 0.01; done; done";
    let verdict = Supervised::start(script, "60").verdict();
    assert_eq!(verdict["end"], json!({"Exited": 0}));
}

#[test]
fn processes_that_replace_each_other_are_ended() {
    // Whoever kills the sleepers one by one finds as many as before.
    let script = "
        hydra() { record; while :; do setsid sh -c 'echo $$ >> pids; exec sleep 1000'; done; }
        for i in 1 2 3 4 5 6 7 8 9 10; do hydra & done
        recorded 20";
    Supervised::start(script, "60").verdict();
}

#[test]
fn bomb_is_ended_before_its_deadline() {
    let script =
        "for i in $(seq 100); do setsid sh -c 'echo $$ >> pids; exec sleep 1000' & done; wait";
    let verdict = Supervised::start(script, "60").verdict();
    assert!(verdict["end"]["Bomb"].as_u64().unwrap() > 40, "{verdict}");
}

#[test]
fn output_is_kept_within_bounds() {
    let verdict = Supervised::start("yes | head -c 9000000; echo the end", "60").verdict();
    let output = verdict["stdout"].as_str().unwrap();
    assert!(output.len() < 4100 && output.starts_with("y\ny\n"), "{} bytes", output.len());
    assert!(output.contains("bytes left out") && output.ends_with("the end\n"), "{output}");
}

#[test]
fn nobody_is_left_when_the_tool_is_gone() {
    let script =
        "(setsid sh -c 'echo $$ >> pids; sleep 1000' &) ; record; while :; do sleep 1000; done";
    let mut supervised = Supervised::start(script, "60");
    supervised.wait_recorded(2);
    // The kernel closes this end when the tool is killed.
    drop(supervised.supervisor.stdin.take());
    let output = supervised.supervisor.wait_with_output().unwrap();
    assert_eq!(left(supervised.dir.path()), [0; 0], "these are left");
    assert!(String::from_utf8_lossy(&output.stdout).contains("the tool has been stopped"));
}

#[test]
fn command_goes_with_its_supervisor() {
    let mut supervised = Supervised::start("record; while :; do sleep 0.1; done", "60");
    supervised.wait_recorded(1);
    supervised.supervisor.kill().unwrap();
    supervised.supervisor.wait().unwrap();
    wait_for(|| left(supervised.dir.path()).is_empty());
}
