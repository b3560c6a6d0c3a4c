//! The stage runs itself: two workers, three clients, one worker killed.

use std::io;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use shared::demo::{Demo, check};

/// Plays the story and checks it.
pub fn run() -> io::Result<()> {
    let demo = Demo::start(&["--workers", "2"])?;
    let workers = demo.workers()?;
    check(workers.len() == 2, "the parent has two children")?;

    let mut clients = Vec::new();
    for word in ["red", "green", "blue"] {
        clients.push((word, demo.start_client("echo", &[word])?));
    }
    for (word, client) in clients {
        let answer = demo.await_client(client)?;
        check(is_answer(&answer, word, &workers), &format!("a worker answered {word}"))?;
    }

    demo.signal(workers[0], Signal::SIGKILL)?;
    // Until the parent has reaped it, a line might still be handed to it and lost with it.
    while demo.workers()?.contains(&workers[0]) {}
    let answer = demo.client("echo", &["still", "there?"])?;
    check(is_answer(&answer, "still there?", &workers[1..]), "the other worker answers")?;

    demo.finish()
}

fn is_answer(answer: &str, line: &str, workers: &[Pid]) -> bool {
    let line = line.to_uppercase();
    workers.iter().any(|pid| answer == format!("PROCESS[PID {pid}]: {line}\n"))
}
