//! The story as one SVG: nothing to load, no scripts, light or dark as its reader's system is.
//!
//! `maud` escapes whatever stands in parentheses; nothing here uses `PreEscaped` but the style
//! sheet and the first line. Whoever points at something gets the calls in full (`<title>`).

use maud::{Markup, PreEscaped, html};

use super::frame::{LANE, LEFT, key, lane_head, middle};
use super::join::{Arrow, Tie};
use super::layout::{Layout, Metrics, Place};
use super::story::{Event, Kind, Story};
use super::words::{alone, hover, milliseconds};
use crate::text::printable;

const STYLE: &str = include_str!("style.css");

/// In pixels.
const HEADING: i32 = 112;
const FOOT: i32 = 66;
/// A sleep of so many microseconds is given a name, once in a life.
const NOTABLE: u64 = 50_000;
const METRICS: Metrics = Metrics {
    note: 22,
    arrow: 40,
    shaft: 20,
    birth: 28,
    born: 4,
    flow_line: 18,
    flow_head: 28,
    pause: 14,
    side_by_side: true,
};

/// Draws a story. `title` is the stage, `plot` what was played.
pub fn draw(story: &Story, title: &str, plot: &str) -> String {
    let layout = Layout::of(story, &METRICS);
    let picture = Picture { story, layout };
    picture.draw(title, plot)
}

struct Picture<'a> {
    story: &'a Story,
    layout: Layout,
}

impl Picture<'_> {
    fn draw(&self, title: &str, plot: &str) -> String {
        let width = LEFT + LANE * i32::try_from(self.story.cast.lanes.len()).unwrap_or(1);
        let height = HEADING + self.layout.height + FOOT;
        let markup = html! {
            (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
            svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {width} {height}"))
                role="img" aria-label=(title) {
                style { (PreEscaped(STYLE)) }
                rect class="paper" width=(width) height=(height) {}
                text class="title" x="20" y="34" { (title) }
                text class="plot soft" x="20" y="58" { (plot) }
                @for (lane, name) in self.story.cast.lanes.iter().enumerate() {
                    (lane_head(lane, name))
                }
                @for life in 0..self.story.cast.lives.len() { (self.life(life)) }
                @for (index, event) in self.story.events.iter().enumerate() {
                    @if event.kind == Kind::Flow { (self.flow_box(index)) }
                }
                @for arrow in &self.story.arrows { (self.arrow(arrow)) }
                @for index in 0..self.story.events.len() { (self.event(index)) }
                (self.clock())
                (key(height))
            }
        };
        markup.into_string()
    }

    /// The line of a life: thick where it runs, thin where it sleeps.
    fn life(&self, life: usize) -> Markup {
        let all = self.layout.places.iter().copied().zip(&self.story.events);
        let events: Vec<(Place, &Event)> = all.filter(|(_, it)| it.life == life).collect();
        let Some((first, _)) = events.first() else { return html! {} };
        let x = middle(first.lane);
        let last_is_death = events.last().is_some_and(|(_, it)| it.kind == Kind::Death);
        let end = if last_is_death { None } else { Some(HEADING + self.layout.height + 8) };
        let next = |at: usize| match events.get(at + 1) {
            Some((place, event)) => Some((self.anchor(place), event.time)),
            None => end.map(|end| (end, u64::MAX)),
        };
        let mut named: Vec<&str> = Vec::new();
        html! {
            @for (at, (place, event)) in events.iter().enumerate() {
                @if let Some((bottom, until)) = next(at) {
                    @let top = self.anchor(place);
                    @match self.sleep(life, event.until, until) {
                        Some((begin, end, call)) => g {
                            title { (hover(std::slice::from_ref(call))) }
                            line class="sleeps" x1=(x) y1=(top) x2=(x) y2=(bottom) {}
                            @let name = call.split('(').next().unwrap_or_default();
                            @let has_room = event.kind != Kind::Birth && bottom > HEADING + place.bottom + 30;
                            @if has_room && end - begin > NOTABLE && !named.contains(&name) {
                                ({ named.push(name); "" })
                                text class="small" x=(x + 12) y=(HEADING + place.bottom + 10) { (name) " …" }
                            }
                        },
                        None => rect class="runs" x=(x - 2) y=(top) width="4" height=((bottom - top).max(0)) {},
                    }
                }
            }
        }
    }

    /// Where on its lane an event takes place.
    fn anchor(&self, place: &Place) -> i32 {
        HEADING + place.anchor
    }

    /// The call in which a life slept for the better part of this time.
    fn sleep(&self, life: usize, from: u64, to: u64) -> Option<&(u64, u64, String)> {
        let to = if to == u64::MAX { from + 1_000_000 } else { to };
        let common = |begin: u64, end: u64| end.min(to).saturating_sub(begin.max(from));
        let rests = &self.story.rests[life];
        let total: u64 = rests.iter().map(|(begin, end, _)| common(*begin, *end)).sum();
        let longest = rests.iter().max_by_key(|(begin, end, _)| common(*begin, *end))?;
        (total * 2 > to.saturating_sub(from)).then_some(longest)
    }

    fn flow_box(&self, index: usize) -> Markup {
        let place = self.layout.places[index];
        let height = place.bottom - place.top - 8;
        html! {
            g {
                title { (hover(&self.story.events[index].calls)) }
                rect class="data" x=(middle(place.lane) - 6) y=(HEADING + place.top + 12)
                    width="12" height=(height) rx="3" {}
            }
        }
    }

    fn arrow(&self, arrow: &Arrow) -> Markup {
        let (from, to) = (self.layout.places[arrow.from], self.layout.places[arrow.to]);
        let (start, end) = self.ends(arrow);
        let (x1, x2) = (middle(from.lane), middle(to.lane));
        let right = x2 > x1;
        let (near, anchor) = if right { (x1 + 12, "start") } else { (x1 - 12, "end") };
        let (far, far_anchor) = if right { (x2 - 14, "end") } else { (x2 + 14, "start") };
        // The pid of a child stands where its arrow ends.
        let gap = if arrow.kind == Tie::Fork { 9 } else { 3 };
        let tip = if right { x2 - gap } else { x2 + gap };
        let back = if right { tip - 10 } else { tip + 10 };
        let class = class(arrow.kind);
        let [sender, receiver] = [arrow.from, arrow.to].map(|it| &self.story.events[it]);
        let calls = [&sender.calls[..], &receiver.calls[..]].concat();
        let is_level = start == end;
        html! {
            g {
                title { (hover(&calls)) }
                line class=(class) x1=(x1) y1=(start) x2=(back) y2=(end) {}
                polygon class=(class) points=(format!("{tip},{end} {back},{} {back},{}", end - 5, end + 5)) {}
                @if is_level {
                    text class=(class) x=(near) y=(start - 6) text-anchor=(anchor) { (printable(&arrow.label)) }
                    @if arrow.kind != Tie::Data {
                        @if sender.kind != Kind::Flow {
                            text class="small" x=(near) y=(start + 14) text-anchor=(anchor) { (sender.call) }
                        }
                        text class="small" x=(far) y=(end + 14) text-anchor=(far_anchor) { (receiver.call) }
                    }
                }
            }
        }
    }

    /// How far down an arrow begins and ends.
    fn ends(&self, arrow: &Arrow) -> (i32, i32) {
        let (from, to) = (&self.layout.places[arrow.from], &self.layout.places[arrow.to]);
        let (mut start, end) = (self.anchor(from), self.anchor(to));
        // While a flow goes on it can send at any height.
        if self.story.events[arrow.from].kind == Kind::Flow {
            start = end.clamp(start, (HEADING + from.bottom - 4).max(start));
        }
        (start, end)
    }

    /// What is written beside a lane, where no arrow says it.
    fn event(&self, index: usize) -> Markup {
        let (event, place) = (&self.story.events[index], self.layout.places[index]);
        let (x, y) = (middle(place.lane), self.anchor(&place));
        let told = self.story.arrows.iter().any(|arrow| {
            let (start, end) = self.ends(arrow);
            (arrow.from == index || arrow.to == index) && start == end
        });
        let leads_right = self
            .story
            .arrows
            .iter()
            .any(|arrow| arrow.from == index && self.layout.places[arrow.to].lane > place.lane);
        match event.kind {
            Kind::Birth => self.birth(event, place),
            Kind::Flow => html! {
                @for (line, text) in (0..).zip(&event.lines) {
                    text x=(x + 14) y=(HEADING + place.top + METRICS.flow_head + 18 * line + 12) { (text) }
                }
            },
            Kind::Death => html! {
                g {
                    title { (hover(&event.lines)) }
                    path class=(format!("cross {}", ending(event))) d=(format!("M{} {}l12 12m0 -12l-12 12", x - 6, y - 6)) {}
                    text class=(ending(event)) x=(x + 14) y=(if leads_right { y + 18 } else { y + 4 }) { (printable(&event.lines.join(" "))) }
                }
            },
            _ if told => html! { circle class="dot" cx=(x) cy=(y) r="4" {} },
            kind => html! {
                g {
                    title { (hover(&event.calls)) }
                    circle class="dot" cx=(x) cy=(y) r="3.5" {}
                    text class=(word(kind)) x=(x + 12) y=(y + 4) { (printable(&alone(self.story, index))) }
                }
            },
        }
    }

    fn birth(&self, event: &Event, place: Place) -> Markup {
        let (x, y) = (middle(place.lane), self.anchor(&place));
        let life = &self.story.cast.lives[event.life];
        let is_program = !self.story.cast.lanes.contains(&life.name);
        let name = if is_program {
            format!("{} · {}", life.name, event.lines[0])
        } else {
            event.lines[0].clone()
        };
        let width = 16 + 7 * i32::try_from(name.chars().count()).unwrap_or(0);
        html! {
            rect class="head" x=(x - 8) y=(y - 10) width=(width) height="20" rx="4" {}
            text class="pid" x=(x) y=(y + 4) { (printable(&name)) }
        }
    }

    /// Milliseconds since the beginning, where there is room for them.
    fn clock(&self) -> Markup {
        let mut marks: Vec<(i32, u64)> = self
            .story
            .events
            .iter()
            .zip(&self.layout.places)
            .map(|(event, place)| (self.anchor(place), event.time))
            .collect();
        marks.sort_unstable();
        let mut last = 0;
        marks.retain(|(y, _)| {
            let room = *y >= last + 20;
            if room {
                last = *y
            }
            room
        });
        html! {
            text class="small" x=(LEFT - 22) y=(HEADING - 14) text-anchor="end" { "ms" }
            @for (y, time) in marks {
                text class="small" x=(LEFT - 22) y=(y + 4) text-anchor="end" {
                    (milliseconds(time - self.story.begin))
                }
            }
        }
    }
}

/// Did a life end as it should?
fn ending(event: &Event) -> &'static str {
    if event.lines.iter().any(|it| it == "exit 0") { "note" } else { "failure" }
}

fn class(kind: Tie) -> &'static str {
    match kind {
        Tie::Fork => "fork",
        Tie::Message => "message",
        Tie::Descriptor => "descriptor",
        Tie::Data => "data",
        Tie::End => "end",
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Signal => "signal",
        Kind::Failure => "failure",
        _ => "note",
    }
}
