//! Stage 10, chat-poll, from outside: a chat by one process that never waits for one user.
//!
//! What is checked: who hears what and in which order, what the client prints, exit status,
//! `/proc`, system calls. Nearly all of it is what stage 11 must do as well, and stands in
//! `support/src/chat_tests.rs`; here is what only this stage does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a check that fails panics"
)]

use support::chat::Room;

fn bin() -> &'static str {
    support::program(env!("CARGO_BIN_EXE_step10-chat-poll"))
}

support::chat_tests!(bin());

#[test]
fn server_is_one_process() {
    let mut room = Room::of(bin(), 5);
    room.says(0, "hello");
    room.server.wait_workers(0);
}
