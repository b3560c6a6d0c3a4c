//! `cargo lab trace 03`: a stage runs under `strace`, and what really happened is drawn: a lane for
//! each process, time downwards, and between the lanes what one process did to another.
//!
//! | module | holds |
//! | --- | --- |
//! | [`play`], [`scene`], [`actor`] | what is played, and with what means |
//! | [`strace`] | running a program under it, reading what it wrote |
//! | [`record`], [`descriptor`] | a line of a trace, a descriptor in it |
//! | [`cast`], [`channels`] | which process is who, and how they are connected |
//! | [`act`], [`note`], [`moments`] | what a call is to the picture, and when it took effect |
//! | [`story`], [`reader`], [`fold`], [`join`] | events, repetition folded, what made what happen |
//! | [`layout`] | where everything stands |
//! | [`svg`], [`frame`], [`columns`] | as a picture, and as text |
//! | [`words`], [`manual`] | what is written beside it |

mod act;
mod actor;
mod cast;
mod channels;
mod columns;
mod descriptor;
mod fold;
mod frame;
mod join;
mod layout;
mod manual;
mod moments;
mod note;
mod play;
mod reader;
mod record;
mod scene;
mod story;
mod strace;
mod svg;
#[cfg(test)]
mod tests;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::compile::{BuildError, Tree};
use crate::repo::{Repo, Stage};
use crate::screen::{Paint, show};
use story::Story;

/// Run a stage under strace and draw what its processes did
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The stage: 1 to 11
    #[arg(value_name = "STAGE", required_unless_present = "all")]
    stage: Option<String>,
    /// All stages, to DIR/01.svg and so on
    #[arg(long, conflicts_with_all = ["stage", "text", "open"], requires = "out")]
    all: bool,
    /// Open the picture
    #[arg(long, conflicts_with = "text")]
    open: bool,
    /// Draw it as text, here
    #[arg(long, conflicts_with = "out")]
    text: bool,
    /// Where the picture goes; with --all a directory
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Plays and draws.
pub fn run(args: &Args) -> Result<ExitCode> {
    let repo = Repo::here()?;
    strace::check()?;
    let stages = match &args.stage {
        Some(number) => vec![repo.stage(number)?],
        None => repo.stages()?,
    };
    for stage in &stages {
        let title = format!("{} {}", stage.number, stage.name);
        let (story, plot) = trace(&repo, stage)?;
        if args.text {
            show(&columns::draw(&story, &title, plot, Paint::stdout()))?;
            continue;
        }
        let file = file(&repo, stage, args);
        if let Some(dir) = file.parent() {
            fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        }
        fs::write(&file, svg::draw(&story, &title, plot))
            .with_context(|| format!("write {}", file.display()))?;
        show(&format!("{}\n", file.display()))?;
        if args.open {
            open(&file)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the stage, plays its scene and reads the story.
fn trace(repo: &Repo, stage: &Stage) -> Result<(Story, &'static str)> {
    let program = match Tree::here(repo).program(stage)? {
        Ok(program) => program,
        Err(BuildError(said)) => bail!("the program doesn't build:\n{said}"),
    };
    let play = play::play(stage, &program)?;
    Ok((Story::of(&play), play.plot))
}

fn file(repo: &Repo, stage: &Stage, args: &Args) -> PathBuf {
    let name = format!("{}.svg", stage.number);
    match &args.out {
        Some(dir) if args.all => dir.join(name),
        Some(file) => file.clone(),
        None => repo.state().join("trace").join(name),
    }
}

/// Shows the picture where there is something to show it with.
fn open(file: &Path) -> Result<()> {
    let mut viewer = Command::new("xdg-open");
    viewer.arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match viewer.status() {
        Ok(status) if status.success() => Ok(()),
        _ => show("nothing here to open it with (xdg-open); any web browser can\n"),
    }
}
