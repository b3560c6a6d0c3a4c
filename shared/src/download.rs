//! The client's safe landing for a file that a stranger sends.
//!
//! Purpose: a transfer ends with the whole file under its name, or with nothing at all.
//! Interface: [`Download::create`], write to [`Download::file`], then [`Download::land`].
//! Rules: the name is one path component, or it is refused. Until the end the file has no name:
//! whatever ends this process, even SIGKILL, leaves nothing behind, and a file that was there
//! before stays as it was. `rename(2)` replaces it in one step. Some file systems (vfat, NFS) know
//! no files without a name; there it is a hidden `.part` file, which a signal can leave behind.
//! First used by stage 04.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::signal::Signal;
use nix::unistd::linkat;
use tempfile::{NamedTempFile, TempPath};

use crate::error::Context;
use crate::narrate::printable;
use crate::protocol::MAX_NAME;
use crate::signal;

/// A file on its way.
pub struct Download {
    file: File,
    /// The `.part` file's path, where the file system knows no files without a name. Dropping it
    /// removes the file.
    part: Option<TempPath>,
    target: PathBuf,
}

impl Download {
    /// Checks `name` and makes a new file, for reading and writing, in `dir`.
    ///
    /// # Errors
    /// A name that isn't a plain file name of 1 to 255 bytes; `open(2)`.
    pub fn create(dir: &Path, name: &[u8]) -> io::Result<Self> {
        let target = dir.join(plain_name(name)?);
        let what = format!("create a file in {}", printable(dir.as_os_str().as_bytes()));
        // Over the limit of `ulimit -f`, a write is to fail with EFBIG and not to kill us.
        signal::ignore(Signal::SIGXFSZ)?;
        match nameless(dir) {
            Ok(file) => Ok(Self { file, part: None, target }),
            Err(error) if has_no_nameless_files(&error) => {
                let (file, part) = part_builder(&mut tempfile::Builder::new())
                    .permissions(PermissionsExt::from_mode(MODE))
                    .tempfile_in(dir)
                    .context(what)?
                    .into_parts();
                Ok(Self { file, part: Some(part), target })
            }
            Err(error) => Err(error).context(what),
        }
    }

    /// Where the bytes go.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the complete file its name, in place of what had this name before.
    ///
    /// # Errors
    /// `linkat(2)`, `rename(2)`: a directory has that name, no permission.
    pub fn land(self) -> io::Result<PathBuf> {
        let part = match self.part {
            Some(part) => part,
            None => link(&self.file, &self.target)?.into_temp_path(),
        };
        let what = format!("rename to {}", printable(self.target.as_os_str().as_bytes()));
        part.persist(&self.target).map_err(|error| error.error).context(what)?;
        Ok(self.target)
    }
}

/// The mode of a new file, before the umask.
const MODE: u32 = 0o666;

/// Refuses whatever could lead out of the directory or isn't a file's name at all.
fn plain_name(name: &[u8]) -> io::Result<&OsStr> {
    if !is_plain(name) {
        let text = format!("the server sent \"{}\", which is no file name", printable(name));
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(OsStr::from_bytes(name))
}

/// Is it one component of a path: 1 to 255 bytes, no way up, no separator, no terminator?
fn is_plain(name: &[u8]) -> bool {
    // LAB 04.plain_name: accept the name of a file, refuse whatever could lead elsewhere
    (1..=MAX_NAME).contains(&name.len())
        && name != b"."
        && name != b".."
        && !name.contains(&b'/')
        && !name.contains(&0)
    // END 04.plain_name
}

/// Opens a file that has no name yet, see `open(2)`, `O_TMPFILE`.
fn nameless(dir: &Path) -> io::Result<File> {
    let flags = libc::O_TMPFILE;
    OpenOptions::new().read(true).write(true).mode(MODE).custom_flags(flags).open(dir)
}

/// `EISDIR` is what kernels say that don't know the flag.
fn has_no_nameless_files(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EOPNOTSUPP | Errno::EISDIR))
}

/// Gives the file a first, temporary name next to `target`: `linkat` can't replace a file.
fn link(file: &File, target: &Path) -> io::Result<NamedTempFile<()>> {
    let dir = target.parent().unwrap_or(Path::new("."));
    let own = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    part_builder(&mut tempfile::Builder::new())
        .make_in(dir, |path| {
            let follow = AtFlags::AT_SYMLINK_FOLLOW;
            Ok(linkat(AT_FDCWD, own.as_str(), AT_FDCWD, path, follow)?)
        })
        .context(format_args!("link a file into {}", printable(dir.as_os_str().as_bytes())))
}

fn part_builder<'a, 'b>(
    builder: &'a mut tempfile::Builder<'b, 'b>,
) -> &'a mut tempfile::Builder<'b, 'b> {
    builder.prefix(".").suffix(".part")
}
