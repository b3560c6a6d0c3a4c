//! A worker: sleeps in a loop that it never leaves.

use std::thread::sleep;
use std::time::Duration;

use shared::narrate::Narrator;
use shared::say;

/// The whole life of a worker. It ends by a signal, or with its parent. `-> !`: were it to fall
/// out of its loop, it would go on in the parent's code and fork workers of its own.
pub fn run(number: usize, quiet: bool) -> ! {
    say!(Narrator::worker(number, quiet), "forked, going to sleep");
    loop {
        sleep(Duration::from_secs(3600));
    }
}
