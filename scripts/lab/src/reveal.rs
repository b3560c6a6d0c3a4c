//! `cargo lab reveal 06.send_windows`: the answer of one region, where the answers are.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::region::{self, Region};
use crate::repo::Repo;
use crate::screen::{Paint, Style, show};

/// Show the answer of one region (in the teacher's checkout only)
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The region: 06.send_windows, or its name alone if no other stage has one of that name
    region: String,
}

/// Prints the answer.
pub fn run(args: &Args) -> Result<ExitCode> {
    let repo = Repo::here()?;
    let regions = region::all(&repo)?;
    let region = find(&regions, &args.region)?;
    if !repo.is_reference() {
        let id = &region.id;
        bail!(
            "the answers are in the teacher's checkout, not in this one; for a hint: cargo lab hint {id}"
        );
    }
    let heading = Paint::stdout().with(Style::Bold, &region.id);
    let (task, place, body) = (&region.task, region.place(), &region.body);
    show(&format!("{heading}: {task}\n  {place}\n\n{body}"))?;
    Ok(ExitCode::SUCCESS)
}

/// The one region that is meant.
fn find<'a>(regions: &'a [Region], named: &str) -> Result<&'a Region> {
    let meant = |region: &&Region| region.id == named || region.id[3..] == *named;
    let found: Vec<&Region> = regions.iter().filter(meant).collect();
    match found[..] {
        [region] => Ok(region),
        [] => bail!("there is no region {named}; there are\n{}", by_stage(regions)),
        _ => {
            let ids: Vec<&str> = found.iter().map(|region| region.id.as_str()).collect();
            bail!("which {named}: {}?", ids.join(" or "))
        }
    }
}

/// All ids, a line a stage.
fn by_stage(regions: &[Region]) -> String {
    let of_a_stage = regions.chunk_by(|a, b| a.stage() == b.stage());
    let line = |regions: &[Region]| {
        let ids: Vec<&str> = regions.iter().map(|region| region.id.as_str()).collect();
        format!("  {}", ids.join(" "))
    };
    of_a_stage.map(line).collect::<Vec<_>>().join("\n")
}
