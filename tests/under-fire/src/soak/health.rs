//! What a server holds: processes, descriptors, mappings, memory.

use std::fmt;
use std::fs;

use support::proc;
use support::server::Server;

/// What one process holds.
#[derive(Clone)]
struct Holdings {
    descriptors: usize,
    mappings: usize,
    threads: usize,
    /// Its share of the memory it uses (PSS), and of that the part that is no file's, in KiB.
    memory: u64,
    own_memory: u64,
}

/// What a server and its workers hold.
#[derive(Clone)]
pub struct Snapshot {
    parent: Holdings,
    workers: Vec<Holdings>,
}

/// So many mappings a process may have more at the end: a heap that grows after the fork is a
/// mapping of its own.
const MORE_MAPPINGS: u64 = 2;
/// So many KiB of its own: what was used once and freed stays with the allocator.
const MORE_OWN_MEMORY: u64 = 256;
/// The same for the one process that has a queue of up to 256 KiB for every user of a chat (10):
/// how many of them are full at the same time is chance.
const MORE_QUEUES: u64 = 1024;
/// So many KiB beside its own: the pages of the program count when they are touched for the first time,
/// and count more when others who shared them have ended. Both end somewhere, a leak doesn't.
const MORE_MEMORY: u64 = 768;

impl Holdings {
    fn of(pid: i32) -> Self {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let kib = |field: &str| {
            let value = rollup.lines().find_map(|line| line.strip_prefix(field));
            value.and_then(|it| it.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
        };
        let threads = proc::status_field(pid, "Threads").and_then(|it| it.parse().ok());
        Self {
            descriptors: proc::fds(pid).len(),
            mappings: proc::maps(pid).lines().count(),
            threads: threads.unwrap_or(0),
            memory: kib("Pss:"),
            own_memory: kib("Pss_Anon:"),
        }
    }

    fn has_grown(&self, before: &Self, who: &str, more_own_memory: u64) -> Vec<String> {
        let mut grown = Vec::new();
        let mut compare = |what, before: u64, now: u64, tolerance: u64| {
            if now > before + tolerance {
                grown.push(format!("{who} has {now} {what}, and had {before} at the start"));
            }
        };
        compare("descriptors", before.descriptors as u64, self.descriptors as u64, 0);
        compare("mappings", before.mappings as u64, self.mappings as u64, MORE_MAPPINGS);
        compare("threads", before.threads as u64, self.threads as u64, 0);
        compare("KiB of memory (PSS)", before.memory, self.memory, MORE_MEMORY + more_own_memory);
        compare("KiB of its own memory", before.own_memory, self.own_memory, more_own_memory);
        grown
    }

    /// The most of each.
    fn most(all: &[Self]) -> Self {
        let most = |of: fn(&Self) -> u64| all.iter().map(of).max().unwrap_or(0);
        Self {
            descriptors: most(|it| it.descriptors as u64) as usize,
            mappings: most(|it| it.mappings as u64) as usize,
            threads: most(|it| it.threads as u64) as usize,
            memory: most(|it| it.memory),
            own_memory: most(|it| it.own_memory),
        }
    }
}

impl Snapshot {
    /// Of a server that has nothing to do.
    pub fn of(server: &Server) -> Self {
        let workers = server.workers().into_iter().map(Holdings::of).collect();
        Self { parent: Holdings::of(server.pid()), workers }
    }

    /// The same, but with the descriptors of a `fresh` server: for them there is no warm-up.
    pub fn with_descriptors_of(mut self, fresh: &Self) -> Self {
        let descriptors = Holdings::most(&fresh.workers).descriptors;
        self.parent.descriptors = fresh.parent.descriptors;
        self.workers.iter_mut().for_each(|worker| worker.descriptors = descriptors);
        self
    }

    /// What there is more of than there was.
    pub fn has_grown(&self, before: &Self) -> Vec<String> {
        let most = Holdings::most(&before.workers);
        let workers =
            self.workers.iter().flat_map(|it| it.has_grown(&most, "a worker", MORE_OWN_MEMORY));
        let more = if self.workers.is_empty() { MORE_QUEUES } else { MORE_OWN_MEMORY };
        let parent = self.parent.has_grown(&before.parent, "the parent", more);
        parent.into_iter().chain(workers).collect()
    }
}

/// `5 children, 9+3 descriptors, 31+29 mappings, 1800+420 KiB`: the parent's + a worker's at most.
impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parent, worker) = (&self.parent, Holdings::most(&self.workers));
        write!(
            f,
            "{} children, {}+{} descriptors, {}+{} mappings, {}+{} KiB PSS, {}+{} KiB own",
            self.workers.len(),
            parent.descriptors,
            worker.descriptors,
            parent.mappings,
            worker.mappings,
            parent.memory,
            worker.memory,
            parent.own_memory,
            worker.own_memory,
        )
    }
}
