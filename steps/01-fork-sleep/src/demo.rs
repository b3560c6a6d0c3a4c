//! The stage runs itself: a server with three workers, one of which is killed.

use std::io;

use nix::sys::signal::Signal;
use shared::demo::{Demo, check};

/// Plays the story and checks it.
pub fn run() -> io::Result<()> {
    let demo = Demo::start(&["--workers", "3"])?;
    let workers = demo.workers()?;
    check(workers.len() == 3, "the parent has three children")?;

    let table = demo.client("status", &[])?;
    let pids = |table: &str| workers.iter().all(|pid| table.contains(&format!("pid {pid} ")));
    check(pids(&table), "the table holds their pids")?;

    demo.signal(workers[1], Signal::SIGKILL)?;
    // The parent needs a moment to hear of it; the table says when it has.
    let mut table = demo.client("status", &[])?;
    while !table.contains("ended") {
        table = demo.client("status", &[])?;
    }
    let ended = format!("worker 1 pid {} ended: signal 9", workers[1]);
    check(table.contains(&ended), "the table says how worker 1 ended")?;
    check(demo.workers()?.len() == 2, "worker 1 was reaped")?;

    demo.finish()
}
