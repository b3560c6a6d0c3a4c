//! What is said in a chat, and how long anybody waits for anybody.
//!
//! Purpose: the rules of the room, which are the same for a server of one process and for one of
//! many.
//! Interface: a [`Speaker`] for each user makes of a line what the others get to hear; the last
//! words [`TOO_MANY`] and [`TOO_SLOW`]; the limits [`QUEUE`], [`PATIENCE`], [`FAREWELL`].
//! Rules: a line goes to everyone but its sender, byte for byte. What nobody needs isn't sent:
//! that somebody came or left, or an echo of one's own words.
//! First used by stage 10.

use std::time::Duration;

use crate::lines::MAX_LINE;
use crate::narrate::printable;

/// What a user hears for whom there is no seat.
pub const TOO_MANY: &[u8] = b"too many users\n";

/// The last thing that a user hears for whom the others would have to wait.
pub const TOO_SLOW: &[u8] = b"you read too slowly, goodbye\n";

/// How much may wait for a user who doesn't read just now, in bytes. A line that no longer fits
/// has to wait with its sender, and so does everything else, until half of this is free again.
pub const QUEUE: usize = 256 << 10;

/// How long all the others wait for that.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// How long a user who has to leave has for reading the last words.
pub const FAREWELL: Duration = Duration::from_secs(5);

/// The longest name, in characters.
const MAX_NAME: usize = 32;

/// The longest that a line can become on its way, in bytes: a name (4 bytes a character), a colon
/// and a blank stand before it, a newline after it.
pub const MAX_SAID: usize = 4 * MAX_NAME + 2 + MAX_LINE + 1;

const BAD_NAME: &[u8] = b"error: a name has 1 to 32 printable characters, no blank, no colon\n";

/// What a line turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Everyone else is to hear this; its newline is with it.
    Said(Vec<u8>),
    /// Its sender has told a name, which is this.
    Named(String),
    /// Only its sender is to hear this.
    Refused(&'static [u8]),
}

/// A user's voice. Until it has told a name it is anonymous.
#[derive(Default)]
pub struct Speaker {
    name: Option<String>,
    /// Something was said, so it is too late for a name.
    known: bool,
}

impl Speaker {
    /// Takes a line, or a piece of a long one, without its newline.
    pub fn hear(&mut self, line: &[u8]) -> Heard {
        let first = !std::mem::replace(&mut self.known, true);
        if let Some(name) = line.strip_prefix(b"/name ").filter(|_| first) {
            // telnet ends its lines with \r\n.
            let name = name.strip_suffix(b"\r").unwrap_or(name);
            let Some(name) = str::from_utf8(name).ok().filter(|name| is_name(name)) else {
                return Heard::Refused(BAD_NAME);
            };
            self.name = Some(name.to_owned());
            return Heard::Named(name.to_owned());
        }
        let mut said = Vec::with_capacity(MAX_SAID.min(line.len() + 64));
        if let Some(name) = &self.name {
            said.extend_from_slice(name.as_bytes());
            said.extend_from_slice(b": ");
        }
        said.extend_from_slice(line);
        said.push(b'\n');
        Heard::Said(said)
    }
}

/// The line that tells a name.
#[must_use]
pub fn introduction(name: &str) -> String {
    format!("/name {name}\n")
}

/// Reads a name from the command line.
///
/// # Errors
/// It is none: what is wrong with it.
pub fn parse_name(text: &str) -> Result<String, String> {
    let wrong = "1 to 32 printable characters are wanted, no blank, no colon";
    is_name(text).then(|| text.to_owned()).ok_or_else(|| wrong.to_owned())
}

/// Can `NAME: line` be read in one way only, and be shown on a terminal as it is?
fn is_name(text: &str) -> bool {
    let fits = |letter: char| letter != ':' && !letter.is_whitespace();
    let length = text.chars().count();
    (1..=MAX_NAME).contains(&length) && text.chars().all(fits) && printable(text.as_bytes()) == text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Heard {
        Heard::Said(text.as_bytes().to_vec())
    }

    #[test]
    fn named_user_is_heard_with_the_name_from_then_on() {
        let mut speaker = Speaker::default();
        assert_eq!(speaker.hear("/name Zoë\r".as_bytes()), Heard::Named("Zoë".to_owned()));
        assert_eq!(speaker.hear(b"hello\r"), said("Zoë: hello\r\n"));
        assert_eq!(speaker.hear(b"/name other"), said("Zoë: /name other\n"));
        assert_eq!(speaker.hear(b""), said("Zoë: \n"));
    }

    #[test]
    fn anonymous_user_is_heard_verbatim() {
        let mut speaker = Speaker::default();
        assert_eq!(speaker.hear(b"\x1b[2J\0"), said("\x1b[2J\0\n"));
        assert_eq!(speaker.hear(b"/name too-late"), said("/name too-late\n"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(33);
        for name in ["", " ", "a b", "a:b", "a\tb", "\x1b[2J", "a\u{202e}b", "\u{a0}", &long] {
            let mut speaker = Speaker::default();
            let line = format!("/name {name}");
            assert_eq!(speaker.hear(line.as_bytes()), Heard::Refused(BAD_NAME), "{name:?}");
            assert_eq!(speaker.hear(b"hello"), said("hello\n"));
        }
        assert_eq!(Speaker::default().hear(b"/name \xff"), Heard::Refused(BAD_NAME));
        assert!(is_name(&"ä".repeat(32)));
    }

    #[test]
    fn longest_line_of_the_longest_name_is_no_longer_than_promised() {
        let mut speaker = Speaker::default();
        assert!(matches!(
            speaker.hear(introduction(&"🦀".repeat(32)).trim_end().as_bytes()),
            Heard::Named(_)
        ));
        let Heard::Said(line) = speaker.hear(&[b'x'; MAX_LINE]) else {
            panic!("a line is said");
        };
        assert_eq!(line.len(), MAX_SAID);
    }
}
