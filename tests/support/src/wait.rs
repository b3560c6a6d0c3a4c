//! Wait for a condition under a deadline, never for a time.
//!
//! A test that sleeps and hopes is slow on a fast machine and wrong on a slow one. Here the
//! condition is asked for every few milliseconds: quick when all is well, patient when not.

use std::env;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::grading::report;

/// How long a test waits for something that should happen at once. Generous: it is only ever
/// used up when a test fails. 30 s, unless the grader names another number.
#[must_use]
pub fn limit() -> Duration {
    static LIMIT: OnceLock<Duration> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let told = env::var("LAB_PATIENCE").ok().and_then(|seconds| seconds.parse().ok());
        Duration::from_secs(told.unwrap_or(30))
    })
}

/// How long to rest between two looks.
const PAUSE: Duration = Duration::from_millis(3);

/// Asks `condition` until it has an answer, and returns that. After `limit` it panics and says
/// for `what` it waited: `wait_until("the worker to be reaped", limit(), || …)`.
#[track_caller]
pub fn wait_until<T>(what: &str, limit: Duration, condition: impl FnMut() -> Option<T>) -> T {
    match poll_until(limit, condition) {
        Some(answer) => answer,
        None => {
            report("timeout", &limit.as_secs().to_string());
            panic!("waited {limit:?} in vain for {what}")
        }
    }
}

/// The same for a condition that is true or false.
#[track_caller]
pub fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    wait_until(what, limit, || condition().then_some(()));
}

/// Asks `condition` until it has an answer, `None` after `limit`.
pub fn poll_until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let last_look = Instant::now() >= deadline;
        let answer = condition();
        if answer.is_some() || last_look {
            return answer;
        }
        thread::sleep(PAUSE);
    }
}
