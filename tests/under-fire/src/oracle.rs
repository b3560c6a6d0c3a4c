//! What there is to be made of a stream: written once more, in the simplest way, without a look
//! at the programs.

use support::wire::{Format, LONGEST_TAKEN_CHUNK};

/// The longest line that is answered in one piece (stages 02 and 03), in bytes.
pub const LONGEST_LINE: usize = 8192;

/// A file, as a client has to receive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its name.
    pub name: Vec<u8>,
    /// Its bytes.
    pub contents: Vec<u8>,
}

/// The file that `stream` holds; `None` if a client has to refuse it. What comes after the last
/// byte of a file is nobody's concern.
#[must_use]
pub fn file_in(format: Format, stream: &[u8]) -> Option<Sent> {
    let mut stream = Stream(stream);
    let length = stream.number()?;
    if !(1..=255).contains(&length) {
        return None;
    }
    let (name, size) = match format {
        Format::Chunks => (stream.take(length)?, None),
        Format::SizeAndChunks => {
            let name = stream.take(length)?;
            let size = (stream.number()? == 8).then(|| stream.number())??;
            (name, Some(size))
        }
        Format::Header => {
            let size = stream.number()?;
            (stream.take(length)?, Some(size))
        }
    };
    let contents = match format {
        Format::Header => stream.take(size?)?.to_vec(),
        Format::Chunks | Format::SizeAndChunks => stream.chunks()?,
    };
    let right = size.is_none_or(|size| size == contents.len() as u64);
    (right && is_plain(name)).then(|| Sent { name: name.to_vec(), contents })
}

fn is_plain(name: &[u8]) -> bool {
    !matches!(name, b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// What is left to read.
struct Stream<'a>(&'a [u8]);

impl<'a> Stream<'a> {
    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut contents = Vec::new();
        loop {
            match self.number()? {
                0 => return Some(contents),
                length @ 1..=LONGEST_TAKEN_CHUNK => contents.extend(self.take(length)?),
                _ => return None,
            }
        }
    }
}

/// The texts of the answers to `input`, in order: each line in capitals, one that is too long in
/// pieces, also what has no newline at the end.
#[must_use]
pub fn answers_to(input: &[u8]) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    for line in input.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\n").unwrap_or(line) {
            [] => answers.push(Vec::new()),
            line => answers.extend(line.chunks(LONGEST_LINE).map(<[u8]>::to_ascii_uppercase)),
        }
    }
    answers
}
