//! `cargo lab catchup 05 --dir DIR`: writes all that comes before stage 05 into a student's lab.
//!
//! Rules: only bodies of regions of earlier stages are replaced, by those of this checkout. Of a
//! file that changes the student's version is kept first, below `DIR/.lab/kept/`. Where the
//! markers of an earlier region are gone, the file as the student was given it takes its place,
//! and what they wrote for the later stages is carried over. What can't be is said. A second
//! call changes nothing.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::clock;
use crate::repo::{Repo, Stage};
use crate::screen::{Paint, Style, show};

mod plan;

use plan::{Plan, plan_all};

/// Write all that comes before a stage into a student's lab, from the answers of this checkout
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The stage to go on with: 1 to 11
    #[arg(value_name = "NN")]
    stage: String,
    /// The student's lab
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// Catches up.
pub fn run(args: &Args) -> Result<ExitCode> {
    let here = Repo::here()?;
    let stage = here.stage(&args.stage)?;
    if !here.is_reference() {
        bail!(
            "this checkout doesn't have the answers: run this in the teacher's, with --dir {}",
            here.root().display()
        );
    }
    let student = Repo::at(&args.dir)?;
    if student.is_reference() {
        bail!(
            "{} has the answers already: --dir is to name a student's lab",
            student.root().display()
        );
    }
    let plans = plan_all(&here, &student, &stage)?;
    let changes: Vec<&Plan> = plans.iter().filter(|plan| plan.changes()).collect();
    let kept = keep(&student, &changes)?;
    for plan in &changes {
        replace(&student.path(&plan.file), &plan.after)?;
    }
    show(&report(&student, &stage, &plans, kept.as_deref()))?;
    Ok(ExitCode::SUCCESS)
}

/// Keeps the student's versions; says where.
fn keep(student: &Repo, changes: &[&Plan]) -> Result<Option<PathBuf>> {
    let files: Vec<_> =
        changes.iter().filter_map(|plan| Some((&plan.file, plan.before.as_ref()?))).collect();
    if files.is_empty() {
        return Ok(None);
    }
    let now = clock::now().replace(':', "-");
    let kept = student.state().join("kept");
    let mut names =
        (1..).map(|number| if number == 1 { now.clone() } else { format!("{now}-{number}") });
    let folder =
        names.find(|name| !kept.join(name).exists()).map_or(kept.clone(), |name| kept.join(name));
    for (file, bytes) in files {
        let copy = folder.join(file);
        let parent = copy.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        fs::write(&copy, bytes).with_context(|| format!("write {}", copy.display()))?;
    }
    Ok(Some(folder))
}

/// All of it or nothing, whatever happens meanwhile.
fn replace(path: &Path, text: &str) -> Result<()> {
    let what = || format!("write {}", path.display());
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(what)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(what)?;
    file.write_all(text.as_bytes()).with_context(what)?;
    let permissions = fs::metadata(path).map(|old| old.permissions());
    file.as_file()
        .set_permissions(permissions.unwrap_or(Permissions::from_mode(0o644)))
        .with_context(what)?;
    file.persist(path).with_context(what)?;
    Ok(())
}

fn report(student: &Repo, stage: &Stage, plans: &[Plan], kept: Option<&Path>) -> String {
    let paint = Paint::stdout();
    let mut text = String::new();
    for plan in plans {
        let file = plan.file.display();
        text += &match plan.changes() {
            true => format!("{file}  {}\n", plan.news),
            false => paint.with(Style::Dim, &format!("{file}  as it was")) + "\n",
        };
    }
    if let Some(kept) = kept {
        text += &format!("\nthe versions before are kept in {}\n", kept.display());
    }
    let (number, root) = (&stage.number, student.root().display());
    match plans.iter().any(Plan::changes) {
        true => {
            text + &format!(
                "all before stage {number} is written; go on: cd {root} && scripts/check-step.sh {number}\n"
            )
        }
        false => text + &format!("nothing to do: all before stage {number} is written in {root}\n"),
    }
}
