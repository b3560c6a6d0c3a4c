//! Does every link lead somewhere? Those of the pages, and those to the pages from outside.
//!
//! Interface: [`complaints`].
//! Rules: a link to a page may name an anchor, which has to be there. Whoever speaks of a page in
//! the sources, the scripts and the rubric (`notes/src/03-sendfd.md#run-it`, in the rubric without
//! the folder) speaks of one that is there. Addresses on the web are not looked at.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::export::tracked;
use crate::notes::page::{FOLDER, Page};
use crate::repo::Repo;

/// What is wrong, a line each.
pub fn complaints(repo: &Repo, pages: &[Page]) -> Result<Vec<String>> {
    let anchors: Anchors<'_> = pages.iter().map(|page| (page.path.as_path(), page)).collect();
    let mut complaints = Vec::new();
    for page in pages {
        complaints.extend(page.links.iter().filter_map(|link| {
            let why = on_page(repo, &anchors, page, &link.target)?;
            Some(format!("{}: {}: {why}", page.place(link.line), link.target))
        }));
    }
    complaints.extend(in_summary(pages));
    for file in tracked::files(repo)?.iter().filter(|file| mentions_pages(file)) {
        let text =
            fs::read_to_string(repo.path(file)).with_context(|| file.display().to_string())?;
        for (line, text) in (1..).zip(text.lines()) {
            complaints.extend(mentions(text).filter_map(|mention| {
                let why = to_page(&anchors, &mention)?;
                Some(format!("{}:{line}: {mention}: {why}", file.display()))
            }));
        }
    }
    complaints.extend(chapters_and_files(repo, pages)?);
    Ok(complaints)
}

type Anchors<'a> = BTreeMap<&'a Path, &'a Page>;

/// What is wrong with a link of a page.
fn on_page(repo: &Repo, anchors: &Anchors<'_>, page: &Page, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, it)| (file, Some(it)));
    let Some(path) = (if file.is_empty() { Some(page.path.clone()) } else { page.resolve(file) })
    else {
        return Some("leads out of the repository".to_owned());
    };
    if !repo.path(&path).exists() {
        return Some(format!("there is no {}", path.display()));
    }
    match (anchors.get(path.as_path()), anchor) {
        (Some(target), Some(anchor)) => missing(target, anchor),
        _ => None,
    }
}

fn missing(page: &Page, anchor: &str) -> Option<String> {
    let there = page.anchors.contains(anchor);
    (!there).then(|| format!("{} has no #{anchor}", page.path.display()))
}

/// Every page is in the table of contents: mdBook shows no other.
fn in_summary(pages: &[Page]) -> Vec<String> {
    let summary = Path::new(FOLDER).join("SUMMARY.md");
    let listed = pages.iter().filter(|page| page.path == summary).flat_map(|page| {
        page.links.iter().filter_map(|link| page.resolve(&link.target)).collect::<Vec<_>>()
    });
    let listed: Vec<PathBuf> = listed.collect();
    let of_book = pages.iter().filter(|page| page.path.starts_with(FOLDER) && page.path != summary);
    let unlisted = of_book.filter(|page| !listed.contains(&page.path));
    unlisted.map(|page| format!("{}: not in {}", page.path.display(), summary.display())).collect()
}

/// The files that speak of pages: all texts that aren't pages, nor examples of the tool's tests.
fn mentions_pages(file: &Path) -> bool {
    let texts = ["rs", "toml", "sh", "md", "yml", "json"];
    let is_text = file.extension().is_some_and(|it| texts.iter().any(|text| it == *text));
    let apart =
        [FOLDER, "README.md", "scripts/lab/src/notes", "scripts/lab/tests", "tests/gallery"];
    let is_test = file.ends_with("tests.rs");
    is_text && !is_test && !apart.iter().any(|it| file.starts_with(it))
}

/// The pages that a line speaks of, with the anchor: `notes/src/03-sendfd.md#run-it`. A name
/// without a folder is one if it is that of a chapter, or what the rubric calls `notes`.
fn mentions(line: &str) -> impl Iterator<Item = String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_./#".contains(letter);
    let in_rubric = line.starts_with("notes = \"");
    line.split(move |letter| !is_part(letter)).filter_map(move |word| {
        let word = word.trim_end_matches(['.', '#']);
        let (file, _) = word.split_once('#').unwrap_or((word, ""));
        let name = file.strip_suffix(".md")?;
        let is_chapter = name.starts_with(|it: char| it.is_ascii_digit()) && !name.contains('/');
        let in_notes = file.starts_with("notes/src/");
        let bare = in_rubric || is_chapter || name == "wire-formats" || name == "glossary";
        let whole = if in_notes { word.to_owned() } else { format!("{FOLDER}/{word}") };
        (in_notes || bare).then_some(whole)
    })
}

/// What is wrong with a page that is spoken of.
fn to_page(anchors: &Anchors<'_>, mention: &str) -> Option<String> {
    let (file, anchor) = mention.split_once('#').map_or((mention, None), |(f, a)| (f, Some(a)));
    match (anchors.get(Path::new(file)), anchor) {
        (None, _) => Some("there is no such page".to_owned()),
        (Some(page), Some(anchor)) => missing(page, anchor),
        (Some(_), None) => None,
    }
}

/// The program of each stage names its chapter, and the chapter leads to the program.
fn chapters_and_files(repo: &Repo, pages: &[Page]) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for stage in repo.stages()? {
        let (chapter, folder) = (stage.chapter(), stage.folder());
        let main = folder.join("src/main.rs");
        let text =
            fs::read_to_string(repo.path(&main)).with_context(|| main.display().to_string())?;
        if !text.contains(&*chapter.to_string_lossy()) {
            complaints.push(format!("{}:1: doesn't name {}", main.display(), chapter.display()));
        }
        let page = pages.iter().find(|page| page.path == chapter);
        let links = page.iter().flat_map(|page| page.links.iter().map(move |it| (*page, it)));
        let mut targets = links.filter_map(|(page, link)| page.resolve(&link.target));
        if !targets.any(|target| target.starts_with(&folder)) {
            let (chapter, folder) = (chapter.display(), folder.display());
            complaints.push(format!("{chapter}:1: doesn't lead to {folder}"));
        }
    }
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn pages_are_spoken_of_in_several_ways() {
        let found = |line| mentions(line).collect::<Vec<_>>();
        assert_eq!(found("//! See also: `notes/src/01-a.md`."), ["notes/src/01-a.md"]);
        assert_eq!(found("notes = \"06-b.md#c-d\""), ["notes/src/06-b.md#c-d"]);
        assert_eq!(found("notes = \"checks.md#x\""), ["notes/src/checks.md#x"]);
        assert_eq!(found("see wire-formats.md. And"), ["notes/src/wire-formats.md"]);
        assert_eq!(found("its EXERCISE.md, README.md, notes/src/{x}.md"), [] as [&str; 0]);
    }
}
