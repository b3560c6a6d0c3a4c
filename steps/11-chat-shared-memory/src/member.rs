//! A worker, as the parent sees it: what it has told, and what it is still to be told.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use shared::channel::ParentEnd;
use shared::chat::PATIENCE;
use shared::process::Child;

use crate::outgoing::{MUCH, STEP};

/// How long the others wait for a worker that doesn't move. It should have let its user go long
/// before that, so it stands still.
pub const FROZEN: Duration = PATIENCE.saturating_mul(3);

pub struct Member {
    /// The number of its seat and of its ring.
    pub number: usize,
    pub child: Child,
    pub channel: ParentEnd,
    /// How far it has sent each ring, as far as it has told.
    pub sent: Vec<u64>,
    /// It publishes nothing more.
    pub mute: bool,
    /// It sends nothing more. Nobody has to wait for it.
    pub deaf: bool,
    /// The rings with news of which it is still to be told.
    pub news: BTreeSet<usize>,
    /// How far it may write its ring.
    pub limit: u64,
    /// How far it knows that it may.
    told: u64,
    leave: Leave,
    /// Since when others may have to wait for it, and it hasn't moved.
    pub behind_since: Option<Instant>,
}

/// How far it is with its leave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leave {
    /// It stays.
    No,
    /// It is to be asked to take no more from its user.
    Due,
    /// It was asked. When all others have published their last, it has to be told that this is all.
    Asked,
    /// It was told.
    End,
}

impl Member {
    pub fn new(
        number: usize,
        child: Child,
        channel: ParentEnd,
        sent: Vec<u64>,
        limit: u64,
    ) -> Self {
        Self {
            number,
            child,
            channel,
            sent,
            mute: false,
            deaf: false,
            news: BTreeSet::new(),
            limit,
            told: limit,
            leave: Leave::No,
            behind_since: None,
        }
    }

    /// Does so much of a ring wait for it that others have to wait, too, or soon will?
    pub fn lags(&self, ring: usize, published: u64) -> bool {
        ring != self.number && !self.deaf && published - self.sent[ring] > MUCH + STEP
    }

    pub fn is_frozen(&self) -> bool {
        self.behind_since.is_some_and(|since| since.elapsed() >= FROZEN)
    }

    pub fn ask_to_leave(&mut self) {
        self.leave = Leave::Due;
    }

    /// Tells it what it doesn't know yet. False: its channel is full, and something is left for
    /// later. (What can't be sent because it is dead needn't be: its end will be noticed.)
    pub fn tell(&mut self, all_mute: bool) -> bool {
        if !self.news.is_empty() || self.limit >= self.told + STEP {
            if is_full(self.channel.send_news(self.limit, self.news.iter().copied())) {
                return false;
            }
            self.told = self.limit;
            self.news.clear();
        }
        if self.leave == Leave::Due {
            if is_full(self.channel.ask_to_leave()) {
                return false;
            }
            self.leave = Leave::Asked;
        }
        if self.leave == Leave::Asked && all_mute {
            let _ = self.channel.end();
            self.leave = Leave::End;
        }
        true
    }
}

fn is_full(sent: io::Result<()>) -> bool {
    sent.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}
