//! What the servers of stages 04 to 08 send: a file that is replaced all the time.
//!
//! A client must get one of its versions, whole.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use support::files::sample_bytes;
use tempfile::TempDir;

use super::chance::Chance;

/// The name of the served file.
pub const NAME: &str = "served.bin";

/// How long the versions are.
const SIZES: [usize; 4] = [0, 1 << 10, 300_000, LARGEST];
const LARGEST: usize = 20 << 20;
/// What is left of it when it is cut short: whole pages. Of a page that is cut, those who have it
/// mapped (06) or in a pipe (07) see the rest as zeros, before they hear of the new size.
const HALF: usize = LARGEST / 2;

/// The versions, in memory to compare with and on disk to be served.
pub struct Versions {
    contents: Vec<Vec<u8>>,
    dir: TempDir,
}

impl Versions {
    /// Makes them.
    pub fn new() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let contents: Vec<Vec<u8>> = (0_u8..).zip(SIZES).map(version).collect();
        for (number, contents) in contents.iter().enumerate() {
            fs::write(dir.path().join(number.to_string()), contents).expect("write a version");
        }
        Self { contents, dir }
    }

    /// A new directory, gone with the versions.
    pub fn dir(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().join(name);
        fs::create_dir_all(&dir).expect("a directory");
        dir
    }

    /// The second largest version: where it is, and what it is.
    pub fn medium(&self) -> (PathBuf, &[u8]) {
        let number = SIZES.len() - 2;
        (self.dir.path().join(number.to_string()), &self.contents[number])
    }

    /// What the client of a transfer may get: all versions, and the half that is left while the
    /// largest one is cut short.
    pub fn reading(&self) -> Reading<'_> {
        let half = &self.contents[SIZES.len() - 1][..HALF];
        let candidates = self.contents.iter().map(Vec::as_slice).chain([half]).collect();
        Reading { candidates, offset: 0 }
    }

    /// The served file becomes another version, at once (`rename(2)`).
    pub fn replace(&self, served: &Path, chance: &mut Chance) {
        let next = served.with_extension("next");
        let version = self.dir.path().join(chance.below(SIZES.len()).to_string());
        fs::hard_link(version, &next).expect("link a version");
        fs::rename(&next, served).expect("replace the served file");
        let _ = fs::remove_file(next); // where both are the same file, rename does nothing
    }

    /// The served file becomes a copy of the largest version, which may be cut short.
    pub fn serve_the_largest(&self, served: &Path) {
        let next = served.with_extension("next");
        fs::copy(self.dir.path().join((SIZES.len() - 1).to_string()), &next).expect("copy");
        fs::rename(&next, served).expect("replace the served file");
    }

    /// Cuts that copy short.
    pub fn shrink(served: &Path) {
        let file = OpenOptions::new().write(true).open(served).expect("open the served file");
        file.set_len(HALF as u64).expect("ftruncate");
    }
}

/// No version begins like another one.
fn version((number, size): (u8, usize)) -> Vec<u8> {
    let mut bytes = sample_bytes(size);
    bytes.iter_mut().for_each(|byte| *byte ^= number);
    bytes
}

/// A transfer on its way: which versions it may still be.
pub struct Reading<'a> {
    candidates: Vec<&'a [u8]>,
    /// How many bytes have come.
    pub offset: usize,
}

impl Reading<'_> {
    /// The next bytes.
    #[track_caller]
    pub fn piece(&mut self, piece: &[u8]) {
        let (from, to) = (self.offset, self.offset + piece.len());
        self.candidates.retain(|version| version.get(from..to) == Some(piece));
        assert!(!self.candidates.is_empty(), "wrong bytes: {from} to {to} are those of no version");
        self.offset = to;
    }

    /// Nothing follows.
    #[track_caller]
    pub fn end(&self) {
        let whole = self.candidates.iter().any(|version| version.len() == self.offset);
        assert!(
            whole,
            "bytes are lost: {} came as a whole, and no version is so long",
            self.offset
        );
    }
}
