//! `cargo lab trace`: a stage runs under strace, and its picture shows what it is about.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that fails must fail the test that called it"
)]

use std::fs;
use std::process::{Command, Output};

use quick_xml::Reader;
use quick_xml::events::Event;
use support::trace;
use tempfile::TempDir;

fn lab(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_lab")).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {}: {said}", output.status);
    output
}

/// All texts of an SVG, each tag and attribute looked at on the way.
fn texts(svg: &str) -> Vec<String> {
    let (mut reader, mut texts, mut text) = (Reader::from_str(svg), Vec::new(), String::new());
    let mut depth = 0;
    loop {
        match reader.read_event().unwrap_or_else(|error| panic!("no XML: {error}")) {
            Event::Start(tag) => {
                depth += 1;
                assert_ne!(tag.name().as_ref(), "script");
                tag.attributes().for_each(|it| drop(it.unwrap()));
                text.clear();
            }
            Event::Text(part) => text.push_str(&part),
            Event::GeneralRef(part) if &*part == "quot" => text.push('"'),
            Event::End(_) => {
                depth -= 1;
                texts.push(std::mem::take(&mut text));
            }
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0, "tags are left open");
    texts
}

/// Is it `"C" + fd 8 → fd 3`, whatever the numbers are?
fn is_passing(text: &str) -> bool {
    let numbers = text.split_once("+ fd ").and_then(|(_, rest)| rest.split_once(" → fd "));
    numbers.is_some_and(|(from, to)| from.parse::<i32>().is_ok() && to.parse::<i32>().is_ok())
}

#[test]
fn the_picture_of_03_shows_a_descriptor_on_its_way() {
    if !trace::is_possible() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("03.svg");
    let path = file.to_str().unwrap();
    let said = lab(&["trace", "03", "--out", path]);
    assert_eq!(String::from_utf8_lossy(&said.stdout), format!("{path}\n"));
    let svg = fs::read_to_string(&file).unwrap();
    assert!(!svg.chars().any(|it| it.is_control() && it != '\n'), "raw control characters");
    assert!(svg.len() < 60_000, "{} bytes", svg.len());
    assert!(svg.contains("prefers-color-scheme: dark"));
    let texts = texts(&svg);
    for lane in ["client 1", "client 2", "parent", "worker 0", "worker 1", "worker 2"] {
        assert_eq!(texts.iter().filter(|it| *it == lane).count(), 1, "{lane}: {texts:?}");
    }
    assert_eq!(texts.iter().filter(|it| is_passing(it)).count(), 2, "{texts:?}");
    assert!(texts.iter().any(|it| it == "killed by SIGKILL"), "{texts:?}");
}

#[test]
fn every_stage_shows_what_it_is_about() {
    if !trace::is_possible() {
        return;
    }
    let dir = TempDir::new().unwrap();
    lab(&["trace", "--all", "--out", dir.path().to_str().unwrap()]);
    for (stage, telling) in [
        ("01", ["SIGKILL (PDEATHSIG)", "wait4 = "]),
        ("02", ["\"red\\n\"", "epoll_ctl ADD "]),
        ("04", ["header, 18 bytes", "writev →file ×"]),
        ("05", ["gone", "header, 34 bytes"]),
        ("06", ["header, 26 bytes", "mmap file ×"]),
        ("07", ["splice file→pipe ×", "splice TCP→pipe ×"]),
        ("08", ["connect = ECONNREFUSED", "read signalfd: SIGTERM"]),
        ("09", ["execveat date", "read signalfd: SIGTERM"]),
        ("10", ["splice pipe→TCP", "\"ann: hello\\n\""]),
        ("11", ["\"N\"", "\"ann: hello\\n\""]),
    ] {
        let svg = fs::read_to_string(dir.path().join(format!("{stage}.svg"))).unwrap();
        assert!(svg.len() < 80_000, "{stage}: {} bytes", svg.len());
        let texts = texts(&svg);
        for telling in telling {
            assert!(
                texts.iter().any(|it| it.starts_with(telling)),
                "{stage}, {telling}: {texts:?}"
            );
        }
    }
}

#[test]
fn the_text_of_03_can_be_read_in_a_terminal() {
    if !trace::is_possible() {
        return;
    }
    let text = String::from_utf8(lab(&["trace", "3", "--text"]).stdout).unwrap();
    assert!(text.starts_with("03 sendfd\n"), "{text}");
    assert!(text.contains("client 1  client 2  parent    worker 0  worker 1  worker 2"), "{text}");
    let passing = text.lines().filter(|line| line.contains("\"C\" + fd ")).collect::<Vec<_>>();
    assert_eq!(passing.len(), 2, "{text}");
    assert!(passing.iter().all(|line| line.contains("recvmsg")), "{text}");
    assert!(!text.contains('\u{1b}'), "colour where nobody looks");
}

#[test]
fn without_strace_it_says_what_to_install() {
    let output = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["trace", "03"])
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, "error: strace is not installed: apt install strace (or dnf, pacman, apk)\n");
}
