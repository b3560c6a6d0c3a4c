//! `cargo lab export`: writes the repository of a student, with the answers taken out.
//!
//! Interface: [`run`] the command; [`write()`] the tree alone, without git.
//! Rules: what git tracks here is copied, but for what is the teacher's alone ([`TEACHER_ONLY`]).
//! Everything is read and checked before the first file is written. What is written holds no
//! answer, no gallery and none of our history, and builds without a warning.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::notes;
use crate::region;
use crate::repo::{Repo, Stage};

mod adapt;
pub mod tracked;

/// Not for students: wrong and right answers, our own gate, the tests of this tool, the fuzzing.
const TEACHER_ONLY: [&str; 7] = [
    "tests/gallery",
    "tests/fuzz",
    "shared/tests",
    ".ci",
    ".github",
    "scripts/lab/tests",
    "notes/src/diffs",
];

/// Write the repository that students get
#[derive(clap::Args)]
pub struct Args {
    /// The directory to write to; it must be empty, or not exist yet
    dir: PathBuf,
    /// The first stage to be written by the student; those before it stay complete
    #[arg(long, value_name = "NN", default_value = "01")]
    from: String,
}

/// Writes the repository and says what to type next.
pub fn run(args: &Args) -> Result<ExitCode> {
    let repo = Repo::here()?;
    let from = repo.stage(&args.from)?;
    write(&repo, &args.dir, &from.number)?;
    commit(&args.dir)?;
    let blank = region::all(&Repo::at(&args.dir)?)?.iter().filter(|it| it.is_blank()).count();
    let (dir, number) = (args.dir.display(), &from.number);
    println!("wrote {dir}: {blank} regions to write, from stage {number} on");
    println!("next:");
    let next = |command: String, what| println!("  {command:<46}{what}");
    next(format!("cd {dir}"), "its EXERCISE.md says how to work");
    next("cargo lab list".to_owned(), "what there is to write");
    next(
        format!("cargo run -p {} -- demo", from.package()),
        "the stage: it names the first blank it meets",
    );
    next(format!("scripts/check-step.sh {number}"), "its score");
    Ok(ExitCode::SUCCESS)
}

/// Writes the tree of a student into `dir`, which has to be empty or absent. The regions of the
/// stages from `from` on are blank.
pub fn write(repo: &Repo, dir: &Path, from: &str) -> Result<()> {
    let from = repo.stage(from)?;
    let root = repo.root().display();
    ensure!(repo.is_reference(), "{root} has no answers: it is an export itself");
    if let Some(blank) = region::all(repo)?.iter().find(|region| region.is_blank()) {
        bail!("{}: {} has no answer here", blank.place(), blank.id);
    }
    let files = student_files(repo, &from)?;
    make_empty(dir)?;
    for file in files {
        let path = dir.join(&file.path);
        let folder = path.parent().unwrap_or(dir);
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        fs::write(&path, &file.bytes)
            .and_then(|()| fs::set_permissions(&path, file.permissions))
            .with_context(|| format!("write {}", path.display()))?;
    }
    // Where an answer is left out, what follows it has other lines.
    notes::fix_links(&Repo::at(dir)?)
}

/// A file to write.
struct StudentFile {
    path: PathBuf,
    bytes: Vec<u8>,
    permissions: Permissions,
}

/// All the files of a student's repository, in memory.
fn student_files(repo: &Repo, from: &Stage) -> Result<Vec<StudentFile>> {
    let mut files = Vec::new();
    for path in tracked::files(repo)? {
        if TEACHER_ONLY.iter().any(|part| path.starts_with(part)) {
            continue;
        }
        let source = repo.path(&path);
        let read = fs::read(&source).and_then(|it| Ok((it, fs::metadata(&source)?.permissions())));
        let (bytes, permissions) = read.with_context(|| format!("read {}", path.display()))?;
        let bytes = adapt::for_student(&path, bytes, from)?;
        files.push(StudentFile { path, bytes, permissions });
    }
    let path = PathBuf::from("EXERCISE.md");
    let bytes = adapt::exercise(from).into_bytes();
    let permissions = fs::metadata(repo.path("README.md")).context("README.md")?.permissions();
    files.push(StudentFile { path, bytes, permissions });
    Ok(files)
}

fn make_empty(dir: &Path) -> Result<()> {
    match fs::read_dir(dir) {
        Ok(mut entries) => {
            ensure!(entries.next().is_none(), "{} is not empty", dir.display());
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))
        }
        Err(error) => Err(error).with_context(|| dir.display().to_string()),
    }
}

/// Makes the tree a repository with one commit, also where git doesn't know who commits.
fn commit(dir: &Path) -> Result<()> {
    git(dir, &["init", "--quiet", "--initial-branch=main", "--template="])?;
    git(dir, &["add", "--all", "--force"])?; // whatever this user's git ignores everywhere
    let name = "user.name=The process-pool lab";
    let commit = ["commit", "--quiet", "--no-verify", "--no-gpg-sign", "-m", "The exercise"];
    git(dir, &[&["-c", name, "-c", "user.email=lab@localhost"], commit.as_slice()].concat())?;
    Ok(())
}

fn git(dir: &Path, args: &[&str]) -> Result<Vec<u8>> {
    let mut command = Command::new("git");
    // A git that runs us, from an alias or a hook, says where its own repository is.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(variable);
    }
    let output = command.arg("-C").arg(dir).args(args).output().context("run git")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {}: {}", args.join(" "), said.trim());
    Ok(output.stdout)
}
