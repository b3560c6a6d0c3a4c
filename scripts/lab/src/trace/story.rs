//! The story that the records tell: events in order of time, and what joins them.
//!
//! Interface: [`Story::of`].
//! Rules: what repeats is folded into one event; what is only noise (the loader, libc's start,
//! narration) is left out, or stays with the next event for whoever wants to look closer.

use super::cast::Cast;
use super::channels::Channels;
use super::join::{self, Arrow, Link};
use super::moments::{in_order, rests};
use super::play::Play;
use super::reader::Reader;

/// Who did what, and what it did to others.
pub struct Story {
    pub cast: Cast,
    /// In order of time.
    pub events: Vec<Event>,
    pub arrows: Vec<Arrow>,
    /// When each process slept, by life: from, to, and the call it slept in.
    pub rests: Vec<Vec<(u64, u64, String)>>,
    pub begin: u64,
}

/// Something a process did, or that was done to it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Whose life it belongs to, by index.
    pub life: usize,
    /// When it took effect: a message when it was sent, or when it had come.
    pub time: u64,
    /// When it was over; later than `time` only for moves of data.
    pub until: u64,
    pub kind: Kind,
    /// In one line, or for moves of data a few.
    pub lines: Vec<String>,
    /// The call alone, for the end of an arrow.
    pub call: String,
    /// The calls in full.
    pub calls: Vec<String>,
    /// How it may be joined to another event.
    pub link: Link,
}

/// How an event looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A life begins.
    Birth,
    /// A few words.
    Note,
    /// Many calls that move data.
    Flow,
    /// A signal.
    Signal,
    /// Something failed.
    Failure,
    /// A life ends.
    Death,
}

impl Story {
    /// Reads the records of a play.
    pub fn of(play: &Play) -> Self {
        let cast = Cast::of(play);
        let mut reader = Reader::new(&play.records, &cast);
        for index in in_order(&play.records) {
            reader.read(index);
        }
        let mut events = reader.finish();
        let channels = Channels::of(&play.records, &cast);
        if hasten(&mut events, &channels) {
            events.sort_by_key(|event| event.time);
        }
        let arrows = join::arrows(&events, &channels);
        let rests = cast.lives.iter().map(|life| rests(life.pid, &play.records)).collect();
        let begin = events.first().map_or(0, |event| event.time);
        Self { cast, events, arrows, rests, begin }
    }
}

impl Event {
    /// A note without words.
    pub fn new(life: usize, time: u64) -> Self {
        Self {
            life,
            time,
            until: time,
            kind: Kind::Note,
            lines: Vec::new(),
            call: String::new(),
            calls: Vec::new(),
            link: Link::None,
        }
    }

    /// The same, in these words.
    pub fn saying(self, line: String) -> Self {
        Self { lines: vec![line], ..self }
    }
}

/// The end of a process is heard of before `strace` reports it: first its descriptors are closed,
/// then it is gone. Moves such an end to before its effects; returns whether there was any.
fn hasten(events: &mut [Event], channels: &Channels) -> bool {
    let late = join::arrows(events, channels);
    let late = late.iter().filter(|it| events[it.from].time >= events[it.to].time);
    let late: Vec<(usize, u64)> = late
        .map(|it| (it.from, events[it.to].time - 1))
        .filter(|(from, _)| events[*from].kind == Kind::Death)
        .collect();
    for (from, time) in &late {
        let life = events[*from].life;
        let others =
            events.iter().enumerate().filter(|(index, it)| it.life == life && index != from);
        let before = others.map(|(_, it)| it.until).max().unwrap_or(0);
        events[*from].time = (*time).min(events[*from].time).max(before);
        events[*from].until = events[*from].time;
    }
    !late.is_empty()
}
