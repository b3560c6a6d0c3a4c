//! The system calls a process made, as `strace` saw them.
//!
//! ```ignore
//! let Some((server, trace)) = trace::server(BIN, &["--workers", "1"], "sendmsg,recvmsg") else {
//!     return; // not checked, and it has been said
//! };
//! assert!(trace.calls("sendmsg").iter().any(|call| call.args.contains("SCM_RIGHTS")));
//! ```
//!
//! A call is on record before the process goes on. So once a client has seen the effect of what a
//! process did after a call, or the process sleeps, the call is in the trace. The effect of the call
//! itself may be seen a moment earlier.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::not_checked;
use crate::proc;
use crate::server::{Finished, Server, ServerCommand, Signal, run_with_stdin, send_signal};
use crate::wait::{limit, wait_for};

/// A system call that has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who made it.
    pub pid: i32,
    /// Its name, as in its manual page.
    pub name: String,
    /// Its arguments as `strace` shows them. A descriptor comes with what it is: `3</etc/passwd>`,
    /// `4<pipe:[4711]>`, `5<TCP:[127.0.0.1:8080->127.0.0.1:40000]>`. The contents of buffers are
    /// left out.
    pub args: String,
    /// What it returned; below 0 for an error.
    pub result: i64,
    /// The error, such as `EPIPE`; empty if it is none.
    pub error: String,
}

impl Call {
    /// An argument, counted from 0. What stands before it must have no commas of its own.
    #[must_use]
    pub fn arg(&self, index: usize) -> &str {
        self.args.split(", ").nth(index).unwrap_or_default()
    }

    /// What the call returned as a number of bytes; 0 for an error.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.result).unwrap_or(0)
    }

    /// An argument of a call that was put on record with a star.
    #[must_use]
    pub fn number(&self, index: usize) -> Option<u64> {
        let arg = self.arg(index);
        match arg.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => arg.parse().ok(),
        }
    }

    /// A line of `strace` output, such as `close(3</etc/passwd>) = 0`. `None` for whatever isn't
    /// a call that returned: a signal, an exit, a call cut short by SIGKILL.
    fn parse(pid: i32, line: &str) -> Option<Self> {
        let (name, rest) = line.split_once('(')?;
        let (args, returned) = rest.rsplit_once(" = ")?;
        // Blanks may stand between the bracket and the equals sign; `3</tmp/x>` and
        // `-1 ENOENT (No such file or directory)` start with the number.
        let args = args.trim_end().strip_suffix(')')?;
        let end = returned.find([' ', '<']).unwrap_or(returned.len());
        let number = &returned[..end];
        let result = match number.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok()?.cast_signed(),
            None => number.parse().ok()?,
        };
        let error = if result < 0 { returned.split(' ').nth(1).unwrap_or_default() } else { "" };
        let (name, args, error) = (name.to_owned(), args.to_owned(), error.to_owned());
        Some(Self { pid, name, args, result, error })
    }
}

/// The record of a program and all who descend from it.
#[derive(Debug)]
pub struct Trace {
    /// Holds a file `calls.PID` for every process.
    dir: TempDir,
}

impl Trace {
    /// The calls of these names that have returned so far (`"recv,recvfrom"`): process by
    /// process, the calls of each in order.
    #[track_caller]
    #[must_use]
    pub fn calls(&self, names: &str) -> Vec<Call> {
        let mut calls = self.all();
        calls.retain(|call| names.split(',').any(|name| name == call.name));
        calls
    }

    /// All calls on record.
    #[track_caller]
    #[must_use]
    pub fn all(&self) -> Vec<Call> {
        let mut calls = Vec::new();
        for entry in fs::read_dir(self.dir.path()).expect("the directory of the trace") {
            let path = entry.expect("a directory entry").path();
            let pid = path.extension().and_then(|pid| pid.to_str()?.parse().ok());
            let pid = pid.expect("strace names its files after pids");
            let text = fs::read(&path).expect("read a trace");
            let text = String::from_utf8_lossy(&text);
            calls.extend(text.lines().filter_map(|line| Call::parse(pid, line)));
        }
        calls
    }

    /// A new, empty record and the command that writes it.
    fn start(calls: &str, more: &[&str]) -> (Self, Vec<String>) {
        let dir = TempDir::new().expect("a temporary directory");
        let output = dir.path().join("calls").to_string_lossy().into_owned();
        // `?`: a call that this processor's kernel doesn't have is none of our business.
        let list = |names: Vec<&str>| {
            let names: Vec<String> = names.into_iter().map(|name| format!("?{name}")).collect();
            names.join(",")
        };
        let raw = calls.split(',').filter_map(|name| name.strip_suffix('*')).collect();
        let names = calls.split(',').map(|name| name.trim_end_matches('*')).collect();
        let filters = [format!("trace={}", list(names)), format!("raw={}", list(raw))];
        let filters =
            filters.iter().filter(|filter| !filter.ends_with('=')).flat_map(|it| ["-e", it]);
        let options = ["strace", "-ff", "-qq", "-yy", "-s", "0", "-o", &output].into_iter();
        let command = options.chain(filters).chain(more.iter().copied()).chain(["--"]);
        (Self { dir }, command.map(ToString::to_string).collect())
    }
}

/// Starts a server whose `calls` (`"sendmsg,recvmsg"`) are put on record. `None` where tracing is
/// impossible; it is said then that this isn't checked. Of a call with a star (`"sendto*"`) the
/// arguments are shown as numbers: there the address of a buffer can be seen.
#[track_caller]
#[must_use]
pub fn server(bin: &str, args: &[&str], calls: &str) -> Option<(Server, Trace)> {
    is_possible().then(|| start(bin, args, Trace::start(calls, &[])))
}

/// The same, and whoever makes one of the `calls` rests for so long before it goes on: there is
/// time to see what each call has done, or to do something between two of them.
#[track_caller]
#[must_use]
pub fn slow_server(
    bin: &str,
    args: &[&str],
    calls: &str,
    rest: Duration,
) -> Option<(Server, Trace)> {
    let names: Vec<String> = calls.split(',').map(|name| format!("?{name}")).collect();
    let inject = format!("inject={}:delay_exit={}", names.join(","), rest.as_micros());
    is_possible().then(|| start(bin, args, Trace::start(calls, &["-e", &inject])))
}

/// A running `strace` on processes that run already. Dropping it lets go of them.
#[derive(Debug)]
pub struct Tracer(Child);

/// Traces `pids`, and whom they fork from now on, with these options (`["-e", "inject=…"]`). What
/// counts calls begins now to count those of each process.
#[track_caller]
#[must_use]
pub fn attach(pids: &[i32], options: &[&str]) -> Tracer {
    let stands_still = |&&pid: &&i32| proc::state(pid) == Some('T');
    let still: Vec<i32> = pids.iter().filter(stands_still).copied().collect();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null"]).args(options);
    strace.args(pids.iter().flat_map(|pid| ["-p".to_owned(), pid.to_string()]));
    let strace = strace.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("strace");
    let tracer = Some(strace.id().to_string());
    let attached = || pids.iter().all(|&pid| proc::status_field(pid, "TracerPid") == tracer);
    wait_for("strace to attach itself", limit(), attached);
    // It has attached itself to the last one, but may not have stopped it yet. Then it waits.
    let pid = i32::try_from(strace.id()).expect("pids are ints");
    wait_for("strace to wait for calls", limit(), || proc::state(pid) == Some('S'));
    // Whoever is traced is stopped first, and goes on unless it had stood still before.
    let goes_on = || pids.iter().all(|pid| still.contains(pid) || proc::state(*pid) != Some('t'));
    wait_for("those that are traced to go on", limit(), goes_on);
    Tracer(strace)
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Asked to end, it detaches; killed, it would take along whoever is stopped just now.
        send_signal(i32::try_from(self.0.id()).expect("pids are ints"), Signal::SIGINT);
        let _ = self.0.wait();
    }
}

#[track_caller]
fn start(bin: &str, args: &[&str], (trace, wrapper): (Trace, Vec<String>)) -> (Server, Trace) {
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    (ServerCommand::new(bin).args(args).under(&wrapper).start(), trace)
}

/// Runs a client to its end and puts its `calls` on record. `None` as in [`server`].
#[track_caller]
#[must_use]
pub fn client(bin: &str, args: &[&str], calls: &str) -> Option<(Finished, Trace)> {
    client_with_stdin(bin, args, calls, Stdio::null())
}

/// The same with a standard input.
#[track_caller]
#[must_use]
pub fn client_with_stdin(
    bin: &str,
    args: &[&str],
    calls: &str,
    stdin: impl Into<Stdio>,
) -> Option<(Finished, Trace)> {
    client_with(bin, args, calls, &[], stdin)
}

/// The same with more options (`["-e", "inject=splice:error=EINVAL:when=1"]`).
#[track_caller]
#[must_use]
pub fn client_with(
    bin: &str,
    args: &[&str],
    calls: &str,
    options: &[&str],
    stdin: impl Into<Stdio>,
) -> Option<(Finished, Trace)> {
    is_possible().then(|| {
        let (trace, wrapper) = Trace::start(calls, options);
        let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
        let args = [&wrapper[1..], &[bin], args].concat();
        (run_with_stdin(wrapper[0], &args, stdin), trace)
    })
}

/// Is there an `strace`, and may it trace here? Says so if not.
#[must_use]
pub fn is_possible() -> bool {
    static OBSTACLE: OnceLock<Option<&str>> = OnceLock::new();
    let obstacle = OBSTACLE.get_or_init(|| {
        let mut attempt = Command::new("strace");
        attempt.args(["-f", "-qq", "-o", "/dev/null", "true"]);
        attempt.stdin(Stdio::null()).stderr(Stdio::null());
        match attempt.status() {
            Ok(status) if status.success() => None,
            Ok(_) => Some("strace may trace nothing here (a container without SYS_PTRACE?)"),
            Err(_) => Some("strace is not installed (apt install strace)"),
        }
    });
    if let Some(obstacle) = obstacle {
        not_checked(obstacle);
    }
    obstacle.is_none()
}

/// May `strace` here trace also what runs already, as [`attach`] does? Many systems allow that to
/// root alone (`ptrace_scope`, see `ptrace(2)`). Says so if not.
#[must_use]
pub fn may_attach() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    let may = is_possible()
        && *MAY.get_or_init(|| {
            let mut target = Command::new("sleep").arg("1").spawn().expect("sleep");
            let mut attempt = Command::new("strace");
            attempt.args(["-qq", "-o", "/dev/null", "-p", &target.id().to_string()]);
            let attempt = attempt.stdin(Stdio::null()).stderr(Stdio::null()).status();
            let _ = target.wait();
            attempt.is_ok_and(|status| status.success())
        });
    if !may {
        not_checked("calls that fail in a running program, for strace may not attach itself here");
    }
    may
}

#[cfg(test)]
mod tests {
    use super::Call;

    #[test]
    fn a_call_is_taken_apart() {
        let line = "splice(5</tmp/a b>, NULL, 6<pipe:[1]>, NULL, 9, 0)        = 7";
        let call = Call::parse(1, line).unwrap();
        assert_eq!((call.name.as_str(), call.arg(2), call.bytes()), ("splice", "6<pipe:[1]>", 7));
        let failed = Call::parse(1, "close(-1) = -1 EBADF (Bad file descriptor)").unwrap();
        assert_eq!((failed.result, failed.bytes(), failed.error.as_str()), (-1, 0, "EBADF"));
        let opened = Call::parse(1, "openat(AT_FDCWD</>, \"\"..., O_RDONLY) = 3</etc/passwd>");
        assert_eq!(opened.unwrap().result, 3);
        let mapped = Call::parse(1, "mmap(NULL, 1, PROT_READ, MAP_SHARED, 4</a>, 0) = 0x7f00");
        assert_eq!(mapped.unwrap().result, 0x7f00);
    }

    #[test]
    fn what_has_not_returned_is_no_call() {
        for line in [
            "--- SIGCHLD {si_signo=SIGCHLD, si_pid=2} ---",
            "+++ exited with 0 +++",
            "read(3</etc/passwd>,  <unfinished ...>",
            "exit_group(0) = ?",
            "rea",
        ] {
            assert_eq!(Call::parse(1, line), None, "{line}");
        }
    }
}
