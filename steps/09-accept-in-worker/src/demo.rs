//! The stage runs itself: two workers, clients in one instant, one worker killed, the other told
//! to leave while a program runs.

use std::io;

use nix::sys::signal::Signal;
use shared::demo::{Demo, check};

/// Plays the story and checks it.
pub fn run() -> io::Result<()> {
    let demo = Demo::start(&["--workers", "2"])?;
    let workers = demo.workers()?;
    check(workers.len() == 2, "the parent has two children")?;

    let clients = [(); 4].map(|()| demo.start_client("run", &["env"]));
    for client in clients {
        let answer = demo.await_client(client?)?;
        check(answer.contains("PATH="), "env printed its environment")?;
        check(!answer.contains("HOME="), "which is not the server's")?;
    }
    let answer = demo.refused("run", &["../src/main.rs"])?;
    check(answer.starts_with("error: "), "what is outside of the directory is not run")?;

    demo.signal(workers[0], Signal::SIGKILL)?;
    while demo.workers()?.contains(&workers[0]) {}
    for _ in 0..2 {
        demo.client("run", &["date"])?;
    }
    check(demo.workers()? == workers[1..], "the other worker did both, and nobody is replaced")?;

    while !demo.children_of(workers[1])?.is_empty() {}
    let client = demo.start_client("run", &["count"])?;
    while demo.children_of(workers[1])?.is_empty() {}
    demo.signal(demo.server(), Signal::SIGTERM)?;
    let answer = demo.await_client(client)?;
    check(answer.ends_with("done\n"), "the program under way was finished")?;
    demo.finish_politely()
}
