//! How many system calls a transfer takes on either side, as `strace` counts them.
//!
//! In a run of its own: who is traced is slow.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::measure::place::Destination;
use crate::measure::process::{Server, run};
use crate::measure::setting::{Program, Setting};

/// Calls that move bytes, wait for them or make room for them.
const COUNTED: [&str; 22] = [
    "read",
    "readv",
    "pread64",
    "write",
    "writev",
    "pwrite64",
    "recvfrom",
    "recvmsg",
    "sendto",
    "sendmsg",
    "splice",
    "sendfile",
    "poll",
    "ppoll",
    "epoll_wait",
    "epoll_pwait",
    "mmap",
    "munmap",
    "madvise",
    "fallocate",
    "ftruncate",
    "ioctl",
];

/// Calls per GiB.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Calls {
    pub server: f64,
    pub client: f64,
}

/// Is there an `strace` that works?
pub fn can_be_counted() -> bool {
    let output = Command::new("strace").args(["-f", "-c", "-o", "/dev/null", "true"]).output();
    output.is_ok_and(|it| it.status.success())
}

/// Has the client of a stage receive `file` from the server of that stage.
pub fn count(program: &Program, file: &Path, setting: &Setting) -> Result<Calls> {
    let memory = setting.place.has_memory();
    let destination = if memory { Destination::Memory } else { Destination::Disk };
    let out = setting.place.out(destination).context("a place for the file")?;
    let counts = ["server", "client"].map(|it| setting.place.disk().join(it));
    let mut serve = traced(&counts[0], &program.path);
    serve.args(["serve", "--port", "0", "--quiet", "--workers", "1", "--file"]).arg(file);
    let server = Server::that_announces(&mut serve)?;
    let mut get = traced(&counts[1], &program.path);
    get.args(["get", "--quiet", "--port", &server.port().to_string(), "--out"]).arg(out);
    setting.place.clear(destination)?;
    run(&mut get)?;
    server.stop_traced();
    let per_gib = (1 << 30) as f64 / setting.plan.bytes as f64;
    let [server, client] = counts.map(|it| sum(&it).map(|calls| calls as f64 * per_gib));
    Ok(Calls { server: server?, client: client? })
}

fn traced(counts: &Path, program: &Path) -> Command {
    let mut command = Command::new("strace");
    // `?`: not every machine has every call.
    let calls = COUNTED.map(|call| format!("?{call}")).join(",");
    command.args(["-f", "-c", "-qq", "--seccomp-bpf", "-e"]).arg(format!("trace={calls}"));
    command.arg("-o").arg(counts).arg(program);
    command
}

/// The column `calls` of the table that strace writes.
fn sum(counts: &Path) -> Result<u64> {
    let text = fs::read_to_string(counts).context("read what strace has counted")?;
    let calls = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let counted = fields.last().is_some_and(|name| COUNTED.contains(name));
        counted.then(|| fields.get(3)?.parse::<u64>().ok()).flatten()
    };
    Ok(text.lines().filter_map(calls).sum())
}
