//! What is different in a student's files.
//!
//! Interface: [`for_student`] for each file that is copied; [`exercise`] for the one that is new.
//! Rule: a text that is to be replaced and isn't there is an error: the export must not go wrong
//! in silence when its source changes.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::region;
use crate::repo::Stage;

/// A file as a student gets it: most are as they are here.
pub fn for_student(path: &Path, bytes: Vec<u8>, from: &Stage) -> Result<Vec<u8>> {
    let text = |bytes| String::from_utf8(bytes).with_context(|| path.display().to_string());
    let change = match path.to_str() {
        Some("Cargo.toml") => LINTS,
        Some("README.md") => POINTER,
        Some("notes/src/SUMMARY.md") => return Ok(without_diffs(&text(bytes)?).into_bytes()),
        Some(".devcontainer/devcontainer.json") => PACKAGES,
        _ if is_source(path) => {
            let earlier = |id: &str| id < from.number.as_str();
            return Ok(region::blank(path, &text(bytes)?, &earlier)?.into_bytes());
        }
        _ => return Ok(bytes),
    };
    Ok(replace(path, &text(bytes)?, change)?.into_bytes())
}

/// `EXERCISE.md`: how to work.
pub fn exercise(from: &Stage) -> String {
    let given = match from.number.parse() {
        Ok(0..=1) | Err(_) => "All of the stages are yours.".to_owned(),
        Ok(2) => "Stage 01 is complete; yours are those from 02 on.".to_owned(),
        Ok(first @ 3_u8..) => {
            format!(
                "Stages 01 to {:02} are complete; yours are those from {first:02} on.",
                first - 1
            )
        }
    };
    include_str!("EXERCISE.md")
        .replace("{given}", &given)
        .replace("{number}", &from.number)
        .replace("{package}", &from.package())
        .replace("{chapter}", &format!("notes/src/{}-{}.md", from.number, from.name))
}

/// What changes from stage to stage has the answers in it, and isn't in the export.
fn without_diffs(summary: &str) -> String {
    let parts = summary.split_inclusive("\n\n");
    let is_kept = |part: &&str| !part.contains("](diffs/") && !part.starts_with(DIFFS);
    parts.filter(is_kept).collect()
}

/// The title of that part.
const DIFFS: &str = "# What changes from stage to stage";

/// Where regions can be, see [`region`].
fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
        && (path.starts_with("steps") || path.starts_with("shared/src"))
}

/// A text, and what stands in its place.
type Change = (&'static str, &'static str);

/// A blank leaves imports, variables and functions unused, and code behind it out of reach.
const LINTS: Change = (
    "[workspace.lints.rust]\n",
    "[workspace.lints.rust]\n\
     # What surrounds a blank looks unused until the blank is filled.\n\
     unused = { level = \"allow\", priority = -1 }\n\
     unfulfilled_lint_expectations = \"allow\"\n",
);

const POINTER: Change = (
    "# The process-pool lab\n",
    "# The process-pool lab\n\n\
     **In this copy some lines are yours to write: begin with [EXERCISE.md](EXERCISE.md).**\n",
);

/// Our gate installs what we need; this is what a student needs of it.
const PACKAGES: Change = (
    "  // What the checks need is listed in one place, the script that runs them.\n  \
     \"postCreateCommand\": \"bash .ci/run --install-only\",\n",
    "  \"postCreateCommand\": \"apt-get update -qq && apt-get install -y -qq \
     strace procps iproute2 netcat-openbsd bsdextrautils\",\n",
);

fn replace(path: &Path, text: &str, (old, new): Change) -> Result<String> {
    let found = text.matches(old).count();
    ensure!(found == 1, "{}: {found} times, not once: {old:?}", path.display());
    Ok(text.replace(old, new))
}
