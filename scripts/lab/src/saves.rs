//! Which source files were saved: the part of `cargo lab watch` that looks at the file system.
//!
//! Normally the kernel tells (`inotify(7)`), and nobody works until a file is written. Where it
//! can't (its limits are used up) or wouldn't know (a folder shared with another system), every
//! file is looked at once a second instead.
//! Rules: a [`Saves`] is readable (`poll(2)`) when there is something for [`Burst::take`]. Only
//! sources count, not what editors leave beside them.

use std::collections::BTreeSet;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::statfs::{self, FsType, statfs};
use notify::{Config, ErrorKind, Event, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher};

use crate::repo::Repo;

/// What is watched, below the top level.
pub const FOLDERS: [&str; 2] = ["steps", "shared"];

/// How long between two looks where the kernel doesn't tell.
const INTERVAL: Duration = Duration::from_secs(1);

/// So long nothing must be saved before a check starts: editors write a file in several steps,
/// and "save all" is many files.
const QUIET: Duration = Duration::from_millis(150);

/// A check starts so long after the first save even if saving never ends.
const AT_LAST: Duration = Duration::from_secs(2);

/// The saves in a checkout.
pub struct Saves {
    shared: Arc<Shared>,
    wake: PipeReader,
    /// What to tell the user about how they are noticed; empty for the usual way.
    pub note: String,
    _watcher: Box<dyn Watcher>,
}

/// Files saved in quick succession.
#[derive(Default)]
pub struct Burst {
    files: BTreeSet<PathBuf>,
    /// When the first and the last were noticed.
    times: Option<(Instant, Instant)>,
}

/// Between the watcher's thread and ours.
struct Shared {
    files: Mutex<BTreeSet<PathBuf>>,
    /// Holds one byte while `files` holds something.
    wake: PipeWriter,
}

impl Saves {
    /// Begins to watch. `by_looking` doesn't ask the kernel.
    pub fn watch(repo: &Repo, by_looking: bool) -> Result<Self> {
        let (wake, writer) = io::pipe().context("pipe")?;
        let shared = Arc::new(Shared { files: Mutex::default(), wake: writer });
        let why = if by_looking { Some(String::new()) } else { foreign(repo.root()) };
        let told = match why {
            Some(why) => Err(why),
            None => by_the_kernel(repo, &shared).map_err(|error| format!(" ({})", reason(&error))),
        };
        let (watcher, note) = match told {
            Ok(watcher) => (watcher, String::new()),
            Err(why) => (by_looks(repo, &shared)?, format!(", looking once a second{why}")),
        };
        Ok(Self { shared, wake, note, _watcher: watcher })
    }

    /// What was saved since the last call.
    fn take(&mut self) -> Result<BTreeSet<PathBuf>> {
        let mut files = self.shared.files();
        if !files.is_empty() {
            self.wake.read_exact(&mut [0]).context("read the pipe of the watcher")?;
        }
        Ok(std::mem::take(&mut *files))
    }
}

impl AsFd for Saves {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Burst {
    /// Takes in what was saved.
    pub fn take(&mut self, saves: &mut Saves) -> Result<()> {
        let now = Instant::now();
        self.times = Some((self.times.map_or(now, |(first, _)| first), now));
        self.files.extend(saves.take()?);
        Ok(())
    }

    /// The files.
    pub fn files(&self) -> &BTreeSet<PathBuf> {
        &self.files
    }

    /// When it is over, unless more is saved until then.
    pub fn end(&self) -> Instant {
        let end = self.times.map(|(first, last)| (last + QUIET).min(first + AT_LAST));
        end.unwrap_or_else(Instant::now)
    }
}

impl Shared {
    fn files(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by the watcher's thread.
    fn tell(&self, event: notify::Result<Event>) {
        // An error is a file that went away under its hands, which is an event of its own.
        let Ok(event) = event else { return };
        let missed_some = event.need_rescan();
        let saved = !event.kind.is_access(); // cargo opens and reads them all
        let mut sources = event.paths;
        sources.retain(|path| missed_some || saved && is_source(path));
        let mut files = self.files();
        if files.is_empty() && !sources.is_empty() {
            let _ = (&self.wake).write_all(&[0]); // fails when nobody watches any longer
        }
        files.extend(sources);
    }
}

/// `server.rs`, `Cargo.toml`; not `.server.rs.swp`, `server.rs~`, `.#server.rs`, `4913`.
fn is_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    (name.ends_with(".rs") || name.ends_with(".toml")) && !name.starts_with('.')
}

fn by_the_kernel(repo: &Repo, shared: &Arc<Shared>) -> notify::Result<Box<dyn Watcher>> {
    let shared = Arc::clone(shared);
    let mut watcher = RecommendedWatcher::new(move |it| shared.tell(it), Config::default())?;
    for folder in FOLDERS {
        watcher.watch(&repo.path(folder), RecursiveMode::Recursive)?;
    }
    Ok(Box::new(watcher))
}

/// Why the kernel can't tell.
fn reason(error: &notify::Error) -> String {
    let limit = match &error.kind {
        ErrorKind::MaxFilesWatch => "max_user_watches",
        ErrorKind::Io(error) if error.raw_os_error() == Some(libc::EMFILE) => "max_user_instances",
        _ => return format!("inotify: {error}"),
    };
    format!("the limit fs.inotify.{limit} is reached")
}

fn by_looks(repo: &Repo, shared: &Arc<Shared>) -> Result<Box<dyn Watcher>> {
    let shared = Arc::clone(shared);
    // By contents: the time of a file is known to the second only.
    let config = Config::default().with_poll_interval(INTERVAL).with_compare_contents(true);
    let mut watcher = PollWatcher::new(move |it| shared.tell(it), config)?;
    for folder in FOLDERS {
        watcher.watch(&repo.path(folder), RecursiveMode::Recursive)?;
    }
    Ok(Box::new(watcher))
}

/// Why the kernel may not hear of a save: on the file systems that another system can write to, it
/// is told only of what is written from this side.
fn foreign(root: &Path) -> Option<String> {
    const V9FS: FsType = FsType(0x0102_1997); // a Windows drive in WSL, a folder of a host
    const CIFS: FsType = FsType(0xff53_4d42);
    const SMB2: FsType = FsType(0xfe53_4d42);
    const VBOXSF: FsType = FsType(0x786f_4256);
    let kind = statfs(root).ok()?.filesystem_type();
    let shared = [V9FS, CIFS, SMB2, VBOXSF, statfs::NFS_SUPER_MAGIC, statfs::FUSE_SUPER_MAGIC];
    shared.contains(&kind).then(|| " (the folder is shared with another system)".to_owned())
}
