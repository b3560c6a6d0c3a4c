//! Servers and clients, and what they cost.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{self, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::Pid;

use crate::child::{Child, pidfd};
use crate::measure::machine::kib;

/// How long a server may take to start, and a client for its whole work.
const LIMIT: Duration = Duration::from_secs(120);

/// How long a server may take to end, in milliseconds, before it is killed.
const GRACE: u16 = 2000;

/// How often a client is asked how much memory it has, in milliseconds.
const LOOK: u16 = 10;

/// What somebody has used up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub seconds: f64,
    /// Seconds of all processors together.
    pub cpu: f64,
    pub page_faults: u64,
    /// The most memory that it ever had, as far as it was seen.
    pub peak_kib: u64,
}

impl Usage {
    /// One after the other.
    pub fn and(self, next: Self) -> Self {
        Self {
            seconds: self.seconds + next.seconds,
            cpu: self.cpu + next.cpu,
            page_faults: self.page_faults + next.page_faults,
            peak_kib: self.peak_kib.max(next.peak_kib),
        }
    }
}

/// A running server. It ends when dropped.
pub struct Server {
    process: process::Child,
    pidfd: OwnedFd,
    port: u16,
    log: File,
    /// Kept open: nobody is to write into a closed pipe.
    _stdout: Option<ChildStdout>,
}

impl Server {
    /// A server that says `listening on HOST:PORT …` when it does.
    pub fn that_announces(command: &mut Command) -> Result<Self> {
        let mut server = Self::start(command.stdout(Stdio::piped()), 0)?;
        let stdout = server.process.stdout.take().context("no standard output")?;
        let mut ready = [PollFd::new(stdout.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::try_from(LIMIT)?)?;
        let mut reader = BufReader::new(stdout);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let port =
            line.trim_end().split(' ').nth(2).and_then(|it| it.rsplit(':').next()?.parse().ok());
        let Some(port) = port else {
            bail!("{} doesn't listen: {}", program(command), server.said());
        };
        server.port = port;
        server._stdout = Some(reader.into_inner());
        Ok(server)
    }

    /// A server that listens on `port` some time after its start and doesn't say so.
    pub fn at(port: u16, command: &mut Command) -> Result<Self> {
        let mut server = Self::start(command.stdout(Stdio::null()), port)?;
        let deadline = Instant::now() + LIMIT;
        // Not by connecting: some would take that for their client.
        while !is_listening(port) {
            if server.process.try_wait()?.is_some() || Instant::now() > deadline {
                bail!("{} doesn't listen: {}", program(command), server.said());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    fn start(command: &mut Command, port: u16) -> Result<Self> {
        let log = tempfile::tempfile().context("a temporary file")?;
        Child::prepare(command);
        command.stdin(Stdio::null()).stderr(log.try_clone()?);
        let process = command.spawn().with_context(|| format!("start {}", program(command)))?;
        let pidfd = pidfd(&process)?;
        Ok(Self { process, pidfd, port, log, _stdout: None })
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its last line on standard error.
    fn said(&self) -> String {
        last_line(&self.log)
    }

    /// For the error of a client: it may be the server's fault.
    pub fn state(&self) -> String {
        let over = wait_readable(&self.pidfd, 0);
        format!("the server {}: {}", if over { "has ended" } else { "runs" }, self.said())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    /// Its processes: itself first, then those that descend from it.
    pub fn family(&self) -> Vec<i32> {
        let mut family = vec![self.pid().as_raw()];
        let mut next = 0;
        while let Some(pid) = family.get(next) {
            family.extend(children(*pid));
            next += 1;
        }
        family
    }

    /// What its processes have used up since they were started, and the memory of the largest.
    pub fn usage(&self) -> Usage {
        let of_process = |pid: i32| Usage {
            seconds: 0.0,
            cpu: cpu_seconds(pid),
            page_faults: page_faults(pid),
            peak_kib: peak_kib(pid).unwrap_or(0),
        };
        self.family().into_iter().map(of_process).fold(Usage::default(), Usage::and)
    }

    /// Has the measurement of the largest memory begin anew, see proc(5), `clear_refs`.
    pub fn forget_peak(&self) {
        for pid in self.family() {
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5"); // gone meanwhile
        }
    }

    /// Asks its first process that isn't `strace` to end, and waits for the end of all.
    pub fn stop_traced(self) {
        for pid in children(self.pid().as_raw()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        wait_readable(&self.pidfd, GRACE);
    }
}

impl Drop for Server {
    /// Its workers end with it; should one get away, it is ended with the bench.
    fn drop(&mut self) {
        let _ = kill(self.pid(), Signal::SIGTERM); // fails if it has just ended
        if !wait_readable(&self.pidfd, GRACE) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// Runs a client to its end.
pub fn run(command: &mut Command) -> Result<Usage> {
    let log = tempfile::tempfile().context("a temporary file")?;
    Child::prepare(command);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone()?);
    let begin = Instant::now();
    let mut process = command.spawn().with_context(|| format!("start {}", program(command)))?;
    let pidfd = pidfd(&process)?;
    let pid = process.id().cast_signed();
    let mut peak = 0;
    // What wait4(2) says of memory includes this process, from which the client was forked.
    while !wait_readable(&pidfd, LOOK) {
        peak = peak_kib(pid).unwrap_or(peak);
        if begin.elapsed() > LIMIT {
            let _ = process.kill();
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let (status, usage) = wait(pid)?;
    if !status.success() {
        bail!("{}: {status}: {}", program(command), last_line(&log));
    }
    let of = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let page_faults = (usage.ru_minflt + usage.ru_majflt).unsigned_abs();
    Ok(Usage { seconds, cpu: of(usage.ru_utime) + of(usage.ru_stime), page_faults, peak_kib: peak })
}

/// Reaps a child and says what it has used up. See wait4(2), for which nix has no wrapper.
fn wait(pid: i32) -> Result<(ExitStatus, libc::rusage)> {
    let mut status = 0;
    // SAFETY: all zeros is a valid rusage: it is made of numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes to `status` and `usage`, which live until the call returns.
    let result = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    Errno::result(result).context("wait4")?;
    Ok((ExitStatus::from_raw(status), usage))
}

/// Waits until the descriptor is readable, for so many milliseconds at most.
fn wait_readable(fd: &OwnedFd, milliseconds: u16) -> bool {
    poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], milliseconds).is_ok_and(|it| it > 0)
}

fn program(command: &Command) -> String {
    let path = std::path::Path::new(command.get_program());
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn last_line(mut log: &File) -> String {
    let mut text = String::new();
    let _ = log.rewind().and_then(|()| log.read_to_string(&mut text));
    text.lines().last().unwrap_or("it said nothing").to_owned()
}

fn children(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|it| it.parse().ok()).collect()
}

/// To the nanosecond, where `/proc/PID/stat` counts in hundredths: clock_getcpuclockid(3).
fn cpu_seconds(pid: i32) -> f64 {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid));
    let time = clock.and_then(ClockId::now).map(Duration::from);
    time.map_or(0.0, |it| it.as_secs_f64())
}

/// Minor and major ones, see proc_pid_stat(5).
fn page_faults(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
    number(7) + number(9)
}

fn peak_kib(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(kib(&status, "VmHWM")).filter(|&it| it > 0) // a zombie has none
}

/// As proc(5), `/proc/net/tcp` says: the second field is the local address, `0A` is LISTEN.
fn is_listening(port: u16) -> bool {
    let local = format!(":{port:04X}");
    let is_it = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [_, address, _, "0A", ..] if address.ends_with(&local))
    };
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .any(|path| fs::read_to_string(path).unwrap_or_default().lines().any(is_it))
}
