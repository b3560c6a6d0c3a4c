//! Reads the markers of a file.
//!
//! Interface: [`parse`].
//! Rules: those of [`region`](super); what only resembles a marker is an error, for a marker that
//! isn't seen would let an answer through.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Region;

/// A marker, as it stands in a line.
enum Marker<'a> {
    Lab { id: &'a str, task: &'a str },
    End { id: &'a str },
}

/// The regions of a file's text, in order.
pub(super) fn parse(file: &Path, text: &str) -> Result<Vec<Region>> {
    let mut regions = Vec::new();
    let mut open: Option<(Region, Vec<&str>)> = None;
    for (line, content) in (1..).zip(text.lines()) {
        let at = format!("{}:{line}", file.display());
        match (marker(content).context(at.clone())?, &mut open) {
            (None, None) => {}
            (None, Some((_, body))) => body.push(content),
            (Some(Marker::Lab { id, task }), None) => {
                let (id, task, body) = (id.to_owned(), task.to_owned(), String::new());
                open = Some((Region { id, task, file: file.to_owned(), line, body }, Vec::new()));
            }
            (Some(Marker::Lab { id, .. }), Some((outer, _))) => {
                bail!("{at}: {id} is inside {}, which begins in line {}", outer.id, outer.line)
            }
            (Some(Marker::End { id }), Some((region, body))) if region.id == id => {
                region.body = dedent(body);
                regions.extend(open.take().map(|(region, _)| region));
            }
            (Some(Marker::End { id }), Some((region, _))) => {
                bail!("{at}: END {id}, but {} began in line {}", region.id, region.line)
            }
            (Some(Marker::End { id }), None) => bail!("{at}: END {id} without its LAB"),
        }
    }
    if let Some((region, _)) = open {
        bail!("{}: {} has no END", region.place(), region.id);
    }
    Ok(regions)
}

/// The marker in a line, if there is one. What only resembles one is an error.
fn marker(line: &str) -> Result<Option<Marker<'_>>> {
    let word = |comment: &str| {
        let end = comment.find(|letter: char| !letter.is_ascii_alphabetic());
        matches!(&comment[..end.unwrap_or(comment.len())], "LAB" | "END")
    };
    let Some(start) = line.match_indices("//").map(|(at, _)| at + 2).find(|&at| {
        let comment = line[at..].trim_start_matches(['/', '!']).trim_start();
        word(comment)
    }) else {
        return Ok(None);
    };
    if !line[..start - 2].trim().is_empty() || line[start..].starts_with(['/', '!']) {
        bail!("a marker is a plain comment on a line of its own");
    }
    let marker = line[start..].trim_end();
    let found = match (marker.strip_prefix(" LAB "), marker.strip_prefix(" END ")) {
        (Some(lab), _) => {
            let (id, task) = lab.split_once(':').unwrap_or((lab, ""));
            if task.trim().is_empty() {
                bail!("LAB {id} has no task: write `// LAB {id}: what to do`");
            }
            Marker::Lab { id, task: task.trim() }
        }
        (None, Some(id)) => Marker::End { id },
        (None, None) => bail!("a marker is `// LAB 06.name: task` or `// END 06.name`"),
    };
    let (Marker::Lab { id, .. } | Marker::End { id }) = found;
    if !is_id(id) {
        bail!("`{id}` is no id: it is two digits, a dot, and a name of small letters and `_`");
    }
    Ok(Some(found))
}

fn is_id(id: &str) -> bool {
    let Some((stage, name)) = id.split_once('.') else {
        return false;
    };
    let fits = |letter: u8| matches!(letter, b'a'..=b'z' | b'0'..=b'9' | b'_');
    stage.len() == 2
        && stage.bytes().all(|digit| digit.is_ascii_digit())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(fits)
}

/// Moves lines to the left until the first of them touches the margin.
fn dedent(lines: &[&str]) -> String {
    let code = lines.iter().filter(|line| !line.trim().is_empty());
    let margin = code.map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    lines.iter().map(|line| format!("{}\n", line.get(margin..).unwrap_or("").trim_end())).collect()
}
