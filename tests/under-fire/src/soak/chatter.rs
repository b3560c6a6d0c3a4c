//! The users of a chat (10 and 11).
//!
//! A visit is one user who speaks and one who listens. Each line tells who says it and which of
//! its lines it is. So whoever listens knows what has to come: of every speaker the next line,
//! whole, and of its own one all that follow the first it has heard.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::chat::TOO_SLOW as GOODBYE;
use support::echo_habits::letters;
use support::line::{LineClient, shown};
use support::server::{pipe_with, run_with_stdin};
use support::wait::limit;

use super::clients::{Got, Manner, Visitor, succeeded};

/// The error of a user who had to leave because it read too slowly.
pub const TOO_SLOW: &str = "had to leave the chat: too slow";

/// For so long a user looks what has come.
const LOOK: Duration = Duration::from_millis(20);

impl Visitor<'_> {
    /// Two users come; what one of them says the other one has to hear.
    pub(super) fn chat(&mut self, manner: Manner) -> Got {
        let mut listener = User::connect(self);
        let mut speaker = User::connect(self);
        let id = new_speaker();
        // Nobody tells a user that it is in the chat. So one speaks until the other hears it.
        listener.wait_until("to hear its speaker", |listener| {
            speaker.say(id);
            speaker.look();
            listener.next.contains_key(&id)
        });
        if manner == Manner::Own {
            drop(speaker);
            return self.own_join(listener);
        }
        let pause = self.chance.millis(if manner == Manner::Stalling { 2500 } else { 60 });
        for count in 0..=self.chance.below(40) {
            speaker.say(id);
            if manner != Manner::HalfClosed {
                speaker.look();
            }
            if manner == Manner::Slow || manner == Manner::Stalling && count == 0 {
                thread::sleep(pause);
            }
        }
        if manner == Manner::HalfClosed {
            speaker.client.half_close();
            speaker.may_end = true;
        }
        listener.wait_until("to hear all", |listener| {
            speaker.look();
            assert!(!speaker.has_ended || speaker.may_end, "the speaker's connection ended");
            listener.next[&id] == speaker.said
        });
        listener.got()
    }

    /// The stage's own client says something.
    fn own_join(&mut self, mut listener: User) -> Got {
        let (id, count) = (new_speaker(), 1 + self.chance.below(40));
        let speech = (0..count).flat_map(|number| line(id, number)).collect();
        let args = ["join", "--port", &self.port()];
        succeeded(&run_with_stdin(self.stage.bin(), &args, pipe_with(speech)));
        listener.wait_until("to hear all of the stage's client", |listener| {
            listener.next.get(&id) == Some(&count)
        });
        listener.got()
    }
}

fn new_speaker() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The line with this number of a speaker: nobody else says it.
fn line(id: u64, number: usize) -> Vec<u8> {
    let length = (id as usize * 11 + number * 37) % 300;
    [format!("speaker {id} line {number} ").as_bytes(), &letters(length), b"\n"].concat()
}

/// Whose line is this, and which?
fn parse(line: &[u8]) -> Option<(u64, usize)> {
    let line = str::from_utf8(line).ok()?;
    let mut words = line.strip_prefix("speaker ")?.split(' ');
    let id = words.next()?.parse().ok()?;
    let number = words.nth(1)?.parse().ok()?;
    Some((id, number))
}

/// A user, and what it has heard.
struct User {
    client: LineClient,
    /// The beginning of a line.
    unread: Vec<u8>,
    /// The next line of each speaker of whom it has heard one.
    next: HashMap<u64, usize>,
    /// How many lines it has said.
    said: usize,
    /// Its connection may end: it has said that it will say nothing more.
    may_end: bool,
    has_ended: bool,
    lines: u64,
    bytes: u64,
}

impl User {
    fn connect(visitor: &Visitor<'_>) -> Self {
        Self {
            client: LineClient::connect(visitor.server.addr()),
            unread: Vec::new(),
            next: HashMap::new(),
            said: 0,
            may_end: false,
            has_ended: false,
            lines: 0,
            bytes: 0,
        }
    }

    /// Says the next line of this speaker.
    #[track_caller]
    fn say(&mut self, id: u64) {
        self.client.send(line(id, self.said));
        self.said += 1;
    }

    /// Looks what has come, again and again, until `done`.
    #[track_caller]
    fn wait_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + limit();
        while !done(self) {
            assert!(Instant::now() < deadline, "a user waited in vain {what}");
            self.look();
            assert!(!self.has_ended, "the connection ended before the user came {what}");
        }
    }

    /// Reads what has come, or comes in a moment.
    #[track_caller]
    fn look(&mut self) {
        let mut buffer = [0; 64 << 10];
        let mut stream = self.client.stream();
        stream.set_read_timeout(Some(LOOK)).expect("setsockopt SO_RCVTIMEO");
        match stream.read(&mut buffer) {
            Ok(0) => self.has_ended = true,
            Ok(length) => self.hear(&buffer[..length]),
            Err(error) if only_waits(&error) => {}
            Err(_) if self.may_end => self.has_ended = true,
            Err(error) => panic!("a user's connection ended: {error}"),
        }
    }

    #[track_caller]
    fn hear(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.unread.extend_from_slice(bytes);
        while let Some(newline) = self.unread.iter().position(|&byte| byte == b'\n') {
            let rest = self.unread.split_off(newline + 1);
            let heard = std::mem::replace(&mut self.unread, rest);
            self.judge(&heard);
        }
    }

    #[track_caller]
    fn judge(&mut self, heard: &[u8]) {
        assert!(heard != GOODBYE, "{TOO_SLOW}");
        let Some((id, number)) = parse(heard) else {
            return; // somebody who isn't good
        };
        assert!(heard == line(id, number), "a garbled line: {}", shown(heard));
        let next = self.next.entry(id).or_insert(number);
        assert!(number == *next, "line {number} of speaker {id} came instead of line {next}");
        *next += 1;
        self.lines += 1;
    }

    fn got(&self) -> Got {
        Got { lines: self.lines, bytes: self.bytes }
    }
}

fn only_waits(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
