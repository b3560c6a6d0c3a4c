//! What mdBook runs before it makes a book of the pages: includes become code, diagrams become
//! elements that Mermaid draws in the browser.
//!
//! mdBook writes `[context, book]` as JSON to standard input and takes the book back from standard
//! output; see "Preprocessors" in its manual. The book is walked as plain JSON: of a chapter only
//! `content` and `path` matter, whatever else a version of mdBook has in it.

use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::notes::include;
use crate::notes::page::{Block, FOLDER, Page};
use crate::repo::Repo;

/// From standard input to standard output.
pub fn run(repo: &Repo) -> Result<()> {
    let mut input = String::new();
    io::stdin().read_to_string(&mut input).context("read standard input")?;
    let [_context, mut book]: [Value; 2] =
        serde_json::from_str(&input).context("standard input is not mdBook's [context, book]")?;
    chapters(&mut book, &mut |path, text| content(repo, path, text))?;
    serde_json::to_writer(io::stdout(), &book).context("write standard output")?;
    io::stdout().flush().context("write standard output")
}

/// Replaces the content of every chapter, however deep it is.
fn chapters(
    value: &mut Value,
    change: &mut dyn FnMut(&Path, &str) -> Result<String>,
) -> Result<()> {
    match value {
        Value::Array(values) => values.iter_mut().try_for_each(|it| chapters(it, change)),
        Value::Object(fields) => {
            let path =
                fields.get("path").and_then(Value::as_str).map(|it| Path::new(FOLDER).join(it));
            if let (Some(path), Some(Value::String(text))) = (path, fields.get_mut("content")) {
                *text = change(&path, text)?;
            }
            fields.values_mut().try_for_each(|it| chapters(it, change))
        }
        _ => Ok(()),
    }
}

/// A page as mdBook gets it.
fn content(repo: &Repo, path: &Path, text: &str) -> Result<String> {
    let page = Page::parse(path, text.to_owned());
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for include in include::all(&page)?.iter().rev() {
        let snippet = include.snippet(repo).with_context(|| page.place(include.line))?;
        let line = lines[include.line - 1].clone();
        let prefix = &line[..line.find("{{#").unwrap_or(0)];
        let code = snippet.text.lines().map(|code| format!("{prefix}{code}"));
        lines.splice(include.line - 1..include.line, code);
    }
    let page = Page::parse(path, lines.join("\n"));
    if page.blocks.iter().any(is_diagram) {
        // Into the page, and not into all pages: it is large. notes/theme/diagrams.js does the rest.
        let script = page.link_to(&Path::new(FOLDER).join("mermaid.min.js"));
        lines.extend([String::new(), format!("<script src=\"{script}\"></script>")]);
    }
    for block in page.blocks.iter().rev().filter(|it| is_diagram(it)) {
        let drawing = block.lines.iter().map(|line| escape(line)).collect::<Vec<_>>().join("\n");
        let end = block.line + block.lines.len() + 1;
        lines.splice(
            block.line - 1..end,
            [format!("<pre class=\"mermaid\">{drawing}</pre>"), String::new()],
        );
    }
    Ok(lines.join("\n") + "\n")
}

fn is_diagram(block: &Block) -> bool {
    block.language == "mermaid"
}

fn escape(line: &str) -> String {
    line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::chapters;

    #[test]
    fn every_chapter_of_either_form_of_a_book_is_changed() {
        for items in ["sections", "items"] {
            let chapter = |path: &str, content: &str, inner| json!({"Chapter": {"path": path, "content": content, "sub_items": [inner]}});
            let book = |a: &str, b: &str| {
                let inner = chapter("b.md", b, json!("Separator"));
                json!({items: [chapter("a.md", a, inner), {"PartTitle": "x"}]})
            };
            let mut changed = book("1", "2");
            let mut change =
                |path: &std::path::Path, text: &str| Ok(format!("{}{text}", path.display()));
            chapters(&mut changed, &mut change).unwrap();
            assert_eq!(changed, book("notes/src/a.md1", "notes/src/b.md2"));
        }
    }
}
