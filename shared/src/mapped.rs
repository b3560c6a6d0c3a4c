//! Sending from, and receiving into, a file that is mapped into memory.
//!
//! Purpose: no buffer of our own between the page cache and the socket. One copy is left: the
//! kernel's, between the mapped pages and the socket. `mmap` is not zero copy.
//! Interface: [`send_file`], [`reserve`] and [`recv_file`].
//! Rules: one window at a time is mapped, so memory stays bounded at any size, and a file of 0
//! bytes is never mapped (`mmap` of nothing is `EINVAL`).
//!
//! A mapped file that shrinks is a trap: to touch a page beyond the new end is a SIGBUS. Here
//! only the kernel touches the pages, inside `send(2)` and `recv(2)`, and the kernel answers
//! `EFAULT` instead. So the process lives, and never read a window from Rust code.
//! First used by stage 06. See `mmap(2)`, `madvise(2)`.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use memmap2::{Advice, MmapOptions};
use nix::errno::Errno;
use nix::fcntl::posix_fallocate;

use crate::error::Context;
use crate::protocol::{ProtocolError, shrank};
use crate::transfer::Connection;

/// So much is mapped at once, in bytes. It is the size of a huge page: file systems that keep a
/// file in pieces of that size then make the pages of a window in one go. (With a quarter of it,
/// receiving into a file on ext4 took ten times as long.)
const WINDOW: u64 = 2 << 20;

/// The windows of a file: offset and length.
fn windows(size: u64) -> impl Iterator<Item = (u64, usize)> {
    let starts = (0..size).step_by(WINDOW as usize);
    starts.map(move |offset| (offset, WINDOW.min(size - offset) as usize))
}

/// Sends the first `size` bytes of `file` from mappings of it, all but the last byte.
///
/// If the file shrinks within its last page, nothing fails: the rest of that page reads as zeros.
/// So the last byte is fetched by `pread(2)`, which knows the real end of the file. Without that
/// byte the client won't take what it has for the whole file.
///
/// # Errors
/// Those of [`Connection::send_all`]; the file has become shorter than `size`.
pub fn send_file(connection: &mut Connection, file: &File, size: u64) -> io::Result<()> {
    // LAB 06.send_windows: send window by window, each from a mapping of it, then the last byte
    let Some(last) = size.checked_sub(1) else {
        return Ok(());
    };
    for (offset, length) in windows(last) {
        // SAFETY: the mapping is read by the kernel alone (see the file header), so that a
        // change of the file behind our back can't break a promise made to Rust.
        let window =
            unsafe { MmapOptions::new().offset(offset).len(length).map(file) }.context("mmap")?;
        connection.send_more(&window).map_err(|error| match error.raw_os_error() {
            Some(libc::EFAULT) => shrank(),
            _ => error,
        })?;
    }
    let mut byte = [0];
    match file.read_exact_at(&mut byte, last) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(shrank()),
        result => result.context("read the file")?,
    }
    connection.send_all(&byte)
    // END 06.send_windows
}

/// Makes `file` `size` bytes long and reserves room for all of them, so that a full disk is an
/// error now and not a SIGBUS later.
///
/// # Errors
/// `posix_fallocate(3)`: `ENOSPC`, `EFBIG`.
pub fn reserve(file: &File, size: u64) -> io::Result<()> {
    // LAB 06.reserve: allocate all of the file; an empty one needs nothing
    if size == 0 {
        return Ok(()); // EINVAL otherwise
    }
    let length = i64::try_from(size).unwrap_or(i64::MAX);
    loop {
        match posix_fallocate(file, 0, length) {
            Err(Errno::EINTR) => {}
            result => return result.context(format_args!("reserve {size} bytes")),
        }
    }
    // END 06.reserve
}

/// Receives `size` bytes into mappings of `file`, which has that length already. `show` is told
/// after every window how many have come.
///
/// # Errors
/// Those of [`Connection::recv_some`]; an early end; no memory for the mapping.
pub fn recv_file(
    connection: &mut Connection,
    file: &File,
    size: u64,
    mut show: impl FnMut(u64),
) -> io::Result<()> {
    // LAB 06.recv_windows: receive window by window, each into a mapping of it, and show it
    for (offset, length) in windows(size) {
        // SAFETY: the file has no name, or one that we chose, so nobody else changes it; and it
        // is the kernel that writes to the mapping, in `recv`, not Rust code.
        let mut window = unsafe { MmapOptions::new().offset(offset).len(length).map_mut(file) }
            .context("mmap")?;
        // One call makes all the pages instead of a page fault for each of them. It is a matter
        // of speed alone: kernels before 5.14 don't know it.
        let _ = window.advise(Advice::PopulateWrite);
        let have = offset + connection.recv_exact(&mut window)? as u64;
        if have < offset + length as u64 {
            return Err(ProtocolError::Closed(have, size).into());
        }
        show(have);
    }
    Ok(())
    // END 06.recv_windows
}
