//! Where the large files are: the one that is sent, and those that are received.
//!
//! A file that was received stays until just before the next one is: then its memory is at hand.
//! Memory that has been free for a while may have gone back to the host of a virtual machine, and
//! to fetch it costs more than the transfer.

use std::env;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// Where the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Destination {
    /// Nowhere: they are received and dropped.
    Sink,
    /// A file in memory (tmpfs).
    Memory,
    /// A file on disk. Nobody waits for the disk itself (`fsync`).
    Disk,
}

/// Temporary directories, gone when dropped.
pub struct Place {
    disk: TempDir,
    memory: Option<TempDir>,
}

/// A block of what a file is made of.
const BLOCK: usize = 1 << 20;

impl Place {
    /// Makes the directories.
    pub fn new() -> Result<Self> {
        let candidates = [env::temp_dir(), PathBuf::from("/var/tmp"), env::current_dir()?];
        let disk = candidates.iter().find(|it| it.is_dir() && !is_tmpfs(it));
        let disk = disk.context("no directory for temporary files is on a disk (see TMPDIR)")?;
        let shm = Path::new("/dev/shm");
        let memory = is_tmpfs(shm).then(|| temporary(shm).ok()).flatten();
        let place = Self { disk: temporary(disk)?, memory };
        for dir in place.all() {
            fs::create_dir(dir.join("out")).context("create a directory")?;
        }
        Ok(place)
    }

    /// Is there a file system in memory?
    pub fn has_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// The directory on disk.
    pub fn disk(&self) -> &Path {
        self.disk.path()
    }

    fn all(&self) -> impl Iterator<Item = &Path> {
        [Some(&self.disk), self.memory.as_ref()].into_iter().flatten().map(TempDir::path)
    }

    /// The directory that files are received in; `None` for the sink.
    pub fn out(&self, destination: Destination) -> Option<PathBuf> {
        let dir = match destination {
            Destination::Sink => None,
            Destination::Memory => self.memory.as_ref(),
            Destination::Disk => Some(&self.disk),
        };
        dir.map(|it| it.path().join("out"))
    }

    /// Removes what was received.
    pub fn clear(&self, destination: Destination) -> Result<()> {
        let Some(dir) = self.out(destination) else { return Ok(()) };
        for entry in dir.read_dir().context("read a directory")? {
            fs::remove_file(entry?.path()).context("remove a file")?;
        }
        Ok(())
    }

    /// Makes a file of `bytes` bytes on disk. It has just been written, so it is in memory, too.
    pub fn file(&self, name: &str, bytes: u64) -> Result<PathBuf> {
        self.check_room(bytes)?;
        let mut block = vec![0; BLOCK];
        File::open("/dev/urandom")?.read_exact(&mut block).context("read /dev/urandom")?;
        let path = self.disk().join(name);
        let mut file = File::create(&path).with_context(|| path.display().to_string())?;
        let mut left = bytes;
        while left > 0 {
            let length = left.min(BLOCK as u64) as usize;
            file.write_all(&block[..length]).with_context(|| path.display().to_string())?;
            left -= length as u64;
        }
        file.sync_all().context("fsync")?; // not in the middle of the measurement
        Ok(path)
    }

    /// There has to be room for the file, twice on disk, once in memory, and some to spare.
    fn check_room(&self, bytes: u64) -> Result<()> {
        for dir in self.all() {
            let free = free(dir)?;
            if free < bytes * 5 / 2 {
                let (dir, free, mib) = (dir.display(), free >> 20, bytes >> 20);
                bail!("{dir} has {free} MiB free, too little for a file of {mib} MiB: see --size");
            }
        }
        Ok(())
    }
}

fn temporary(dir: &Path) -> Result<TempDir> {
    let dir = tempfile::Builder::new().prefix("lab-bench-").tempdir_in(dir);
    dir.context("a temporary directory")
}

fn is_tmpfs(dir: &Path) -> bool {
    statfs(dir).is_ok_and(|it| it.filesystem_type() == TMPFS_MAGIC)
}

fn free(dir: &Path) -> Result<u64> {
    let stat = statvfs(dir).context("statvfs")?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

/// Is what was received the same as what was sent?
pub fn same(sent: &Path, received: &Path) -> Result<bool> {
    let open = |path: &Path| File::open(path).with_context(|| path.display().to_string());
    let (mut sent, mut received) = (open(sent)?, open(received)?);
    if sent.metadata()?.len() != received.metadata()?.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut left = sent.metadata()?.len();
    while left > 0 {
        let length = left.min(BLOCK as u64) as usize;
        sent.read_exact(&mut a[..length])?;
        received.read_exact(&mut b[..length])?;
        if a[..length] != b[..length] {
            return Ok(false);
        }
        left -= length as u64;
    }
    Ok(true)
}
