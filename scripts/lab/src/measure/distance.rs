//! How far apart two processors are.
//!
//! Those that share a cache hand a line of it to each other in some 50 ns, others take 300 or more,
//! and then a large file takes up to three times as long. In a real machine that never changes. The
//! processors of a virtual one are threads of another, whose scheduler may move them at any time:
//! so we look again and again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::measure::statistics::Spread;

/// Two processors of this machine, by their numbers.
#[derive(Clone, Copy)]
pub struct Distance {
    pub here: usize,
    pub there: usize,
}

/// How often the line goes there and back: in a row for one measurement, of which there are so many.
const IN_A_ROW: u32 = 200;
const TIMES: u32 = 20;

/// Others may use the processors, too. What takes longer stays unknown.
const LIMIT: Duration = Duration::from_millis(200);

/// What nobody else writes to comes and goes alone: two lines, since some processors fetch pairs.
#[repr(align(128))]
struct Line(AtomicU32);

/// What is in the line at the end.
const OVER: u32 = u32::MAX;

impl Distance {
    /// How long a line of the cache takes there and back, in nanoseconds: the median of some
    /// measurements, for a thread can be held up in one of them.
    #[expect(clippy::disallowed_methods, reason = "this process never forks a copy of itself")]
    pub fn nanoseconds(self) -> Option<f64> {
        let line = Line(AtomicU32::new(0));
        thread::scope(|scope| {
            scope.spawn(|| send_back(&line, self.there));
            let times = scope.spawn(|| send(&line, self.here)).join().ok()?;
            (times.len() == TIMES as usize).then(|| Spread::of(times).median)
        })
    }
}

/// Are these the same distance? What is measured varies by a tenth, distances by a half at least.
pub fn is_same(one: Option<f64>, other: Option<f64>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.max(other) < 1.25 * one.min(other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// For a heading: `, processors 320 ±12 ns apart`, or nothing where that is unknown.
pub fn apart(nanoseconds: Spread) -> String {
    let known = nanoseconds.median > 0.0;
    if known { format!(", processors {} ns apart", nanoseconds.text(0)) } else { String::new() }
}

/// Counts up in odd numbers, and waits for the even one after each.
fn send(line: &Line, processor: usize) -> Vec<f64> {
    run_on(processor);
    let limit = Instant::now() + LIMIT;
    let mut times = Vec::new();
    let mut number = 0;
    'all: for _ in 0..TIMES {
        let begin = Instant::now();
        for _ in 0..IN_A_ROW {
            line.0.store(number + 1, Ordering::Release);
            number += 2;
            let mut looked = 0_u32;
            while line.0.load(Ordering::Acquire) != number {
                std::hint::spin_loop();
                looked = looked.wrapping_add(1);
                if looked.is_multiple_of(1024) && Instant::now() > limit {
                    break 'all;
                }
            }
        }
        times.push(begin.elapsed().as_nanos() as f64 / f64::from(IN_A_ROW));
    }
    line.0.store(OVER, Ordering::Release);
    times
}

fn send_back(line: &Line, processor: usize) {
    run_on(processor);
    loop {
        match line.0.load(Ordering::Acquire) {
            OVER => break,
            number if number % 2 == 1 => {
                // It may be over by now, and has to stay so.
                let (next, how) = (number + 1, Ordering::AcqRel);
                let _ = line.0.compare_exchange(number, next, how, Ordering::Relaxed);
            }
            _ => std::hint::spin_loop(),
        }
    }
}

/// Should it fail, we measure between whatever processors the threads run on.
fn run_on(processor: usize) {
    let mut set = CpuSet::new();
    let _ = set.set(processor).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
}

#[cfg(test)]
mod tests {
    use super::is_same;
    use crate::measure::processors::Halves;

    #[test]
    fn distance_is_measured_where_there_are_two_processors() {
        if let Some(distance) = Halves::new().unwrap().distance() {
            // Where others hold the processors for too long, there is none: then again.
            let nanoseconds = (0..50).find_map(|_| distance.nanoseconds());
            assert!(nanoseconds.is_some_and(|it| it > 1.0), "{nanoseconds:?}");
        }
    }

    #[test]
    fn near_is_not_far() {
        assert!(is_same(Some(309.0), Some(344.0)));
        assert!(!is_same(Some(52.0), Some(76.0)));
        assert!(is_same(None, None));
        assert!(!is_same(None, Some(52.0)));
    }
}
