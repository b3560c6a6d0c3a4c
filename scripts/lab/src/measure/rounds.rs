//! Measuring in turn, in an order in which nobody has always the same neighbours.

use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::measure::distance::is_same;
use crate::measure::setting::Setting;
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

/// What was measured in turn.
pub struct Samples<T> {
    /// Of each thing: equally many, or why there are none.
    pub of: Vec<Result<Vec<T>>>,
    /// How far apart the processors were, in nanoseconds. See [`Setting::apart`].
    pub apart: Spread,
}

/// Calls `one` for each of `count` things, round by round. The first round only warms up: `one` is
/// called and what it returns is dropped.
///
/// Samples are compared with those that were taken at the same distance of the processors, and
/// that stayed the same meanwhile. Only if there are too few of them are all compared with all.
///
/// A thing that fails (`Err` with the reason) isn't measured any more; it has no samples.
pub fn in_turn<T: Cost>(
    what: &str,
    rounds: Rounds,
    count: usize,
    setting: &Setting,
    mut one: impl FnMut(usize) -> Result<T>,
) -> Result<Samples<T>> {
    let mut taken = Taken::new(count);
    let mut apart = setting.apart();
    for round in 0..=rounds.most {
        if round > rounds.least && taken.is_enough(rounds.least) {
            break;
        }
        doing(&format!("{what}: round {round} of {}", rounds.text()));
        for at in order(round, count) {
            if taken.has_failed(at) {
                continue;
            }
            let sample = one(at);
            setting.leave.check()?; // before a failure counts: Ctrl-C reaches the servers, too
            let before = std::mem::replace(&mut apart, setting.apart());
            match sample {
                Ok(sample) if round > 0 => taken.add(at, before, apart, sample),
                Ok(_) => {}
                Err(why) => taken.fail(at, why),
            }
        }
    }
    doing("");
    Ok(taken.comparable(rounds.least))
}

/// All that was sampled of each thing.
struct Taken<T>(Vec<Result<Vec<Sample<T>>>>);

struct Sample<T> {
    /// How far apart the processors were afterwards.
    apart: Option<f64>,
    /// Were they before?
    stayed: bool,
    of: T,
}

impl<T: Cost> Taken<T> {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| Ok(Vec::new())).collect())
    }

    /// A sample of thing `at`, and how far apart the processors were before and after it.
    fn add(&mut self, at: usize, before: Option<f64>, apart: Option<f64>, of: T) {
        if let Ok(samples) = &mut self.0[at] {
            samples.push(Sample { apart, stayed: is_same(before, apart), of });
        }
    }

    fn fail(&mut self, at: usize, why: anyhow::Error) {
        self.0[at] = Err(why);
    }

    fn has_failed(&self, at: usize) -> bool {
        self.0[at].is_err()
    }

    /// Is enough comparable, and known well enough?
    fn is_enough(&self, least: usize) -> bool {
        let (apart, count) = self.most_at_one_distance();
        let logarithms = |samples: &Vec<Sample<T>>| {
            samples.iter().filter(|it| it.is_at(apart)).map(|it| it.of.cost().ln()).collect()
        };
        let things: Vec<Vec<f64>> = self.0.iter().flatten().map(logarithms).collect();
        count >= least && is_known(&things, count)
    }

    /// The distance at which the most was sampled, and how often the least sampled thing was there.
    fn most_at_one_distance(&self) -> (Option<f64>, usize) {
        let things = || self.0.iter().flatten();
        let count = |apart| {
            let of_thing = |it: &Vec<Sample<T>>| it.iter().filter(|it| it.is_at(apart)).count();
            things().map(of_thing).min().unwrap_or(0)
        };
        let distances = things().flatten().map(|it| (it.apart, count(it.apart)));
        distances.max_by_key(|it| it.1).unwrap_or((None, 0))
    }

    /// What can be compared.
    fn comparable(self, least: usize) -> Samples<T> {
        let (apart, count) = self.most_at_one_distance();
        let is_kept = |it: &Sample<T>| count < least || it.is_at(apart);
        let count = if count < least { usize::MAX } else { count };
        let kept = |it: Vec<Sample<T>>| it.into_iter().filter(is_kept).take(count).collect();
        let of: Vec<Result<Vec<Sample<T>>>> = self.0.into_iter().map(|it| it.map(kept)).collect();
        let apart = Spread::of(of.iter().flatten().flatten().filter_map(|it| it.apart));
        let bare = |it: Vec<Sample<T>>| it.into_iter().map(|it| it.of).collect();
        Samples { of: of.into_iter().map(|it| it.map(bare)).collect(), apart }
    }
}

impl<T> Sample<T> {
    fn is_at(&self, distance: Option<f64>) -> bool {
        self.stayed && is_same(self.apart, distance)
    }
}

/// Are the medians of all things known well enough, from the logarithms of so many samples each?
fn is_known(things: &[Vec<f64>], rounds: usize) -> bool {
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

    use anyhow::anyhow;

    use super::{Taken, order};

    const NEAR: Option<f64> = Some(52.0);
    const FAR: Option<f64> = Some(320.0);

    /// The distance before and after, and the cost.
    type Round = (Option<f64>, Option<f64>, f64);

    /// What was sampled of each thing, round by round.
    fn taken(things: &[&[Round]]) -> Taken<f64> {
        let mut taken = Taken::new(things.len());
        for (at, thing) in things.iter().enumerate() {
            thing.iter().for_each(|&(before, after, cost)| taken.add(at, before, after, cost));
        }
        taken
    }

    /// Samples on a machine with one processor.
    fn known(things: &[&[f64]]) -> bool {
        let of = |costs: &&[f64]| costs.iter().map(|&it| (None, None, it)).collect::<Vec<_>>();
        let things: Vec<Vec<_>> = things.iter().map(of).collect();
        taken(&things.iter().map(Vec::as_slice).collect::<Vec<_>>()).is_enough(1)
    }

    fn kept(taken: Taken<f64>, least: usize) -> (Vec<Vec<f64>>, f64) {
        let samples = taken.comparable(least);
        (samples.of.into_iter().flatten().collect(), samples.apart.median)
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
        let mut taken = taken(&[&[(None, None, 1.0)], &[]]);
        assert!(!taken.is_enough(1));
        taken.fail(1, anyhow!("refused"));
        assert!(taken.is_enough(1));
        assert_eq!(kept(taken, 1).0, [[1.0]]);
    }

    #[test]
    fn what_was_taken_near_is_not_compared_with_what_was_taken_far() {
        let far = |cost| (FAR, FAR, cost);
        let taken = taken(&[
            &[(NEAR, NEAR, 1.0), far(3.0), (FAR, Some(350.0), 3.1), (FAR, NEAR, 2.0), far(3.2)],
            &[far(6.0), far(6.1), (NEAR, FAR, 4.0), far(6.2), far(6.3)],
        ]);
        assert!(!taken.is_enough(4), "three of each");
        assert_eq!(kept(taken, 3), (vec![vec![3.0, 3.1, 3.2], vec![6.0, 6.1, 6.2]], 320.0));
    }

    #[test]
    fn too_few_at_one_distance_are_all_compared() {
        let things = [[(NEAR, NEAR, 1.0), (NEAR, FAR, 2.0)], [(FAR, FAR, 3.0), (FAR, FAR, 4.0)]];
        assert_eq!(kept(taken(&[&things[0], &things[1]]), 2).0, [[1.0, 2.0], [3.0, 4.0]]);
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
