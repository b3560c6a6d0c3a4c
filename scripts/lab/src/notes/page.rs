//! A page of the notes as Markdown sees it: its headings, links and blocks, each with its line.
//!
//! Interface: [`Page::read`], [`all`].
//! Rules: lines count from 1. The parser is the one that mdBook is made of, so that a block in a
//! quotation or between `<details>` is a block here, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::repo::Repo;

/// Where the pages are.
pub const FOLDER: &str = "notes/src";

/// A page, taken apart.
#[derive(Debug, Default)]
pub struct Page {
    /// From the top level: `notes/src/03-sendfd.md`
    pub path: PathBuf,
    pub text: String,
    /// What may stand behind the `#` of a link to this page.
    pub anchors: BTreeSet<String>,
    pub links: Vec<Link>,
    pub blocks: Vec<Block>,
}

/// A link or a picture.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    pub line: usize,
    pub target: String,
}

/// A fenced block of code.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The line of its opening fence; the first line of the block follows it.
    pub line: usize,
    /// What is behind the fence: `rust`.
    pub language: String,
    /// Without the indentation, or the `> `, of what it stands in.
    pub lines: Vec<String>,
}

impl Page {
    /// Reads one, from a path below the top level.
    pub fn read(repo: &Repo, path: &Path) -> Result<Self> {
        let text = fs::read_to_string(repo.path(path)).with_context(|| path.display().to_string());
        Ok(Self::parse(path, text?))
    }

    /// Takes a text apart.
    pub fn parse(path: &Path, text: String) -> Self {
        let mut page = Self { path: path.to_owned(), ..Self::default() };
        let (mut heading, mut block) = (None::<String>, None::<(Block, String)>);
        let mut seen = BTreeMap::new();
        for (event, range) in Parser::new_ext(&text, Options::ENABLE_TABLES).into_offset_iter() {
            let line = line_of(&text, &range);
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let words = heading.take().unwrap_or_default();
                    page.anchors.insert(unlike(slug(&words), &mut seen));
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(info) => info.into_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    block = Some((Block { line, language, lines: Vec::new() }, String::new()));
                }
                Event::End(TagEnd::CodeBlock) => {
                    page.blocks.extend(block.take().map(|(block, body)| Block {
                        lines: body.lines().map(str::to_owned).collect(),
                        ..block
                    }));
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(Link { line, target: dest_url.into_string() });
                }
                Event::Text(words) | Event::Code(words) => match (&mut heading, &mut block) {
                    (Some(heading), _) => heading.push_str(&words),
                    (None, Some((_, body))) => body.push_str(&words),
                    (None, None) => {}
                },
                Event::Html(html) | Event::InlineHtml(html) => page.html(line, &html),
                _ => {}
            }
        }
        page.text = text;
        page
    }

    /// Anchors and links that are written as HTML.
    fn html(&mut self, line: usize, html: &str) {
        self.anchors.extend(attributes(html, "id"));
        for name in ["href", "src"] {
            let links = attributes(html, name).map(|target| Link { line, target });
            self.links.extend(links);
        }
    }

    /// `notes/src/03-sendfd.md:12`
    pub fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    /// How one gets from this page to a file, by a relative link.
    pub fn link_to(&self, file: &Path) -> String {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let common = folder.components().zip(file.components()).take_while(|(a, b)| a == b).count();
        let up = folder.components().skip(common).map(|_| "..");
        let down = file.components().skip(common).map(|it| it.as_os_str().to_str().unwrap_or(""));
        up.chain(down).collect::<Vec<_>>().join("/")
    }

    /// The file that a relative link on this page leads to, from the top level; `None` if it
    /// leads out of the checkout.
    pub fn resolve(&self, link: &str) -> Option<PathBuf> {
        let mut path = self.path.parent().unwrap_or(Path::new("")).to_owned();
        for part in Path::new(link).components() {
            match part {
                std::path::Component::ParentDir => path.pop().then_some(())?,
                std::path::Component::Normal(name) => path.push(name),
                std::path::Component::CurDir => {}
                _ => return None,
            }
        }
        Some(path)
    }
}

/// All pages of the notes, by path.
pub fn all(repo: &Repo) -> Result<Vec<Page>> {
    let (mut pages, mut folders) = (Vec::new(), vec![PathBuf::from(FOLDER)]);
    while let Some(folder) = folders.pop() {
        let entries = repo.path(&folder).read_dir();
        for entry in entries.with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "md") {
                pages.push(Page::read(repo, &path)?);
            }
        }
    }
    pages.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(pages)
}

fn line_of(text: &str, range: &Range<usize>) -> usize {
    text[..range.start].matches('\n').count() + 1
}

/// The anchor that GitHub and mdBook both make of a heading.
fn slug(heading: &str) -> String {
    let letter = |letter: char| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ => letter.is_alphanumeric().then(|| letter.to_ascii_lowercase()),
    };
    heading.trim().chars().filter_map(letter).collect()
}

/// The second of the same name is `name-1`, and so on.
fn unlike(slug: String, seen: &mut BTreeMap<String, usize>) -> String {
    let count = seen.entry(slug.clone()).or_insert(0);
    *count += 1;
    if *count == 1 { slug } else { format!("{slug}-{}", *count - 1) }
}

fn attributes(html: &str, name: &str) -> impl Iterator<Item = String> {
    let key = format!(" {name}=\"");
    let values = html.split(&key).skip(1).filter_map(|rest| rest.split('"').next());
    values.map(str::to_owned).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::{Block, Page, Path};

    fn page(text: &str) -> Page {
        Page::parse(Path::new("notes/src/diffs/03-04.md"), text.to_owned())
    }

    #[test]
    fn headings_and_marks_are_anchors() {
        let page = page("# A `file`, that shrinks\n## Run it\n## Run it\n<a id=\"word\"></a>\n");
        let anchors: Vec<&str> = page.anchors.iter().map(String::as_str).collect();
        assert_eq!(anchors, ["a-file-that-shrinks", "run-it", "run-it-1", "word"]);
    }

    #[test]
    fn blocks_are_found_in_quotations_and_in_details() {
        let page = page(
            "> Try:\n>\n> ```console\n> $ true\n> ```\n\n<details>\n\n```rust\nfn\n\n```\n</details>\n",
        );
        let block = |line, language: &str, lines: &[&str]| Block {
            line,
            language: language.to_owned(),
            lines: lines.iter().map(|&it| it.to_owned()).collect(),
        };
        assert_eq!(page.blocks, [block(3, "console", &["$ true"]), block(9, "rust", &["fn", ""])]);
    }

    #[test]
    fn links_lead_there_and_back() {
        let page = page("[x](a.md#b)\n\n![y](c.svg) <img src=\"d.svg\">\n");
        let links: Vec<_> = page.links.iter().map(|it| (it.line, it.target.as_str())).collect();
        assert_eq!(links, [(1, "a.md#b"), (3, "c.svg"), (3, "d.svg")]);
        let file = Path::new("shared/src/pool.rs");
        assert_eq!(page.link_to(file), "../../../shared/src/pool.rs");
        assert_eq!(page.resolve("../../../shared/src/pool.rs").as_deref(), Some(file));
        assert_eq!(page.link_to(Path::new("notes/src/03-sendfd.md")), "../03-sendfd.md");
        assert_eq!(page.resolve("../../../../x"), None);
    }
}
