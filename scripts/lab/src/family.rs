//! Ends every process that descends from this one, however it tried to get away.
//!
//! This process is a subreaper (`PR_SET_CHILD_SUBREAPER`, prctl(2)): whoever below it loses its
//! parent becomes its child, also after `setsid` and a double fork. So all who are left are found
//! by following the parents in `/proc`, and all are gone when `wait` knows no child any more.
//!
//! The family is frozen before it is killed: whoever is killed one by one can be replaced by those
//! still running. A group is stopped by one call that nobody can fork away from; what forks into
//! new groups is stopped pass by pass, until two passes have found the same processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, Uid, getpgrp, setresuid};

/// How long it may take to end a family. Long, for a thousand busy processes leave little time.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Makes this process the one that orphans below it come to.
pub fn adopt_orphans() -> nix::Result<()> {
    prctl::set_child_subreaper(true)
}

/// Where it is allowed, this process goes first from now on, and its children don't. Between a
/// thousand busy processes it would hardly ever get the time to end them.
pub fn go_first() {
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: the call reads the parameter, which lives until it returns.
    unsafe { libc::sched_setscheduler(0, policy, &raw const lowest) };
}

/// Lets the command start with no signal blocked, whatever is blocked here.
pub fn unblock_signals(command: &mut Command) {
    let unblock = || Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?);
    // SAFETY: `unblock` is one system call, which is all that is allowed between fork and exec.
    unsafe { command.pre_exec(unblock) };
}

/// Ends all who descend from this process, except the children in `spare` and their families.
/// Processes that run as `uid`, which must be nobody else's, are killed by one call first.
/// Returns whom it couldn't end: nobody, as a rule.
pub fn end(spare: &BTreeSet<i32>, uid: Option<Uid>) -> Vec<i32> {
    go_first();
    let deadline = Instant::now() + LIMIT;
    let mut before = BTreeSet::new();
    loop {
        if let Some(uid) = uid {
            kill_all_of(uid);
        }
        let left = descendants(spare);
        reap(&left);
        let pids: BTreeSet<i32> = left.iter().map(|it| it.pid).collect();
        if left.is_empty() || Instant::now() > deadline {
            return pids.into_iter().collect();
        }
        let all_frozen = pids.is_subset(&before);
        signal(&left, if all_frozen { Signal::SIGKILL } else { Signal::SIGSTOP });
        if all_frozen {
            thread::sleep(Duration::from_millis(1)); // killed, and on their way out
        }
        before = pids;
    }
}

/// How many descend from this process.
pub fn size() -> usize {
    descendants(&BTreeSet::new()).len()
}

/// How many bytes they have written, those included whose end somebody has waited for, see
/// proc_pid_io(5): to disks, or by calls, which counts what goes to a file system in memory.
pub fn written() -> u64 {
    let field = |io: &str, name| io.lines().find_map(|it| it.strip_prefix(name)?.parse().ok());
    let of_process = |pid: i32| -> u64 {
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        field(&io, "write_bytes: ").unwrap_or(0).max(field(&io, "wchar: ").unwrap_or(0))
    };
    descendants(&BTreeSet::new()).iter().map(|it| of_process(it.pid)).sum()
}

/// The letter of a process's state, `None` if it is gone. See proc_pid_stat(5).
pub fn state(pid: i32) -> Option<char> {
    read(pid).map(|it| it.state)
}

/// Does everybody else on this machine, or in this pid namespace, sleep or stand still? Who has
/// ended is at work until it is reaped.
pub fn others_rest() -> bool {
    let own = Pid::this().as_raw();
    all().iter().all(|it| it.pid == own || matches!(it.state, 'S' | 'T'))
}

/// Reaps the children that have ended; returns their states, by pid.
pub fn reap_ended() -> Vec<WaitStatus> {
    let mut ended = Vec::new();
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG))
        && status.pid().is_some()
    {
        ended.push(status);
    }
    ended
}

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Copy, Debug)]
struct Process {
    pid: i32,
    state: char,
    parent: i32,
    group: i32,
}

fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(read).collect()
}

fn read(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name stands in brackets and may hold blanks and brackets itself.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    Some(Process { pid, state, parent, group })
}

fn descendants(spare: &BTreeSet<i32>) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for process in all() {
        children.entry(process.parent).or_default().push(process);
    }
    let (mut found, mut parents) = (Vec::new(), vec![Pid::this().as_raw()]);
    while let Some(parent) = parents.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            if !spare.contains(&child.pid) {
                parents.push(child.pid);
                found.push(child);
            }
        }
    }
    found
}

fn signal(processes: &[Process], signal: Signal) {
    let groups: BTreeSet<i32> = processes.iter().map(|it| it.group).collect();
    for group in groups.into_iter().filter(|&group| group > 1 && group != getpgrp().as_raw()) {
        let _ = killpg(Pid::from_raw(group), signal);
    }
    for process in processes {
        let _ = kill(Pid::from_raw(process.pid), signal);
    }
}

/// Fails, and does nothing, for a process that has a parent of its own.
fn reap(processes: &[Process]) {
    for process in processes {
        let _ = waitpid(Pid::from_raw(process.pid), Some(WaitPidFlag::WNOHANG));
    }
}

/// As a user, `kill(-1)` reaches all processes of that user and spares the caller. To be that user
/// for a moment takes both ids; the saved one leads back.
fn kill_all_of(uid: Uid) {
    let root = Uid::from_raw(0);
    if !uid.is_root() && setresuid(uid, uid, root).is_ok() {
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        let _ = setresuid(root, root, root);
    }
}
