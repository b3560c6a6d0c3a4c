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

use support::habits;
use support::stage::Stage;
use support::wire::Format;

const STAGE: Stage =
    Stage { built: env!("CARGO_BIN_EXE_step06-mmap-zero-copy"), format: Format::Header };

support::header_tests!(STAGE);

support::tests! {
    server_maps_the_file_and_does_not_read_it => evidence::server_maps_the_file(STAGE);
    server_sends_from_the_mapping_itself => evidence::server_sends_from_the_mapping(STAGE);
    get_maps_its_copy_and_does_not_write_it => evidence::client_maps_its_copy(STAGE);
    get_receives_into_the_mapping_itself => evidence::client_receives_into_the_mapping(STAGE);
    room_is_reserved_before_the_first_byte => header_habits::reserves_room_first(STAGE);
}

#[test]
fn help_explains_the_commands() {
    let words = ["serve", "get", "demo", "--workers", "--file", "--stall-timeout", "--quiet"];
    habits::help_mentions(STAGE.bin(), &words);
}
