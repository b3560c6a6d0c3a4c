//! The machine that the numbers are of.

use std::fs;
use std::process::Command;

use nix::sys::utsname::uname;
use serde::{Deserialize, Serialize};

use crate::measure::place::Place;

/// What one has to know of a machine to make sense of its numbers.
#[derive(Deserialize, Serialize)]
pub struct Machine {
    pub kernel: String,
    pub processor: String,
    /// How many of them this process may use.
    pub processors: usize,
    memory_mib: u64,
    /// The file system of files on disk.
    disk: String,
    /// `net.ipv4.tcp_congestion_control`
    congestion_control: String,
    /// The load averages at the beginning, see proc_loadavg(5).
    load: String,
    /// Of the bench: from -20, before everybody else, to 19. 0 is everybody's.
    nice: i32,
}

impl Machine {
    /// This one.
    pub fn this(place: &Place) -> Self {
        let kernel =
            uname().map_or_else(|_| String::new(), |it| it.release().to_string_lossy().into());
        let load = read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ");
        Self {
            kernel,
            processor: field(&read("/proc/cpuinfo"), "model name")
                .unwrap_or_else(|| "?".to_owned()),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kib(&read("/proc/meminfo"), "MemTotal") >> 10,
            disk: file_system(place),
            congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control"),
            load,
            // SAFETY: the call takes two numbers and touches no memory.
            nice: unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) },
        }
    }

    /// In two lines.
    pub fn text(&self) -> String {
        let Self { kernel, processor, processors, memory_mib, disk, .. } = self;
        let Self { congestion_control, load, nice, .. } = self;
        format!(
            "Linux {kernel}, {processors} × {processor}, {memory_mib} MiB, disk {disk}, \
             tcp {congestion_control}\nload before: {load}, nice {nice}"
        )
    }
}

/// How much memory could be had, in bytes.
pub fn available_memory() -> u64 {
    kib(&read("/proc/meminfo"), "MemAvailable") << 10
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// A field of a file of lines `name : value`.
pub fn field(text: &str, name: &str) -> Option<String> {
    let value =
        text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

/// A field of a file of lines `name: 123 kB`; 0 if there is none.
pub fn kib(text: &str, name: &str) -> u64 {
    let value = field(text, name).unwrap_or_default();
    value.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// By the name that mount(8) has for it.
fn file_system(place: &Place) -> String {
    let output =
        Command::new("findmnt").args(["-n", "-o", "FSTYPE", "-T"]).arg(place.disk()).output();
    output
        .map_or_else(|_| "?".to_owned(), |it| String::from_utf8_lossy(&it.stdout).trim().to_owned())
}
