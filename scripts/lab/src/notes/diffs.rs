//! The pages of `notes/src/diffs`: what changes from one stage to the next, as `cargo lab diff`
//! says it.
//!
//! Interface: [`pages`].

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::diff::{Change, changes, modules};
use crate::notes::page::Page;
use crate::repo::{Repo, Stage};

/// The folder below the pages.
pub const DIFFS: &str = "notes/src/diffs";

/// With this stage a new program begins, which has nothing to do with the one before.
const BEGINNINGS: [&str; 1] = ["10"];

/// Each page, and its text.
pub fn pages(repo: &Repo) -> Result<Vec<(PathBuf, String)>> {
    let stages = repo.stages()?;
    let pairs = stages.windows(2).filter(|pair| !BEGINNINGS.contains(&&*pair[1].number));
    pairs.map(|pair| page(repo, &pair[0], &pair[1])).collect()
}

fn page(repo: &Repo, from: &Stage, to: &Stage) -> Result<(PathBuf, String)> {
    let path = Path::new(DIFFS).join(format!("{}-{}.md", from.number, to.number));
    let page = Page { path, ..Page::default() };
    let changes = changes(repo, from, to)?;
    let chapter = |stage: &Stage| format!("[{}]({})", title(stage), page.link_to(&stage.chapter()));
    let mut text = format!(
        "<!-- Made by `cargo lab notes fix`. -->\n# {} → {}\n\n{}\n\n\
         From {} to {}. In a terminal: `cargo lab diff {} {}`.\n",
        title(from),
        title(to),
        what_is_new(repo, to)?,
        chapter(from),
        chapter(to),
        from.number,
        to.number,
    );
    text += "\n| file | lines |\n| --- | --- |\n";
    for change in &changes {
        let Change { name, summary, .. } = change;
        let anchor = name.replace('.', "");
        let name = if is_shown(change) { format!("[{name}](#{anchor})") } else { name.clone() };
        text += &format!("| {name} | {} |\n", summary.replace('-', "−"));
    }
    let modules = modules(repo, from, to)?;
    if !modules.is_empty() {
        text += "\nNew in `shared`:\n\n";
    }
    for module in modules {
        let (file, link) = (module.file.display(), page.link_to(&module.file));
        text += &format!("- [{file}]({link}): {}\n", module.about);
    }
    for Change { name, diff, .. } in changes.iter().filter(|it| is_shown(it)) {
        let fence = if diff.contains("```") { "````" } else { "```" };
        text += &format!("\n## {name}\n\n{fence}diff\n{}\n{fence}\n", diff.trim_end());
    }
    Ok((page.path, text))
}

/// What is gone can be read in the chapter before.
fn is_shown(change: &Change) -> bool {
    !change.diff.is_empty() && !change.summary.ends_with("gone")
}

fn title(stage: &Stage) -> String {
    format!("{} {}", stage.number, stage.name)
}

/// The first paragraph of the header of `main.rs`.
fn what_is_new(repo: &Repo, stage: &Stage) -> Result<String> {
    let main = stage.folder().join("src/main.rs");
    let text = fs::read_to_string(repo.path(&main)).with_context(|| main.display().to_string())?;
    let header = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    Ok(header.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" "))
}
