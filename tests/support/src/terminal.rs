//! A program that believes to be on a terminal.
//!
//! A pseudoterminal is a pair: the program has the slave as its standard streams, the test reads
//! from the master what a person would see. See `pty(7)`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::grading::report;
use crate::process::LAST_BREATH;
use crate::wait::{limit, poll_until};

/// Runs `command` to its end on a terminal of 100 columns. Returns what a person would see there,
/// control sequences included.
///
/// A command that says nothing for as long as [`limit`] is killed, which shows in its status.
#[track_caller]
#[must_use]
pub fn run_on_terminal(command: &mut Command) -> (ExitStatus, String) {
    let (mut master, slave) = open();
    let stream = || Stdio::from(slave.try_clone().expect("dup"));
    command.env("TERM", "xterm-256color").stdin(Stdio::null());
    command.stdout(stream()).stderr(stream());
    report("ran", &format!("{command:?}"));
    let mut child = command.spawn().expect("start a program on a terminal");
    // Nobody but the program holds the slave from here on, so its end ends our reading.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    drop(slave);

    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    // The end shows as EIO.
    while let Some(count @ 1..) = read_in_time(&mut master, &mut buffer) {
        seen.extend_from_slice(&buffer[..count]);
    }
    if poll_until(LAST_BREATH, || child.try_wait().expect("waitpid")).is_none() {
        report("timeout", &limit().as_secs().to_string());
    }
    let _ = child.kill();
    let status = child.wait().expect("waitpid");
    (status, String::from_utf8_lossy(&seen).into_owned())
}

/// A program on a terminal, and a person who types and looks.
pub struct Terminal {
    child: Child,
    master: File,
    seen: Vec<u8>,
}

impl Terminal {
    /// Starts `command` with all its standard streams on a terminal.
    #[track_caller]
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let (master, slave) = open();
        let stream = || Stdio::from(slave.try_clone().expect("dup"));
        command.stdin(stream()).stdout(stream()).stderr(stream());
        report("ran", &format!("{command:?}"));
        let child = command.spawn().expect("start a program on a terminal");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child, master, seen: Vec::new() }
    }

    /// The process id of the program.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("pids are ints")
    }

    /// Types this. It is shown, too, as a terminal does.
    #[track_caller]
    pub fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("write to the terminal");
    }

    /// Waits until this can be seen.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        while !self.seen().contains(text) {
            if !self.look() {
                panic!("waited in vain for {text:?} on the terminal; there is {:?}", self.seen());
            }
        }
    }

    /// Waits for the program's end. Returns what a person would have seen in all this time.
    #[track_caller]
    #[must_use]
    pub fn finish(mut self) -> (ExitStatus, String) {
        while self.look() {}
        if poll_until(LAST_BREATH, || self.child.try_wait().expect("waitpid")).is_none() {
            report("timeout", &limit().as_secs().to_string());
        }
        let _ = self.child.kill();
        (self.child.wait().expect("waitpid"), self.seen())
    }

    /// All that can be seen so far, control sequences included.
    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Looks until there is something new. False when nothing more will come.
    fn look(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let read = read_in_time(&mut self.master, &mut buffer);
        self.seen.extend_from_slice(&buffer[..read.unwrap_or(0)]);
        matches!(read, Some(1..))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_in_time(master: &mut File, buffer: &mut [u8]) -> Option<usize> {
    let mut readable = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
    let milliseconds = PollTimeout::try_from(limit()).expect("30 s fit");
    match poll(&mut readable, milliseconds) {
        Ok(1..) => master.read(buffer).ok(),
        _ => None,
    }
}

/// A new pair, both ends close-on-exec from the start: programs that other tests start meanwhile
/// must not hold them open.
fn open() -> (File, File) {
    let master = OpenOptions::new().read(true).write(true).open("/dev/ptmx");
    let master = master.expect("open /dev/ptmx");
    let unlock = 0;
    let size = libc::winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCSPTLCK reads one int, and `unlock` is one.
    let unlocked = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) };
    Errno::result(unlocked).expect("ioctl TIOCSPTLCK");
    // SAFETY: TIOCSWINSZ reads one winsize, and `size` is one.
    let sized = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    Errno::result(sized).expect("ioctl TIOCSWINSZ");
    // SAFETY: TIOCGPTPEER takes flags by value and touches no memory of ours.
    let slave = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    let slave = Errno::result(slave).expect("ioctl TIOCGPTPEER");
    // SAFETY: the call above has just opened this descriptor, and nobody else knows it.
    let slave = unsafe { File::from_raw_fd(slave) };
    (master, slave)
}
