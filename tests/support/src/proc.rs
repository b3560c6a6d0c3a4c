//! What `/proc` knows about a process, see `proc(5)`.
//!
//! A process may be gone by the time it is looked at. Then it has no state, no children, no
//! descriptors: the functions say so with `None` or nothing, and don't panic.

use std::fs;
use std::path::Path;

use nix::libc;

/// What `/proc/PID/stat` says.
pub struct Stat {
    /// `R` running, `S` asleep, `D` waiting for a disk, `T` stopped, `Z` zombie.
    pub state: char,
    /// The parent's pid.
    pub parent: i32,
    /// The process group.
    pub group: i32,
    /// The session.
    pub session: i32,
    /// CPU time used so far, in ticks of 10 ms.
    pub cpu_ticks: u64,
}

/// Reads `/proc/PID/stat`; `None` once the process is reaped.
#[must_use]
pub fn stat(pid: i32) -> Option<Stat> {
    stat_at(Path::new(&format!("/proc/{pid}/stat")))
}

fn stat_at(path: &Path) -> Option<Stat> {
    let text = fs::read_to_string(path).ok()?;
    // The second field is the program's name in brackets and may hold blanks and brackets.
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        cpu_ticks: number(11)? + number(12)?,
    })
}

/// The state of a process, a letter as in `ps`; `None` once it is reaped.
#[must_use]
pub fn state(pid: i32) -> Option<char> {
    stat(pid).map(|stat| stat.state)
}

/// Does one of its threads run, or would it if a processor were free?
#[must_use]
pub fn runs(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    let runs = |path: &Path| stat_at(path).is_some_and(|stat| stat.state == 'R');
    threads.flatten().any(|thread| runs(&thread.path().join("stat")))
}

/// Is there an entry for this process? A zombie has one.
#[must_use]
pub fn exists(pid: i32) -> bool {
    state(pid).is_some()
}

/// Does this process still run (or sleep)? A zombie doesn't.
#[must_use]
pub fn alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Every process there is.
#[must_use]
pub fn all() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc is readable");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

/// The children of a process, zombies included, in the order of their pids.
#[must_use]
pub fn children(pid: i32) -> Vec<i32> {
    those(|stat| stat.parent == pid)
}

/// Every process of a session, zombies included, in the order of their pids.
#[must_use]
pub fn session(session: i32) -> Vec<i32> {
    those(|stat| stat.session == session)
}

fn those(wanted: impl Fn(&Stat) -> bool) -> Vec<i32> {
    let mut pids = all();
    pids.retain(|&pid| stat(pid).is_some_and(|stat| wanted(&stat)));
    pids.sort_unstable();
    pids
}

/// Every open descriptor: its number and what it is, such as `socket:[4711]` or a path.
#[must_use]
pub fn fds(pid: i32) -> Vec<(i32, String)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let mut fds: Vec<(i32, String)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.parse().ok()?;
            let target = fs::read_link(entry.path()).ok()?; // closed a moment ago: not open
            Some((number, target.to_string_lossy().into_owned()))
        })
        .collect();
    fds.sort_unstable();
    fds
}

/// The flags of an open descriptor as in `fcntl(2)`, close-on-exec included
/// (`libc::O_CLOEXEC`); `None` if it is closed.
#[must_use]
pub fn fd_flags(pid: i32, fd: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
    i32::from_str_radix(flags.trim(), 8).ok()
}

/// Does this process have the socket with this inode open?
#[must_use]
pub fn holds_socket(pid: i32, inode: u64) -> bool {
    let socket = format!("socket:[{inode}]");
    fds(pid).iter().any(|(_, target)| *target == socket)
}

/// Every socket a process has open, such as `socket:[4711]`: one open end of a connection or of a
/// socketpair. Two processes that hold the same one share that end.
#[must_use]
pub fn sockets(pid: i32) -> Vec<String> {
    let targets = fds(pid).into_iter().map(|(_, target)| target);
    targets.filter(|target| target.starts_with("socket:")).collect()
}

/// Lets a process open nothing more (`RLIMIT_NOFILE`): the number of every new descriptor would
/// have to be below `limit`. Returns the limit it had; `None` when it is gone.
pub fn limit_descriptors(pid: i32, limit: u64) -> Option<u64> {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `old` is a valid place for the answer; nothing is changed by a null pointer.
    let read = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut old) };
    let new = libc::rlimit { rlim_cur: limit, rlim_max: old.rlim_max };
    // SAFETY: `new` is valid and only read; the old limit isn't asked for.
    let set =
        unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const new, std::ptr::null_mut()) };
    ((read, set) == (0, 0)).then_some(old.rlim_cur)
}

/// The number that the next descriptor of a process will get: the lowest that is free.
#[must_use]
pub fn next_fd(pid: i32) -> u64 {
    let taken: Vec<i32> = fds(pid).into_iter().map(|(number, _)| number).collect();
    let next = (0..).find(|number| !taken.contains(number));
    u64::try_from(next.unwrap_or_default()).unwrap_or_default()
}

/// The CPU time a process has used so far, in ticks of 10 ms; 0 when it is gone.
#[must_use]
pub fn cpu_ticks(pid: i32) -> u64 {
    stat(pid).map_or(0, |stat| stat.cpu_ticks)
}

/// How often a process has got and lost the CPU so far: a sleeper hardly ever.
#[must_use]
pub fn ctxt_switches(pid: i32) -> u64 {
    let count = |name| status_field(pid, name).and_then(|value| value.parse::<u64>().ok());
    count("voluntary_ctxt_switches").unwrap_or(0) + count("nonvoluntary_ctxt_switches").unwrap_or(0)
}

/// The mappings of a process, as `/proc/PID/maps` lists them.
#[must_use]
pub fn maps(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default()
}

/// A field of `/proc/PID/status`: `status_field(pid, "VmRSS")` is `Some("1234 kB")`.
#[must_use]
pub fn status_field(pid: i32, name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

/// The memory a process has in use (resident set), in KiB; 0 when it is gone.
#[must_use]
pub fn memory_kib(pid: i32) -> u64 {
    kib(pid, "VmRSS")
}

/// The most memory a process has ever had in use, in KiB; 0 when it is gone.
#[must_use]
pub fn peak_memory_kib(pid: i32) -> u64 {
    kib(pid, "VmHWM")
}

fn kib(pid: i32, field: &str) -> u64 {
    let value = status_field(pid, field).unwrap_or_default();
    let number = value.split(' ').next();
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What a process is at, for messages: `running`, or the system call in which it waits, as in
/// `waiting in splice(2)`. Nothing where this can't be found out.
#[must_use]
pub fn doing(pid: i32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
    let number = text.split_whitespace().next()?;
    if number == "running" {
        return Some(number.to_owned());
    }
    let number: libc::c_long = number.parse().ok()?;
    let call = CALLS.iter().find(|(it, _)| *it == number);
    call.map(|(_, name)| format!("waiting in {name}(2)"))
}

/// The system calls in which the programs of the lab may wait.
const CALLS: &[(libc::c_long, &str)] = &[
    (libc::SYS_read, "read"),
    (libc::SYS_readv, "readv"),
    (libc::SYS_write, "write"),
    (libc::SYS_writev, "writev"),
    (libc::SYS_recvfrom, "recv"),
    (libc::SYS_recvmsg, "recvmsg"),
    (libc::SYS_sendto, "send"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_sendfile, "sendfile"),
    (libc::SYS_splice, "splice"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_accept, "accept"),
    (libc::SYS_accept4, "accept4"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, "poll"),
    (libc::SYS_ppoll, "poll"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, "epoll_wait"),
    (libc::SYS_epoll_pwait, "epoll_wait"),
    (libc::SYS_wait4, "waitpid"),
    (libc::SYS_waitid, "waitid"),
    (libc::SYS_clock_nanosleep, "nanosleep"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_futex, "futex"),
];

/// A few words about a process, for messages: `1234 (sleeping)`.
#[must_use]
pub fn describe(pid: i32) -> String {
    let state = status_field(pid, "State").unwrap_or_else(|| "gone".to_owned());
    let words = state.split_once(' ').map_or(&*state, |(_, words)| words); // `S (sleeping)`
    format!("{pid} ({})", words.trim_matches(['(', ')']))
}
