//! Who runs where.
//!
//! On a busy machine the scheduler puts a sender and its receiver now on one processor, now on
//! two, and the second is twice as fast as the first. So as long as one sends and one receives,
//! each side has its own half of the processors. Children inherit what is set here.

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::measure::distance::Distance;

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

    /// From the first processor of one half to the first of the other, if there are two.
    pub fn distance(&self) -> Option<Distance> {
        let first = |set: &CpuSet| (0..CpuSet::count()).find(|&it| set.is_set(it).unwrap_or(false));
        let (here, there) = (first(&self.servers)?, first(&self.clients)?);
        (here != there).then_some(Distance { here, there })
    }

    /// Has `start` start the servers in their half, and leaves this process and all that it starts
    /// from now on in the other.
    pub fn part<T>(start: impl FnOnce() -> Result<T>) -> Result<(T, Self)> {
        let halves = Self::new()?;
        run_on(&halves.servers)?;
        let started = start()?;
        run_on(&halves.clients)?;
        Ok((started, halves))
    }

    /// The same for a single client. Many are many on either side: they all run anywhere.
    pub fn part_for<T>(
        clients: usize,
        start: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Option<Self>)> {
        match clients {
            1 => Self::part(start).map(|(started, halves)| (started, Some(halves))),
            _ => start().map(|started| (started, None)),
        }
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
