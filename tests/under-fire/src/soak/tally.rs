//! What has happened to a stage so far, and which failures of clients are the soak's own doing.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::chatter::TOO_SLOW;
use super::health::Snapshot;

/// So many failures of a stage are enough to know that it fails.
const ENOUGH: usize = 20;
/// A failure is told in so many letters.
const LONGEST: usize = 500;

/// The figures of a stage.
#[derive(Clone, Default)]
pub struct Tally {
    /// Transfers, tables and conversations that came whole and were compared byte by byte.
    pub compared: u64,
    /// Of these, by the stage's own client.
    pub own: u64,
    /// Lines compared: answers (02 and 03), what was heard in a chat (10 and 11).
    pub lines: u64,
    /// Bytes compared.
    pub bytes: u64,
    /// Clients that were slow or stood still for a while; what they got was compared, too.
    pub slow: u64,
    /// Clients that reset, closed or died at some point.
    pub resetting: u64,
    /// Clients that sent what no client should, or came and left.
    pub hostile: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Good clients that failed because of a fault of ours.
    pub cut: u64,
    /// Good clients that came as the server left (08 and 09): refused, or reset before the first
    /// byte. And users of a chat who had to leave, because they read too slowly.
    pub turned_away: u64,
    /// How long a good client that hurried had to wait for all it wanted.
    pub worst_wait: Duration,
    /// Servers that were started, one after the other.
    pub lives: u64,
    /// What the last server held after the warm-up and at the end.
    pub held: Option<(Snapshot, Snapshot)>,
    /// What must not happen.
    pub failures: Vec<String>,
}

/// A stage's tally and the faults under way, for all of its threads.
#[derive(Default)]
pub struct Ledger {
    tally: Mutex<Tally>,
    harms: Mutex<Vec<Harm>>,
}

/// A time in which a fault of ours may fail a good client.
struct Harm {
    kind: Kind,
    /// `None`: it lasts.
    until: Option<Instant>,
    /// It has excused all whom it can have harmed.
    spent: bool,
}

/// Whom a fault of ours may harm.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A worker of stages 03 to 08 or 11 is killed: one client, which is the one it has.
    Kill,
    /// A worker of stage 09 is killed: whoever it has.
    KillOfMany,
    /// The server has no descriptor left (11): whoever comes.
    Starved,
    /// The served file is cut short: whoever gets it.
    Shrunk,
    /// The server leaves (08 and 09): whoever hasn't got a byte.
    Leaving,
}

impl Ledger {
    /// Changes the figures.
    pub fn note<T>(&self, change: impl FnOnce(&mut Tally) -> T) -> T {
        change(&mut self.tally.lock().unwrap())
    }

    /// A copy of the figures.
    pub fn tally(&self) -> Tally {
        self.note(|tally| tally.clone())
    }

    /// Records what must not happen, and says it.
    pub fn fail(&self, what: &str) {
        let what: String = what.replace('\n', " ").chars().take(LONGEST).collect();
        eprintln!("soak: FAILED: {what}");
        self.note(|tally| tally.failures.push(what));
    }

    /// Has so much gone wrong that going on is in vain?
    pub fn has_enough(&self) -> bool {
        self.note(|tally| tally.failures.len() >= ENOUGH)
    }

    /// Does `harm`, whose consequences for good clients are ours.
    pub fn harm<T>(&self, kind: Kind, harm: impl FnOnce() -> T) -> T {
        let index = {
            let mut harms = self.harms.lock().unwrap();
            harms.push(Harm { kind, until: None, spent: false });
            harms.len() - 1
        };
        let done = harm();
        self.harms.lock().unwrap()[index].until = Some(Instant::now());
        done
    }

    /// Judges a good client that failed: is it our doing?
    pub fn judge(&self, who: &str, from: Instant, error: &str) {
        let broke_off = BROKEN_OFF.iter().any(|words| error.contains(words));
        let harm = if broke_off { self.excuse(from, !has_begun(error)) } else { None };
        match harm {
            _ if error.contains(TOO_SLOW) => self.note(|tally| tally.turned_away += 1),
            Some(Kind::Leaving) => self.note(|tally| tally.turned_away += 1),
            Some(_) => self.note(|tally| tally.cut += 1),
            None => self.fail(&format!("{who}: {error}")),
        }
    }

    /// The harm that fell into the life of a client. That of a kill is used up by one client.
    fn excuse(&self, client_from: Instant, nothing_came: bool) -> Option<Kind> {
        let mut harms = self.harms.lock().unwrap();
        let hit = |harm: &Harm| {
            !harm.spent
                && harm.until.is_none_or(|until| until >= client_from)
                && (harm.kind != Kind::Leaving || nothing_came)
        };
        // What excuses everybody first: a kill is the scarcest excuse.
        let order = [Kind::Leaving, Kind::Shrunk, Kind::KillOfMany, Kind::Starved, Kind::Kill];
        let kind =
            order.into_iter().find(|&kind| harms.iter().any(|it| it.kind == kind && hit(it)))?;
        if kind == Kind::Kill {
            let used = harms.iter_mut().find(|it| it.kind == Kind::Kill && hit(it))?;
            used.spent = true;
        }
        Some(kind)
    }
}

/// Errors of a client that was cut off: the only ones that a fault of ours excuses.
const BROKEN_OFF: [&str; 5] = ["closed", "connection ended", "reset", "refused", "roken pipe"];

/// Had the client got anything? It had unless the error says that not even the beginning came.
fn has_begun(error: &str) -> bool {
    let nothing_came = ["refused", "no header came", "bytes of the header", "nothing had come"];
    !nothing_came.iter().any(|words| error.contains(words))
}
