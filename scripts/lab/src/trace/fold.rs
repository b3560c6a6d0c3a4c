//! Folding: what a process does again and again becomes one event.
//!
//! | calls | become |
//! | --- | --- |
//! | `epoll_ctl` with 6, with 3, with 4 | `epoll_ctl ADD 6, 3, 4` |
//! | `recvfrom` of 8 and of 10 bytes | one message |
//! | 32 times `splice` in, 33 times out | a flow of two lines: `splice file→pipe ×32 = 32 MiB`, … |

use std::collections::BTreeMap;

use super::join::Link;
use super::story::{Event, Kind};
use super::words::size;

/// More does not fit into a lane, in characters.
const WIDTH: usize = 28;
/// So many calls are kept in full.
const CALLS: usize = 3;
/// A message that comes so much later than the one before is another one, in microseconds.
const PAUSE: u64 = 100_000;

/// The events so far. Events of different processes may be mixed; each process's come in order.
#[derive(Default)]
pub struct Fold {
    events: Vec<Event>,
    /// The last event of each life, and what it is a fold of.
    last: BTreeMap<usize, (usize, Folded)>,
    /// Calls too small for an event, by life.
    asides: BTreeMap<usize, Vec<String>>,
}

/// What the last event of a life is made of.
enum Folded {
    One,
    Note {
        what: &'static str,
        with: Vec<String>,
    },
    Message {
        call: String,
        count: u64,
    },
    /// How, how often and how many bytes, in the order of the first.
    Flow(Vec<(String, u64, u64)>),
}

impl Fold {
    /// An event that is like no other.
    pub fn add(&mut self, event: Event) {
        self.push(event, Folded::One);
    }

    /// A call that is shown to whoever looks closer at the next event.
    pub fn aside(&mut self, life: usize, line: &str) {
        self.asides.entry(life).or_default().push(line.to_owned());
    }

    /// A note; several of one kind become one.
    pub fn note(&mut self, event: Event, what: &'static str, with: String) {
        if let Some((index, Folded::Note { what: of, with: all })) = self.last.get_mut(&event.life)
            && *of == what
        {
            all.push(with);
            let line = joined(what, all);
            let index = *index;
            self.events[index].lines = vec![line];
            return keep(&mut self.events[index].calls, event.calls);
        }
        let line = joined(what, std::slice::from_ref(&with));
        let event = Event { lines: vec![line], ..event };
        self.push(event, Folded::Note { what, with: vec![with] });
    }

    /// A message of a few bytes on a connection; what follows soon in the same direction joins it,
    /// and what follows a header, however late: a busy machine may hold up who reads it in parts.
    pub fn message(&mut self, event: Event, text: String) {
        if let Some((index, Folded::Message { call, count })) = self.last.get_mut(&event.life)
            && *call == event.call
            && (self.events[*index].lines == ["header"]
                || event.time < self.events[*index].time + PAUSE)
            && self.events[*index].link.extend(&event.link)
        {
            *count += 1;
            let before = &mut self.events[*index];
            before.call = format!("{call} ×{count}");
            before.time = event.time;
            before.until = event.until;
            return keep(&mut before.calls, event.calls);
        }
        let call = event.call.clone();
        self.push(Event { lines: vec![text], ..event }, Folded::Message { call, count: 1 });
    }

    /// Is the last thing this life did a flow?
    pub fn is_flowing(&self, life: usize) -> bool {
        matches!(self.last.get(&life), Some((_, Folded::Flow(_))))
    }

    /// A part of a flow.
    pub fn flow(&mut self, event: Event, how: String, bytes: u64) {
        if !self.is_flowing(event.life) {
            let event = Event { kind: Kind::Flow, ..event.clone() };
            self.push(event, Folded::Flow(Vec::new()));
        }
        let Some((index, Folded::Flow(parts))) = self.last.get_mut(&event.life) else { return };
        match parts.iter_mut().find(|part| part.0 == how) {
            Some(part) => (part.1, part.2) = (part.1 + 1, part.2 + bytes),
            None => parts.push((how, 1, bytes)),
        }
        let flow = &mut self.events[*index];
        flow.lines = parts.iter().map(part).collect();
        flow.until = flow.until.max(event.until);
        if matches!(flow.link, Link::None) {
            flow.link = event.link;
        } else {
            flow.link.extend(&event.link);
        }
        keep(&mut flow.calls, event.calls);
    }

    fn push(&mut self, mut event: Event, folded: Folded) {
        if let Some(mut asides) = self.asides.remove(&event.life) {
            asides.append(&mut event.calls);
            event.calls = asides;
        }
        self.last.insert(event.life, (self.events.len(), folded));
        self.events.push(event);
    }

    /// All events, in order of time.
    pub fn finish(mut self) -> Vec<Event> {
        self.events.sort_by_key(|event| event.time);
        self.events
    }
}

fn joined(what: &str, with: &[String]) -> String {
    let line = format!("{what} {}", with.join(", ")).trim_end().to_owned();
    match line.chars().count() > WIDTH && with.len() > 1 {
        true => format!("{what} ×{}", with.len()),
        false => line,
    }
}

fn part((how, count, bytes): &(String, u64, u64)) -> String {
    let times = if *count == 1 { String::new() } else { format!(" ×{count}") };
    let bytes = if *bytes == 0 { String::new() } else { format!(" = {}", size(*bytes)) };
    format!("{how}{times}{bytes}")
}

/// Keeps the first few calls in full.
fn keep(calls: &mut Vec<String>, more: Vec<String>) {
    for line in more {
        if calls.len() < CALLS {
            calls.push(line);
        }
    }
}
