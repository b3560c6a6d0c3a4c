//! Short words for calls, bytes and times.

use super::join::{Arrow, Tie};
use super::manual;
use super::record::Call;
use super::story::Story;
use crate::text::printable;

/// The first string among the arguments, as `strace` quotes it.
pub fn quoted(call: &Call) -> Option<String> {
    let start = call.line.find('"')?;
    let rest = &call.line[start + 1..];
    let mut escaped = false;
    let end = rest.find(|char| {
        let is_end = char == '"' && !escaped;
        escaped = char == '\\' && !escaped;
        is_end
    })?;
    let text = printable(&rest[..end]);
    let mut short: String = text.chars().take(27).collect();
    if short.len() < text.len() || rest[end + 1..].starts_with("...") {
        // Half an escape would say something else.
        short = format!("{}…", short.trim_end_matches('\\'));
    }
    Some(format!("\"{short}\""))
}

/// Has it nothing but text in it?
pub fn is_plain(quoted: &str) -> bool {
    !quoted.replace("\\n", "").replace("\\r", "").contains('\\')
}

/// `= ECONNREFUSED`
pub fn failure(call: &Call) -> String {
    call.error().map_or(String::new(), |error| format!("= {error}"))
}

/// A number of bytes, short: `32 MiB`.
pub fn size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) if bytes.is_multiple_of(unit) => format!("{} {name}", bytes / unit),
        #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None if bytes == 1 => "1 byte".to_owned(),
        None => format!("{bytes} bytes"),
    }
}

/// `12.3`
pub fn milliseconds(microseconds: u64) -> String {
    format!("{}.{}", microseconds / 1000, microseconds / 100 % 10)
}

/// What an event says that no level arrow speaks for.
pub fn alone(story: &Story, index: usize) -> String {
    let event = &story.events[index];
    let passed = |it: &&Arrow| it.to == index && it.kind == Tie::Descriptor;
    let line = match story.arrows.iter().find(passed) {
        Some(arrow) => arrow.label.clone(),
        None => event.lines.join(", "),
    };
    // `sendto "L"`: how it was sent or received, and what.
    match line.starts_with('"') || line == "header" {
        true => format!("{} {line}", event.call),
        false => line,
    }
}

/// The calls as `strace` saw them, the first with its line from the manual.
pub fn hover(calls: &[String]) -> String {
    const LENGTH: usize = 200;
    let short = |line: &String| match line.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.clone(),
    };
    let mut lines: Vec<String> = calls.iter().map(short).collect();
    let mut names: Vec<&str> = calls.iter().filter_map(|it| it.split('(').next()).collect();
    names.dedup();
    let synopses = names.iter().filter_map(|name| manual::synopsis(name)).take(2);
    lines.extend(synopses.map(str::to_owned));
    printable(&lines.join("\n"))
}
