//! The stage runs itself: three users talk, one is killed, one doesn't read, two leave.

use std::io;

use shared::conversation::Conversation;
use shared::demo::{Demo, check};

/// Plays the story and checks it.
pub fn run() -> io::Result<()> {
    let demo = Demo::start(&["--max-users", "3"])?;
    let mut talk = Conversation::between(&demo, &["ann", "ben", "cat"])?;
    check(demo.workers()?.is_empty(), "the server is one process")?;
    talk.everybody_talks()?;
    talk.one_too_many_is_told()?;
    talk.last_one_is_replaced_by_one_who_does_not_read()?;
    talk.everybody_leaves()?;
    demo.finish()
}
