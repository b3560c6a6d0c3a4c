//! The parent: accepts clients and passes each to an idle worker.

use std::io;

use shared::channel::Report;
use shared::cli::{self, FileServeArgs};
use shared::narrate::Narrator;
use shared::poller::{Interest, Poller, earlier};
use shared::pool::Pool;
use shared::say;
use shared::served_file;
use shared::tcp::{self, Listener};

use crate::worker::{self, Job};

/// Whose descriptor is ready.
#[derive(Clone, Copy)]
enum Token {
    Listener,
    Worker(usize),
}

/// Runs the server until a signal kills it.
pub fn serve(args: &FileServeArgs) -> io::Result<()> {
    let parent = Narrator::parent(args.serve.quiet);
    let job = Job {
        file: &served_file::path(args)?,
        stall_timeout: args.stall.duration(),
        quiet: args.serve.quiet,
    };
    let mut pool = Pool::start(args.serve.workers, |seat| worker::run(seat, &job))?;
    let mut listener = tcp::listen(&args.serve.address.host, args.serve.address.port)?;
    let mut poller = Poller::new()?;
    poller.add(&listener, Interest::Read, Token::Listener)?;
    for (number, channel) in pool.channels() {
        poller.add(channel, Interest::Read, Token::Worker(number))?;
    }
    cli::announce(&args.serve, &listener, "get --out /tmp")?;
    loop {
        // While all are busy nobody is accepted, and so nobody has to be dropped: new clients
        // wait in the kernel's queue. Nor does the listener wake us for nothing.
        let rest = listener.resume_at();
        let open = pool.next_idle().is_some() && rest.is_none();
        poller.set_interest(&listener, Interest::read_if(open))?;
        let deadline = earlier(pool.next_replacement(), rest);
        for event in poller.wait(deadline)? {
            match event.token {
                Token::Listener => welcome(&mut listener, &mut pool, &parent),
                Token::Worker(number) => match pool.receive(number) {
                    Report::Done => {
                        say!(parent, "worker {number} is idle");
                        pool.mark_idle(number);
                    }
                    Report::Gone => bury(number, &mut pool, &mut poller, &parent)?,
                    Report::Nothing => {}
                },
            }
        }
        // Who has become idle can have a waiting client at once, without a detour through epoll.
        if !open && listener.resume_at().is_none() {
            welcome(&mut listener, &mut pool, &parent);
        }
        replace_the_dead(&mut pool, &mut poller, &parent)?;
    }
}

/// Accepts a client and passes it on, if there is still somebody to pass it to.
fn welcome(listener: &mut Listener, pool: &mut Pool<'_>, parent: &Narrator) {
    let Some(number) = pool.next_idle() else {
        return;
    };
    match listener.accept() {
        Ok(Some(connection)) => {
            say!(parent, "a client goes to worker {number}");
            match pool.hand_over(connection) {
                Some(taker) if taker == number => {}
                Some(taker) => say!(parent, "no, to worker {taker}: the other one has died"),
                None => say!(parent, "no, it waits: the idle workers have died"),
            }
        }
        Ok(None) => {} // it left again
        Err(error) => say!(parent, "no client now: {error}"),
    }
}

/// Reaps a worker. Its client's connection ended with it; everybody else's goes on.
fn bury(
    number: usize,
    pool: &mut Pool<'_>,
    poller: &mut Poller<Token>,
    parent: &Narrator,
) -> io::Result<()> {
    if let Some(channel) = pool.channel(number) {
        poller.remove(channel)?;
    }
    if let Some((pid, ending)) = pool.bury(number)? {
        say!(parent, "worker {number} pid {pid} ended: {ending}");
    }
    Ok(())
}

/// Fills the seats whose time has come.
fn replace_the_dead(
    pool: &mut Pool<'_>,
    poller: &mut Poller<Token>,
    parent: &Narrator,
) -> io::Result<()> {
    loop {
        match pool.replace() {
            Ok(Some(number)) => {
                if let (Some(channel), Some(pid)) = (pool.channel(number), pool.pid(number)) {
                    say!(parent, "worker {number} is pid {pid} now");
                    if let Err(error) = poller.add(channel, Interest::Read, Token::Worker(number)) {
                        say!(parent, "it can't be watched, so it has to end: {error}");
                        pool.bury(number)?;
                    }
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => say!(parent, "no new worker now: {error}"),
        }
    }
}
