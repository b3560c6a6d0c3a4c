//! System calls that fail, in the real programs: `strace` answers them in the kernel's place.
//!
//! A fault is put into a program from its start on, or into processes that run already. Calls are
//! counted for each process by itself: the third is the third that this process makes.

use support::server::{Finished, run};
use support::trace::{self, Tracer};

/// Calls that fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The call, by the kernel's name (`fork` is `clone`, `send` is `sendto`).
    pub call: &'static str,
    /// What it fails with, such as `EINTR`.
    pub error: &'static str,
    /// Which call of this name: `3` the third, `1..3` the first three, `1+` all.
    pub when: &'static str,
}

impl Fault {
    fn options(self) -> [String; 4] {
        let Self { call, error, when } = self;
        let inject = format!("inject={call}:error={error}:when={when}");
        ["-e".to_owned(), format!("trace={call}"), "-e".to_owned(), inject]
    }

    /// Puts it into processes that run, until the result is dropped.
    #[track_caller]
    #[must_use]
    pub fn strike(self, pids: &[i32]) -> Tracer {
        trace::attach(pids, &self.options().each_ref().map(String::as_str))
    }

    /// Runs a program to its end with the fault in it, though not in those whom it forks.
    #[track_caller]
    #[must_use]
    pub fn run(self, bin: &str, args: &[&str]) -> Finished {
        let options = self.options();
        let options = options.each_ref().map(String::as_str);
        run("strace", &[&["-qq", "-o", "/dev/null"], &options[..], &["--", bin], args].concat())
    }
}
