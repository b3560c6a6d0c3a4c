//! The world in which a page is run: processes, network and `/tmp` of its own.
//!
//! | of its own | so that |
//! | --- | --- |
//! | pids | `pgrep` finds nobody else's programs; with its first process all others end |
//! | network | port 8080 is free, whatever runs on this machine |
//! | `/tmp` | nothing of the reader's is overwritten, and nothing stays |
//! | `cargo` | `cargo run -p step03-sendfd` starts what is built already |
//!
//! `unshare(1)` makes it. Where that isn't allowed, nothing is run, and that is said.

use std::env;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::unistd::getuid;

use crate::compile::{BuildError, Tree};
use crate::notes::console::blocks;
use crate::notes::page::Page;
use crate::repo::{Repo, Stage};
use crate::sandbox::loopback_up;
use crate::schedule::{self, Job};
use crate::supervise::End;

/// How long a page may take.
const DEADLINE: Duration = Duration::from_secs(10 * 60);

/// `cargo`, as far as the pages need it. What it sets and where it starts the program are cargo's.
const CARGO: &str = r#"#!/usr/bin/env bash
if [ "${1-}" = lab ]; then
    shift
    exec "$LAB_PROGRAMS/lab" "$@"
fi
package=
while [ $# -gt 0 ]; do
    case $1 in
    run | -q | --quiet | --locked) shift ;;
    -p | --package) package=$2 && shift 2 ;;
    --manifest-path) shift 2 ;;
    --) shift && break ;;
    *) break ;;
    esac
done
if [ ! -x "$LAB_PROGRAMS/$package" ] || [ -z "$package" ]; then
    echo "cargo: the pages run programs of the lab, by cargo run -p PACKAGE, and cargo lab" >&2
    exit 101
fi
export CARGO_PKG_NAME=$package
[ ! -x "target/debug/$package" ] || exec "target/debug/$package" "$@"
exec "$LAB_PROGRAMS/$package" "$@"
"#;

/// `cargo lab notes run-inside …`: this program again, in the world of one page.
#[derive(clap::Args)]
pub struct Inner {
    /// The page, below the top level
    pub page: PathBuf,
    /// Print what comes
    #[arg(long)]
    pub show: bool,
    /// How long a command may take, in seconds
    #[arg(long)]
    pub patience: u64,
    /// What is thrown away afterwards: the other /tmp, the other cargo
    #[arg(long)]
    work: PathBuf,
    /// Where the programs are
    #[arg(long)]
    programs: PathBuf,
}

/// Runs the blocks of these pages, one after the other. Returns whether all is as they say.
pub fn run(repo: &Repo, pages: &[Page], patience: u64, show: bool) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    if let Some(why) = refusal() {
        println!("NOT CHECKED: the console blocks of the notes: {why}");
        return Ok(code);
    }
    for page in pages.iter().filter(|page| blocks(page).next().is_some()) {
        let programs = build(repo, page)?;
        let target = programs.parent().context("the programs are nowhere")?;
        let work =
            tempfile::Builder::new().prefix("notes-").tempdir_in(target).context("target")?;
        let mut job = Job::new("unshare", DEADLINE);
        job.command.extend(flags().map(Into::into));
        job.command.push(env::current_exe().context("our own path")?.into());
        job.command.extend(["notes", "run-inside"].map(Into::into));
        job.command.push((&page.path).into());
        job.command.extend(["--work".into(), work.path().into()]);
        job.command.extend(["--programs".into(), (&programs).into()]);
        job.command.extend(["--patience".into(), patience.to_string().into()]);
        job.command.extend(show.then_some("--show".into()));
        job.dir = repo.root().to_owned();
        job.output = 4 << 20;
        job.processes = 4000;
        let verdict = schedule::one(job)?;
        print!("{}{}", verdict.stdout, verdict.stderr);
        if verdict.end != End::Exited(0) {
            code = ExitCode::FAILURE;
            if verdict.end != End::Exited(1) {
                println!(
                    "{}:1: {:?} after {:.0} s",
                    page.path.display(),
                    verdict.end,
                    verdict.seconds
                );
            }
        }
    }
    Ok(code)
}

/// What makes the world. Everybody in it ends with this process.
fn flags() -> impl Iterator<Item = &'static str> {
    let all = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let root = (!getuid().is_root()).then_some("--map-root-user");
    all.into_iter().chain(root)
}

/// Why there can't be such a world, if so.
fn refusal() -> Option<String> {
    let mut command = Command::new("unshare");
    let output = command.args(flags()).arg("true").stdin(Stdio::null()).output();
    match output {
        Err(error) => Some(format!("unshare: {error}")),
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// Builds the stages that a page speaks of. Returns where the programs are.
fn build(repo: &Repo, page: &Page) -> Result<PathBuf> {
    let text: Vec<&String> = blocks(page).flat_map(|block| &block.lines).collect();
    let is_named = |stage: &Stage| text.iter().any(|line| line.contains(&stage.package()));
    for stage in repo.stages()?.iter().filter(|stage| is_named(stage)) {
        if let Err(BuildError(said)) = Tree::here(repo).program(stage)? {
            bail!("stage {} doesn't build:\n{said}", stage.number);
        }
    }
    let us = env::current_exe().context("our own path")?;
    Ok(us.parent().context("our own path")?.to_owned())
}

impl Inner {
    /// Makes the network usable, and `/tmp` another one.
    pub fn enter(&self, repo: &Repo) -> Result<()> {
        loopback_up().context("set the loopback interface up")?;
        let (ours, tmp) = (self.folder("tmp")?, Path::new("/tmp"));
        for needed in [repo.root(), &self.programs] {
            // Where the lab itself is in /tmp, it has to stay.
            if let Ok(inside) = needed.strip_prefix(tmp) {
                bind(needed, &self.folder(Path::new("tmp").join(inside))?)?;
            }
        }
        bind(&ours, tmp)?;
        let built = repo.path("target/debug");
        if built != self.programs {
            fs::create_dir_all(&built).context("target/debug")?;
            bind(&self.programs, &built)?;
        }
        Ok(())
    }

    /// What the shells get to know. Our `cargo` comes before the real one, which the lab tool
    /// still finds by `CARGO`.
    pub fn environment(&self) -> Result<Vec<(&'static str, OsString)>> {
        let bin = self.folder("bin")?;
        let cargo = bin.join("cargo");
        fs::write(&cargo, CARGO)
            .and_then(|()| fs::set_permissions(&cargo, Permissions::from_mode(0o755)))
            .context("write our cargo")?;
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([bin].into_iter().chain(env::split_paths(&path)));
        Ok(vec![
            ("PATH", path.context("PATH")?),
            ("CARGO", env::var_os("CARGO").unwrap_or_else(real_cargo)),
            ("LAB_PROGRAMS", self.programs.clone().into()),
            ("TERM", "dumb".into()),
            ("LC_ALL", "C.UTF-8".into()),
        ])
    }

    fn folder(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.work.join(name);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

fn real_cargo() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|it| it.join("cargo")).find(|it| it.exists());
    found.map_or_else(|| "cargo".into(), PathBuf::into_os_string)
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(from), to, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("mount {}", to.display()))
}
