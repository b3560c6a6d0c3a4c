//! The file that the server sends.
//!
//! Purpose: find it, open it, and know its size and its name.
//! Interface: [`path`] once at the start, [`open`] for every transfer, [`name`].
//! Rules: a file is looked at once, through its descriptor. `stat` and `open` of one path can
//! see two different files.
//! First used by stage 04.

use std::env;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::cli::FileServeArgs;
use crate::error::Context;
use crate::narrate::printable;

/// The path of the file to serve. It is opened once now, so that the teacher hears of a mistake
/// and not the first client.
///
/// # Errors
/// Those of [`open`].
pub fn path(args: &FileServeArgs) -> io::Result<PathBuf> {
    let path = match &args.file {
        Some(path) => path.clone(),
        None => env::current_exe().context("find the program's own file")?,
    };
    open(&path)?;
    Ok(path)
}

/// The name under which a file is sent: the last component of its path.
#[must_use]
pub fn name(path: &Path) -> &[u8] {
    path.file_name().unwrap_or(path.as_os_str()).as_bytes()
}

/// Opens a regular file and returns it with its size in bytes. The size is the open file's own
/// (`fstat`): a look at the path could see another file.
///
/// # Errors
/// `open(2)`; something that isn't a regular file.
pub fn open(path: &Path) -> io::Result<(File, u64)> {
    let what = format!("open {}", printable(path.as_os_str().as_bytes()));
    // O_NONBLOCK, or opening a FIFO would wait for a writer. A regular file doesn't mind.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = file.context(&what)?;
    let metadata = file.metadata().context(&what)?;
    if !metadata.is_file() {
        return Err(io::Error::other(format!("{what}: not a regular file")));
    }
    Ok((file, metadata.len()))
}
