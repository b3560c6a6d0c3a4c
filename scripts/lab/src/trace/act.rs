//! What a system call is to the picture: a message, a move of data, a note, or nothing.
//!
//! Interface: [`Act::of`]. It judges a call by itself; what it has to do with the calls of others
//! is found out in [`story`](super::story).

use super::descriptor::{Descriptor, Object};
use super::note::{note, signal};
use super::record::Call;
use super::scene::PREFIX;
use super::words::{failure, is_plain, quoted};

/// What a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// The end of a child was heard of.
    Reap(i32),
    /// A connection was asked for.
    Connect,
    /// A connection was taken.
    Accept(Stream),
    /// A message left on the channel that this inode is an end of.
    Send(u64, Message),
    /// A message came on it; without content, the end of the channel.
    Receive(u64, Message),
    /// Bytes moved.
    Move(Move),
    /// The connection ends in one direction: nothing more is sent, or nothing more will come.
    Finish(Stream, String),
    End(Stream),
    /// The other side is gone.
    Broken(Stream),
    /// A piece of a file was mapped, here.
    Map(String, Move),
    /// What was mapped here is done with.
    Unmap(String),
    /// A descriptor is watched by epoll, how and which; or all are.
    Watch(&'static str, String),
    Wait,
    /// Worth a few words: what was done, and with what.
    Note(&'static str, String),
    /// Something was said to whoever watches.
    Tell,
    /// Worth a look at the call itself.
    Minor,
    /// Not worth anything.
    Nothing,
}

/// What travels on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its first bytes, in quotes.
    pub text: String,
    /// The descriptor that goes with it, as its number here.
    pub passed: Option<i32>,
    pub is_end: bool,
}

/// A TCP connection, seen from one side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stream {
    pub here: String,
    pub there: String,
}

/// A move of bytes by one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// `splice file→pipe`
    pub how: String,
    pub bytes: u64,
    /// The connection, and whether the bytes left on it.
    pub stream: Option<(Stream, bool)>,
    /// The bytes themselves, if they are few and plain.
    pub text: Option<String>,
}

const SENDING: [&str; 7] =
    ["sendto", "sendmsg", "sendmmsg", "write", "writev", "pwrite64", "pwritev"];
const RECEIVING: [&str; 7] =
    ["recvfrom", "recvmsg", "recvmmsg", "read", "readv", "pread64", "preadv"];

impl Act {
    /// Judges a call.
    pub fn of(call: &Call) -> Self {
        let name = call.name.as_str();
        if call.returned.is_empty() {
            return Self::Nothing; // it never returned
        }
        if let Some("EAGAIN" | "EINTR" | "EINPROGRESS") = call.error() {
            return Self::Nothing;
        }
        match name {
            _ if SENDING.contains(&name) => transfer(call, true),
            _ if RECEIVING.contains(&name) => transfer(call, false),
            "splice" | "sendfile" | "copy_file_range" | "tee" => between(call),
            "accept" | "accept4" => stream(&call.returned).map_or(Self::Nothing, Self::Accept),
            "connect" if call.error().is_some() => Self::Note("connect", failure(call)),
            "connect" if call.arg(1).contains("sa_family=AF_INET") => Self::Connect,
            "wait4" | "waitid" => reaped(call),
            "mmap" => mapping(call),
            "munmap" | "madvise" | "msync" => Self::Unmap(call.arg(0).to_owned()),
            "shutdown" => stream(call.arg(0)).map_or(Self::Nothing, |it| {
                let how = call.arg(1).to_owned();
                if how == "SHUT_RD" { Self::Minor } else { Self::Finish(it, how) }
            }),
            "close" => closed(call),
            "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => Self::Wait,
            "epoll_ctl" => {
                let number = call.descriptor(2).map_or(String::new(), |it| it.number.to_string());
                match call.arg(1) {
                    "EPOLL_CTL_ADD" => Self::Watch("epoll_ctl ADD", number),
                    "EPOLL_CTL_MOD" => Self::Watch("epoll_ctl MOD", number),
                    _ => Self::Watch("epoll_ctl DEL", number),
                }
            }
            _ => note(call),
        }
    }
}

/// The connection that a descriptor stands for.
fn stream(text: &str) -> Option<Stream> {
    match Descriptor::parse(text)?.object {
        Object::Tcp { here, there } => Some(Stream { here, there }),
        _ => None,
    }
}

/// A call that moves bytes between memory and a descriptor.
fn transfer(call: &Call, is_out: bool) -> Act {
    let Some(Descriptor { number, object }) = call.descriptor(0) else { return Act::Nothing };
    match object {
        _ if number == 2 => Act::Tell,
        _ if number < 2 => Act::Nothing,
        Object::Channel(inode) => {
            let message = Message {
                text: quoted(call).unwrap_or_default(),
                passed: passed(call),
                is_end: !is_out && call.bytes() == 0,
            };
            match (is_out, call.error()) {
                (true, Some(_)) => Act::Note("send", failure(call)),
                (true, None) => Act::Send(inode, message),
                (false, _) => Act::Receive(inode, message),
            }
        }
        Object::Tcp { here, there } => {
            let stream = Stream { here, there };
            match (call.error(), call.bytes()) {
                _ if call.line.contains("MSG_PEEK") => Act::Minor,
                (Some(_), _) => Act::Broken(stream),
                (None, 0) if is_out => Act::Nothing,
                (None, 0) => Act::End(stream),
                (None, bytes) => {
                    let how = format!("{} {}", call.name, if is_out { "→TCP" } else { "TCP" });
                    let text = quoted(call).filter(|it| is_plain(it));
                    Act::Move(Move { how, bytes, stream: Some((stream, is_out)), text })
                }
            }
        }
        Object::File(path) if is_ours(&path) && call.bytes() > 0 => {
            let how = format!("{} {}", call.name, if is_out { "→file" } else { "file" });
            Act::Move(Move { how, bytes: call.bytes(), stream: None, text: None })
        }
        Object::Signals if call.bytes() > 0 => Act::Note("read signalfd:", signal(call)),
        _ => Act::Nothing,
    }
}

/// A call that moves bytes between two descriptors.
fn between(call: &Call) -> Act {
    let (from, to) = match call.name.as_str() {
        "sendfile" => (1, 0),
        "tee" => (0, 1),
        _ => (0, 2),
    };
    let place = |index| match call.descriptor(index).map(|it| it.object) {
        Some(Object::Pipe) => "pipe",
        Some(Object::Tcp { .. }) => "TCP",
        Some(Object::File(_)) => "file",
        _ => "?",
    };
    let coming = stream(call.arg(from)).map(|it| (it, false));
    let stream = coming.or_else(|| stream(call.arg(to)).map(|it| (it, true)));
    match (stream, call.error()) {
        (Some((stream, _)), Some(_)) => Act::Broken(stream),
        (None, Some(_)) => Act::Minor,
        (Some((stream, false)), None) if call.bytes() == 0 => Act::End(stream),
        (stream, None) => {
            let how = format!("{} {}→{}", call.name, place(from), place(to));
            Act::Move(Move { how, bytes: call.bytes(), stream, text: None })
        }
    }
}

fn mapping(call: &Call) -> Act {
    match call.descriptor(4).map(|it| it.object) {
        Some(Object::File(path)) if is_ours(&path) && call.error().is_none() => {
            let bytes = call.arg(1).parse().unwrap_or(0);
            let how = "mmap file".to_owned();
            let moved = Move { how, bytes, stream: None, text: None };
            Act::Map(call.returned.clone(), moved)
        }
        _ => Act::Nothing,
    }
}

fn reaped(call: &Call) -> Act {
    let by_id = call
        .line
        .split("si_pid=")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    let pid = match call.name.as_str() {
        "wait4" => call.result().and_then(|it| i32::try_from(it).ok()).filter(|pid| *pid > 0),
        _ => by_id,
    };
    pid.map_or(Act::Nothing, Act::Reap)
}

fn closed(call: &Call) -> Act {
    let Some(Descriptor { number, object }) = call.descriptor(0) else { return Act::Nothing };
    match object {
        Object::Tcp { here, there } => Act::Finish(Stream { here, there }, number.to_string()),
        Object::Channel(_) => Act::Note("close", number.to_string()),
        Object::TcpAlone => Act::Note("close", number.to_string()),
        Object::Listener => Act::Note("close", format!("{number} (listener)")),
        _ => Act::Minor,
    }
}

/// The descriptor in a control message.
fn passed(call: &Call) -> Option<i32> {
    let (_, rest) = call.line.split_once("cmsg_type=SCM_RIGHTS, cmsg_data=[")?;
    Some(Descriptor::parse(rest)?.number)
}

/// Is this one of the files that the play is about?
pub fn is_ours(path: &str) -> bool {
    path.contains(PREFIX)
}
