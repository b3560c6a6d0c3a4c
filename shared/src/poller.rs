//! epoll with names instead of numbers: an event comes with the token of its descriptor.
//!
//! Purpose: wait for many descriptors at once and say which is ready.
//! Interface: [`Poller::add`], [`Poller::set_interest`], [`Poller::remove`], [`Poller::wait`].
//! Rules: level-triggered, so what isn't handled now is reported again and two clients that
//! arrive in one instant are both seen. Only who asks for [`Interest::ReadEdge`] hears of each
//! thing once. Remove a descriptor before closing it: a copy of it in another process would keep
//! it registered, see `epoll(7)`.
//! First used by stage 01.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::error::Context;

/// What to wait for. A hang-up or an error is reported in any case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Nothing: stay registered, but asleep.
    Nothing,
    /// Until a read (or accept) doesn't block.
    Read,
    /// Each time that more comes, and not again for what was there before (edge-triggered,
    /// stage 09). Whoever is told has to read, without waiting, until nothing is left: `EAGAIN`.
    ReadEdge,
    /// Until a write doesn't block.
    Write,
    /// Until one of them doesn't block (stage 11).
    ReadOrWrite,
}

impl Interest {
    /// `Read` as long as `open` is true.
    #[must_use]
    pub fn read_if(open: bool) -> Self {
        if open { Self::Read } else { Self::Nothing }
    }

    fn flags(self) -> EpollFlags {
        match self {
            Self::Nothing => EpollFlags::empty(),
            Self::Read => EpollFlags::EPOLLIN,
            Self::ReadEdge => EpollFlags::EPOLLIN | EpollFlags::EPOLLET,
            Self::Write => EpollFlags::EPOLLOUT,
            Self::ReadOrWrite => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
        }
    }
}

/// A descriptor is ready.
pub struct Event<T> {
    /// Whose it is.
    pub token: T,
    /// The other side is gone for both directions, or the descriptor has an error.
    pub hung_up: bool,
}

/// An epoll instance whose descriptors carry tokens of type `T`.
pub struct Poller<T> {
    epoll: Epoll,
    /// Token and present interest of each registered descriptor, by its number.
    registered: Vec<Option<(T, Interest)>>,
}

/// So many events are fetched at once; the rest comes with the next call.
const EVENTS: usize = 64;

impl<T: Copy> Poller<T> {
    /// Makes an empty one.
    ///
    /// # Errors
    /// `epoll_create1(2)`: `EMFILE`, `ENFILE`.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
        let registered = Vec::new();
        Ok(Self { epoll, registered })
    }

    /// Registers a descriptor.
    ///
    /// # Errors
    /// `epoll_ctl(2)`: `EPERM` for a regular file, `ENOSPC` at the limit of watches.
    pub fn add(&mut self, fd: impl AsFd, interest: Interest, token: T) -> io::Result<()> {
        let fd = fd.as_fd();
        let index = fd.as_raw_fd().unsigned_abs() as usize;
        self.epoll
            .add(fd, EpollEvent::new(interest.flags(), index as u64))
            .context("epoll_ctl ADD")?;
        if self.registered.len() <= index {
            self.registered.resize(index + 1, None);
        }
        self.registered[index] = Some((token, interest));
        Ok(())
    }

    /// Changes what to wait for. Costs a system call only when it does change.
    ///
    /// # Errors
    /// `epoll_ctl(2)`; `ENOENT` for a descriptor that was never added.
    pub fn set_interest(&mut self, fd: impl AsFd, interest: Interest) -> io::Result<()> {
        let fd = fd.as_fd();
        let index = fd.as_raw_fd().unsigned_abs() as usize;
        let Some(Some((_, present))) = self.registered.get_mut(index) else {
            return Err(Errno::ENOENT).context("epoll_ctl MOD");
        };
        if *present != interest {
            *present = interest;
            let mut event = EpollEvent::new(interest.flags(), index as u64);
            self.epoll.modify(fd, &mut event).context("epoll_ctl MOD")?;
        }
        Ok(())
    }

    /// Takes a descriptor out. Events that [`Poller::wait`] has returned already still come with
    /// its token; so a token is never to be used again for something else.
    ///
    /// # Errors
    /// `epoll_ctl(2)`; `ENOENT` for a descriptor that was never added.
    pub fn remove(&mut self, fd: impl AsFd) -> io::Result<()> {
        let fd = fd.as_fd();
        if let Some(entry) = self.registered.get_mut(fd.as_raw_fd().unsigned_abs() as usize) {
            *entry = None;
        }
        self.epoll.delete(fd).context("epoll_ctl DEL")
    }

    /// Sleeps until something is ready or `deadline` has come; without a deadline for ever.
    /// May return nothing at all: at the deadline, or because a signal came (`EINTR`, which
    /// also happens after SIGSTOP and SIGCONT, without any handler, see `signal(7)`).
    ///
    /// # Errors
    /// `epoll_wait(2)`, which can fail only by a mistake of ours.
    pub fn wait(&mut self, deadline: Option<Instant>) -> io::Result<Vec<Event<T>>> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let ready = match self.epoll.wait(&mut events, timeout_until(deadline)) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno).context("epoll_wait"),
        };
        Ok(events[..ready].iter().filter_map(|event| self.named(event)).collect())
    }

    fn named(&self, event: &EpollEvent) -> Option<Event<T>> {
        let index = usize::try_from(event.data()).ok()?;
        let (token, _) = (*self.registered.get(index)?)?;
        let hung_up = event.events().intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        Some(Event { token, hung_up })
    }
}

/// Rounded up to whole milliseconds: rounding down would wake too early and spin.
fn timeout_until(deadline: Option<Instant>) -> EpollTimeout {
    let Some(deadline) = deadline else {
        return EpollTimeout::NONE;
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let millis = (left + Duration::from_micros(999)).as_millis();
    EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
}

/// The same for `poll(2)`, where no epoll is needed.
#[must_use]
pub fn poll_timeout(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else {
        return PollTimeout::NONE;
    };
    let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}

/// The earlier of two deadlines, where `None` is never.
#[must_use]
pub fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    [a, b].into_iter().flatten().min()
}
