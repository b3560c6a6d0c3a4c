//! The stage runs itself: two workers, three downloads of one file, with their progress.

use std::io;

use shared::demo::{Demo, check};
use shared::downloads::Downloads;

/// Plays the story and checks it.
pub fn run() -> io::Result<()> {
    let downloads = Downloads::of_size(20_000_003)?;
    let demo = Demo::start(&["--workers", "2", "--file", downloads.file()])?;
    check(demo.workers()?.len() == 2, "the parent has two children")?;

    downloads.run(&demo, 3)?;

    demo.finish()
}
