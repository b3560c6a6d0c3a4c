//! The end of a connection: the last words arrive before it.

use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Shutdown, shutdown};
use shared::chat::FAREWELL;
use shared::tcp;

/// How long a user to whom nothing more is to be said may take to hang up, too.
const MOMENT: Duration = Duration::from_secs(1);

/// Sends the last words, says that this was all, and waits for the user's end of the connection.
/// Closed at once, with something unread, it would be reset, and the last words could be lost.
pub fn farewell(user: &OwnedFd, last_words: &[u8]) {
    let patience = if last_words.is_empty() { MOMENT } else { FAREWELL };
    let deadline = Instant::now() + patience;
    let mut left = last_words;
    while !left.is_empty() {
        if !wait(user, PollFlags::POLLOUT, deadline) {
            return;
        }
        match tcp::try_send(user, left) {
            Ok(sent) => left = &left[sent..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return, // it has left
        }
    }
    let _ = shutdown(user.as_raw_fd(), Shutdown::Write); // it fails when the user has left
    let mut waste = [0; 4096];
    while wait(user, PollFlags::POLLIN, deadline) {
        match tcp::try_recv(user, &mut waste) {
            Ok(1..) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Waits until that can be done. False at the deadline.
fn wait(user: &OwnedFd, event: PollFlags, deadline: Instant) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    let mut fds = [PollFd::new(user.as_fd(), event)];
    let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
    !left.is_zero()
}
