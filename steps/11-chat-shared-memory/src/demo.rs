//! The stage runs itself: the story of stage 10, and a worker that is killed.

use std::fs;
use std::io::{self, Read};
use std::net::TcpStream;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use shared::conversation::Conversation;
use shared::demo::{Demo, check, tell};

/// Plays the story and checks it.
pub fn run() -> io::Result<()> {
    let demo = Demo::start(&["--max-users", "4"])?;
    let mut talk = Conversation::between(&demo, &["ann", "ben", "cat"])?;
    let workers = demo.workers()?;
    check(workers.len() == 3, "each user has a worker")?;
    let memory = memory_of(demo.server())?;
    tell(&format!("the parent has this mapping: {memory}"));
    for worker in workers {
        check(memory_of(worker)? == memory, &format!("worker pid {worker} has the same memory"))?;
    }
    talk.everybody_talks()?;

    // Somebody takes the fourth seat, and the worker there is killed.
    let mut dan = TcpStream::connect(demo.address())?;
    let worker = loop {
        if let [_, _, _, worker] = demo.workers()?[..] {
            break worker;
        }
    };
    talk.one_too_many_is_told()?;
    demo.signal(worker, Signal::SIGKILL)?;
    let end = dan.read_to_end(&mut Vec::new());
    check(end.is_ok(), "the connection of its user has ended with it")?;
    talk.everybody_talks()?;
    talk.last_one_is_replaced_by_one_who_does_not_read()?;
    talk.everybody_leaves()?;
    demo.signal(demo.server(), Signal::SIGTERM)?;
    demo.finish_politely()
}

/// The shared mapping of a process, by its device and inode: what has no file is shown as
/// `/dev/zero`, see `proc(5)`.
fn memory_of(process: Pid) -> io::Result<String> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let shared = maps.lines().find(|line| line.contains(" rw-s ") && line.contains("/dev/zero"));
    Ok(shared.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" "))
}
