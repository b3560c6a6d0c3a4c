//! Clients that come again and again: how many a second are served, and how long each takes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use nix::sys::socket::{setsockopt, sockopt};

/// What many clients saw together.
pub struct Load {
    pub per_second: f64,
    /// Nanoseconds from connecting to the end of the answer.
    pub latency: Histogram<u64>,
}

/// How to be a client.
#[derive(Clone, Copy)]
pub struct Visit<'a> {
    pub port: u16,
    /// Sent first, if the server wants something.
    pub request: Option<&'a str>,
    /// Say then that this was all: a server of lines answers until it hears that.
    pub says_all: bool,
    /// An answer has so many bytes at least.
    pub bytes: usize,
}

/// A server that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Latencies up to a minute, to three digits.
const LONGEST: u64 = 60_000_000_000;

/// Has `clients` clients come at the same time, for so long, each again as soon as it was served.
#[expect(clippy::disallowed_methods, reason = "this process never forks a copy of itself")]
pub fn load(visit: Visit<'_>, clients: usize, duration: Duration) -> Result<Load> {
    let ready = Barrier::new(clients + 1);
    let client = || -> Result<Histogram<u64>> {
        let mut latency = Histogram::new_with_max(LONGEST, 3)?;
        ready.wait();
        let deadline = Instant::now() + duration;
        while latency.is_empty() || Instant::now() < deadline {
            let begin = Instant::now();
            visit.once()?;
            latency.record(u64::try_from(begin.elapsed().as_nanos())?)?;
        }
        Ok(latency)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        ready.wait();
        let begin = Instant::now();
        let mut latency = Histogram::new_with_max(LONGEST, 3)?;
        for thread in threads {
            let Ok(one) = thread.join() else { bail!("a client panicked") };
            latency.add(one?)?;
        }
        let per_second = latency.len() as f64 / begin.elapsed().as_secs_f64();
        Ok(Load { per_second, latency })
    })
}

impl Visit<'_> {
    fn once(&self) -> Result<()> {
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).context("connect")?;
        server.set_read_timeout(Some(PATIENCE))?;
        // Closed at once and for good: thousands of connections in TIME_WAIT would slow us down.
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&server, sockopt::Linger, &at_once)?;
        if let Some(request) = self.request {
            server.write_all(request.as_bytes()).context("send the request")?;
        }
        if self.says_all {
            server.shutdown(Shutdown::Write).context("shutdown")?;
        }
        let mut buffer = [0; 16 << 10];
        let mut received = 0;
        loop {
            match server.read(&mut buffer).context("receive")? {
                0 => break,
                length => received += length,
            }
        }
        ensure!(received >= self.bytes, "{received} of {} bytes came", self.bytes);
        Ok(())
    }
}
