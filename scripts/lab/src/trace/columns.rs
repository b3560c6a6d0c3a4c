//! The story as text for a terminal: a column for each lane, an event a line, and beside it what
//! happened.

use super::join::{Arrow, Tie};
use super::layout::{Layout, Metrics};
use super::story::{Kind, Story};
use super::words::{alone, milliseconds};
use crate::screen::{Paint, Style};
use crate::text::printable;

/// How wide a lane is, in characters.
const LANE: usize = 10;
const METRICS: Metrics = Metrics {
    note: 1,
    arrow: 1,
    shaft: 0,
    birth: 1,
    born: 0,
    flow_line: 1,
    flow_head: 0,
    pause: 0,
    side_by_side: false,
};

/// Draws a story.
pub fn draw(story: &Story, title: &str, plot: &str, paint: Paint) -> String {
    let layout = Layout::of(story, &METRICS);
    let mut text = format!("{}\n{plot}\n\n", paint.with(Style::Bold, title));
    let lanes = story.cast.lanes.iter().map(|name| format!("{name:<LANE$}"));
    let lanes: String = lanes.collect();
    text += &paint.with(Style::Bold, format!("{:>7}   {lanes}", "ms").trim_end());
    text.push('\n');
    let mut order: Vec<usize> = (0..story.events.len()).collect();
    order.sort_by_key(|&index| (layout.places[index].top, index));
    let mut alive = vec![false; story.cast.lanes.len()];
    let mut said = vec![false; story.events.len()];
    for index in order {
        if !std::mem::replace(&mut said[index], true) {
            let level = |arrow: &&Arrow| {
                layout.places[arrow.from].top == layout.places[arrow.to].top && arrow.from == index
            };
            let arrow = story.arrows.iter().find(level);
            if let Some(arrow) = arrow {
                said[arrow.to] = true;
            }
            text += &row(story, &layout, index, arrow, &mut alive, paint);
        }
    }
    text
}

/// The lines of an event, and of the one that its arrow leads to.
fn row(
    story: &Story,
    layout: &Layout,
    index: usize,
    arrow: Option<&Arrow>,
    alive: &mut [bool],
    paint: Paint,
) -> String {
    let event = &story.events[index];
    let lane = layout.places[index].lane;
    let other = arrow.map(|arrow| (arrow, layout.places[arrow.to].lane));
    for at in [Some(index), arrow.map(|arrow| arrow.to)].into_iter().flatten() {
        if story.events[at].kind == Kind::Birth {
            alive[layout.places[at].lane] = true;
        }
    }
    let mut cells = vec![' '; LANE * alive.len()];
    for (lane, _) in alive.iter().enumerate().filter(|(_, alive)| **alive) {
        cells[lane * LANE] = '│';
    }
    cells[lane * LANE] = sign(event.kind);
    if let Some((_, to)) = other {
        let (left, right) = (lane.min(to) * LANE + 1, lane.max(to) * LANE);
        cells[left..right].fill('─');
        cells[if to > lane { right - 1 } else { left }] = if to > lane { '▶' } else { '◀' };
        cells[to * LANE] = sign(story.events[arrow.map_or(index, |arrow| arrow.to)].kind);
    }
    let time = milliseconds(event.time - story.begin);
    let mut text = String::new();
    for (number, line) in lines(story, index, arrow).iter().enumerate() {
        let time = if number == 0 { time.as_str() } else { "" };
        let cells: String = match number {
            0 => cells.iter().collect(),
            _ => rest(alive, lane),
        };
        let line = paint.with(style(event.kind, arrow), &printable(line));
        text += &format!("{time:>7}   {cells}{line}\n");
    }
    for at in [Some(index), arrow.map(|arrow| arrow.to)].into_iter().flatten() {
        if story.events[at].kind == Kind::Death {
            alive[layout.places[at].lane] = false;
        }
    }
    text
}

/// The lanes beside the further lines of a flow.
fn rest(alive: &[bool], flowing: usize) -> String {
    let sign = |(lane, alive): (usize, &bool)| match (lane == flowing, alive) {
        (true, _) => '┃',
        (false, true) => '│',
        (false, false) => ' ',
    };
    alive.iter().enumerate().map(|it| format!("{:<LANE$}", sign(it))).collect()
}

fn lines(story: &Story, index: usize, arrow: Option<&Arrow>) -> Vec<String> {
    let event = &story.events[index];
    let lane = |index: usize| {
        let life = &story.cast.lives[story.events[index].life];
        story.cast.lanes[life.lane].as_str()
    };
    if let Some(arrow) = arrow {
        let (sender, receiver) = (event.call.as_str(), story.events[arrow.to].call.as_str());
        let calls = [sender, receiver].map(|it| it.trim()).join(" → ");
        let calls = calls.trim_matches([' ', '→']);
        let text = format!("{}   {calls}", arrow.label);
        return vec![text.trim_end().to_owned()];
    }
    let mut lines = match event.kind {
        Kind::Flow => event.lines.clone(),
        Kind::Birth => vec![format!("{}: {}", story.cast.lives[event.life].name, event.lines[0])],
        _ => vec![alone(story, index)],
    };
    // What came from elsewhere on a line of its own.
    let from = story.arrows.iter().find(|it| it.to == index);
    if let (Some(from), Some(first)) = (from, lines.first_mut()) {
        let what = if from.kind == Tie::Data { format!("{} ", from.label) } else { String::new() };
        first.push_str(&format!("   ({what}from {})", lane(from.from)));
    }
    lines
}

fn sign(kind: Kind) -> char {
    match kind {
        Kind::Birth => '┬',
        Kind::Death => '×',
        Kind::Flow => '┃',
        Kind::Signal => '!',
        Kind::Note | Kind::Failure => '●',
    }
}

fn style(kind: Kind, arrow: Option<&Arrow>) -> Style {
    match (kind, arrow.map(|arrow| arrow.kind)) {
        (_, Some(Tie::Descriptor)) => Style::Bold,
        (Kind::Signal | Kind::Failure | Kind::Death, _) => Style::Red,
        (Kind::Flow, _) => Style::Green,
        (_, Some(Tie::Message)) => Style::Cyan,
        (_, Some(Tie::Fork | Tie::End)) | (Kind::Birth, _) => Style::Plain,
        _ => Style::Dim,
    }
}
