//! The parent: forks the workers, then tells every client how they are.

use std::fmt::{self, Display, Formatter};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use shared::cli::{self, ServeArgs};
use shared::narrate::Narrator;
use shared::poller::{Interest, Poller};
use shared::process::{self, Child, Ending};
use shared::say;

use crate::worker;
use shared::tcp::{self, Listener};
use shared::transfer::Connection;

/// A line of the table. Only the parent has the table; the workers don't know of each other.
struct Worker {
    child: Child,
    /// Becomes readable when the child ends.
    pidfd: OwnedFd,
    state: State,
}

enum State {
    Idle,
    Ended(Ending),
}

/// Whose descriptor is ready.
#[derive(Clone, Copy)]
enum Token {
    Listener,
    /// The pidfd of this worker: it has ended.
    Worker(usize),
}

/// Runs the server until a signal kills it.
pub fn serve(args: &ServeArgs) -> io::Result<()> {
    let parent = Narrator::parent(args.quiet);
    process::raise_descriptor_limit();
    // Fork first, listen later: what doesn't exist yet, no worker inherits.
    let mut workers = start_workers(args)?;
    let mut listener = tcp::listen(&args.address.host, args.address.port)?;
    let mut poller = Poller::new()?;
    poller.add(&listener, Interest::Read, Token::Listener)?;
    // All are registered before the loop begins. With the event loop inside this one, only the
    // first worker would ever be watched.
    for (number, worker) in workers.iter().enumerate() {
        poller.add(&worker.pidfd, Interest::Read, Token::Worker(number))?;
    }
    cli::announce(args, &listener, "status")?;
    loop {
        let rest = listener.resume_at();
        poller.set_interest(&listener, Interest::read_if(rest.is_none()))?;
        for event in poller.wait(rest)? {
            match event.token {
                Token::Listener => answer(&mut listener, &workers, &parent),
                Token::Worker(number) => {
                    // LAB 01.record_end: stop watching this worker, reap it, record its end, say it
                    let worker = &mut workers[number];
                    poller.remove(&worker.pidfd)?;
                    // Until it is reaped it is a zombie: dead, but still in the kernel's table.
                    worker.state = State::Ended(worker.child.reap()?);
                    say!(parent, "worker {number} pid {worker}");
                    // END 01.record_end
                }
            }
        }
    }
}

fn start_workers(args: &ServeArgs) -> io::Result<Vec<Worker>> {
    // LAB 01.start_workers: fork all the workers, each with worker::run; then open their pidfds
    let mut children = Vec::new();
    for number in 0..args.workers.into() {
        children.push(process::spawn(|| worker::run(number, args.quiet))?);
    }
    // Not in the loop above, or each worker would inherit the pidfds of those before it.
    let watched = |child: Child| {
        let pidfd = child.pidfd()?;
        Ok(Worker { child, pidfd, state: State::Idle })
    };
    children.into_iter().map(watched).collect()
    // END 01.start_workers
}

/// Accepts a client, sends it the table and hangs up.
fn answer(listener: &mut Listener, workers: &[Worker], parent: &Narrator) {
    let sent = listener.accept().and_then(|client| {
        let Some(client) = client else {
            return Ok(());
        };
        let mut client = Connection::new(client, Duration::from_secs(1))?;
        client.write_all(table(workers).as_bytes())?;
        client.close();
        say!(parent, "sent the table to a client");
        Ok(())
    });
    // One client's trouble is nobody else's.
    if let Err(error) = sent {
        say!(parent, "a client got no table: {error}");
    }
}

fn table(workers: &[Worker]) -> String {
    let lines = workers.iter().enumerate();
    lines.map(|(number, worker)| format!("worker {number} pid {worker}\n")).collect()
}

impl Display for Worker {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let pid = self.child.pid();
        match self.state {
            State::Idle => write!(f, "{pid} idle"),
            State::Ended(ending) => write!(f, "{pid} ended: {ending}"),
        }
    }
}
