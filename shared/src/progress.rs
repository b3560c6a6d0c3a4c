//! Shows how far a transfer has come.
//!
//! Purpose: total, received, percentage, rate and time left, for people.
//! Interface: [`Progress::new`], [`Progress::show`] as often as you like, [`Progress::finish`].
//! Rules: drawn a few times a second and not with every chunk, or drawing costs more than
//! receiving. A file of 0 bytes is complete from the start: nothing is divided by 0.
//! First used by stage 05.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::narrate;

/// The progress of one transfer, on standard error.
pub struct Progress {
    total: u64,
    received: u64,
    started: Instant,
    display: Display,
}

enum Display {
    Nothing,
    /// On a terminal.
    Bar(ProgressBar),
    /// Anywhere else: plain lines. The next one isn't due before this time.
    Lines(Instant),
}

/// How often a bar is drawn a second, at most.
const DRAWS: u8 = 10;
/// How far apart lines are, at least.
const LINE_EVERY: Duration = Duration::from_secs(1);
const BAR: &str = "{wide_bar} {bytes} of {total_bytes} ({percent}%) {bytes_per_sec}, {eta} left";

impl Progress {
    /// Begins a transfer of `total` bytes. `quiet` shows nothing.
    #[must_use]
    pub fn new(total: u64, quiet: bool) -> Self {
        let started = Instant::now();
        let display = if quiet {
            Display::Nothing
        } else if io::stderr().is_terminal() {
            Display::Bar(bar(total))
        } else {
            Display::Lines(started + LINE_EVERY)
        };
        Self { total, received: 0, started, display }
    }

    /// So many bytes have come in all.
    pub fn show(&mut self, received: u64) {
        self.received = received;
        match &self.display {
            Display::Nothing => {}
            Display::Bar(bar) => bar.set_position(self.received),
            Display::Lines(due) => {
                // LAB 05.show: once a line is due, write it: rate and time left; plan the next
                let now = Instant::now();
                if now >= *due {
                    self.display = Display::Lines(now + LINE_EVERY);
                    self.line(&format!("{}, {:.0} s left", self.rate(), self.seconds_left()));
                }
                // END 05.show
            }
        }
    }

    /// Ends a transfer that is complete, with the last figures.
    pub fn finish(self) {
        match &self.display {
            Display::Nothing => {}
            Display::Bar(bar) => bar.finish(),
            Display::Lines(_) => {
                let seconds = self.started.elapsed().as_secs_f64();
                self.line(&format!("{}, done in {seconds:.1} s", self.rate()));
            }
        }
    }

    fn line(&self, rest: &str) {
        let Self { total, received, .. } = self;
        let percent = self.percent();
        narrate::write_line(&format!("received {received} of {total} bytes ({percent}%) {rest}"));
    }

    /// Rounded down, so that 100.0 means all of it.
    fn percent(&self) -> String {
        // LAB 05.percent: the percentage with one decimal, rounded down; 100.0 for an empty file
        let mille = match self.total {
            0 => 1000,
            total => u128::from(self.received) * 1000 / u128::from(total),
        };
        format!("{}.{}", mille / 10, mille % 10)
        // END 05.percent
    }

    fn rate(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(1e-6);
        format!("{}/s", HumanBytes((self.received as f64 / seconds) as u64))
    }

    fn seconds_left(&self) -> f64 {
        let missing = self.total.saturating_sub(self.received) as f64;
        self.started.elapsed().as_secs_f64() * missing / self.received.max(1) as f64
    }
}

fn bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(DRAWS));
    match ProgressStyle::with_template(BAR) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sizes from nothing to the largest there are.
    fn any_size() -> impl Strategy<Value = u64> {
        let limits = prop::sample::select(vec![0, 1, 999, 1000, 1 << 32, i64::MAX as u64]);
        prop_oneof![limits, 0..=i64::MAX as u64, 0..5000_u64]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn figures_are_right_for_any_size(total in any_size(), part in any_size()) {
            let mut progress = Progress::new(total, true);
            progress.show(part.min(total));
            let percent = progress.percent();
            let (whole, tenth) = percent.split_once('.').unwrap();
            let thousandths: u128 = format!("{whole}{tenth}").parse().unwrap();
            let (received, total) = (u128::from(progress.received), u128::from(total));
            prop_assert!(thousandths <= 1000 && tenth.len() == 1, "{}", percent);
            prop_assert!(thousandths * total <= received * 1000, "{}: too much", percent);
            prop_assert!((thousandths + 1) * total > received * 1000 || total == 0);
            prop_assert_eq!(thousandths == 1000, received == total);
            let left = progress.seconds_left();
            prop_assert!(left.is_finite() && left >= 0.0 && (left == 0.0) == (received == total));
            prop_assert!(progress.rate().ends_with("/s"));
        }
    }
}
