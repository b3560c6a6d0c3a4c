//! What a stranger's program may do while it is graded: `cargo lab grade` runs it in a [`Cell`].
//!
//! | | where | against |
//! | --- | --- | --- |
//! | limits: CPU, memory, processes, file size, no core | everywhere | an accident, a bomb |
//! | first choice of the kernel when memory runs out | everywhere | a bomb of many processes |
//! | no new privileges | everywhere | `sudo` and the like |
//! | another user, one for each test | as root | reading and killing what isn't its own |
//! | a network of its own, with loopback only | where namespaces are allowed | the world outside |
//! | no sight of the answers and of other submissions | the same | copying them |
//!
//! Memory is limited as `RLIMIT_DATA`, which counts what a program fills with its own data.
//! `RLIMIT_AS` would count mappings of files too, and a right program may map what it likes.

use std::env;
use std::fs;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::{Uid, getgid, getuid};
use serde::{Deserialize, Serialize};

use crate::schedule::{self, Job};
use crate::supervise::{End, Verdict};

/// The limits of each process. A right program of any stage stays far below.
const LIMITS: [(Resource, u64); 4] = [
    (Resource::RLIMIT_DATA, 2 << 30),
    (Resource::RLIMIT_FSIZE, 16 << 30),
    (Resource::RLIMIT_NPROC, 4096),
    (Resource::RLIMIT_CORE, 0),
];

/// The users of this range are taken for tests: whoever is found as one of them is a test's.
const USERS: std::ops::Range<u32> = 62_000..63_000;

/// Whom the kernel ends first when memory runs out, see proc_pid_oom_score_adj(5).
const OOM: &str = "/proc/self/oom_score_adj";

/// What this machine allows.
#[derive(Clone, Debug, Default)]
pub struct Sandbox {
    other_user: bool,
    own_view: bool,
    hidden: Vec<PathBuf>,
    /// What isn't separated here, and why: to be told once.
    pub missing: Vec<String>,
}

/// The sandbox of one test.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    user: Option<u32>,
    own_view: bool,
    hidden: Vec<PathBuf>,
    cpu_seconds: u64,
}

/// A user taken for one test: an abstract name, which is a lock that leaves with its holder, see
/// unix(7), so that no other test on this machine has the same.
#[derive(Debug)]
pub struct Claim {
    _name: UnixListener,
    pub uid: Uid,
}

impl Sandbox {
    /// Finds out what is allowed here, by trying it. `hidden`: what a program under test mustn't
    /// see, the answers and other people's work.
    pub fn new(hidden: Vec<PathBuf>) -> Self {
        let mut sandbox =
            Self { other_user: getuid().is_root(), own_view: true, hidden, missing: vec![] };
        if sandbox.other_user
            && let Err(why) = try_out(&Self { own_view: false, ..sandbox.clone() })
        {
            sandbox.other_user = false;
            sandbox.missing.push(format!("programs run as this user: {why}"));
        }
        if let Err(why) = try_out(&sandbox) {
            sandbox.own_view = false;
            sandbox.missing.push(format!("programs see the network and all files: {why}"));
        }
        sandbox
    }

    /// A cell for a test that may take `seconds`, and the claim to its user. The test works in
    /// `dir`, which becomes its own.
    pub fn cell(&self, dir: &Path, seconds: f64) -> Result<(Cell, Option<Claim>)> {
        let claim = self.other_user.then(Claim::take).transpose()?;
        let user = claim.as_ref().map(|claim| claim.uid.as_raw());
        // A mapping over one of its parents would hide the directory itself.
        let hidden = self.hidden.iter().filter(|it| !dir.starts_with(it)).cloned().collect();
        let cpu_seconds = (seconds * 2.0) as u64 + 10;
        Ok((Cell { user, own_view: self.own_view, hidden, cpu_seconds }, claim))
    }
}

fn try_out(sandbox: &Sandbox) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut job = Job::new("true", Duration::from_secs(20));
    job.sandbox = Some(sandbox.clone());
    job.dir = dir.path().to_owned();
    match schedule::one(job) {
        Ok(Verdict { end: End::Exited(0), .. }) => Ok(()),
        Ok(Verdict { end: End::Lost(why), .. }) => Err(why),
        Ok(verdict) => Err(format!("{:?} {}", verdict.end, verdict.stderr.trim())),
        Err(error) => Err(format!("{error:#}")),
    }
}

impl Claim {
    fn take() -> Result<Self> {
        for user in USERS {
            let name = SocketAddr::from_abstract_name(format!("process-pool-lab uid {user}"))?;
            if let Ok(name) = UnixListener::bind_addr(&name) {
                return Ok(Self { _name: name, uid: Uid::from_raw(user) });
            }
        }
        bail!("all users from {} to {} are taken", USERS.start, USERS.end - 1)
    }
}

impl Cell {
    /// The user of the test, if it isn't ours.
    pub fn uid(&self) -> Option<Uid> {
        self.user.map(Uid::from_raw)
    }

    /// Prepares this process, whose children the test and all below it will be.
    pub fn enter(&self) -> Result<()> {
        if self.own_view {
            self.unshare().context("unshare")?;
            loopback_up().context("set the loopback interface up")?;
            self.hide().context("hide the files of the grader")?;
        }
        let _ = fs::write(OOM, "1000");
        Ok(())
    }

    /// The test has been started.
    pub fn started(&self) {
        let _ = fs::write(OOM, "0");
    }

    fn unshare(&self) -> Result<()> {
        let (uid, gid) = (getuid(), getgid());
        let flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC;
        if uid.is_root() {
            return Ok(unshare(flags)?);
        }
        unshare(flags | CloneFlags::CLONE_NEWUSER)?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        Ok(fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?)
    }

    /// Lays an empty file system over each hidden directory.
    fn hide(&self) -> Result<()> {
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        for dir in self.hidden.iter().filter(|dir| dir.exists()) {
            let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            mount(Some("tmpfs"), dir, Some("tmpfs"), flags, Some("size=0,mode=755"))
                .with_context(|| format!("{}", dir.display()))?;
        }
        Ok(())
    }

    /// Removes what the test has left where everybody may write. Its user is nobody else's.
    pub fn clean_up(&self) {
        let entries = |dir: &str| Path::new(dir).read_dir().into_iter().flatten().flatten();
        for entry in ["/tmp", "/var/tmp", "/dev/shm"].into_iter().flat_map(entries) {
            let owner = entry.metadata().map(|it| it.uid()); // of a link itself
            if owner.is_ok_and(|uid| Some(uid) == self.user) {
                let path = entry.path();
                let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            }
        }
    }

    /// Prepares the test itself.
    pub fn confine(&self, command: &mut Command) {
        if let Some(user) = self.user {
            command.uid(user).gid(user); // and no other groups
        }
        let kept = env::vars_os().filter(|(name, _)| {
            let name = name.to_string_lossy();
            name.starts_with("LAB_")
                || ["PATH", "LANG", "TMPDIR", "RUST_BACKTRACE"].contains(&&*name)
        });
        let kept: Vec<_> = kept.collect();
        command.env_clear().envs(kept);
        let cpu = self.cpu_seconds;
        let limit = move || {
            prctl::set_no_new_privs()?;
            for (resource, most) in LIMITS {
                lower(resource, most)?;
            }
            Ok(lower(Resource::RLIMIT_CPU, cpu)?)
        };
        // SAFETY: `limit` makes plain system calls, which is allowed between fork and exec.
        unsafe { command.pre_exec(limit) };
    }
}

/// A limit that is lower already stays.
fn lower(resource: Resource, most: u64) -> nix::Result<()> {
    let (soft, hard) = getrlimit(resource)?;
    setrlimit(resource, soft.min(most), hard.min(most))
}

/// A new network has a loopback interface that is down.
pub fn loopback_up() -> Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: the structure is plain numbers and bytes, for which zeros are a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the call reads the request, which lives until it returns. See netdevice(7).
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) })?;
    Ok(())
}
