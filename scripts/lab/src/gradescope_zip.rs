//! `cargo lab gradescope-zip`: writes the archive that Gradescope builds its autograder from.
//!
//! At its root are `setup.sh`, which prepares the image, and `run_autograder`, which grades a
//! submission by `cargo lab grade --one`. The checkout to grade with, in `lab`, is the one that
//! was handed out: it has all the checks, and no answers that a submission could look for.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::export;
use crate::repo::{Repo, Stage};

const SETUP: &str = include_str!("gradescope_zip/setup.sh");
const RUN: &str = include_str!("gradescope_zip/run_autograder");

/// Write the archive of a Gradescope autograder
#[derive(clap::Args)]
pub struct Args {
    /// The stage
    #[arg(long, value_name = "NN")]
    step: String,
    /// The archive [default: gradescope-NN.zip]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Writes the archive.
pub fn run(args: &Args) -> Result<ExitCode> {
    let repo = Repo::here()?;
    let stage = repo.stage(&args.step)?;
    let default = || PathBuf::from(format!("gradescope-{}.zip", stage.number));
    let out = args.out.clone().unwrap_or_else(default);
    let new = PathBuf::from(format!("{}.new", out.display()));
    write(&repo, &stage, &new)
        .and_then(|()| Ok(fs::rename(&new, &out)?))
        .inspect_err(|_| drop(fs::remove_file(&new)))
        .with_context(|| format!("{}", out.display()))?;
    println!("wrote {}: upload it at Configure Autograder", out.display());
    println!("in the settings, give the container 1 CPU and 1.5 GB or more: it compiles");
    Ok(ExitCode::SUCCESS)
}

fn write(repo: &Repo, stage: &Stage, path: &Path) -> Result<()> {
    let dir = tempfile::tempdir().context("a temporary place")?;
    let root = dir.path().join("lab");
    export::write(repo, &root, &stage.number)?;
    let mut zip = ZipWriter::new(File::create(path)?);
    let mut add = |name: &str, mode: u32, bytes: &[u8]| -> Result<()> {
        zip.start_file(name, SimpleFileOptions::default().unix_permissions(mode))?;
        Ok(zip.write_all(bytes)?)
    };
    add("setup.sh", 0o755, SETUP.as_bytes())?;
    add("run_autograder", 0o755, RUN.as_bytes())?;
    add("stage", 0o644, format!("{}\n", stage.number).as_bytes())?;
    for file in files(&root)? {
        let name = file.strip_prefix(dir.path())?.to_str().context("a name that isn't UTF-8")?;
        let mode = file.metadata()?.permissions().mode() & 0o777;
        add(name, mode, &fs::read(&file)?)?;
    }
    zip.finish()?.sync_all()?;
    Ok(())
}

/// All files below, in order: the same checkout makes the same archive.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in dir.read_dir()? {
        let path = entry?.path();
        match path.is_dir() {
            true => files.extend(self::files(&path)?),
            false => files.push(path),
        }
    }
    files.sort();
    Ok(files)
}
