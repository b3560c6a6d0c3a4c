//! Stage 06, mmap-zero-copy, from outside: the file is mapped at both ends, and no harm comes of it.
//!
//! What is checked: what a client of ours gets from the server, what `get` makes of servers of
//! ours, standard output and error, the exit status, `/proc`, system calls. How the stage is
//! written doesn't matter. What stages 06 to 08 must do alike stands in
//! `support/src/header_tests.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a check that fails panics"
)]

use support::stage::Stage;
use support::wire::Format;
use support::{evidence, habits};

const STAGE: Stage =
    Stage { bin: env!("CARGO_BIN_EXE_step06-mmap-zero-copy"), format: Format::Header };

support::header_tests!(STAGE);

#[test]
fn file_is_mapped_at_both_ends_and_not_read_or_written() {
    evidence::the_file_is_mapped_at_both_ends(STAGE);
}

#[test]
fn help_explains_the_commands() {
    let words = ["serve", "get", "demo", "--workers", "--file", "--stall-timeout", "--quiet"];
    habits::help_mentions(STAGE.bin, &words);
}
