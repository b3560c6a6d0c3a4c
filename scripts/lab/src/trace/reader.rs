//! Reads records, one after the other, and makes events of them.

use std::collections::{BTreeMap, BTreeSet};

use super::act::{Act, Move, Stream};
use super::cast::{Cast, forked};
use super::descriptor::{Descriptor, Object};
use super::fold::Fold;
use super::join::Link;
use super::moments::effect;
use super::record::{Call, Record, What};
use super::story::{Event, Kind};
use super::words::size;

/// What is known from the records so far.
pub struct Reader<'a> {
    records: &'a [Record],
    cast: &'a Cast,
    fold: Fold,
    /// How many bytes have gone into and come out of each direction of a connection.
    offsets: BTreeMap<(Stream, bool), u64>,
    /// What was mapped, by pid and address.
    maps: BTreeSet<(i32, String)>,
    /// Who is in its event loop: from then on, what it watches changes all the time.
    watching: BTreeSet<usize>,
    /// Connections whose end was already heard of.
    ended: BTreeSet<Stream>,
}

impl<'a> Reader<'a> {
    /// Begins with the births of all.
    pub fn new(records: &'a [Record], cast: &'a Cast) -> Self {
        let mut fold = Fold::default();
        for (index, life) in cast.lives.iter().enumerate() {
            // A child is born by its parent's call, so a moment after it.
            let event = Event::new(index, life.begin + 1).saying(format!("pid {}", life.pid));
            fold.add(Event { kind: Kind::Birth, link: Link::Birth(life.pid), ..event });
        }
        Self {
            records,
            cast,
            fold,
            offsets: BTreeMap::new(),
            maps: BTreeSet::new(),
            watching: BTreeSet::new(),
            ended: BTreeSet::new(),
        }
    }

    /// All events, in order of time.
    pub fn finish(self) -> Vec<Event> {
        self.fold.finish()
    }

    /// Reads a record, by its index.
    pub fn read(&mut self, index: usize) {
        let record = &self.records[index];
        let Some(life) = self.cast.find(record.pid) else { return };
        let event = Event::new(life, effect(record));
        match &record.what {
            What::Call(call) => self.call(index, call, event),
            What::Poke(name) => {
                let line = format!("kill -{}", name.trim_start_matches("SIG"));
                self.fold.add(Event { kind: Kind::Signal, ..event.saying(line) });
            }
            What::Signal(_) => {} // whoever sent it is told of
            What::End(how) => {
                let line = how.replace("exited with", "exit").replace(" (core dumped)", "");
                let link = Link::Death(record.pid);
                self.fold.add(Event { kind: Kind::Death, link, ..event.saying(line) });
            }
        }
    }

    fn call(&mut self, index: usize, call: &Call, mut event: Event) {
        let record = &self.records[index];
        if call.name == "execve" && record.begin == self.cast.lives[event.life].begin {
            return; // how a program of the play begins
        }
        event.calls = vec![call.line.clone()];
        event.call.clone_from(&call.name);
        if let Some(child) = forked(record) {
            event.call = format!("{} = {child}", call.name);
            event.link = Link::Fork(child);
            return self.fold.add(event.saying("fork".to_owned()));
        }
        match Act::of(call) {
            Act::Nothing => {}
            // Narration is left out; progress is a part of what it tells of.
            Act::Tell if !self.fold.is_flowing(event.life) => {}
            Act::Tell => self.fold.flow(event, format!("{} stderr", call.name), 0),
            Act::Minor => self.fold.aside(event.life, &call.line),
            Act::Wait => drop(self.watching.insert(event.life)),
            Act::Watch(..) if self.watching.contains(&event.life) => {
                self.fold.aside(event.life, &call.line);
            }
            Act::Watch(what, with) => self.fold.note(event, what, with),
            Act::Note(what, with) => {
                event.kind = if with.starts_with("= E") { Kind::Failure } else { Kind::Note };
                self.fold.note(event, what, with);
            }
            Act::Move(moved) => self.moved(event, record, moved),
            Act::Map(address, moved) => {
                self.maps.insert((record.pid, address));
                self.moved(event, record, moved);
            }
            Act::Unmap(address) if self.maps.contains(&(record.pid, address.clone())) => {
                let how = call.name.clone();
                self.moved(event, record, Move { how, bytes: 0, stream: None, text: None });
            }
            Act::Unmap(_) => {}
            Act::End(stream) if !self.ended.insert(stream.clone()) => {}
            act => self.linked(index, call, event, act),
        }
    }

    /// What has to do with another process.
    fn linked(&mut self, index: usize, call: &Call, mut event: Event, act: Act) {
        let result = call.returned.split(['<', ' ']).next().unwrap_or_default();
        let result = format!(" = {}", call.error().unwrap_or(result));
        let here = String::new;
        if matches!(act, Act::Broken(_)) {
            event.kind = Kind::Failure;
        }
        let (detail, link, line) = match act {
            Act::Reap(pid) => (format!(" = {pid}"), Link::Reap(pid), here()),
            Act::Connect => {
                let link = self.here(index).map_or(Link::None, Link::Connect);
                (here(), link, "connect".to_owned())
            }
            Act::Accept(stream) => (result, Link::Accept(stream.there), here()),
            Act::Send(end, message) => (here(), Link::Send(end, message.passed), message.text),
            Act::Receive(end, message) if message.is_end => {
                (result, Link::ChannelEnd(end), "end of the channel".to_owned())
            }
            Act::Receive(end, message) => {
                (here(), Link::Receive(end, message.passed), message.text)
            }
            Act::Finish(stream, what) => (format!(" {what}"), Link::Finish(stream), here()),
            Act::End(stream) => (result, Link::StreamEnd(stream), "end".to_owned()),
            Act::Broken(stream) => (result, Link::Broken(stream), here()),
            _ => return,
        };
        event.call.push_str(&detail);
        event.link = link;
        // Where nothing is to be said but the call, that is said.
        let line = if line.is_empty() { event.call.clone() } else { line };
        self.fold.add(event.saying(line));
    }

    /// A few bytes are a message, many are part of a flow.
    fn moved(&mut self, mut event: Event, record: &Record, moved: Move) {
        let mut is_first = false;
        if let Some((stream, is_out)) = moved.stream.clone() {
            let offset = self.offsets.entry((stream.clone(), is_out)).or_default();
            is_first = *offset == 0;
            let range = (*offset, *offset + moved.bytes);
            *offset = range.1;
            event.link = match is_out {
                true => Link::Out(stream, range),
                false => Link::In(stream, range),
            };
        }
        let is_few = moved.bytes < 1000 && moved.stream.is_some();
        if is_few && !self.fold.is_flowing(event.life) {
            let text = match (moved.text, is_first) {
                (Some(text), _) => text,
                // What is spliced first is what somebody typed: a header is made by a program.
                (None, true) if !moved.how.contains("splice") => "header".to_owned(),
                (None, _) => size(moved.bytes),
            };
            return self.fold.message(event, text);
        }
        event.time = record.begin;
        event.until = record.end;
        self.fold.flow(event, moved.how, moved.bytes);
    }

    /// Which address a socket got by this call to `connect`: a later call shows it.
    fn here(&self, index: usize) -> Option<String> {
        let record = &self.records[index];
        let number = record.call()?.descriptor(0)?.number;
        let later = self.records[index + 1..].iter().filter(|it| it.pid == record.pid);
        later.filter_map(Record::call).find_map(|call| match call.descriptor(0)? {
            Descriptor { number: of, object: Object::Tcp { here, .. } } if of == number => {
                Some(here)
            }
            _ => None,
        })
    }
}
