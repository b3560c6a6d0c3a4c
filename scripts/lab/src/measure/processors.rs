//! Who runs where.
//!
//! On a busy machine the scheduler puts a sender and its receiver now on one processor, now on
//! two, and the second is twice as fast as the first. So as long as one sends and one receives,
//! each side has its own half of the processors. Children inherit what is set here.

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The halves. All is as it was when dropped.
pub struct Halves {
    all: CpuSet,
    servers: CpuSet,
    clients: CpuSet,
}

impl Halves {
    /// Of the processors that this process may use. A single one is for both sides.
    pub fn new() -> Result<Self> {
        let all = sched_getaffinity(Pid::from_raw(0)).context("sched_getaffinity")?;
        let usable: Vec<usize> =
            (0..CpuSet::count()).filter(|&it| all.is_set(it).unwrap_or(false)).collect();
        let (servers, clients) = usable.split_at(usable.len().div_ceil(2));
        let clients = if clients.is_empty() { servers } else { clients };
        let set = |processors: &[usize]| -> Result<CpuSet> {
            let mut set = CpuSet::new();
            processors.iter().try_for_each(|&it| set.set(it))?;
            Ok(set)
        };
        Ok(Self { all, servers: set(servers)?, clients: set(clients)? })
    }

    /// What is started from now on are servers.
    pub fn servers(&self) -> Result<()> {
        run_on(&self.servers)
    }

    /// What is started from now on are clients, and so is this process.
    pub fn clients(&self) -> Result<()> {
        run_on(&self.clients)
    }
}

impl Drop for Halves {
    fn drop(&mut self) {
        let _ = run_on(&self.all);
    }
}

fn run_on(processors: &CpuSet) -> Result<()> {
    sched_setaffinity(Pid::from_raw(0), processors).context("sched_setaffinity")
}
