//! What some values of the same thing, one a round, say together.

use serde::{Deserialize, Serialize};

/// The middle of some values, and the quarters: half of them lie between `low` and `high`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// Of at least one value; all 0 of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let [low, median, high] = [0.25, 0.5, 0.75].map(|share| quantile(&sorted, share));
        Self { median, low, high }
    }

    /// How many times faster `this` is than `other`, by the seconds that they took: compared
    /// within each round, for what slows one of them down slows its neighbour, too.
    pub fn faster(this: &[f64], other: &[f64]) -> Self {
        Self::of(this.iter().zip(other).map(|(this, other)| other / this))
    }

    /// `1.32 ±0.04`: the median, and half of the distance between the quarters.
    pub fn text(&self, digits: usize) -> String {
        let (median, half) = (self.median, (self.high - self.low) / 2.0);
        format!("{median:.digits$} ±{half:.digits$}")
    }
}

/// The value below which this share of the sorted values lies, straight between two neighbours
/// where it falls between them.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let at = share * last as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn median_and_quarters_are_those_of_the_sorted_values() {
        let odd = Spread::of([5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(odd, Spread { median: 3.0, low: 2.0, high: 4.0 });
        let even = Spread::of([4.0, 1.0, 3.0, 2.0]);
        assert_eq!(even, Spread { median: 2.5, low: 1.75, high: 3.25 });
        assert_eq!(Spread::of([7.0]), Spread { median: 7.0, low: 7.0, high: 7.0 });
    }

    #[test]
    fn one_bad_round_does_not_move_the_median() {
        let quiet = Spread::of([1.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(Spread::of([1.0, 1.0, 900.0, 1.0, 1.0]), quiet);
    }

    #[test]
    fn ratio_is_taken_within_the_round() {
        // The machine gets slower and slower; `this` takes half the time of `other` in each round.
        let (this, other) = ([1.0, 10.0, 100.0], [2.0, 20.0, 200.0]);
        assert_eq!(Spread::faster(&this, &other), Spread { median: 2.0, low: 2.0, high: 2.0 });
    }

    #[test]
    fn no_values_are_no_trouble() {
        assert_eq!(Spread::of([]).text(1), "0.0 ±0.0");
    }
}
