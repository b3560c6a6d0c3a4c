//! From a worker's own user into its ring.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;

use shared::channel::WorkerEnd;
use shared::chat::{Heard, MAX_SAID, Speaker};
use shared::news::Report;
use shared::shared_memory::{RING, Writer};

/// So often the user is read from before others have their turn.
const ROUNDS: usize = 8;

pub struct Incoming<'a> {
    writer: Writer<'a>,
    speaker: Speaker,
    /// More may come from the user, and is wanted.
    open: bool,
    hung_up: bool,
    /// Only what has come already is wanted.
    last: bool,
    /// The parent knows that we shall publish nothing more.
    mute: bool,
    /// The ring was full. It is not written before half of it is free, for many small steps cost
    /// more than a few large ones.
    full: bool,
}

impl<'a> Incoming<'a> {
    pub fn new(writer: Writer<'a>) -> Self {
        Self {
            writer,
            speaker: Speaker::default(),
            open: true,
            hung_up: false,
            last: false,
            mute: false,
            full: false,
        }
    }

    /// Is there anything to be done when the user sends something? Not while lines that have come
    /// already wait for room: then TCP makes the user wait, too.
    pub fn wants_more(&self) -> bool {
        self.open && !self.full
    }

    /// Up to this position the ring may be written.
    pub fn allow(&mut self, limit: u64) {
        self.writer.allow(limit);
        self.full &= self.writer.room() < RING / 2;
    }

    /// Takes nothing more from the user. What has come is passed on.
    pub fn stop(&mut self) {
        if self.open {
            self.open = false;
            self.writer.end_input();
        }
    }

    /// The user is gone. What it has sent before is still to be taken.
    pub fn take_the_rest(&mut self) {
        self.last = true;
    }

    /// Has the user said that nothing more will come?
    pub fn has_hung_up(&self) -> bool {
        self.hung_up
    }

    /// Is everything passed on, and will nothing more come?
    pub fn is_over(&self) -> bool {
        !self.open && self.writer.is_finished()
    }

    /// Takes what has come from the user and passes it on. Returns what the user alone is told.
    pub fn take(&mut self, user: &OwnedFd, channel: &WorkerEnd) -> io::Result<Vec<Heard>> {
        let mut asides = self.say(channel)?;
        for _ in 0..ROUNDS {
            if !self.wants_more() {
                break;
            }
            match self.writer.fill(user) {
                Ok(true) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && !self.last => break,
                // Its end, or a reset. What has come before is passed on.
                Ok(false) | Err(_) => {
                    self.hung_up = true;
                    self.stop();
                }
            }
            asides.extend(self.say(channel)?);
        }
        if self.is_over() && !self.mute {
            self.mute = true;
            channel.send_report(Report::Mute)?;
        }
        Ok(asides)
    }

    /// Writes the lines that are complete into the ring, as far as there is room, publishes them,
    /// and tells the parent.
    fn say(&mut self, channel: &WorkerEnd) -> io::Result<Vec<Heard>> {
        let (mut asides, mut said) = (Vec::new(), false);
        // LAB 11.say: while there is a line and room for it: hear it, write it; then publish, report
        while !self.full
            && let Some(line) = self.writer.line()
        {
            if self.writer.room() < MAX_SAID as u64 {
                self.full = true;
                break;
            }
            match self.speaker.hear(line) {
                Heard::Said(text) => {
                    self.writer.write(&text);
                    said = true;
                }
                aside => asides.push(aside),
            }
            self.writer.consume();
        }
        if said {
            self.writer.publish();
            channel.send_report(Report::News)?;
        }
        // END 11.say
        Ok(asides)
    }
}
