//! Runs what the pages show: every ```` ```console ```` block, as a reader would type it.
//!
//! | a line | means |
//! | --- | --- |
//! | `$ command` | typed; a `\` at its end goes on in the next line |
//! | `^C` | Ctrl-C, to what runs in that terminal; output may follow on the line |
//! | `$` | the prompt: the command before has ended |
//! | `…` alone | any number of lines, or none |
//! | all others | output, standard error included; `…` in it stands for anything |
//!
//! A block is typed in a terminal where nothing runs, in a new one if need be. A server stays, for
//! the blocks that follow. A block that begins with output goes on where that output comes.
//! A command that has shown all that is expected may go on; one of which nothing is expected is
//! waited for, unless a `…` stands below it.
//!
//! Rules: each page has a world of its own, see [`world`], which ends with the page, and everybody
//! in it. Nothing is slept for: what comes next is typed when the expected lines are there and
//! nobody is at work any more.

pub mod expect;
mod script;
mod session;
mod terminal;
mod world;

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::notes::page::{Block, Page};
use crate::repo::Repo;

pub use world::{Inner, run};

/// The blocks of a page that are run.
fn blocks(page: &Page) -> impl Iterator<Item = &Block> {
    page.blocks.iter().filter(|block| is_run(block))
}

/// Is this a block that is run?
pub fn is_run(block: &Block) -> bool {
    block.language == "console"
}

/// Runs the blocks of a page. This process is alone in its world, and its first.
pub fn run_inside(inner: &Inner) -> Result<ExitCode> {
    let repo = Repo::here()?;
    let page = Page::read(&repo, &inner.page)?;
    inner.enter(&repo)?;
    let mut session = session::Session::new(&repo, inner)?;
    let mut commands = 0;
    for block in blocks(&page) {
        for step in script::steps(block).with_context(|| page.place(block.line))? {
            commands += usize::from(step.is_command());
            if let Err(trouble) = session.play(&step) {
                println!("{}: {trouble:#}", page.place(step.line));
                return Ok(ExitCode::FAILURE);
            }
            if inner.show {
                session.show(&step);
            }
        }
    }
    println!("{}: {} blocks, {commands} commands", page.path.display(), blocks(&page).count());
    Ok(ExitCode::SUCCESS)
}
