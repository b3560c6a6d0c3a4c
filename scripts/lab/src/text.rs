//! Makes what tests and programs say readable: short, without the harness's own noise, and safe to
//! print on a terminal.
//!
//! | function | turns | into |
//! | --- | --- | --- |
//! | [`saw`] | a panic's message with dumps in it | what came, in a few lines |
//! | [`command`] | `"get" "--out" "a b"` | `get --out 'a b'` |
//! | [`killed`] | 9 | `killed by signal 9 (SIGKILL)` |
//! | [`sentence`] | `closed_port_is_an_error` | `closed port is an error` |
//! | [`output`] | all that a test printed | the same without what the harness adds |

use nix::sys::signal::Signal;

use crate::dump::{self, Transcript};

/// More than this nobody reads.
const LINES: usize = 6;
const LENGTH: usize = 300;
const OUTPUT: usize = 16 << 10;

/// What a region says that isn't written yet.
const NOT_WRITTEN: &str = " is not written yet ";

/// What a socket says whose time is up.
const EAGAIN: &str = "Resource temporarily unavailable";

/// What came, by the message of the failing test and all it has printed.
pub fn saw(message: &str, printed: &str) -> String {
    if let Some(line) = message.lines().chain(printed.lines()).find_map(not_written) {
        return bounded(line);
    }
    let (said, transcript) = dump::transcript(message);
    let mut saw = comparison(&dump::system_errors(&said)).replace("exit status: ", "exit status ");
    for error in ["Resource temporarily unavailable (os error 11)", EAGAIN] {
        saw = saw.replace(error, "nothing came in time");
    }
    if let Some(transcript) = transcript {
        saw.push_str(&match telling(&transcript.stderr) {
            Some(line) => format!("\nthe program said: {line}"),
            None => last_printed(&transcript),
        });
    }
    bounded(&saw)
}

/// The error of a region that isn't written yet, which may stand in quotes.
fn not_written(line: &str) -> Option<&str> {
    let at = line.find(NOT_WRITTEN)?;
    let begin = line[..at].rfind("error: ")?;
    let end = line[at..].find(['"', '\\']).map_or(line.len(), |length| at + length);
    Some(&line[begin..end])
}

/// Did the test wait in vain, by its message?
pub fn is_timeout(message: &str) -> bool {
    [EAGAIN, "nothing came for "].iter().any(|it| message.contains(it))
}

/// `assert_eq!` in words.
fn comparison(message: &str) -> String {
    let Some(rest) = message.strip_prefix("assertion `left ") else {
        return message.to_owned();
    };
    let Some((relation, rest)) = rest.split_once(" right` failed") else {
        return message.to_owned();
    };
    let (about, values) = rest.split_once("\n  left: ").unwrap_or((rest, ""));
    let (left, right) = values.split_once("\n right: ").unwrap_or((values, ""));
    let about = about.trim_start_matches(": ").trim();
    let values = match relation {
        "==" => format!("{left} instead of {right}"),
        _ => left.to_owned(),
    };
    match about {
        "" => values,
        // The end of a program says it all: `get must exit with 0: exit status 1: error: …`.
        about if right.starts_with("Some(") || right == "None" => about.to_owned(),
        about => format!("{about}: {values}"),
    }
}

/// The line of what a program said that tells why it failed.
fn telling(said: &str) -> Option<String> {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let error = lines.iter().rposition(|it| it.starts_with("error: ") || it.contains(" error: "));
    let panic = lines.iter().position(|it| it.contains("panicked at "));
    match (panic, error) {
        (Some(at), _) => Some(lines[at..lines.len().min(at + 2)].join(" ")),
        (None, Some(at)) => Some(lines[at].to_owned()),
        (None, None) => None,
    }
}

/// How far a program came of which nothing tells why it didn't come further.
fn last_printed(transcript: &Transcript) -> String {
    const LAST: usize = 3;
    let streams = [("output", &transcript.stdout), ("error", &transcript.stderr)];
    let last = |text: &str| {
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LAST)..].join("\n  ")
    };
    let printed = streams.map(|(name, text)| (name, last(text)));
    let Some((name, lines)) = printed.into_iter().rfind(|(_, lines)| !lines.is_empty()) else {
        return "\nit had printed nothing".to_owned();
    };
    format!("\nit had printed last, on standard {name}:\n  {lines}")
}

/// The death by a signal.
pub fn killed(signal: i32) -> String {
    match Signal::try_from(signal) {
        Ok(name) => format!("killed by signal {signal} ({name})"),
        Err(_) => format!("killed by signal {signal}"),
    }
}

/// A command as one would type it, from its `Debug` form.
pub fn command(dumped: &str) -> String {
    let words = dump::words(dumped);
    let words = match words.iter().position(|word| word == "--") {
        // Which calls strace is to show is of no use to a reader.
        Some(end) if words[0] == "strace" => {
            [&["strace".to_owned(), "-f".to_owned()], &words[end + 1..]].concat()
        }
        _ => words,
    };
    printable(&words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
}

/// A word as one would type it.
pub fn quoted(word: &str) -> String {
    if word.contains('\n') {
        return "'…'".to_owned(); // a script: what follows it is what matters
    }
    let plain = |c: char| c.is_alphanumeric() || "-_=+./,:@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// The name of a test as a sentence.
pub fn sentence(test: &str) -> String {
    test.replace('_', " ")
}

/// All that a test printed, without what the harness adds to it.
pub fn output(stdout: &str, stderr: &str) -> String {
    let noise = |line: &&str| {
        let starts = ["running 1 test", "test result: ", "test ", "failures:", "note: run with "];
        !starts.iter().any(|start| line.starts_with(start))
    };
    let lines: Vec<&str> = stdout.lines().filter(noise).chain(stderr.lines()).collect();
    let text = printable(lines.join("\n").trim());
    match text.char_indices().nth(OUTPUT) {
        Some((end, _)) => format!("{}\n…", &text[..end]),
        None => text,
    }
}

/// At most so many lines of at most such a length: the first, and the last ones, for what a
/// program said last tells most.
fn bounded(text: &str) -> String {
    let text = printable(text.trim());
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.len() > LINES {
        lines.splice(1..lines.len() - (LINES - 1), ["…"]);
    }
    let short = |line: &str| match line.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    };
    lines.into_iter().map(short).collect::<Vec<_>>().join("\n")
}

/// Text that a submission had a say in, made harmless: what isn't meant to be seen (control
/// characters, and those that change the direction of writing) is spelled out, as `\u{1b}`.
pub fn printable(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' | '\t' => plain.push(char),
            '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => plain.extend(char.escape_unicode()),
            _ if char.is_control() => plain.extend(char.escape_default()),
            _ => plain.push(char),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{command, killed, saw};

    #[test]
    fn assertions_are_put_in_words() {
        let message = "assertion `left == right` failed: standard output is for machines\n  left: \"a\"\n right: \"\"";
        assert_eq!(saw(message, ""), "standard output is for machines: \"a\" instead of \"\"");
        assert_eq!(
            saw("assertion `left == right` failed\n  left: 3\n right: 4", ""),
            "3 instead of 4"
        );
        assert_eq!(
            saw("assertion `left != right` failed: the same pid\n  left: 3\n right: 3", ""),
            "the same pid: 3"
        );
    }

    #[test]
    fn the_end_of_a_program_says_it_all() {
        let message = "assertion `left == right` failed: get: exit status: 1\non standard error:\n  \
            error: map file.txt: invalid argument\n  left: Some(1)\n right: Some(0)";
        let expected =
            "get: exit status 1\non standard error:\n  error: map file.txt: invalid argument";
        assert_eq!(saw(message, ""), expected);
    }

    #[test]
    fn errors_of_the_system_are_put_in_words() {
        let message = "connect: Os { code: 111, kind: ConnectionRefused, message: \"refused\" }: x";
        assert_eq!(saw(message, ""), "connect: refused: x");
        let message = "Resource temporarily unavailable (os error 11) instead of a line";
        assert_eq!(saw(message, ""), "nothing came in time instead of a line");
    }

    #[test]
    fn a_transcript_is_cut_down_to_its_error() {
        let message = "expected `listening on ADDRESS with …` first, from \"/tmp/x\" \"--port\" \"0\"\n--- its stdout:\n--- its stderr:\nhello\nerror: bind: address in use\n---";
        assert_eq!(
            saw(message, ""),
            "expected `listening on ADDRESS with …` first\nthe program said: error: bind: address in use"
        );
    }

    #[test]
    fn a_program_that_does_not_end_is_shown_by_what_it_printed_last() {
        let hung = |stdout, stderr| {
            let rest = format!("--- its stdout:\n{stdout}--- its stderr:\n{stderr}---");
            saw(
                &format!(
                    "did not end within 10s, and was waiting in splice(2): \"/x\" \"echo\"\n{rest}"
                ),
                "",
            )
        };
        assert_eq!(
            hung("one\ntwo\n", ""),
            "did not end within 10s, and was waiting in splice(2)\nit had printed last, on standard output:\n  one\n  two"
        );
        assert_eq!(
            hung("", ""),
            "did not end within 10s, and was waiting in splice(2)\nit had printed nothing"
        );
    }

    #[test]
    fn a_region_that_is_not_written_is_all_there_is_to_say() {
        let line = "error: 06.send_windows is not written yet (shared/src/mapped.rs:57): cargo lab hint 06";
        assert_eq!(saw("connection refused", &format!("--- its stderr:\n{line}\n---")), line);
        assert_eq!(saw(&format!("x\nthe program said:\n  {line}"), ""), line);
        assert_eq!(saw(&format!("it said: \"{line}\\n\""), ""), line);
    }

    #[test]
    fn commands_can_be_typed() {
        assert_eq!(command(r#""get" "--out" "a b" "it's""#), r"get --out 'a b' 'it'\''s'");
        assert_eq!(
            command(r#""strace" "-e" "trace=?read" "--" "serve" "--port" "0""#),
            "strace -f serve --port 0"
        );
    }

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(saw("a \u{1b}[31mred\u{7} name", ""), "a \\u{1b}[31mred\\u{7} name");
        assert_eq!(killed(11), "killed by signal 11 (SIGSEGV)");
    }
}
