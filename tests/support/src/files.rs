//! Files to send, with contents that depend on the position, and directories to receive into.
//!
//! No piece of a sample looks like its neighbours, so one that is lost, doubled or out of order is
//! seen.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Sizes around every boundary where a transfer may go wrong: nothing, one byte, a page, a chunk,
/// a pipe (64 KiB, 1 MiB), a window of memory (512 KiB, 2 MiB), and many of them.
pub const BOUNDARY_SIZES: [usize; 21] = [
    0, 1, 4095, 4096, 4097, 8191, 8192, 8193, 65_535, 65_536, 65_537, 524_287, 524_288, 524_289,
    1_048_575, 1_048_576, 1_048_577, 2_097_151, 2_097_152, 2_097_153, 10_000_000,
];

/// All of [`BOUNDARY_SIZES`] but 0: an empty file is a case of its own.
pub fn sizes_from_one_byte_up() -> impl Iterator<Item = usize> {
    BOUNDARY_SIZES.into_iter().filter(|&size| size > 0)
}

/// `size` bytes; the same for the same size.
#[must_use]
pub fn sample_bytes(size: usize) -> Vec<u8> {
    const PERIOD: usize = 65_521; // a prime: no multiple of any buffer's size
    let scattered = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
    let pattern: Vec<u8> = (1..).flat_map(scattered).take(PERIOD).collect();
    let mut bytes = pattern.repeat(size.div_ceil(PERIOD));
    for (number, repetition) in (0_u64..).zip(bytes.chunks_mut(PERIOD)) {
        repetition[PERIOD - 8..].copy_from_slice(&number.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// A file of [`sample_bytes`], named after its size.
#[track_caller]
pub fn sample(dir: &Path, size: usize) -> PathBuf {
    let path = dir.join(format!("sample-{size}.bin"));
    fs::write(&path, sample_bytes(size)).expect("write a sample");
    path
}

/// A file of `size` bytes that takes next to no room: zeros, but for a mark every 256 MiB and one
/// at the end.
#[track_caller]
pub fn sparse(dir: &Path, size: u64) -> PathBuf {
    let path = dir.join(format!("sparse-{size}.bin"));
    let file = File::create(&path).expect("create a sparse file");
    file.set_len(size).expect("set the length of a sparse file");
    for offset in marks(size) {
        file.write_all_at(&(!offset).to_le_bytes(), offset).expect("mark a sparse file");
    }
    path
}

/// A temporary directory in memory where there is such a thing: there, the holes of a [`sparse`]
/// file are read without filling the page cache with zeros.
#[must_use]
pub fn directory_in_memory() -> TempDir {
    let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
    dir.expect("a temporary directory")
}

/// More than 32 bits can count, and not a multiple of anything.
pub const HUGE: u64 = (4 << 30) + 5001;

/// A [`sparse`] file of [`HUGE`] bytes in `dir`, made only if it isn't there yet: most of the
/// time that such a file takes is spent on filling the page cache with zeros, once. `None`, and a
/// word about it, where a file of that size can't be sparse.
#[must_use]
pub fn huge(dir: &Path) -> Option<PathBuf> {
    const MOST_BLOCKS: u64 = 1 << 20; // of 512 bytes, see stat(2)
    let path = dir.join(format!("sparse-{HUGE}.bin"));
    if !path.exists() {
        // Whoever else needs it at the same time makes one too, and the last one stays.
        let own = TempDir::new_in(dir).expect("a temporary directory");
        let probe = File::create(own.path().join("probe")).expect("create a file");
        let is_sparse = probe.set_len(HUGE).is_ok() && probe.metadata().unwrap().blocks() == 0;
        if !is_sparse {
            crate::not_checked("a file over 4 GiB, for this file system has no sparse files");
            return None;
        }
        fs::rename(sparse(own.path(), HUGE), &path).expect("rename a sparse file");
    }
    assert!(path.metadata().unwrap().blocks() < MOST_BLOCKS, "{path:?} isn't sparse any more");
    Some(path)
}

/// Panics unless `received` has the size and the marks of `expected`, a [`sparse`] file that is
/// too large to be compared byte by byte.
#[track_caller]
pub fn same_marks(expected: &Path, received: &Path) {
    let [expected, received] = [expected, received]
        .map(|path| File::open(path).unwrap_or_else(|e| panic!("open {path:?}: {e}")));
    let size = |file: &File| file.metadata().expect("fstat").len();
    assert_eq!(size(&received), size(&expected), "the size of the received file");
    for offset in marks(size(&expected)) {
        let [mut mark, mut came] = [[0; 8]; 2];
        expected.read_exact_at(&mut mark, offset).expect("read a mark");
        received.read_exact_at(&mut came, offset).expect("read the received file");
        assert!(came == mark, "at byte {offset} there came {came:02x?} and not {mark:02x?}");
    }
}

/// Where a [`sparse`] file of `size` bytes isn't zero: 8 bytes at each of these.
fn marks(size: u64) -> impl Iterator<Item = u64> {
    let all = (0..size).step_by(256 << 20).chain(size.checked_sub(8));
    all.filter(move |offset| offset + 8 <= size)
}

/// Panics unless both files hold the same bytes; says where they first differ.
#[track_caller]
pub fn same_bytes(expected: &Path, received: &Path) {
    let mut comparison = Comparison::with(expected);
    let mut file = File::open(received).unwrap_or_else(|e| panic!("open {received:?}: {e}"));
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).expect("read the received file") {
            0 => break,
            count => comparison.piece(&buffer[..count]),
        }
    }
    comparison.end();
}

/// Compares a stream with a file, piece by piece.
#[derive(Debug)]
pub struct Comparison {
    expected: File,
    name: String,
    offset: u64,
    buffer: Vec<u8>,
}

impl Comparison {
    /// The stream has to hold what `expected` holds.
    #[track_caller]
    pub fn with(expected: &Path) -> Self {
        let name = expected.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let expected = File::open(expected).unwrap_or_else(|e| panic!("open {expected:?}: {e}"));
        Self { expected, name, offset: 0, buffer: Vec::new() }
    }

    /// The next piece of the stream.
    #[track_caller]
    pub fn piece(&mut self, piece: &[u8]) {
        self.buffer.resize(piece.len(), 0);
        let read = self.expected.read_exact_at(&mut self.buffer, self.offset);
        assert!(read.is_ok(), "{}: more than its {} bytes came", self.name, self.size());
        if self.buffer != piece {
            let at = self.buffer.iter().zip(piece).take_while(|(a, b)| a == b).count();
            let rest = |bytes: &[u8]| bytes[at..].iter().take(8).copied().collect::<Vec<u8>>();
            panic!(
                "{}: from byte {} on there came {:02x?}, but the original has {:02x?}",
                self.name,
                self.offset + at as u64,
                rest(piece),
                rest(&self.buffer)
            );
        }
        self.offset += piece.len() as u64;
    }

    /// Nothing follows.
    #[track_caller]
    pub fn end(&self) {
        let (came, size) = (self.offset, self.size());
        assert!(came == size, "{}: {came} of its {size} bytes came", self.name);
    }

    fn size(&self) -> u64 {
        self.expected.metadata().expect("fstat the original").len()
    }
}

/// A directory to receive into that already holds a file of the name which is about to come.
#[derive(Debug)]
pub struct Landing {
    base: TempDir,
    path: PathBuf,
    name: String,
}

impl Landing {
    const OLD: &str = "what was here before";

    /// The directory, with an old file `name` in it.
    #[must_use]
    pub fn with_old(name: &str) -> Self {
        let base = TempDir::new().expect("a temporary directory");
        let path = base.path().join("out");
        fs::create_dir(&path).expect("create a directory");
        fs::write(path.join(name), Self::OLD).expect("write the old file");
        let name = name.to_owned();
        Self { base, path, name }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Panics unless the directory holds the old file as it was, and nothing else, and nothing
    /// was put beside the directory either.
    #[track_caller]
    pub fn assert_untouched(&self) {
        self.assert_untouched_and(|_| false);
    }

    /// The same, but a file on its way may be left, if it can be told from the file itself: its
    /// name begins with a dot, or it has more than the file's name.
    #[track_caller]
    pub fn assert_untouched_but_for_a_part(&self) {
        let is_part = |it: &str| it.starts_with('.') || it.len() > self.name.len();
        self.assert_untouched_and(is_part);
    }

    #[track_caller]
    fn assert_untouched_and(&self, is_allowed: impl Fn(&str) -> bool) {
        let mut left = entries(&self.path);
        left.retain(|it| !is_allowed(it));
        assert!(left == [&*self.name], "a transfer that failed left {left:?} in its directory");
        let beside = entries(self.base.path());
        assert!(beside == ["out"], "a transfer got out of its directory: {beside:?}");
        let contents = fs::read(self.path.join(&self.name)).expect("read the old file");
        assert!(contents == Self::OLD.as_bytes(), "a transfer that failed changed the old file");
    }
}

/// The names of what `dir` holds, sorted.
#[track_caller]
pub fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("read directory {dir:?}: {e}"))
        .map(|entry| entry.expect("a directory entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// How many bytes may still be written to the file system of `dir`.
#[track_caller]
pub fn room(dir: &Path) -> u64 {
    let stat = nix::sys::statvfs::statvfs(dir).expect("statvfs");
    stat.blocks_available() * stat.fragment_size()
}
