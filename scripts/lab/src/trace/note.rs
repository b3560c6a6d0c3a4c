//! Calls of which a few words say all.

use nix::sys::signal::Signal;

use super::act::{Act, is_ours};
use super::descriptor::{Descriptor, Object};
use super::record::Call;
use super::words::size;
use crate::text::printable;

/// Calls of which a few words say all.
pub fn note(call: &Call) -> Act {
    let number = |index| call.descriptor(index).map_or(String::new(), |it| it.number.to_string());
    let is_ours = |index| {
        call.descriptor(index).is_some_and(|it| match it.object {
            Object::File(path) => is_ours(&path),
            _ => false,
        })
    };
    let (what, with) = match call.name.as_str() {
        "socketpair" => {
            let ends = Descriptor::list(call.arg(3));
            let ends: Vec<String> = ends.iter().map(|it| it.number.to_string()).collect();
            ("socketpair", ends.join(" ↔ "))
        }
        "listen" => ("listen", number(0)),
        "pidfd_open" => ("pidfd_open", call.arg(0).to_owned()),
        "prctl" if call.arg(0) == "PR_SET_PDEATHSIG" => ("prctl PDEATHSIG", call.arg(1).to_owned()),
        "close_range" => {
            let last = if call.arg(1).len() > 9 { "…" } else { call.arg(1) };
            ("close_range", format!("{}–{last}", call.arg(0)))
        }
        "signalfd4" => ("signalfd", signals(call.arg(1))),
        "pipe2" | "pipe" => {
            let ends = Descriptor::list(call.arg(0));
            let ends: Vec<String> = ends.iter().map(|it| it.number.to_string()).collect();
            ("pipe", ends.join(" ← "))
        }
        "fcntl" if call.arg(1) == "F_SETPIPE_SZ" => match call.error() {
            None => ("F_SETPIPE_SZ", size(call.bytes())),
            Some(error) => ("F_SETPIPE_SZ", format!("= {error}")),
        },
        "fallocate" if is_ours(0) => ("fallocate", size(call.arg(3).parse().unwrap_or(0))),
        "ftruncate" if is_ours(0) => ("ftruncate", size(call.arg(1).parse().unwrap_or(0))),
        "open" | "openat" | "creat" => {
            match Descriptor::parse(&call.returned).map(|it| it.object) {
                Some(Object::File(path)) if self::is_ours(&path) => ("open", base(&path)),
                _ => return Act::Nothing,
            }
        }
        "rename" | "renameat" | "renameat2" if call.error().is_none() => {
            let to = call.args.iter().rev().find(|it| it.starts_with('"'));
            ("rename →", base(to.map_or("", |it| it.trim_matches('"'))))
        }
        // A search along PATH fails until it has found something.
        "execve" | "execveat" if call.error().is_some() => return Act::Nothing,
        "execve" => ("execve", base(call.arg(0).trim_matches('"'))),
        "execveat" => match call.descriptor(0).map(|it| it.object) {
            Some(Object::File(path)) => ("execveat", base(&path)),
            _ => ("execveat", String::new()),
        },
        "socket" | "bind" | "setsockopt" | "linkat" | "epoll_create1" | "kill" => {
            return Act::Minor;
        }
        _ => return Act::Nothing,
    };
    Act::Note(what, with)
}

/// `[INT TERM]` as it stands in a set of signals.
fn signals(set: &str) -> String {
    set.trim_matches(['[', ']']).to_owned()
}

fn base(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    printable(if name.starts_with('#') { "O_TMPFILE" } else { name })
}

/// The signal that a `signalfd_siginfo` tells of: its number is the first byte.
pub fn signal(call: &Call) -> String {
    let text = call.arg(1).trim_start_matches(['"', '[']);
    let digits = text.strip_prefix('\\').map(|it| it.split(|c: char| !c.is_ascii_digit()).next());
    let number = digits.flatten().and_then(|it| i32::from_str_radix(it, 8).ok());
    let signal = number.and_then(|it| Signal::try_from(it).ok());
    signal.map_or("a signal".to_owned(), |it| it.as_str().to_owned())
}
