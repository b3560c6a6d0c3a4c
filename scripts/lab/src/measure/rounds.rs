//! Measuring in turn, in an order in which nobody has always the same neighbours.

use std::io::{self, IsTerminal, Write};

use anyhow::Result;

use crate::measure::setting::Leave;

/// Calls `one` for each of `count` things, round by round. The first round only warms up: `one` is
/// called and what it returns is dropped. Returns the samples of each thing, one a round.
///
/// A thing that fails (`Err` with the reason) isn't measured any more; it has no samples.
pub fn in_turn<T>(
    what: &str,
    rounds: usize,
    count: usize,
    leave: &Leave,
    mut one: impl FnMut(usize) -> Result<T>,
) -> Result<Vec<Result<Vec<T>>>> {
    let mut samples: Vec<Result<Vec<T>>> = (0..count).map(|_| Ok(Vec::new())).collect();
    for round in 0..=rounds {
        doing(&format!("{what}: round {round} of {rounds}"));
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

    use super::order;

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
