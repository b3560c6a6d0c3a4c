//! The primitives of the process-pool lab, one topic a file.
//!
//! A stage in `steps/` shows the roles: which process does what, and in which order. How a single
//! thing is done with the kernel stands here, once, from the stage on that introduces it:
//!
//! | stage | introduces |
//! | --- | --- |
//! | 01 | [`process`], [`tcp`], [`poller`] |
//! | 02 | [`channel`], [`lines`], [`echo`] |
//! | 03 | [`fd_passing`], [`pool`] |
//! | 04 | [`transfer`], [`protocol`], [`chunks`], [`served_file`], [`download`] |
//! | 05 | [`progress`] |
//! | 06 | [`mapped`] |
//! | 07 | [`splice`] |
//! | 08 | [`signal`] |
//! | 09 | [`program`] |
//! | 10 | [`chat`], [`join`] |
//! | 11 | [`shared_memory`], [`news`] |
//!
//! Around them: [`cli`] (arguments, first and last line), [`narrate`] (what the processes tell
//! people), [`error`] (how a failure reads), [`demo`], [`keeper`], [`downloads`] and
//! [`conversation`] (a stage that runs itself), [`exercise`] (what stands in the place of an answer
//! that isn't written yet).

pub mod channel;
pub mod chat;
pub mod chunks;
pub mod cli;
pub mod conversation;
pub mod demo;
pub mod download;
pub mod downloads;
pub mod echo;
pub mod error;
pub mod exercise;
pub mod fd_passing;
pub mod join;
pub mod keeper;
pub mod lines;
pub mod mapped;
pub mod narrate;
pub mod news;
pub mod poller;
pub mod pool;
pub mod process;
pub mod program;
pub mod progress;
pub mod protocol;
pub mod served_file;
pub mod shared_memory;
pub mod signal;
pub mod splice;
pub mod tcp;
pub mod transfer;
