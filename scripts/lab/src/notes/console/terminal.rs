//! A terminal: a shell, what is typed there, and what comes.
//!
//! Rules: standard output and error of all that runs there are one pipe, so that lines come in the
//! order in which they were written. It is no real terminal: a program that asks (`isatty(3)`)
//! draws nothing. Nobody types at a running command; its standard input is silent.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{PipeReader, Read, Write, pipe};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, setsid};

use crate::family;

/// Takes commands from descriptor 8, each ended by a 0 byte, and reports how each has ended on 9.
/// A Ctrl-C is for the command that runs, not for the shell.
const SHELL: &str = r#"
trap : INT
status=0
give() { return "$1"; }
while IFS= read -r -d '' -u 8 command; do
    give "$status"
    eval "$command" 8<&- 9>&-
    status=$?
    echo "$status" >&9
done"#;

pub struct Terminal {
    shell: Pid,
    /// Keeps the standard input of the commands open.
    _keyboard: OwnedFd,
    commands: File,
    ends: PipeReader,
    output: PipeReader,
    begun: Vec<u8>,
    /// What has come and isn't accounted for yet.
    pub lines: VecDeque<String>,
    /// A command runs.
    pub is_busy: bool,
}

impl Terminal {
    /// Opens one, in the directory in which this process is.
    pub fn open(environment: &[(&str, OsString)]) -> Result<Self> {
        let (input, keyboard) = pipe().context("pipe")?;
        let (for_shell, commands) = pipe().context("pipe")?;
        let (ends, of_shell) = pipe().context("pipe")?;
        let (output, all) = pipe().context("pipe")?;
        let mut command = Command::new("bash");
        command.args(["--norc", "--noprofile", "-c", SHELL, "bash"]);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(input).stdout(all.try_clone()?).stderr(all);
        let (read, write) = (for_shell.as_raw_fd(), of_shell.as_raw_fd());
        let prepare = move || {
            setsid()?;
            // By a detour, for 8 may be in use as the other one.
            let (read, write) = (above_20(read)?, above_20(write)?);
            for (from, to) in [(read, 8), (write, 9)] {
                // SAFETY: the call takes two numbers and touches no memory.
                Errno::result(unsafe { libc::dup2(from, to) })?;
            }
            // Whatever else is open here, a command has only its own.
            for (first, last) in [(3, 7), (10, u32::MAX)] {
                let flags = libc::CLOSE_RANGE_CLOEXEC;
                // SAFETY: as above.
                Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })?;
            }
            Ok(())
        };
        family::unblock_signals(&mut command);
        // SAFETY: `prepare` makes plain system calls, which is allowed between fork and exec.
        unsafe { command.pre_exec(prepare) };
        let shell = command.spawn().context("start bash")?.id();
        for pipe in [ends.as_fd(), output.as_fd()] {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("fcntl")?;
        }
        Ok(Self {
            shell: Pid::from_raw(shell.cast_signed()),
            _keyboard: keyboard.into(),
            commands: OwnedFd::from(commands).into(),
            ends,
            output,
            begun: Vec::new(),
            lines: VecDeque::new(),
            is_busy: false,
        })
    }

    /// Types a command. What was there before is history.
    pub fn type_command(&mut self, command: &str) -> Result<()> {
        self.lines.clear();
        self.is_busy = true;
        self.commands.write_all(format!("{command}\0").as_bytes()).context("write to bash")
    }

    /// Ctrl-C: the signal for everybody who was started here.
    pub fn interrupt(&self) -> Result<()> {
        killpg(self.shell, Signal::SIGINT).context("kill")
    }

    /// Readable when there is something to take.
    pub fn sources(&self) -> [Option<BorrowedFd<'_>>; 2] {
        [Some(self.output.as_fd()), Some(self.ends.as_fd())]
    }

    /// Takes what has come, without waiting. First the end, then the output: what a command has
    /// written before it ended must be there.
    pub fn take(&mut self) {
        let mut end = [0; 16];
        if self.ends.read(&mut end).is_ok_and(|length| length > 0) {
            self.is_busy = false;
        }
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = self.output.read(&mut buffer) {
            self.begun.extend_from_slice(&buffer[..length]);
        }
        while let Some(end) = self.begun.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            self.lines.push_back(plain(&String::from_utf8_lossy(&line[..end])));
        }
        if !self.is_busy && !self.begun.is_empty() {
            let line = std::mem::take(&mut self.begun);
            self.lines.push_back(plain(&String::from_utf8_lossy(&line)));
        }
    }
}

/// A second number for an open file, above those that have a meaning here.
fn above_20(fd: i32) -> nix::Result<i32> {
    // SAFETY: the call takes three numbers and touches no memory.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD, 20) })
}

/// What a shell at a terminal would have said: `Killed` for `bash: line 5:    17 Killed   sleep 9`.
fn plain(line: &str) -> String {
    let behind = line.strip_prefix("bash: line ").and_then(|rest| rest.split_once(": "));
    let Some((number, rest)) = behind else { return line.trim_end().to_owned() };
    if !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return line.trim_end().to_owned();
    }
    let fate = rest.trim_start().split_once(' ').filter(|(pid, _)| pid.parse::<i32>().is_ok());
    match fate.and_then(|(_, fate)| fate.split("  ").find(|it| !it.is_empty())) {
        Some(fate) => fate.trim().to_owned(),
        None => format!("bash: {rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn the_shell_says_what_it_would_say_at_a_terminal() {
        assert_eq!(plain("bash: line 5:    17 Killed                  sleep 9"), "Killed");
        assert_eq!(
            plain("bash: line 8: nosuch: command not found"),
            "bash: nosuch: command not found"
        );
        assert_eq!(plain("a line: 5"), "a line: 5");
    }
}
