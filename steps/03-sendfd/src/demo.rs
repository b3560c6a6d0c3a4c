//! The stage runs itself: two workers, three clients, one worker killed and replaced.

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
    let mut now = demo.workers()?;
    while now.len() < 2 || now.contains(&workers[0]) {
        now = demo.workers()?;
    }
    check(now.contains(&workers[1]), "the other worker lives on")?;
    let answer = demo.client("echo", &["still", "two?"])?;
    check(is_answer(&answer, "still two?", &now), "one of the two workers of now answers")?;

    demo.finish()
}

fn is_answer(answer: &str, line: &str, workers: &[Pid]) -> bool {
    let line = line.to_uppercase();
    workers.iter().any(|pid| answer == format!("PROCESS[PID {pid}]: {line}\n"))
}
