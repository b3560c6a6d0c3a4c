//! What the workers are to do: which programs may be run, and how long things may take.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::cli::ProgramServeArgs;
use shared::program::Directory;

/// Made by the parent, inherited by all workers.
pub struct Job {
    pub directory: Directory,
    /// How long a program may run.
    pub time_limit: Duration,
    /// How long a client may take to ask for one.
    pub stall_timeout: Duration,
    pub quiet: bool,
}

impl Job {
    pub fn new(args: &ProgramServeArgs) -> io::Result<Self> {
        Ok(Self {
            directory: Directory::open(&args.cgi_dir.clone().unwrap_or_else(default_directory))?,
            time_limit: args.time_limit(),
            stall_timeout: args.stall_timeout(),
            quiet: args.quiet,
        })
    }
}

/// The programs that come with this stage: beside the executable, or else where it was built.
fn default_directory() -> PathBuf {
    let beside = env::current_exe().ok().and_then(|program| Some(program.parent()?.join("cgi")));
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("cgi");
    beside.filter(|it| it.is_dir()).unwrap_or(built)
}
