//! Real conditions, nothing simulated: what a class does to a server, put to every stage.
//!
//! | module | the trouble is made by |
//! | --- | --- |
//! | [`clients`] | clients that leave, are silent, never stop or never read |
//! | [`crowds`] | many clients, few workers, few descriptors |
//! | [`demos`] | demos that are interrupted |
//! | [`files`] | the served file, which changes |
//! | [`places`] | the directory and the streams of the client |
//! | [`processes`] | workers, parent and client that are killed, stopped or out of memory |
//! | [`servers`] | servers that leave their client at any position |
//! | [`signals`] | signals in bursts |
//! | [`starts`] | the circumstances of the start |
//!
//! Unless the trouble ends the server, each test ends with the same proof, see
//! [`under_fire::scene`]: a good client is served, and the server is what it was before.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a check that fails panics")]

mod clients;
mod crowds;
mod demos;
mod files;
mod places;
mod processes;
mod servers;
mod signals;
mod starts;

use std::time::Duration;

use under_fire::{STAGES, Stage};

/// The stages that answer lines: 02 and 03.
const LINES: [Stage; 2] = [STAGES[1], STAGES[2]];

/// The stages that send a file: 04 to 08.
const FILES: [Stage; 5] = [STAGES[3], STAGES[4], STAGES[5], STAGES[6], STAGES[7]];

/// The arguments of a server with two workers.
const TWO: &[&str] = &["--workers", "2"];

/// So long may take what takes no second on a machine that has nothing else to do. It is less than
/// the 30 s after which a worker gives up a client: that must not be what has ended it.
const SOON: Duration = Duration::from_secs(10);
