//! What the targets do: the properties of `shared/tests`, and the clients as a whole.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a check that fails")]

pub mod clients;
#[path = "../../../shared/tests/properties/mod.rs"]
mod properties;

/// Checks `input` as the target of this name does.
pub fn check(target: &str, input: &[u8]) {
    let (_, check) = properties::TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    check(input);
}
