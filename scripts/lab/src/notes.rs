//! `cargo lab notes`: keeps the notes true. Code is included, commands are run, links lead somewhere.
//!
//! | module | does |
//! | --- | --- |
//! | [`page`] | takes a page apart: headings, links, blocks |
//! | [`mod@include`], [`item`] | code on a page, and where it stands in the source |
//! | [`links`] | all links and anchors, also those of the rubric and of the sources |
//! | [`diffs`], [`figures`] | what is made: what changes between stages, what the bench has measured |
//! | [`console`] | runs every console block of a page |
//! | [`preprocess`] | what mdBook runs when it makes the book |

mod console;
mod diffs;
mod figures;
mod include;
mod item;
mod links;
mod page;
mod preprocess;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use crate::notes::page::{FOLDER, Page};
use crate::repo::Repo;
use crate::screen::show;

/// Check, mend and run the notes
#[derive(clap::Subcommand)]
pub enum Action {
    /// Write what is made from elsewhere: lines in links to code, diffs of stages, tables, charts
    Fix,
    /// Check includes, links, anchors, and whether all that is made is fresh
    Check,
    /// Run the console blocks and compare what they print
    Run(Run),
    /// What mdBook runs
    #[command(hide = true)]
    Preprocess {
        /// `supports RENDERER`
        question: Vec<String>,
    },
    #[command(hide = true)]
    RunInside(console::Inner),
}

/// The arguments of `cargo lab notes run`.
#[derive(clap::Args)]
pub struct Run {
    /// The pages, such as 03-sendfd or notes/src/03-sendfd.md [default: all, and README.md]
    pages: Vec<String>,
    /// Print what comes, ready to be put on the page
    #[arg(long)]
    show: bool,
    /// How long to wait for what a command should print, in seconds
    #[arg(long, default_value_t = 30)]
    patience: u64,
}

/// Does what is asked for.
pub fn run(action: &Action) -> Result<ExitCode> {
    match action {
        Action::RunInside(inner) => return console::run_inside(inner),
        // "supports html": whatever it is made for, code is code.
        Action::Preprocess { question } if !question.is_empty() => return Ok(ExitCode::SUCCESS),
        _ => {}
    }
    let repo = Repo::here()?;
    match action {
        Action::Fix => fix(&repo),
        Action::Check => check(&repo),
        Action::Run(args) => {
            console::run(&repo, &chosen(&repo, &args.pages)?, args.patience, args.show)
        }
        Action::Preprocess { .. } => preprocess::run(&repo).map(|()| ExitCode::SUCCESS),
        Action::RunInside(inner) => console::run_inside(inner),
    }
}

/// The pages and the README, which has links, too.
fn all(repo: &Repo) -> Result<Vec<Page>> {
    let mut pages = page::all(repo)?;
    pages.push(Page::read(repo, Path::new("README.md"))?);
    Ok(pages)
}

fn chosen(repo: &Repo, names: &[String]) -> Result<Vec<Page>> {
    let mut pages = all(repo)?;
    let is = |page: &Page, name: &str| {
        let stem = page.path.file_stem().unwrap_or_default().to_string_lossy();
        page.path == Path::new(name)
            || name.trim_end_matches(".md") == stem
            || stem.starts_with(&format!("{name}-"))
    };
    if let Some(unknown) = names.iter().find(|name| !pages.iter().any(|page| is(page, name))) {
        bail!("there is no page {unknown} in {FOLDER}");
    }
    pages.retain(|page| names.is_empty() || names.iter().any(|name| is(page, name)));
    Ok(pages)
}

/// Everything that is made from something else: each file, and what it should hold.
fn made(repo: &Repo, pages: &[Page]) -> Result<BTreeMap<PathBuf, String>> {
    let mut made = BTreeMap::new();
    for page in pages.iter().filter(|page| !page.path.starts_with(diffs::DIFFS)) {
        let text = include::mend(page, repo)?;
        let text = figures::mend(repo, &page.path, &text)?;
        made.insert(page.path.clone(), text);
    }
    made.extend(diffs::pages(repo)?);
    made.extend(figures::charts(repo)?);
    Ok(made)
}

fn fix(repo: &Repo) -> Result<ExitCode> {
    for (path, text) in made(repo, &all(repo)?)? {
        let file = repo.path(&path);
        if fs::read_to_string(&file).is_ok_and(|old| old == text) {
            continue;
        }
        let folder = file.parent().unwrap_or(repo.root());
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&file, text))
            .with_context(|| path.display().to_string())?;
        show(&format!("wrote {}\n", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Links to code whose lines have moved, as in a copy where answers were taken out.
pub fn fix_links(repo: &Repo) -> Result<()> {
    for page in all(repo)? {
        let text = include::mend(&page, repo)?;
        if text != page.text {
            fs::write(repo.path(&page.path), text)
                .with_context(|| page.path.display().to_string())?;
        }
    }
    Ok(())
}

fn check(repo: &Repo) -> Result<ExitCode> {
    ensure!(repo.is_reference(), "the notes of an exercise speak of more than is in it");
    let pages = all(repo)?;
    let mut complaints = links::complaints(repo, &pages)?;
    for page in &pages {
        complaints.extend(blocks(repo, page)?);
    }
    // Only if every include leads somewhere.
    if complaints.is_empty() {
        complaints.extend(stale(repo, &made(repo, &pages)?));
    }
    complaints.iter().try_for_each(|complaint| show(&format!("{complaint}\n")))?;
    match complaints.len() {
        0 => show(&format!("{} pages are as they should be\n", pages.len()))?,
        _ => return Ok(ExitCode::FAILURE),
    }
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with the blocks of a page.
fn blocks(repo: &Repo, page: &Page) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for block in &page.blocks {
        let place = page.place(block.line);
        if ["sh", "bash", "shell", "shell-session", "console,"].contains(&&*block.language) {
            complaints.push(format!("{place}: commands stand in a block `console`, which is run"));
        }
        if block.language.is_empty() {
            complaints.push(format!("{place}: a block without a language: `text`, if it is none"));
        }
    }
    let includes = match include::all(page) {
        Ok(includes) => includes,
        Err(error) => return Ok(vec![format!("{error:#}")]),
    };
    for include in includes {
        let place = page.place(include.line);
        match include.snippet(repo) {
            Err(error) => complaints.push(format!("{place}: {error:#}")),
            Ok(snippet) => {
                let lines = snippet.last - snippet.first + 1;
                if lines > include::MOST_LINES {
                    let most = include::MOST_LINES;
                    complaints
                        .push(format!("{place}: {lines} lines; at most {most} can be taken in"));
                }
            }
        }
    }
    Ok(complaints)
}

/// The files that don't hold what they should, by the first line that differs.
fn stale(repo: &Repo, made: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in made {
        let old = fs::read_to_string(repo.path(path)).unwrap_or_default();
        if old != *text {
            let same = old.lines().zip(text.lines()).take_while(|(a, b)| a == b).count();
            let path = path.display();
            complaints.push(format!("{path}:{}: stale: cargo lab notes fix", same + 1));
        }
    }
    // A pair of stages that isn't one any more.
    let folder = repo.path(diffs::DIFFS).read_dir();
    for entry in folder.into_iter().flatten().flatten() {
        let path = Path::new(diffs::DIFFS).join(entry.file_name());
        if !made.contains_key(&path) {
            complaints.push(format!("{}:1: nothing makes this page", path.display()));
        }
    }
    complaints
}
