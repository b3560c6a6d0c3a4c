//! What the parent and the workers of a chat in shared memory tell each other.
//!
//! Purpose: a message says who has news and how far it was sent. The news itself is in
//! [`shared_memory`](crate::shared_memory); not a byte of it travels through a channel.
//! Interface: a worker sends a [`Report`], the parent a [`Notice`], over the two ends of a
//! [`channel`](crate::channel).
//! Rules: the parent never waits for a worker: what doesn't fit now, it keeps and tells later,
//! together with what has come to it since. A notice holds how things are and not what has
//! changed, so that two can be told as one.
//! First used by stage 11.

use std::io::{self, ErrorKind};

use crate::channel::{ParentEnd, WorkerEnd};

/// What a worker tells the parent. Whose it is, the channel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It has published something in its ring.
    News,
    /// It has sent all of this ring up to this position.
    Sent(usize, u64),
    /// It will publish nothing more.
    Mute,
    /// It will send nothing more from any ring.
    Deaf,
    /// Both: its part in the chat is over.
    Left,
    /// The channel is at its end: the worker is dead or dying.
    Gone,
    /// Nothing yet.
    Nothing,
}

/// What the parent tells a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Up to this position it may write its own ring, and these rings have news.
    News(u64, Vec<usize>),
    /// It is to take nothing more from its client.
    Leave,
    /// Nothing more will come: the parent has told all, or is gone.
    End,
    /// Nothing yet.
    Nothing,
}

/// The first byte of a message.
const NEWS: u8 = b'N';
const SENT: u8 = b'S';
const MUTE: u8 = b'M';
const DEAF: u8 = b'D';
const LEFT: u8 = b'E';
const LEAVE: u8 = b'L';

/// There are no more rings than this: the news of all of them fit into one notice.
pub const MOST: usize = 1000;

impl WorkerEnd {
    /// Sends a report. The parent always reads, so this doesn't wait for long.
    ///
    /// # Errors
    /// `EPIPE` when the parent is gone.
    pub fn send_report(&self, report: Report) -> io::Result<()> {
        match report {
            Report::News => self.send(&[NEWS]),
            Report::Sent(ring, position) => {
                self.send(&[&[SENT], &encode(ring)[..], &position.to_le_bytes()].concat())
            }
            Report::Mute => self.send(&[MUTE]),
            Report::Deaf => self.send(&[DEAF]),
            Report::Left => self.send(&[LEFT]),
            Report::Gone | Report::Nothing => Ok(()), // that goes without saying
        }
    }

    /// Takes a notice, without waiting.
    ///
    /// # Errors
    /// `recv(2)`, or a message that is no notice.
    pub fn recv_notice(&self) -> io::Result<Notice> {
        let mut buffer = [0; 9 + 2 * MOST];
        match self.try_recv(&mut buffer) {
            Ok(0) => Ok(Notice::End),
            Ok(length) => decode_notice(&buffer[..length])
                .ok_or_else(|| io::Error::other("the parent sent no notice")),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Notice::Nothing),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Notice::End),
            Err(error) => Err(error),
        }
    }
}

impl ParentEnd {
    /// Tells a worker how far it may write and which rings have news, without waiting.
    ///
    /// # Errors
    /// `EAGAIN` while the channel is full; `EPIPE` or `ECONNRESET` when the worker is dead.
    pub fn send_news(&self, limit: u64, rings: impl IntoIterator<Item = usize>) -> io::Result<()> {
        let mut message = vec![NEWS];
        message.extend(limit.to_le_bytes());
        message.extend(rings.into_iter().flat_map(encode));
        self.try_send(&message)
    }

    /// Asks a worker to take nothing more from its client, without waiting.
    ///
    /// # Errors
    /// Those of [`send_news`](Self::send_news).
    pub fn ask_to_leave(&self) -> io::Result<()> {
        self.try_send(&[LEAVE])
    }

    /// Takes what the worker reports, without waiting.
    #[must_use]
    pub fn recv_news(&self) -> Report {
        let mut buffer = [0; 11];
        match self.try_recv(&mut buffer) {
            Ok(length) => decode_report(&buffer[..length]).unwrap_or(Report::Gone),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Report::Nothing,
            Err(_) => Report::Gone, // reset, with a notice unread
        }
    }
}

/// `None` for the end of the channel, and for nonsense: that worker is lost.
fn decode_report(message: &[u8]) -> Option<Report> {
    match message {
        [NEWS] => Some(Report::News),
        [SENT, low, high, position @ ..] => {
            let position = u64::from_le_bytes(position.try_into().ok()?);
            Some(Report::Sent(decode([*low, *high]), position))
        }
        [MUTE] => Some(Report::Mute),
        [DEAF] => Some(Report::Deaf),
        [LEFT] => Some(Report::Left),
        _ => None,
    }
}

fn decode_notice(message: &[u8]) -> Option<Notice> {
    match message {
        [LEAVE] => Some(Notice::Leave),
        [NEWS, rest @ ..] => {
            let (limit, rings) = rest.split_first_chunk()?;
            let rings = rings.chunks_exact(2).map(|ring| decode([ring[0], ring[1]])).collect();
            Some(Notice::News(u64::from_le_bytes(*limit), rings))
        }
        _ => None,
    }
}

/// The number of a ring, in two bytes.
fn encode(ring: usize) -> [u8; 2] {
    u16::try_from(ring).unwrap_or(u16::MAX).to_le_bytes()
}

fn decode(bytes: [u8; 2]) -> usize {
    u16::from_le_bytes(bytes).into()
}
