//! A program under `strace`: each of its processes has a file of its own in one directory.
//!
//! Interface: [`check`] says whether anything can be traced here; [`command`] runs a program,
//! [`records`] reads what is on record so far.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::sys::signal::Signal;

use super::record::Record;
use crate::family;
use crate::repo::Repo;

/// All that has to do with processes, descriptors, memory and signals.
const CALLS: &str = "trace=%process,%network,%desc,%memory,%signal,?pause,?nanosleep,\
    ?clock_nanosleep,?prctl,?ftruncate,?rename,?renameat,?renameat2,?linkat,?unlink,?unlinkat";

/// The calls that receive; a slow client rests before each.
const SLOW: &str = "inject=?read,?readv,?recvfrom,?recvmsg,?splice:delay_enter=50000";

/// Is there an `strace`, and may it trace here?
pub fn check() -> Result<()> {
    let mut attempt = Command::new("strace");
    attempt.args(["-f", "-qq", "-yy", "-o", "/dev/null", "true"]);
    attempt.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    match attempt.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let said = crate::text::printable(said.lines().next().unwrap_or("it says nothing"));
            bail!("strace may trace nothing here (a container needs --cap-add=SYS_PTRACE): {said}")
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("strace is not installed: apt install strace (or dnf, pacman, apk)")
        }
        Err(error) => Err(error).context("run strace"),
    }
}

/// A command that runs `program` and writes `DIR/NAME.PID` for each of its processes.
pub fn command(program: &Path, dir: &Path, name: &str, slow: bool) -> Command {
    let mut command = Command::new("strace");
    command.args(["-ff", "-ttt", "-T", "-q", "-yy", "-s", "48", "-e", CALLS]);
    if slow {
        command.args(["-e", SLOW]);
    }
    command.arg("-o").arg(dir.join(name)).arg("--").arg(program);
    family::unblock_signals(&mut command);
    // strace passes SIGTERM on to the program: nothing is left running should this tool be killed.
    let end_with_us = || Ok(prctl::set_pdeathsig(Signal::SIGTERM)?);
    // SAFETY: `end_with_us` is one system call, which is allowed between fork and exec.
    unsafe { command.pre_exec(end_with_us) };
    command
}

/// Who is on record.
pub fn pids(dir: &Path) -> Result<Vec<i32>> {
    let entries = dir.read_dir().context("the trace")?;
    let pid = |path: &Path| path.extension()?.to_str()?.parse().ok();
    Ok(entries.flatten().filter_map(|it| pid(&it.path())).collect())
}

/// What is on record of the program `name`: process by process, each in order.
pub fn records(dir: &Path, name: &str) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    let here = format!("{}/", Repo::here()?.root().display());
    for entry in dir.read_dir().context("the trace")? {
        let path = entry?.path();
        let of_name = path.file_stem().is_some_and(|stem| stem == name);
        let pid = path.extension().and_then(|pid| pid.to_str()?.parse().ok());
        if let (true, Some(pid)) = (of_name, pid) {
            let text = fs::read(&path).context("read a trace")?;
            // As if the checkout were at the root: where it is doesn't belong in a picture.
            let text = String::from_utf8_lossy(&text).replace(&here, "/");
            // A last line without its end is still being written.
            let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            records.extend(lines.filter_map(|line| Record::parse(pid, line.trim_end())));
        }
    }
    Ok(records)
}
