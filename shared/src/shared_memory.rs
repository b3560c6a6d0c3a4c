//! Memory that several processes have in common: one mapping, and in it a ring for each writer.
//!
//! Purpose: what one process has received, the others send from the very same memory.
//! Interface: [`Rings::map`] before the fork; a [`Writer`] for the one process that fills a ring;
//! [`Rings::published`] and [`Rings::send`] for all others.
//! Rules: a ring is written by one process at a time, and by nobody else. A position counts all
//! bytes that were ever written to a ring: it only grows, also when another process takes the
//! ring over, and the byte at position `p` lies at `p % RING`. Before the published position are
//! whole lines, and none of them changes until all have sent it; what is behind it, nobody but
//! the writer looks at. There is no lock: whoever is killed, wherever it is, leaves nothing locked
//! and nothing half done.
//!
//! What others may write is never behind a Rust reference: it is the kernel that reads it, in
//! `send(2)`. A process that breaks the rules makes others send rubbish, and no worse.
//! First used by stage 11. See `mmap(2)`.

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

use crate::error::Context;
use crate::lines::{LineBuffer, Room};
use crate::tcp;

/// So many bytes a ring holds.
pub const RING: u64 = 64 << 10;

/// A ring and what belongs to it, as it lies in the mapping. New memory is full of zeros: nothing
/// is published yet.
#[repr(C, align(4096))]
struct Ring {
    /// Everybody may read up to this position.
    published: AtomicU64,
    /// Whole lines, for all.
    bytes: UnsafeCell<[u8; RING as usize]>,
    /// What the writer has received and not yet made lines of, for itself alone.
    inbox: UnsafeCell<Room>,
}

/// All rings. They are the same memory in every process that is forked after [`map`](Self::map).
pub struct Rings {
    shared: &'static [Ring],
    /// The rings that this process writes. (This list is no shared memory.)
    taken: Vec<Cell<bool>>,
}

impl Rings {
    /// Makes so many rings. They are there until the last process that has them ends.
    ///
    /// # Errors
    /// `mmap(2)`: `ENOMEM`.
    pub fn map(count: usize) -> io::Result<Self> {
        let length = NonZeroUsize::new(count.saturating_mul(size_of::<Ring>()))
            .ok_or_else(|| io::Error::other("no rings at all"))?;
        let start = map_shared(length)?;
        // SAFETY: `count` rings begin there, all zeros, which are valid values of their fields.
        // They are never unmapped. What others change in them is an atomic or in an UnsafeCell.
        let shared = unsafe { slice::from_raw_parts(start.cast().as_ptr(), count) };
        Ok(Self { shared, taken: vec![Cell::new(false); count] })
    }

    /// How far a ring is published. Whoever knows this position sees all the bytes before it.
    #[must_use]
    pub fn published(&self, ring: usize) -> u64 {
        // Acquire: the other half of the Release in `Writer::publish`.
        self.shared[ring].published.load(Ordering::Acquire)
    }

    /// Sends from the memory of a ring so much of this range as fits without waiting, and returns
    /// how much that was. The range has to be published, and kept by who sends it.
    ///
    /// # Errors
    /// `send(2)`: `EAGAIN` when nothing fits now; `EPIPE`, `ECONNRESET` when the peer left.
    pub fn send(&self, socket: &OwnedFd, ring: usize, range: Range<u64>) -> io::Result<u64> {
        let (start, length) = self.shared[ring].piece(range);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        loop {
            // SAFETY: the piece lies within the ring, and it is the kernel that reads it.
            let sent = unsafe { libc::send(socket.as_raw_fd(), start.cast(), length, flags) };
            match Errno::result(sent) {
                Ok(sent) => return Ok(sent.unsigned_abs() as u64),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("send"),
            }
        }
    }

    /// A copy of this range, which is published, and kept by who asks.
    #[must_use]
    pub fn copy(&self, ring: usize, range: Range<u64>) -> Vec<u8> {
        // SAFETY: `at` points to a byte of the ring. Volatile: somebody else has written it.
        range.map(|position| unsafe { self.shared[ring].at(position).read_volatile() }).collect()
    }

    /// The writer of a ring, which goes on where the one before it has last published. `limit` is
    /// the first position that it must not write to. In all processes together there may be only
    /// one; in this process that is seen to.
    ///
    /// # Panics
    /// When this process has the writer of this ring already.
    #[must_use]
    pub fn writer(&self, ring: usize, limit: u64) -> Writer<'_> {
        let (taken, end) = (&self.taken[ring], self.published(ring));
        assert!(!taken.replace(true), "ring {ring} has a writer in this process");
        let ring = &self.shared[ring];
        // SAFETY: the inbox belongs to the writer, and there is only one.
        let inbox = LineBuffer::within(unsafe { &mut *ring.inbox.get() });
        Writer { ring, taken, inbox, end, limit }
    }
}

/// Makes new memory that this process and all children to come have in common.
fn map_shared(length: NonZeroUsize) -> io::Result<NonNull<c_void>> {
    // LAB 11.map: map `length` bytes, for reading and writing, that children share with us
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // MAP_SHARED is what it is about: of a private mapping each process would have its own copy.
    // SAFETY: the kernel chooses an address where nothing else is.
    unsafe { mmap_anonymous(None, length, access, MapFlags::MAP_SHARED) }.context("mmap")
    // END 11.map
}

impl Ring {
    /// Where the byte at a position lies.
    fn at(&self, position: u64) -> *mut u8 {
        let start: *mut u8 = self.bytes.get().cast();
        // SAFETY: the remainder is less than the length of the ring.
        unsafe { start.add((position % RING) as usize) }
    }

    /// Where a range begins, and how much of it lies there before the end of the ring.
    fn piece(&self, range: Range<u64>) -> (*mut u8, usize) {
        let left = RING - range.start % RING;
        (self.at(range.start), left.min(range.end - range.start) as usize)
    }
}

/// The only one who writes a ring.
pub struct Writer<'a> {
    ring: &'a Ring,
    taken: &'a Cell<bool>,
    inbox: LineBuffer<&'a mut Room>,
    /// Up to here it is written, published or not.
    end: u64,
    /// From here on it isn't free: one round earlier there are bytes that somebody has yet to send.
    limit: u64,
}

impl Writer<'_> {
    /// Receives what is there into the inbox, without waiting. False: the peer has sent its last
    /// byte. To be called when [`line`](Self::line) has none.
    ///
    /// # Errors
    /// `recv(2)`: `EAGAIN` when there is nothing now; `ECONNRESET` when the peer left.
    pub fn fill(&mut self, socket: &OwnedFd) -> io::Result<bool> {
        let mut came = 0;
        self.inbox.fill(|room| {
            came = tcp::try_recv(socket, room)?;
            Ok(came)
        })?;
        Ok(came > 0)
    }

    /// Nothing more will be received: what is left in the inbox is the last line.
    pub fn end_input(&mut self) {
        let _ = self.inbox.fill(|_| Ok(0));
    }

    /// The first line of the inbox, see [`LineBuffer::line`].
    #[must_use]
    pub fn line(&self) -> Option<&[u8]> {
        self.inbox.line()
    }

    /// Drops the first line of the inbox.
    pub fn consume(&mut self) {
        self.inbox.consume();
    }

    /// True when the peer has sent its last byte and every line has been consumed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.inbox.is_finished()
    }

    /// How many bytes may be written now.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.limit - self.end
    }

    /// Nobody needs any more what would be overwritten before this position.
    pub fn allow(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// Writes bytes behind what is written. They are still ours alone.
    ///
    /// # Panics
    /// When there is no room: it would overwrite what somebody has yet to send.
    pub fn write(&mut self, mut bytes: &[u8]) {
        assert!(bytes.len() as u64 <= self.room(), "no room in the ring");
        while !bytes.is_empty() {
            let (start, length) = self.ring.piece(self.end..self.end + bytes.len() as u64);
            // SAFETY: the piece lies within the ring, `bytes` don't, and up to the limit nobody
            // else uses it.
            unsafe { start.copy_from_nonoverlapping(bytes.as_ptr(), length) };
            self.end += length as u64;
            bytes = &bytes[length..];
        }
    }

    /// Lets everybody read what is written, which has to be whole lines. It doesn't change any
    /// more.
    pub fn publish(&mut self) {
        // Release: whoever sees this position sees the bytes before it, too.
        self.ring.published.store(self.end, Ordering::Release);
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.taken.set(false);
    }
}
