//! The one process: asks `poll(2)` who is ready, and never waits anywhere else.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shared::cli::{self, ChatServeArgs};
use shared::error::Context;
use shared::narrate::Narrator;
use shared::poller::earlier;
use shared::process::raise_descriptor_limit;
use shared::say;
use shared::tcp::{self, Listener};

use crate::users::Users;

/// Whose descriptor is ready.
#[derive(Clone, Copy)]
enum Who {
    Listener,
    /// A user, by its place.
    User(usize),
}

/// Runs the server until a signal kills it.
pub fn serve(args: &ChatServeArgs) -> io::Result<()> {
    let server = Narrator::server(args.quiet);
    raise_descriptor_limit();
    let mut listener = tcp::listen(&args.address.host, args.address.port)?;
    let mut users = Users::new(args.max_users, args.stall.duration(), server.clone());
    let size = format!("for {} users", args.max_users);
    cli::announce_as(&listener, &size, "join --name ann", args.quiet)?;
    loop {
        for (who, happened) in wait(&mut listener, &users)? {
            match who {
                Who::Listener => welcome(&mut listener, &mut users, &server),
                Who::User(place) => users.serve(place, happened),
            }
        }
        users.dismiss_the_late();
        users.pass_lines_on();
        users.forget_the_gone();
    }
}

/// Sleeps until something can be done, or is to be done. Returns who is ready, and for what.
fn wait(listener: &mut Listener, users: &Users) -> io::Result<Vec<(Who, PollFlags)>> {
    let rest = listener.resume_at();
    let timeout = timeout_until(earlier(users.deadline(), rest));
    // LAB 10.wait: ask poll for everyone who waits for something, and say what it found
    let mut whose = Vec::new();
    let mut fds = Vec::new();
    if users.has_room() && rest.is_none() {
        whose.push(Who::Listener);
        fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
    }
    for (place, user, events) in users.waiting() {
        whose.push(Who::User(place));
        fds.push(PollFd::new(user.as_fd(), events));
    }
    match poll(&mut fds, timeout) {
        Err(Errno::EINTR) => return Ok(Vec::new()),
        result => result.context("poll")?,
    };
    let happened = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
    let ready = whose.into_iter().zip(happened).filter(|(_, happened)| !happened.is_empty());
    Ok(ready.collect())
    // END 10.wait
}

/// Rounded up to whole milliseconds: rounding down would wake too early and spin.
fn timeout_until(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else {
        return PollTimeout::NONE;
    };
    let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}

/// Accepts a user.
fn welcome(listener: &mut Listener, users: &mut Users, server: &Narrator) {
    let welcomed = listener.accept().and_then(|connection| match connection {
        Some(connection) => users.admit(connection),
        None => Ok(()), // it left again
    });
    if let Err(error) = welcomed {
        say!(server, "no client now: {error}");
    }
}
