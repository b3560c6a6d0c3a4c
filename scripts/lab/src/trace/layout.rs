//! Where each event stands: its lane, and how far down.
//!
//! Time goes downwards. What happens in different lanes at about the same time can stand side by
//! side. A message and its receipt stand on one line wherever the receiver did nothing else in
//! between; where it did, the arrow slants, and that is worth seeing.
//!
//! The picture and the text have the same layout in different units.

use super::join::{Arrow, Tie};
use super::story::{Kind, Story};

/// What happens within so many microseconds can stand side by side.
const MOMENT: u64 = 20_000;
/// So long nothing happens before one speaks of a pause.
const PAUSE: u64 = 120_000;

/// How much room things take, in the unit of whoever draws.
pub struct Metrics {
    pub note: i32,
    pub arrow: i32,
    /// Where the line of an arrow is, below its top.
    pub shaft: i32,
    /// What a birth takes, and what more than the arrow that leads to it.
    pub birth: i32,
    pub born: i32,
    /// Each line of a flow, and what stands above the first.
    pub flow_line: i32,
    pub flow_head: i32,
    pub pause: i32,
    /// May events of different lanes stand side by side?
    pub side_by_side: bool,
}

/// Where everything is.
pub struct Layout {
    /// By event.
    pub places: Vec<Place>,
    pub height: i32,
}

/// Where an event is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    pub lane: usize,
    pub top: i32,
    pub bottom: i32,
    /// Where it takes place, between the two.
    pub anchor: i32,
}

struct Builder<'a> {
    story: &'a Story,
    metrics: &'a Metrics,
    places: Vec<Option<Place>>,
    /// Events by life, in order; the first of them is the next one to be placed.
    waiting: Vec<Vec<usize>>,
    /// The flow that a lane is still in.
    flowing: Vec<Option<usize>>,
    /// From where on a lane is free.
    free: Vec<i32>,
    /// Nothing is placed above what was placed before.
    floor: i32,
    /// The times of the first event that is on the floor, and of the last one.
    first: u64,
    last: u64,
}

impl Layout {
    /// Places all events of a story.
    pub fn of(story: &Story, metrics: &Metrics) -> Self {
        let lanes = story.cast.lanes.len();
        let of_life = |life| {
            let events = story.events.iter().enumerate();
            events.filter(|(_, it)| it.life == life).map(|(index, _)| index).rev().collect()
        };
        let mut builder = Builder {
            story,
            metrics,
            places: vec![None; story.events.len()],
            waiting: (0..story.cast.lives.len()).map(of_life).collect(),
            flowing: vec![None; lanes],
            free: vec![0; lanes],
            floor: 0,
            first: story.begin,
            last: story.begin,
        };
        for index in 0..story.events.len() {
            if builder.places[index].is_none() {
                builder.place(index);
            }
        }
        builder.finish()
    }
}

impl Builder<'_> {
    fn place(&mut self, index: usize) {
        let time = self.story.events[index].time;
        self.pass(time);
        let is_over = |flow: usize| self.story.events[flow].until <= time;
        for lane in 0..self.flowing.len() {
            if self.flowing[lane].is_some_and(is_over) {
                self.end_flow(lane);
            }
        }
        match self.partner(index) {
            Some(partner) => self.together(index, partner),
            None => self.alone(index),
        }
    }

    /// What is far apart in time doesn't stand side by side; after a pause comes a gap.
    fn pass(&mut self, time: u64) {
        if time > self.first + MOMENT {
            let lowest = self.free.iter().copied().max().unwrap_or(0);
            let gap = if time > self.last + PAUSE { self.metrics.pause } else { 0 };
            self.floor = self.floor.max(lowest + gap);
            self.first = time;
        }
        self.last = self.last.max(time);
    }

    /// The event that can stand on the same line as this one, at the other end of an arrow.
    fn partner(&self, index: usize) -> Option<usize> {
        let is_next = |to: usize| {
            self.places[to].is_none()
                && self.waiting[self.story.events[to].life].last() == Some(&to)
        };
        let from_here = |arrow: &&Arrow| arrow.from == index && arrow.kind != Tie::Data;
        let mut targets = self.story.arrows.iter().filter(from_here).map(|arrow| arrow.to);
        // Whoever is hit by two arrows waits for the second.
        let is_last = |to: usize| {
            let mut into = self.story.arrows.iter().filter(|arrow| arrow.to == to);
            into.all(|arrow| arrow.from == index || self.places[arrow.from].is_some())
        };
        targets.find(|to| is_next(*to) && is_last(*to))
    }

    fn together(&mut self, from: usize, to: usize) {
        let (here, there) = (self.lane(from), self.lane(to));
        let span = here.min(there)..=here.max(there);
        self.end_flow(here);
        self.end_flow(there);
        let top = self.open(span.clone());
        let bottom = top + self.metrics.arrow;
        let anchor = top + self.metrics.shaft;
        let born = if self.story.events[to].kind == Kind::Birth { self.metrics.born } else { 0 };
        self.put(from, Place { lane: here, top, bottom, anchor });
        self.put(to, Place { lane: there, top, bottom: bottom + born, anchor });
        for lane in span.filter(|lane| *lane != there) {
            self.free[lane] = bottom;
        }
    }

    fn alone(&mut self, index: usize) {
        let (event, lane) = (&self.story.events[index], self.lane(index));
        self.end_flow(lane);
        let mut span = lane..=lane;
        // An arrow of data passes the lanes between.
        let into = self.story.arrows.iter().find(|it| it.to == index && it.kind == Tie::Data);
        let source = into.map(|arrow| arrow.from);
        if let Some(from) = source.map(|from| self.lane(from)) {
            span = if from < lane { from + 1..=lane } else { lane..=from - 1 };
        }
        let top = self.open(span.clone());
        let height = match event.kind {
            Kind::Flow => {
                let lines = i32::try_from(event.lines.len()).unwrap_or(i32::MAX);
                self.metrics.flow_head + self.metrics.flow_line * lines
            }
            Kind::Birth => self.metrics.birth,
            _ => self.metrics.note,
        };
        for lane in span {
            self.free[lane] = top + self.metrics.flow_head;
        }
        let anchor = match event.kind {
            Kind::Flow => top + self.metrics.shaft,
            _ => top + height / 2,
        };
        self.put(index, Place { lane, top, bottom: top + height, anchor });
        if event.kind == Kind::Flow {
            self.flowing[lane] = Some(index);
        }
        // What is received was sent until now.
        let open = source.filter(|from| self.flowing[self.lane(*from)] == Some(*from));
        if let Some(place) = open.and_then(|from| self.places[from].as_mut()) {
            place.bottom = place.bottom.max(top + self.metrics.flow_head);
            self.free[place.lane] = self.free[place.lane].max(place.bottom);
        }
    }

    /// The highest place that is free in these lanes.
    fn open(&mut self, lanes: std::ops::RangeInclusive<usize>) -> i32 {
        let all = 0..=self.free.len() - 1;
        let lanes = if self.metrics.side_by_side { lanes } else { all };
        let free = lanes.map(|lane| self.free[lane]).max().unwrap_or(0);
        self.floor = self.floor.max(free);
        self.floor
    }

    fn put(&mut self, index: usize, place: Place) {
        self.waiting[self.story.events[index].life].pop();
        self.free[place.lane] = place.bottom;
        self.places[index] = Some(place);
    }

    /// A flow reaches down to whatever happens as it ends.
    fn end_flow(&mut self, lane: usize) {
        let flow = self.flowing[lane].take();
        if let Some(place) = flow.and_then(|flow| self.places[flow].as_mut()) {
            place.bottom = place.bottom.max(self.floor);
            self.free[lane] = self.free[lane].max(place.bottom);
        }
    }

    fn lane(&self, index: usize) -> usize {
        self.story.cast.lives[self.story.events[index].life].lane
    }

    fn finish(mut self) -> Layout {
        for lane in 0..self.flowing.len() {
            self.end_flow(lane);
        }
        let height = self.free.iter().copied().max().unwrap_or(0);
        Layout { places: self.places.into_iter().flatten().collect(), height }
    }
}
