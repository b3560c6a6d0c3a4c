//! Stage 11, chat-shared-memory, from outside: the chat of stage 10, by a process for each user.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a check that fails panics"
)]

fn bin() -> &'static str {
    support::program(env!("CARGO_BIN_EXE_step11-chat-shared-memory"))
}

support::chat_tests!(bin());
