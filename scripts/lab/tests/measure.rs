//! `cargo lab bench`, with sizes at which its numbers say nothing: what it prints and writes, and
//! that nothing is left of it. How fast anything is isn't looked at.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on panics")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quick_xml::events::Event;
use serde_json::Value;
use tempfile::TempDir;

/// A bench with a place of its own for its files.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { dir: TempDir::new().unwrap() };
        fs::create_dir(bench.temporary()).unwrap();
        bench
    }

    fn temporary(&self) -> std::path::PathBuf {
        self.dir.path().join("tmp")
    }

    fn start(&self, args: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.args(["bench", "--debug-build", "--quick", "--size", "1"]).args(args);
        command.env("TMPDIR", self.temporary()).current_dir(&self.dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Who runs with this bench's variables, and which of its files are still there.
    fn left(&self) -> Vec<String> {
        let variable = format!("TMPDIR={}", self.temporary().display());
        let is_ours = |entry: &fs::DirEntry| {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            environment.split(|&it| it == 0).any(|it| it == variable.as_bytes())
        };
        let processes = fs::read_dir("/proc").unwrap().flatten().filter(is_ours);
        let files = fs::read_dir(self.temporary()).unwrap().flatten();
        processes.chain(files).map(|it| it.path().display().to_string()).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn assert_success(output: &Output) {
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

#[track_caller]
fn assert_well_formed(svg: &Path) {
    let content = fs::read_to_string(svg).unwrap();
    let mut reader = quick_xml::Reader::from_str(&content);
    let mut drawn = 0;
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => break,
            Event::Empty(_) => drawn += 1,
            _ => {}
        }
    }
    assert!(drawn > 10, "{}: {drawn} elements", svg.display());
    assert!(content.contains("prefers-color-scheme:dark"), "{}", svg.display());
}

#[test]
fn bench_prints_tables_and_writes_json_and_charts() {
    let bench = Bench::new();
    let args = ["--rounds", "1", "--json", "bench.json", "--charts", "charts", "4", "07"];
    let output = bench.start(&args).wait_with_output().unwrap();
    assert_success(&output);
    assert_eq!(bench.left(), [""; 0]);

    let printed = text(&output.stdout);
    let rows = [
        "throughput: 1 MiB to a sink",
        "throughput: 1 MiB to a file on disk",
        "times faster than",
        "\n04 file-transfer + its get",
        "\n07 splice + recv MSG_TRUNC",
        "\nthe limit: splice alone + recv MSG_TRUNC",
        "\n1024 bytes, 50 clients",
        "\na fork for each connection",
        "\na descriptor through a socketpair",
        "\ngrowth of 07 splice",
        "\n1000 ",
    ];
    for row in rows {
        assert!(printed.contains(row), "no {row:?} in\n{printed}");
    }

    let json = fs::read(bench.dir.path().join("bench.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["schema"], "process-pool-lab/bench/v1");
    assert_eq!(json["plan"]["rounds"], 1);
    let rows = json["throughput"]["rows"].as_array().unwrap();
    let spliced = rows.iter().find(|it| it["sender"] == "07 splice" && it["to"] == "sink").unwrap();
    // Where the machine has changed meanwhile, up to three times as many.
    assert!((1..=3).contains(&spliced["rounds"].as_array().unwrap().len()), "{spliced}");
    assert!(spliced["nanoseconds_apart"]["median"].is_number(), "{spliced}");
    assert!(spliced["faster_than"][0]["times"]["median"].as_f64().unwrap() > 0.0, "{spliced}");
    for part in ["small_files", "primitives", "growth"] {
        assert!(!json[part].is_null(), "no {part}");
    }

    for chart in ["throughput", "cpu", "latency", "growth"] {
        assert_well_formed(&bench.dir.path().join(format!("charts/{chart}.svg")));
    }
}

#[test]
fn interrupted_bench_leaves_nothing() {
    let bench = Bench::new();
    let mut child = bench.start(&["--rounds", "1000", "--part", "throughput", "8"]);
    let mut heading = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut heading).unwrap();
    assert!(heading.starts_with("Linux "), "{heading}");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(bench.left(), [""; 0]);
}

#[test]
fn stage_without_a_file_is_refused() {
    let bench = Bench::new();
    let output = bench.start(&["03"]).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = "error: stage 03 sends no file; those that do are 04 to 08\n";
    assert_eq!(text(&output.stderr), error);
}
