//! Passing an open descriptor to another process: `SCM_RIGHTS`.
//!
//! Purpose: the parent accepts a connection, a worker serves it.
//! Interface: [`send_fd`] borrows the descriptor, [`recv_fd`] returns one that is owned.
//! Rules: what travels is the open file, not its number; the receiver gets a number of its own.
//! At least one byte of real data goes with it. Whatever doesn't arrive as expected is closed
//! and an error: no garbage is taken for a descriptor. (After `MSG_CTRUNC` nix doesn't show what
//! did arrive; so the process that gets this error should end, as our workers do.)
//! First used by stage 03. See `unix(7)`, `cmsg(3)`.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{self, ControlMessage, ControlMessageOwned, MsgFlags};

use crate::error::Context;

/// `SCM_MAX_FD`: no message carries more descriptors. There is room for all of them, although
/// one is expected: what doesn't fit would be lost before it could be closed and reported.
const MOST_DESCRIPTORS: usize = 253;

/// Sends `byte` and with it a descriptor. The receiver's copy lives on when ours is closed.
///
/// # Errors
/// `sendmsg(2)`: `EPIPE` when the peer is gone, `ETOOMANYREFS` when too many descriptors are
/// under way.
pub fn send_fd(socket: BorrowedFd<'_>, byte: u8, fd: BorrowedFd<'_>) -> io::Result<()> {
    // LAB 03.send_fd: send the byte and, in a control message SCM_RIGHTS, the descriptor
    let data = [byte];
    let data = [IoSlice::new(&data)];
    let descriptors = [fd.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    loop {
        let flags = MsgFlags::MSG_NOSIGNAL;
        match socket::sendmsg::<()>(socket.as_raw_fd(), &data, &rights, flags, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("sendmsg SCM_RIGHTS"),
        }
    }
    // END 03.send_fd
}

/// Waits for a byte and the descriptor that may come with it. `None`: the peer is gone.
/// The descriptor is close-on-exec.
///
/// # Errors
/// `recvmsg(2)`; more than one descriptor; a descriptor lost because this process has no number
/// left for it (`MSG_CTRUNC`).
pub fn recv_fd(socket: BorrowedFd<'_>) -> io::Result<Option<(u8, Option<OwnedFd>)>> {
    let mut byte = [0];
    let mut control = cmsg_space!([i32; MOST_DESCRIPTORS]);
    // LAB 03.recv_fd: receive the byte; tell the end, no, one and several descriptors apart
    let (length, mut descriptors) = loop {
        let mut data = [IoSliceMut::new(&mut byte)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match socket::recvmsg::<()>(socket.as_raw_fd(), &mut data, Some(&mut control), flags) {
            Ok(message) => break (message.bytes, owned(message.cmsgs().context(LOST)?)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("recvmsg"),
        }
    };
    if length == 0 {
        return Ok(None); // not "nothing yet": the end of the channel
    }
    let descriptor = descriptors.pop();
    if !descriptors.is_empty() {
        return Err(io::Error::other("recvmsg: more than one descriptor")); // all closed by drop
    }
    Ok(Some((byte[0], descriptor)))
    // END 03.recv_fd
}

const LOST: &str = "recvmsg: the descriptor was lost, for this process has too many (MSG_CTRUNC)";

/// Takes every descriptor out of the control messages. From here on, dropping closes them.
fn owned(messages: impl Iterator<Item = ControlMessageOwned>) -> Vec<OwnedFd> {
    messages
        .filter_map(|message| match message {
            ControlMessageOwned::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        // SAFETY: the kernel made these descriptors for us with this very message; nobody else
        // owns them.
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        .collect()
}
