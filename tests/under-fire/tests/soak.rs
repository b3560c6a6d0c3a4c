//! The driver of the soak: a few seconds of it, so that it can be trusted with hours.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a check that fails panics")]

use std::time::Duration;

use support::server::{run, run_within};

const SOAK: &str = env!("CARGO_BIN_EXE_soak");

/// Its clients are counted, not timed: on a busy machine they take their time.
const LONG: Duration = Duration::from_secs(600);

#[test]
fn soak_of_some_stages_ends_well_and_leaves_nobody_behind() {
    let soak = run_within(SOAK, &["0.05", "03", "07", "09", "11", "--seed", "7"], LONG);
    assert!(soak.status.success(), "{soak:?}");
    assert!(soak.left_running.is_empty(), "{soak:?}");
    let stages = ["step03-sendfd", "step07-splice", "step09-accept-in", "step11-chat-shared"];
    for words in stages.into_iter().chain(["all well, seed 7"]) {
        assert!(soak.stdout.contains(words), "{words:?} is missing: {soak:?}");
    }
}

#[test]
fn soak_refuses_nonsense() {
    for args in [&["0"][..], &["-1"], &["1", "12"], &["soon"], &["1", "--seed", "x"]] {
        let soak = run(SOAK, args);
        assert_eq!(soak.status.code(), Some(2), "{args:?}: {soak:?}");
        assert_eq!(soak.stdout, "", "{args:?}");
    }
}
