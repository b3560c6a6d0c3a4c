//! Code that a page shows: included from the source, never pasted.
//!
//! ````text
//! [shared/src/fd_passing.rs, lines 30–47](../../shared/src/fd_passing.rs#L30-L47)
//!
//! ```rust
//! {{#include ../../shared/src/fd_passing.rs:send_fd}}
//! ```
//! ````
//! Interface: [`all`] includes of a page, [`Include::snippet`] what one stands for; the line above
//! the block is a link, for who reads the page as plain Markdown: [`Include::link`], [`mend`].
//! Rules: behind the colon stands an item (see [`item`](mod@super::item)) or the id of a region; with
//! neither it is the whole file. An include is alone in its block. So the source needs no marks.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::notes::item;
use crate::notes::page::Page;
use crate::region;
use crate::repo::Repo;

/// What is longer can't be taken in.
pub const MOST_LINES: usize = 40;

/// An include, as it stands on a page.
#[derive(Debug)]
pub struct Include {
    /// The line of the include itself.
    pub line: usize,
    /// The line of the opening fence.
    pub fence: usize,
    /// As it is written: `../../shared/src/pool.rs`.
    link: String,
    file: PathBuf,
    anchor: Option<String>,
}

/// The lines that an include stands for.
#[derive(Debug, PartialEq, Eq)]
pub struct Snippet {
    pub first: usize,
    pub last: usize,
    pub text: String,
}

/// The includes of a page, in order.
pub fn all(page: &Page) -> Result<Vec<Include>> {
    let mut includes = Vec::new();
    for block in &page.blocks {
        for (index, line) in block.lines.iter().enumerate() {
            let Some(inner) = line.trim().strip_prefix("{{#") else { continue };
            let place = page.place(block.line + 1 + index);
            let inner = inner.strip_suffix("}}").and_then(|it| it.strip_prefix("include "));
            let inner =
                inner.with_context(|| format!("{place}: not {{{{#include FILE:NAME}}}}"))?;
            ensure!(block.lines.len() == 1, "{place}: an include is alone in its block");
            let (link, anchor) = match inner.trim().split_once(':') {
                Some((link, anchor)) => (link, Some(anchor.to_owned())),
                None => (inner.trim(), None),
            };
            let file = page.resolve(link).with_context(|| format!("{place}: {link}: where?"))?;
            let (line, fence) = (block.line + 1 + index, block.line);
            includes.push(Include { line, fence, link: link.to_owned(), file, anchor });
        }
    }
    Ok(includes)
}

impl Include {
    /// The lines that it stands for, moved to the margin.
    pub fn snippet(&self, repo: &Repo) -> Result<Snippet> {
        let name = self.file.display();
        let source = fs::read_to_string(repo.path(&self.file)).with_context(|| name.to_string())?;
        let lines: Vec<&str> = source.lines().collect();
        let range = match &self.anchor {
            None => 1..=lines.len(),
            Some(id) if id.starts_with(|first: char| first.is_ascii_digit()) => {
                let regions = region::of_text(&self.file, &source)?;
                let region = regions.iter().find(|region| region.id == *id);
                let region = region.with_context(|| format!("{name} has no region {id}"))?;
                region.line + 1..=region.line + region.body.lines().count()
            }
            Some(name_of_item) => item::find(&source, name_of_item)
                .map_err(|error| anyhow::anyhow!("{name} {error}"))?,
        };
        let (first, last) = range.into_inner();
        if last < first {
            bail!("{name}: there is nothing to include");
        }
        Ok(Snippet { first, last, text: dedent(&lines[first - 1..last]) })
    }

    /// The line that leads to these lines of the file.
    pub fn link(&self, snippet: &Snippet) -> String {
        let (file, link, Snippet { first, last, .. }) = (self.file.display(), &self.link, snippet);
        match (&self.anchor, first == last) {
            (None, _) => format!("[{file}]({link})"),
            (_, true) => format!("[{file}, line {first}]({link}#L{first})"),
            (_, false) => format!("[{file}, lines {first}–{last}]({link}#L{first}-L{last})"),
        }
    }

    /// The line of a page, from 1, where that link is or has to be, and whether it is one now.
    fn place_of_link(&self, lines: &[&str]) -> (usize, bool) {
        let above = self.fence - 1;
        let blank = |line: &str| line.trim_start_matches(['>', ' ']).is_empty();
        let at = if above > 0 && blank(lines[above - 1]) { above - 1 } else { above };
        let is_link = |line: &str| {
            let line = line.trim_start_matches(['>', ' ']);
            line.starts_with('[')
                && line.ends_with(')')
                && line.contains(&format!("]({}", self.link))
        };
        match at > 0 && is_link(lines[at - 1]) {
            true => (at, true),
            false => (self.fence, false),
        }
    }
}

/// The text of a page with the right link above each include.
pub fn mend(page: &Page, repo: &Repo) -> Result<String> {
    let lines: Vec<&str> = page.text.lines().collect();
    let mut mended: Vec<String> = lines.iter().map(|&it| it.to_owned()).collect();
    for include in all(page)?.iter().rev() {
        let snippet = include.snippet(repo).with_context(|| page.place(include.line))?;
        let link = include.link(&snippet);
        let (at, is_there) = include.place_of_link(&lines);
        let line = lines[at - 1];
        let prefix = &line[..line.len() - line.trim_start_matches(['>', ' ']).len()];
        let link = format!("{prefix}{link}");
        if is_there {
            mended[at - 1] = link;
        } else {
            mended.splice(at - 1..at - 1, [link, prefix.trim_end().to_owned()]);
        }
    }
    Ok(mended.join("\n") + "\n")
}

fn dedent(lines: &[&str]) -> String {
    let code = lines.iter().filter(|line| !line.trim().is_empty());
    let margin = code.map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    lines.iter().map(|line| format!("{}\n", line.get(margin..).unwrap_or(""))).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{all, mend};
    use crate::notes::page::Page;
    use crate::repo::Repo;

    fn lab() -> (tempfile::TempDir, Repo) {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("Cargo.toml", ""),
            ("steps/x", ""),
            (
                "shared/src/a.rs",
                "\n/// Does.\nfn a() {\n    // LAB 01.a: do\n    let x = 1;\n\n    x\n    // END 01.a\n}\nfn b() {}\n",
            ),
        ] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let repo = Repo::at(dir.path()).unwrap();
        (dir, repo)
    }

    fn page(text: &str) -> Page {
        Page::parse(Path::new("notes/src/x.md"), text.to_owned())
    }

    fn block(anchor: &str) -> String {
        format!("```rust\n{{{{#include ../../shared/src/a.rs{anchor}}}}}\n```\n")
    }

    #[test]
    fn links_are_put_above_and_mended() {
        let (_dir, repo) = lab();
        let text = format!(
            "# X\n{}\n[old](../../shared/src/a.rs#L7)\n\n{}\n> [a](../../shared/src/a.rs)\n> {}",
            block(":a"),
            block(":b"),
            block(":01.a").trim_end().replace('\n', "\n> ")
        );
        let mended = mend(&page(&text), &repo).unwrap();
        let expected = format!(
            "# X\n[shared/src/a.rs, lines 2–9](../../shared/src/a.rs#L2-L9)\n\n{}\n\
             [shared/src/a.rs, line 10](../../shared/src/a.rs#L10)\n\n{}\n\
             > [shared/src/a.rs, lines 5–7](../../shared/src/a.rs#L5-L7)\n> {}\n",
            block(":a"),
            block(":b"),
            block(":01.a").trim_end().replace('\n', "\n> ")
        );
        assert_eq!(mended, expected);
        assert_eq!(mend(&page(&mended), &repo).unwrap(), mended);
    }

    #[test]
    fn regions_are_shown_without_their_markers() {
        let (_dir, repo) = lab();
        let page = page(&block(":01.a"));
        let snippet = all(&page).unwrap()[0].snippet(&repo).unwrap();
        assert_eq!(snippet.text, "let x = 1;\n\nx\n");
    }

    #[test]
    fn what_is_not_there_is_an_error_with_its_place() {
        let (_dir, repo) = lab();
        for (anchor, complaint) in [
            (":c", "notes/src/x.md:2: shared/src/a.rs has no item c"),
            (":02.a", "notes/src/x.md:2: shared/src/a.rs has no region 02.a"),
            ("x", "notes/src/x.md:2: shared/src/a.rsx: No such file"),
        ] {
            let error = mend(&page(&block(anchor)), &repo).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.starts_with(complaint), "{error}");
        }
        let two = "```rust\nfn x() {}\n{{#include a.rs:b}}\n```\n";
        let error = all(&page(two)).unwrap_err().to_string();
        assert_eq!(error, "notes/src/x.md:3: an include is alone in its block");
    }
}
