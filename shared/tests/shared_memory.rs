//! Rings in shared memory, and what is told about them, against a model that can't be wrong: all
//! that was ever said, in a `Vec`.
//!
//! All of it happens in one process: a test never forks. That a child sees the same memory is for
//! the tests of stage 11 to show.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a check that fails")]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use proptest::collection::vec;
use proptest::prelude::*;

use shared::channel;
use shared::news::{MOST, Notice, Report};
use shared::shared_memory::{RING, Rings};

/// A connection, and what has come out at its other end.
struct Reader {
    socket: OwnedFd,
    other: UnixStream,
    sent: u64,
    heard: Vec<u8>,
}

impl Reader {
    fn new(sent: u64) -> Self {
        let (socket, other) = UnixStream::pair().unwrap();
        other.set_nonblocking(true).unwrap();
        Self { socket: socket.into(), other, sent, heard: Vec::new() }
    }

    /// Sends at most so many bytes of what is published.
    fn send(&mut self, rings: &Rings, ring: usize, most: u64) {
        let until = rings.published(ring).min(self.sent + most);
        while self.sent < until {
            match rings.send(&self.socket, ring, self.sent..until) {
                Ok(sent) => self.sent += sent,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                    self.hear();
                }
            }
        }
        self.hear();
    }

    fn hear(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = self.other.read(&mut buffer) {
            self.heard.extend_from_slice(&buffer[..length]);
        }
    }
}

/// What can happen to a ring.
#[derive(Clone, Debug)]
enum Step {
    /// A line of this length is written, if there is room.
    Write(usize),
    /// What is written is published.
    Publish,
    /// A reader sends at most so many bytes.
    Send(usize, u64),
    /// The parent tells the writer how far it may write.
    Allow,
    /// The writer dies, and another one takes its ring.
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop_oneof![1..100usize, 1..20_000usize].prop_map(Step::Write),
        4 => Just(Step::Publish),
        6 => (0..3usize, 1..(RING + 10)).prop_map(|(reader, most)| Step::Send(reader, most)),
        4 => Just(Step::Allow),
        1 => Just(Step::Die),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_reader_gets_all_that_was_published_and_nothing_else(steps in vec(step(), 1..200)) {
        let rings = Rings::map(3).unwrap();
        let mut readers = [0; 3].map(Reader::new);
        let mut writer = rings.writer(1, RING);
        let (mut published, mut unpublished) = (Vec::new(), Vec::new());
        let mut letters = (b'a'..=b'z').cycle();
        let mut limit = RING;
        for step in steps {
            match step {
                Step::Write(length) if length as u64 <= writer.room() => {
                    let mut line = vec![letters.next().unwrap_or_default(); length - 1];
                    line.push(b'\n');
                    writer.write(&line);
                    unpublished.extend(line);
                }
                Step::Write(_) => {}
                Step::Publish => {
                    writer.publish();
                    published.append(&mut unpublished);
                }
                Step::Send(reader, most) => readers[reader].send(&rings, 1, most),
                Step::Allow => {
                    let least = readers.iter().map(|reader| reader.sent).min();
                    limit = least.unwrap_or_default() + RING;
                    writer.allow(limit);
                }
                Step::Die => {
                    drop(writer);
                    unpublished.clear();
                    writer = rings.writer(1, limit);
                }
            }
            prop_assert_eq!(rings.published(1), published.len() as u64);
        }
        for reader in &mut readers {
            reader.send(&rings, 1, u64::MAX / 2);
            prop_assert!(reader.heard == published, "a reader got something else");
        }
        prop_assert_eq!((rings.published(0), rings.published(2)), (0, 0));
    }

    #[test]
    fn copy_is_what_was_written(start in 0..2 * RING, length in 0..5000u64) {
        let rings = Rings::map(1).unwrap();
        let mut writer = rings.writer(0, RING);
        let byte = |position: u64| (position % 251) as u8;
        let end = start + length;
        for position in 0..end {
            writer.allow(position + 1);
            writer.write(&[byte(position)]);
        }
        writer.publish();
        let expected: Vec<u8> = (start..end).map(byte).collect();
        prop_assert_eq!(rings.copy(0, start..end), expected);
    }

    #[test]
    fn reports_arrive_as_they_were_sent(ring in 0..MOST, position: u64) {
        let (parent, worker) = channel::pair().unwrap();
        let reports = [Report::News, Report::Sent(ring, position), Report::Mute, Report::Deaf, Report::Left];
        for report in reports {
            worker.send_report(report).unwrap();
        }
        drop(worker);
        for report in reports {
            prop_assert_eq!(parent.recv_news(), report);
        }
        prop_assert_eq!(parent.recv_news(), Report::Gone);
    }

    #[test]
    fn notices_arrive_as_they_were_sent(limit: u64, rings in vec(0..MOST, 0..=MOST)) {
        let (parent, worker) = channel::pair().unwrap();
        parent.send_news(limit, rings.iter().copied()).unwrap();
        parent.ask_to_leave().unwrap();
        parent.end().unwrap();
        prop_assert_eq!(worker.recv_notice().unwrap(), Notice::News(limit, rings));
        prop_assert_eq!(worker.recv_notice().unwrap(), Notice::Leave);
        prop_assert_eq!(worker.recv_notice().unwrap(), Notice::End);
        // The other direction is still open.
        worker.send_report(Report::Mute).unwrap();
        prop_assert_eq!(parent.recv_news(), Report::Mute);
    }
}

#[test]
fn nothing_to_read_is_no_end() {
    let (parent, worker) = channel::pair().unwrap();
    assert_eq!(parent.recv_news(), Report::Nothing);
    assert_eq!(worker.recv_notice().unwrap(), Notice::Nothing);
}

#[test]
fn full_channel_never_blocks_the_parent() {
    let (parent, worker) = channel::pair().unwrap();
    let mut sent = VecDeque::new();
    let error = loop {
        let limit = sent.len() as u64;
        match parent.send_news(limit, [7]) {
            Ok(()) => sent.push_back(limit),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    for limit in sent {
        assert_eq!(worker.recv_notice().unwrap(), Notice::News(limit, vec![7]));
    }
}

#[test]
fn message_that_is_none_ends_the_worker() {
    for nonsense in [&b"X"[..], b"S", b"S12", b"NN", b"M "] {
        let (parent, worker) = channel::pair().unwrap();
        let mut raw = UnixStream::from(worker.as_fd().try_clone_to_owned().unwrap());
        raw.write_all(nonsense).unwrap();
        assert_eq!(parent.recv_news(), Report::Gone, "{nonsense:?}");
    }
}

#[test]
fn inbox_collects_until_there_is_a_line() {
    let rings = Rings::map(2).unwrap();
    let mut writer = rings.writer(0, RING);
    let (socket, mut user) = UnixStream::pair().unwrap();
    let socket = socket.into();
    assert_eq!(writer.fill(&socket).unwrap_err().kind(), ErrorKind::WouldBlock);
    user.write_all(b"half a li").unwrap();
    assert!(writer.fill(&socket).unwrap());
    assert_eq!(writer.line(), None);
    user.write_all(b"ne\nnext").unwrap();
    assert!(writer.fill(&socket).unwrap());
    assert_eq!(writer.line(), Some(&b"half a line"[..]));
    writer.consume();
    assert_eq!(writer.line(), None);
    drop(user);
    assert!(!writer.fill(&socket).unwrap());
    assert_eq!(writer.line(), Some(&b"next"[..]));
    writer.consume();
    assert!(writer.is_finished());
    assert_eq!(rings.published(0), 0);
}

#[test]
#[should_panic(expected = "no room")]
fn writer_never_overwrites_what_is_still_to_be_sent() {
    let rings = Rings::map(1).unwrap();
    let mut writer = rings.writer(0, RING);
    writer.write(&vec![b'x'; RING as usize]);
    writer.write(b"x");
}

#[test]
#[should_panic(expected = "has a writer")]
fn ring_has_one_writer() {
    let rings = Rings::map(1).unwrap();
    let _first = rings.writer(0, RING);
    let _second = rings.writer(0, RING);
}

#[test]
fn no_rings_are_an_error() {
    assert!(Rings::map(0).is_err());
    assert!(Rings::map(usize::MAX).is_err());
}
