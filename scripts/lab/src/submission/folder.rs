//! A submission that is a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::{Content, FILE_LIMIT, GROWN, Kind, Listing};

/// All that is in it, without following links and without what has grown by itself.
pub fn list(root: &Path) -> Result<Listing> {
    let mut listing = Listing::default();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().with_context(|| format!("{}", folder.display()))? {
            let entry = entry?;
            let kind = entry.file_type()?; // of the link itself, if it is one
            let path = entry.path();
            if kind.is_dir() {
                if !GROWN.iter().any(|grown| entry.file_name() == *grown) {
                    folders.push(path);
                }
                continue;
            }
            let kind = if kind.is_file() {
                Kind::File
            } else if kind.is_symlink() {
                Kind::Link
            } else {
                Kind::Other
            };
            listing.add(path.strip_prefix(root)?.as_os_str().as_bytes(), kind)?;
        }
    }
    Ok(listing)
}

/// The files of these paths.
pub fn read(root: &Path, paths: &BTreeSet<String>) -> Result<BTreeMap<String, Content>> {
    let root = File::open(root).with_context(|| format!("{}", root.display()))?;
    Ok(paths.iter().map(|path| (path.clone(), read_file(&root, path))).collect())
}

/// No part of the path may be a link, and what is there may not be a pipe or a device.
fn read_file(root: &File, path: &str) -> Content {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let file = openat2(root, path, how).map_err(|error| error.desc().to_owned())?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("not a file".to_owned());
    }
    read_all(file)
}

/// All of it, if it isn't too much.
pub fn read_all(file: impl Read) -> Content {
    let mut bytes = Vec::new();
    match file.take(FILE_LIMIT + 1).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 > FILE_LIMIT => {
            Err(format!("larger than {} KiB", FILE_LIMIT / 1024))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(format!("can't be read ({error})")),
    }
}
