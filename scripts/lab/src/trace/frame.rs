//! What surrounds a picture: the names of its lanes, and what its signs mean.

use maud::{Markup, html};

/// How wide a lane is, and what stands left of the first, in pixels.
pub const LANE: i32 = 248;
pub const LEFT: i32 = 76;

pub fn lane_head(lane: usize, name: &str) -> Markup {
    html! {
        rect class="head" x=(middle(lane) - 14) y="76" width=(LANE - 24) height="28" rx="6" {}
        text class="lane" x=(middle(lane)) y="96" { (name) }
    }
}

/// What the signs mean.
pub fn key(height: i32) -> Markup {
    let y = height - 38;
    html! {
        rect class="runs" x="20" y=(y - 6) width="28" height="4" {}
        text class="key" x="54" y=(y) { "runs" }
        line class="sleeps" x1="100" y1=(y - 4) x2="128" y2=(y - 4) {}
        text class="key" x="134" y=(y) { "sleeps" }
        line class="message" x1="196" y1=(y - 4) x2="224" y2=(y - 4) {}
        text class="key" x="230" y=(y) { "message" }
        line class="descriptor" x1="306" y1=(y - 4) x2="334" y2=(y - 4) {}
        text class="key" x="340" y=(y) { "with a descriptor" }
        line class="data" x1="470" y1=(y - 4) x2="498" y2=(y - 4) {}
        text class="key" x="504" y=(y) { "data" }
        line class="end" x1="552" y1=(y - 4) x2="580" y2=(y - 4) {}
        text class="key" x="586" y=(y) { "an end, heard of elsewhere" }
        text class="key" x="20" y=(y + 22) { "Drawn from a real run by cargo lab trace. Point at anything to see its calls. Times are longer than without strace." }
    }
}

pub fn middle(lane: usize) -> i32 {
    LEFT + 10 + LANE * i32::try_from(lane).unwrap_or(0)
}
