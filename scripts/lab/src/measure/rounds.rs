//! Measuring in turn, in an order in which nobody has always the same neighbours.

use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::measure::setting::Leave;
use crate::measure::statistics::Spread;

/// So well the median of each thing has to be known, beside those of the others: its standard
/// error as a share of it. A ratio of two is then within 4 % of the true one, 19 times of 20.
const PRECISION: f64 = 0.015;

/// How many rounds: at least `least`, then more while the machine is too noisy, `most` at most.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Rounds {
    #[serde(rename = "rounds")]
    pub least: usize,
    #[serde(rename = "most_rounds")]
    pub most: usize,
}

impl Rounds {
    /// No more and no less.
    pub fn exactly(count: usize) -> Self {
        Self { least: count, most: count }
    }

    /// As many, but no more than `limit`.
    pub fn up_to(self, limit: usize) -> Self {
        Self { least: self.least.min(limit), most: self.most.min(limit) }
    }

    /// `7`, or `7 to 21`.
    pub fn text(self) -> String {
        let Self { least, most } = self;
        if least == most { least.to_string() } else { format!("{least} to {most}") }
    }
}

/// What of a sample is compared with that of others.
pub trait Cost {
    /// In any unit; above 0.
    fn cost(&self) -> f64;
}

impl Cost for f64 {
    fn cost(&self) -> f64 {
        *self
    }
}

/// With something beside it.
impl<T> Cost for (f64, T) {
    fn cost(&self) -> f64 {
        self.0
    }
}

/// Calls `one` for each of `count` things, round by round. The first round only warms up: `one` is
/// called and what it returns is dropped. Returns the samples of each thing, one a round.
///
/// A thing that fails (`Err` with the reason) isn't measured any more; it has no samples.
pub fn in_turn<T: Cost>(
    what: &str,
    rounds: Rounds,
    count: usize,
    leave: &Leave,
    mut one: impl FnMut(usize) -> Result<T>,
) -> Result<Vec<Result<Vec<T>>>> {
    let mut samples: Vec<Result<Vec<T>>> = (0..count).map(|_| Ok(Vec::new())).collect();
    for round in 0..=rounds.most {
        if round > rounds.least && is_known(&samples) {
            break;
        }
        doing(&format!("{what}: round {round} of {}", rounds.text()));
        for at in order(round, count) {
            let Ok(done) = &mut samples[at] else { continue };
            let sample = one(at);
            leave.check()?; // before a failure counts: Ctrl-C reaches the servers, too
            match sample {
                Ok(sample) if round > 0 => done.push(sample),
                Ok(_) => {}
                Err(why) => samples[at] = Err(why),
            }
        }
    }
    doing("");
    Ok(samples)
}

/// Are the medians known well enough?
fn is_known<T: Cost>(samples: &[Result<Vec<T>>]) -> bool {
    let logarithms = |samples: &Vec<T>| samples.iter().map(|it| it.cost().ln()).collect();
    let things: Vec<Vec<f64>> = samples.iter().flatten().map(logarithms).collect();
    let rounds = things.first().map_or(0, Vec::len);
    // What slows all of them down in a round changes no ratio.
    let of_round = |round| things.iter().map(|it| it[round]).sum::<f64>() / things.len() as f64;
    let means: Vec<f64> = (0..rounds).map(of_round).collect();
    things.iter().all(|thing| {
        let Spread { low, high, .. } =
            Spread::of(thing.iter().zip(&means).map(|(it, mean)| it - mean));
        // Of a normal distribution, whose quarters lie 1.35 standard deviations apart, and whose
        // median varies by 1.25 of them over the root of their number.
        0.93 * (high - low) / (rounds as f64).sqrt() <= PRECISION
    })
}

/// Each of `count` once. Who comes before whom changes from round to round, for something of each
/// sample stays with the next: the memory it has freed, what it has left to be written. In as many
/// rounds as there are things, everybody comes after everybody else once (for an odd number: about
/// once), as in the squares of E. J. Williams, 1949: 0 1 3 2, then 1 2 0 3, …
fn order(round: usize, count: usize) -> impl Iterator<Item = usize> {
    let zigzag = move |place: usize| match place % 2 {
        0 => count - place / 2,
        _ => place.div_ceil(2),
    };
    (0..count).map(move |place| (zigzag(place) + round) % count)
}

/// A line on a terminal that the next one replaces.
fn doing(what: &str) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\u{1b}[K{what}");
        let _ = stderr.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use anyhow::{Result, bail};

    use super::{is_known, order};

    fn known(things: &[&[f64]]) -> bool {
        let samples: Vec<Result<Vec<f64>>> = things.iter().map(|it| Ok(it.to_vec())).collect();
        is_known(&samples)
    }

    #[test]
    fn a_machine_that_slows_all_of_them_down_needs_no_more_rounds() {
        assert!(known(&[&[1.0, 5.0, 2.0, 9.0], &[2.0, 10.0, 4.0, 18.0]]));
        assert!(!known(&[&[1.0, 5.0, 2.0, 9.0], &[2.0, 9.0, 5.0, 18.0]]));
    }

    #[test]
    fn the_more_rounds_the_better_a_median_is_known() {
        let (steady, shaky) = ([1.0; 64], [1.0, 1.2].repeat(32));
        assert!(!known(&[&steady[..4], &shaky[..4]]));
        assert!(known(&[&steady, &shaky]));
    }

    #[test]
    fn who_has_failed_needs_no_more_rounds() {
        let failed: Result<Vec<f64>> = (|| bail!("refused"))();
        assert!(is_known(&[Ok(vec![1.0, 2.0]), failed]));
        assert!(known(&[]));
    }

    #[test]
    fn everybody_is_measured_once_a_round() {
        for (round, count) in [(0, 1), (3, 1), (1, 2), (4, 7), (9, 8)] {
            let all: BTreeSet<usize> = order(round, count).collect();
            assert_eq!(all, (0..count).collect(), "round {round} of {count}");
        }
    }

    #[test]
    fn everybody_comes_after_everybody_else_once() {
        let mut pairs = BTreeSet::new();
        for round in 0..8 {
            let order: Vec<usize> = order(round, 8).collect();
            pairs.extend(order.windows(2).map(|it| (it[0], it[1])));
        }
        assert_eq!(pairs.len(), 8 * 7);
    }
}
