//! `cargo lab hint 03`: help with a region, a step further with every call.
//!
//! Without the name of a region it is about what failed in the last check of the stage; if nothing
//! did, about the first region that is blank. How far one has got is remembered by region.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::list::of;
use crate::progress::{self, StageProgress};
use crate::region::{self, Region};
use crate::repo::{Repo, Stage};
use crate::rubric::{RegionHelp, Rubric, StageRubric};
use crate::screen::{Paint, Style, show};

mod choice;

use choice::{Choice, choose, find};

/// Help with what is to be written, in three steps: each call goes one further
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The stage: 1 to 11
    #[arg(value_name = "NN")]
    stage: String,
    /// The region: send_fd or 03.send_fd [default: what failed in the last check]
    region: Option<String>,
    /// Repeat the last hint instead of going further
    #[arg(long)]
    again: bool,
    /// Forget which hints were given
    #[arg(long, conflicts_with = "again")]
    reset: bool,
}

/// Prints a hint.
pub fn run(args: &Args) -> Result<ExitCode> {
    let repo = Repo::here()?;
    // `hint 03.send_fd` means what it says.
    let (number, named) = match args.stage.split_once('.') {
        Some((number, _)) if args.region.is_none() => (number, Some(&args.stage)),
        _ => (args.stage.as_str(), args.region.as_ref()),
    };
    let stage = repo.stage(number)?;
    let regions = region::all(&repo)?;
    if args.reset {
        return reset(&repo, &stage, &regions, named);
    }
    let rubric = Rubric::load(&repo)?;
    let known = progress::load(&repo).stages.remove(&stage.number).unwrap_or_default();
    let choice = match named {
        Some(named) => Choice { region: find(&stage, &regions, named)?, failed: None },
        None => choose(&stage, &regions, &rubric, &known)?,
    };
    let region = choice.region;
    let help = rubric.region(&region.id);
    let help = help.with_context(|| format!("tests/rubric.toml has no hints for {}", region.id))?;
    let (level, repeated) = progress::update(&repo, |progress| {
        let given = progress.hints.entry(region.id.clone()).or_default();
        let before = (*given).min(help.hints.len());
        *given = if args.again { before.max(1) } else { (before + 1).min(help.hints.len()) };
        (*given, *given == before)
    });
    let mut text = heading(&choice, help);
    text += &needed(&regions, rubric.stage(&stage)?, &known);
    let title = format!("hint {level} of {}", help.hints.len());
    text += &format!("\n{}\n", Paint::stdout().with(Style::Bold, &title));
    text += &indent(&help.hints[level - 1]);
    text +=
        &format!("\n{}\n", what_next(&choice, level, help.hints.len(), repeated && !args.again));
    show(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// What it is about, where it stands, where to read.
fn heading(choice: &Choice<'_>, help: &RegionHelp) -> String {
    let region = choice.region;
    let mut text = Paint::stdout().with(Style::Bold, &region.id);
    text += &format!(": {}\n  write  {}\n", region.task, region.place());
    text += &format!("  read   notes/src/{}\n", help.notes);
    if let Some(check) = choice.failed {
        text += &format!("  why    this failed in the last check: {}\n", check.title);
    }
    text
}

/// What this stage is built on and isn't there, or doesn't work.
fn needed(regions: &[Region], rubric: &StageRubric, known: &StageProgress) -> String {
    let is_blank = |id: &&String| regions.iter().any(|it| it.id == **id && it.is_blank());
    let first = |id: &String, how: &str| {
        format!("  first  {id}, which this stage needs, {how}: cargo lab hint {id}\n")
    };
    match (rubric.needs.iter().find(is_blank), &known.needs) {
        (Some(blank), _) => first(blank, "is not written"),
        (None, Some(failing)) => first(failing, "fails"),
        (None, None) => String::new(),
    }
}

fn what_next(choice: &Choice<'_>, level: usize, levels: usize, no_more: bool) -> String {
    let id = &choice.region.id;
    let is_last = level == levels;
    let answer = format!("Its answer, in the teacher's checkout: cargo lab reveal {id}");
    let mut text = match (is_last, no_more) {
        (false, _) => format!("one step further: cargo lab hint {id}"),
        (true, true) => format!("There are no more hints for {id}. {answer}"),
        (true, false) => format!("This was the last hint for {id}. {answer}"),
    };
    if !is_last && choice.region.is_blank() {
        return text; // it is certainly to blame
    }
    let others = choice.failed.iter().flat_map(|check| &check.regions).filter(|it| *it != id);
    for other in others {
        text += &format!("\nIt may also be this one: cargo lab hint {other}");
    }
    text
}

fn reset(
    repo: &Repo,
    stage: &Stage,
    regions: &[Region],
    named: Option<&String>,
) -> Result<ExitCode> {
    let chosen = match named {
        Some(named) => vec![find(stage, regions, named)?],
        None => of(stage, regions),
    };
    progress::update(repo, |progress| {
        progress.hints.retain(|id, _| chosen.iter().all(|region| region.id != *id));
    });
    let what = named.map_or(format!("stage {}", stage.number), |_| chosen[0].id.clone());
    show(&format!("the hints for {what} begin anew\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Sets text in lines of a bearable length. What is indented is code, and stays as it is.
fn indent(text: &str) -> String {
    const WIDTH: usize = 92;
    let mut set = String::new();
    for line in text.trim_matches('\n').lines() {
        if line.starts_with("  ") {
            set += &format!("  {line}\n");
            continue;
        }
        let mut length = 0;
        for word in line.split_whitespace() {
            let wide = word.chars().count();
            if length > 0 && length + 1 + wide > WIDTH {
                set += "\n";
                length = 0;
            }
            set += if length == 0 { "  " } else { " " };
            set += word;
            length += 1 + wide;
        }
        set += "\n";
    }
    set
}
