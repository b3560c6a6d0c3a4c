//! What a process prints, collected within bounds, and waiting for several at once.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The reading end of a pipe and what came out of it: the first and the last of it, if it is much.
pub struct Output {
    pipe: Option<File>,
    limit: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out: usize,
}

impl Output {
    /// Keeps about `limit` bytes of what comes.
    pub fn new(pipe: Option<impl Into<OwnedFd>>, limit: usize) -> Self {
        let pipe = pipe.map(|pipe| File::from(pipe.into()));
        Self { pipe, limit, head: Vec::new(), tail: VecDeque::new(), left_out: 0 }
    }

    /// What to wait for; nothing once it has ended.
    pub fn source(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Takes what there is. Waits if there is nothing.
    pub fn take_more(&mut self) {
        let mut buffer = [0; 16 << 10];
        let Some(pipe) = &mut self.pipe else { return };
        match pipe.read(&mut buffer) {
            Ok(length) if length > 0 => self.keep(&buffer[..length]),
            _ => self.pipe = None,
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len().min(self.limit * 3 / 4 - self.head.len()));
        self.head.extend_from_slice(first);
        self.tail.extend(rest);
        let too_many = self.tail.len().saturating_sub(self.limit / 4);
        self.tail.drain(..too_many);
        self.left_out += too_many;
    }

    /// All that is kept.
    pub fn text(&self) -> String {
        let head = String::from_utf8_lossy(&self.head);
        let tail: Vec<u8> = self.tail.iter().copied().collect();
        let tail = String::from_utf8_lossy(&tail);
        match self.left_out {
            0 => format!("{head}{tail}"),
            bytes => format!("{head}\n… {bytes} bytes left out …\n{tail}"),
        }
    }
}

/// Waits until one of `sources` can be read or has ended, for `limit` at most. Says which have.
pub fn wait_readable(sources: &[Option<BorrowedFd<'_>>], limit: Duration) -> Result<Vec<bool>> {
    let present = sources.iter().flatten();
    let mut fds: Vec<PollFd<'_>> =
        present.map(|source| PollFd::new(*source, PollFlags::POLLIN)).collect();
    // A fraction of a millisecond is rounded up: with 0 this would be a busy loop.
    let milliseconds = limit.as_micros().div_ceil(1000).min(60_000);
    let timeout = PollTimeout::try_from(milliseconds).context("a time limit")?;
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error).context("poll"),
    }
    let mut ready = fds.iter().map(|fd| fd.any().unwrap_or(false));
    Ok(sources.iter().map(|it| it.is_some() && ready.next().unwrap_or(false)).collect())
}
