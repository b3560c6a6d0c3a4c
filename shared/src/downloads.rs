//! What a demo downloads.
//!
//! Purpose: a sample file, downloads of it by real clients, and the comparison of every byte.
//! Interface: [`Downloads`].
//! First used by stage 04.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Child;

use tempfile::TempDir;

use crate::demo::{Demo, check};
use crate::error::Context;

/// A file to serve and directories to receive it in. All are gone after the demo.
pub struct Downloads {
    directory: TempDir,
    file: String,
}

impl Downloads {
    /// Makes a file of `size` bytes, no two parts of which are alike.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn of_size(size: usize) -> io::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("files-")
            .tempdir()
            .context("make a directory for the demo")?;
        let path = directory.path().join("sample.bin");
        let mixed = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        let bytes: Vec<u8> = (1..).flat_map(mixed).take(size).collect();
        fs::write(&path, bytes).context(path.display())?;
        let file = path.display().to_string();
        Ok(Self { directory, file })
    }

    /// The path of the file to serve.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Starts a download into a directory of its own. `number` tells it from others.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(&self, demo: &Demo, number: usize) -> io::Result<Child> {
        let out = self.out(number);
        fs::create_dir(&out).context(out.display())?;
        demo.start_client("get", &["--out", &out.display().to_string()])
    }

    /// Waits for a download and compares what came, byte for byte.
    ///
    /// # Errors
    /// It failed, or brought something else.
    pub fn compare(&self, demo: &Demo, number: usize, client: Child) -> io::Result<()> {
        demo.await_client(client)?;
        let same = fs::read(&self.file)? == fs::read(self.out(number).join("sample.bin"))?;
        check(same, "the file has arrived byte for byte")
    }

    /// Runs `count` downloads at the same time.
    ///
    /// # Errors
    /// One failed.
    pub fn run(&self, demo: &Demo, count: usize) -> io::Result<()> {
        let clients: io::Result<Vec<_>> = (0..count).map(|it| self.start(demo, it)).collect();
        for (number, client) in clients?.into_iter().enumerate() {
            self.compare(demo, number, client)?;
        }
        Ok(())
    }

    fn out(&self, number: usize) -> PathBuf {
        self.directory.path().join(number.to_string())
    }
}
