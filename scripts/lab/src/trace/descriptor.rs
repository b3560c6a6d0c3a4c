//! A descriptor as `strace -yy` shows it: its number, and what is behind it.

/// A number and the object it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub number: i32,
    pub object: Object,
}

/// What is behind a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// An end of a socketpair, by its inode.
    Channel(u64),
    /// A TCP connection, by the addresses of both sides.
    Tcp {
        here: String,
        there: String,
    },
    /// A TCP socket that listens, and one that isn't connected to anything.
    Listener,
    TcpAlone,
    Pipe,
    Epoll,
    Signals,
    /// A process, by its pid if that is known.
    Process(Option<i32>),
    File(String),
    Other,
}

impl Descriptor {
    /// `3<UNIX:[1->2]>`, and others. `None` for what begins with no number.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number = text[..end].parse().ok()?;
        let object = match text[end..].strip_prefix('<') {
            // A file that was removed, or never had a name, is `<PATH>(deleted)`.
            Some(rest) => Object::parse(&rest[..rest.rfind('>').unwrap_or(rest.len())]),
            None => Object::Other,
        };
        Some(Self { number, object })
    }

    /// All descriptors in a list such as `[3<pipe:[1]>, 4<pipe:[1]>]`.
    pub fn list(text: &str) -> Vec<Self> {
        let inner = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(text);
        super::record::split(inner).iter().filter_map(|it| Self::parse(it)).collect()
    }
}

impl Object {
    fn parse(text: &str) -> Self {
        let (kind, inside) = match text.split_once(":[") {
            Some((kind, inside)) => (kind, inside.trim_end_matches(']')),
            None => (text, ""),
        };
        let sides = inside.split_once("->");
        match kind {
            "UNIX" | "UNIX-SEQPACKET" | "UNIX-STREAM" | "UNIX-DGRAM" | "socket" => {
                let own = sides.map_or(inside, |(own, _)| own);
                own.parse().map_or(Self::Other, Self::Channel)
            }
            "TCP" | "TCPv6" => match inside.rsplit_once("->") {
                Some((here, there)) => Self::Tcp { here: here.to_owned(), there: there.to_owned() },
                None if inside.contains(':') => Self::Listener,
                None => Self::TcpAlone,
            },
            "pipe" => Self::Pipe,
            "anon_inode" if inside.starts_with("eventpoll") => Self::Epoll,
            "anon_inode" if inside.starts_with("signalfd") => Self::Signals,
            "anon_inode" if inside.starts_with("pidfd") => Self::Process(None),
            "signalfd" => Self::Signals,
            _ if text.starts_with("pid:") => Self::Process(text[4..].parse().ok()),
            _ if text.starts_with('/') => Self::File(text.to_owned()),
            _ => Self::Other,
        }
    }
}
