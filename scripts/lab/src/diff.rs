//! `cargo lab diff 03 04`: what changed between two stages, in this checkout.
//!
//! A unified diff of their `src` folders, without what would only be noise: the name of a stage
//! counts as the same as the other's, and the markers of exercises are left out. The numbers
//! of lines are those of the files all the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use similar::{ChangeTag, DiffOp, TextDiff};

use crate::repo::{Repo, Stage};
use crate::screen::{Paint, Style, show};

/// Show what changed between two stages
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The stage before: 1 to 10
    #[arg(value_name = "FROM")]
    from: String,
    /// The stage after
    #[arg(value_name = "TO")]
    to: String,
    /// Only this file: server.rs, or server
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
}

/// Prints the diff.
pub fn run(args: &Args) -> Result<ExitCode> {
    let repo = Repo::here()?;
    let (from, to) = (repo.stage(&args.from)?, repo.stage(&args.to)?);
    let mut names = files(&repo, &from)?;
    names.extend(files(&repo, &to)?);
    if let Some(wanted) = &args.file {
        let wanted = format!("{}.rs", wanted.trim_end_matches(".rs"));
        if !names.contains(&wanted) {
            let names: Vec<String> = names.into_iter().collect();
            bail!("neither stage has a file {wanted}; there are {}", names.join(", "));
        }
        names.retain(|name| *name == wanted);
    }
    let paint = Paint::stdout();
    let (mut text, mut table) = (String::new(), String::new());
    for file in names.iter().map(|name| compare(&repo, &from, &to, name, paint)) {
        let file = file?;
        text += &file.diff;
        table += &format!("  {:<12} {}\n", file.name, file.summary);
    }
    text += &format!(
        "{}\n{table}",
        paint.with(Style::Bold, &format!("{} → {}", title(&from), title(&to)))
    );
    let modules = modules(&repo, &from, &to)?;
    if !modules.is_empty() {
        text += "\nnew in shared\n";
    }
    for Module { file, about } in modules {
        text += &format!("  {}: {about}\n", file.display());
    }
    show(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn title(stage: &Stage) -> String {
    format!("{} {}", stage.number, stage.name)
}

/// The names of its source files.
fn files(repo: &Repo, stage: &Stage) -> Result<BTreeSet<String>> {
    let folder = stage.folder().join("src");
    let entries = repo.path(&folder).read_dir().with_context(|| folder.display().to_string())?;
    let mut names = BTreeSet::new();
    for entry in entries {
        names.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| name.ends_with(".rs"));
    Ok(names)
}

/// A file, or the absence of one, made ready to be compared.
struct Source {
    /// `steps/03-sendfd/src/server.rs`
    path: String,
    exists: bool,
    /// What is compared with the other stage.
    lines: Vec<String>,
    /// The same lines as they stand in the file, with their numbers.
    shown: Vec<(usize, String)>,
}

impl Source {
    /// Reads it, and calls its stage `alias`.
    fn read(repo: &Repo, stage: &Stage, name: &str, alias: &Stage) -> Result<Self> {
        let path = stage.folder().join("src").join(name);
        let exists = repo.path(&path).exists();
        let text = match exists {
            true => {
                fs::read_to_string(repo.path(&path)).with_context(|| path.display().to_string())?
            }
            false => String::new(),
        };
        let kept = (1..).zip(text.lines()).filter(|(_, line)| !is_marker(line));
        let shown: Vec<_> = kept.map(|(number, line)| (number, line.to_owned())).collect();
        let lines = shown.iter().map(|(_, line)| rename(line, stage, alias)).collect();
        Ok(Self { path: path.display().to_string(), exists, lines, shown })
    }

    fn lines(&self) -> Vec<&str> {
        self.lines.iter().map(String::as_str).collect()
    }

    fn shown(&self, index: Option<usize>) -> &str {
        index.and_then(|index| self.shown.get(index)).map_or("", |(_, line)| line)
    }

    fn name(&self) -> &str {
        if self.exists { &self.path } else { "/dev/null" }
    }
}

/// A marker of an exercise says nothing about the program.
fn is_marker(line: &str) -> bool {
    ["// LAB ", "// END ", "// STUB "].iter().any(|it| line.trim_start().starts_with(it))
}

/// Every form in which a stage is named.
fn rename(line: &str, from: &Stage, to: &Stage) -> String {
    let long = |stage: &Stage| format!("Stage {}, {}", stage.number, stage.name);
    let folder = |stage: &Stage| format!("{}-{}", stage.number, stage.name);
    let target = |stage: &Stage| stage.test_target();
    let line = line.replace(&long(from), &long(to)).replace(&folder(from), &folder(to));
    line.replace(&target(from), &target(to))
}

/// What changed in a file.
pub struct Change {
    /// `server.rs`
    pub name: String,
    /// Empty if nothing did.
    pub diff: String,
    /// `+12 -3`
    pub summary: String,
}

/// What changed in every file, for who writes it down.
pub fn changes(repo: &Repo, from: &Stage, to: &Stage) -> Result<Vec<Change>> {
    let mut names = files(repo, from)?;
    names.extend(files(repo, to)?);
    names.iter().map(|name| compare(repo, from, to, name, Paint::none())).collect()
}

fn compare(repo: &Repo, from: &Stage, to: &Stage, name: &str, paint: Paint) -> Result<Change> {
    let old = Source::read(repo, from, name, to)?;
    let new = Source::read(repo, to, name, to)?;
    let (diff, summary) = differences(&old, &new, paint);
    Ok(Change { name: name.to_owned(), diff, summary })
}

/// The diff of a file, and what is to be said about it in a few words.
fn differences(old: &Source, new: &Source, paint: Paint) -> (String, String) {
    let (before, after) = (old.lines(), new.lines());
    let diff = TextDiff::from_slices(&before, &after);
    let hunks = diff.grouped_ops(3);
    if hunks.is_empty() {
        return (String::new(), "the same".to_owned());
    }
    let names = format!("--- {}\n+++ {}", old.name(), new.name());
    let mut text = format!("{}\n", paint.with(Style::Bold, &names));
    let (mut added, mut removed) = (0, 0);
    for hunk in &hunks {
        text += &format!("{}\n", paint.with(Style::Cyan, &hunk_header(hunk, old, new)));
        for change in hunk.iter().flat_map(|op| diff.iter_changes(op)) {
            let (sign, style, line) = match change.tag() {
                ChangeTag::Delete => ('-', Style::Red, old.shown(change.old_index())),
                ChangeTag::Insert => ('+', Style::Green, new.shown(change.new_index())),
                ChangeTag::Equal => (' ', Style::Plain, new.shown(change.new_index())),
            };
            added += usize::from(sign == '+');
            removed += usize::from(sign == '-');
            text += &format!("{}\n", paint.with(style, format!("{sign}{line}").trim_end()));
        }
    }
    let fate = match (old.exists, new.exists) {
        (false, _) => ", new",
        (_, false) => ", gone",
        _ => "",
    };
    (text + "\n", format!("+{added} -{removed}{fate}"))
}

/// `@@ -17,7 +18,12 @@`
fn hunk_header(hunk: &[DiffOp], old: &Source, new: &Source) -> String {
    let none = (0, String::new());
    let side = |ranges: Vec<std::ops::Range<usize>>, source: &Source| {
        let first = ranges.first().map_or(0, |range| range.start);
        let length: usize = ranges.iter().map(ExactSizeIterator::len).sum();
        let (number, _) = source.shown.get(first).or(source.shown.last()).unwrap_or(&none);
        format!("{number},{length}")
    };
    let before = side(hunk.iter().map(DiffOp::old_range).collect(), old);
    let after = side(hunk.iter().map(DiffOp::new_range).collect(), new);
    format!("@@ -{before} +{after} @@")
}

/// A file of `shared`, and the first paragraph of its header: what it is about.
pub struct Module {
    pub file: PathBuf,
    pub about: String,
}

/// The modules of `shared` that are first used after `from`, up to `to`: their headers say so.
pub fn modules(repo: &Repo, from: &Stage, to: &Stage) -> Result<Vec<Module>> {
    let mut modules = Vec::new();
    let mut entries: Vec<_> = repo.path("shared/src").read_dir()?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for path in entries.iter().map(fs::DirEntry::path).filter(|path| path.is_file()) {
        let source = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let header: Vec<&str> = source.lines().map_while(|line| line.strip_prefix("//!")).collect();
        let used = header.iter().find_map(|line| line.trim().strip_prefix("First used by stage "));
        let first = used.and_then(|stage| stage.get(..2)).unwrap_or_default();
        if from.number.as_str() < first && first <= to.number.as_str() {
            let about = header.iter().map(|line| line.trim()).take_while(|line| !line.is_empty());
            let about = about.collect::<Vec<_>>().join(" ");
            let file = Path::new("shared/src").join(path.file_name().unwrap_or_default());
            modules.push(Module { file, about });
        }
    }
    Ok(modules)
}
