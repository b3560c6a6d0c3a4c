//! A client that receives and drops: what is left is the work of the server.
//!
//! It runs in the bench's own process, so nobody's start is measured with it.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::measure::process::Usage;

/// How much is dropped at once, in bytes, and how much has to be there for that to be worth while.
const BLOCK: usize = 1 << 20;
static ENOUGH: libc::c_int = 256 << 10;

/// A server that sends nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Receives all that the server at `port` sends, after this request if it wants one. That has to
/// be `bytes` at least; what belongs to the protocol comes on top.
pub fn discard(port: u16, request: Option<&str>, bytes: u64) -> Result<Usage> {
    let (begin, before) = (Instant::now(), own_usage()?);
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect")?;
    server.set_read_timeout(Some(PATIENCE))?;
    wake_for_enough(&server)?;
    server.write_all(request.unwrap_or_default().as_bytes()).context("send the request")?;
    let mut received = 0;
    loop {
        match drop_some(&server)? {
            0 => break,
            length => received += length as u64,
        }
    }
    ensure!(received >= bytes, "{received} of {bytes} bytes came");
    let after = own_usage()?;
    Ok(Usage {
        seconds: begin.elapsed().as_secs_f64(),
        cpu: after.cpu - before.cpu,
        page_faults: after.page_faults - before.page_faults,
        peak_kib: 0,
    })
}

/// To be woken for every segment would cost more than to drop it (`SO_RCVLOWAT`, see socket(7)).
fn wake_for_enough(server: &TcpStream) -> Result<()> {
    let size = size_of_val(&ENOUGH) as libc::socklen_t;
    let (fd, enough) = (server.as_raw_fd(), (&raw const ENOUGH).cast());
    // SAFETY: the kernel reads an int, and `ENOUGH` is one.
    let set = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, enough, size) };
    Errno::result(set).context("setsockopt SO_RCVLOWAT").map(drop)
}

/// `MSG_TRUNC` drops what has come without copying it anywhere, see tcp(7).
fn drop_some(server: &TcpStream) -> Result<usize> {
    let (fd, nowhere) = (server.as_raw_fd(), std::ptr::null_mut());
    loop {
        // SAFETY: with MSG_TRUNC a TCP socket writes nothing to the buffer, so it needs none.
        let length = unsafe { libc::recv(fd, nowhere, BLOCK, libc::MSG_TRUNC) };
        match Errno::result(length) {
            Err(Errno::EINTR) => {}
            result => return Ok(result.context("recv")?.unsigned_abs()),
        }
    }
}

fn own_usage() -> Result<Usage> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).context("getrusage")?;
    let cpu = (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6;
    let page_faults = (usage.minor_page_faults() + usage.major_page_faults()).unsigned_abs();
    Ok(Usage { cpu, page_faults, ..Usage::default() })
}
