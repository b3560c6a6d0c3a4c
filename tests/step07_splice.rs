//! Stage 07, splice, from outside: the bytes of stage 06, moved inside the kernel.
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

const STAGE: Stage = Stage { built: env!("CARGO_BIN_EXE_step07-splice"), format: Format::Header };

support::header_tests!(STAGE);

support::splice_tests!(STAGE);
