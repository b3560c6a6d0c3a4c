//! A submission that is a `.tar.gz`: read as a stream, twice, and never unpacked.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use flate2::bufread::MultiGzDecoder;
use tar::{Archive, EntryType};

use super::folder::read_all;
use super::{Content, Kind, Listing, clean};

/// How many bytes it may hold once decompressed.
const TOTAL_LIMIT: u64 = 1 << 30;
/// How many of them may stand between two files: headers with long names.
const BETWEEN_LIMIT: u64 = 1 << 20;

/// All that is in it.
pub fn list(path: &Path) -> Result<Listing> {
    let mut listing = Listing::default();
    each(path, &mut |name, kind, _| match kind {
        Some(kind) => listing.add(name, kind),
        None => Ok(()),
    })?;
    Ok(listing)
}

/// The files of these paths; of two with the same path the later, as `tar` itself does.
pub fn read(path: &Path, paths: &BTreeSet<String>) -> Result<BTreeMap<String, Content>> {
    let mut contents = BTreeMap::new();
    each(path, &mut |name, kind, file| {
        if let (Some(Kind::File), Some(name)) = (kind, clean(name))
            && paths.contains(&name)
        {
            contents.insert(name, read_all(file));
        }
        Ok(())
    })?;
    Ok(contents)
}

/// A name, what it is the name of (`None` for a folder), and what is in it.
type Visit<'a> = dyn FnMut(&[u8], Option<Kind>, &mut dyn Read) -> Result<()> + 'a;

fn each(path: &Path, visit: &mut Visit<'_>) -> Result<()> {
    let file = File::open(path).with_context(|| format!("{}", path.display()))?;
    let between = Rc::new(Cell::new(BETWEEN_LIMIT));
    let gunzip = MultiGzDecoder::new(BufReader::new(file)).take(TOTAL_LIMIT);
    let mut archive = Archive::new(Rationed { inner: gunzip, ration: Rc::clone(&between) });
    for entry in archive.entries().context("not a .tar.gz that can be read")? {
        let mut entry = entry.context("not a .tar.gz that can be read")?;
        let kind = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => Some(Kind::File),
            EntryType::Symlink | EntryType::Link => Some(Kind::Link),
            EntryType::Directory => None,
            EntryType::GNUSparse => bail!("it holds a sparse file: pack it without -S"),
            EntryType::XGlobalHeader => None,
            _ => Some(Kind::Other),
        };
        let name = entry.path_bytes().into_owned();
        between.set(u64::MAX); // the file itself may be as long as the whole
        visit(&name, kind, &mut entry)?;
        if kind == Some(Kind::File) {
            io::copy(&mut entry, &mut io::sink()).context("not a .tar.gz that can be read")?;
        }
        between.set(BETWEEN_LIMIT);
    }
    Ok(())
}

/// Reads no further than its ration: the `tar` crate keeps a name of any length in memory.
struct Rationed<R> {
    inner: io::Take<R>,
    ration: Rc<Cell<u64>>,
}

impl<R: Read> Read for Rationed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ration.get() == 0 || self.inner.limit() == 0 {
            return Err(io::Error::other("it is too large"));
        }
        let most = usize::try_from(self.ration.get()).unwrap_or(usize::MAX).min(buffer.len());
        let length = self.inner.read(&mut buffer[..most])?;
        self.ration.set(self.ration.get().saturating_sub(length as u64));
        Ok(length)
    }
}
