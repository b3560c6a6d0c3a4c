//! A submission that is a `.zip`: only the files that are wanted are decompressed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, bail};
use zip::ZipArchive;

use super::folder::read_all;
use super::{Content, ENTRY_LIMIT, Kind, Listing, clean};

/// The list of its files is read into memory before anything can be known of it.
const ARCHIVE_LIMIT: u64 = 100 << 20;

/// All that is in it.
pub fn list(path: &Path) -> Result<Listing> {
    let mut archive = open(path)?;
    let mut listing = Listing::default();
    if archive.has_duplicate_names() {
        bail!("two files in it have the same name: pack it again");
    }
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index).context("not a .zip that can be read")?;
        let kind = if file.is_symlink() { Kind::Link } else { Kind::File };
        if !file.is_dir() {
            listing.add(&with_slashes(file.name_raw()), kind)?;
        }
    }
    Ok(listing)
}

/// The files of these paths.
pub fn read(path: &Path, paths: &BTreeSet<String>) -> Result<BTreeMap<String, Content>> {
    let mut archive = open(path)?;
    let mut contents = BTreeMap::new();
    for index in 0..archive.len() {
        let name = archive.by_index_raw(index).map(|file| with_slashes(file.name_raw()));
        let Some(name) = name.ok().and_then(|name| clean(&name)) else { continue };
        if paths.contains(&name) {
            let content = match archive.by_index(index) {
                Ok(file) => read_all(file),
                Err(error) => Err(format!("can't be read ({error})")),
            };
            contents.insert(name, content);
        }
    }
    Ok(contents)
}

fn open(path: &Path) -> Result<ZipArchive<BufReader<File>>> {
    let file = File::open(path).with_context(|| format!("{}", path.display()))?;
    if file.metadata()?.len() > ARCHIVE_LIMIT {
        bail!("it is larger than {} MiB: hand in the source, without target/", ARCHIVE_LIMIT >> 20);
    }
    let archive = ZipArchive::new(BufReader::new(file)).context("not a .zip that can be read")?;
    if archive.len() > ENTRY_LIMIT {
        bail!("it has more than {ENTRY_LIMIT} files: too many to look at");
    }
    Ok(archive)
}

/// Some programs on Windows write `steps\03-sendfd`.
fn with_slashes(name: &[u8]) -> Vec<u8> {
    name.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect()
}
