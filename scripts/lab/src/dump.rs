//! Takes apart what tests dump into their messages: transcripts of programs, commands, errors of
//! the system, as `tests/support` and Rust print them.

/// What a program has printed until a test gave it up.
pub struct Transcript {
    /// On standard output.
    pub stdout: String,
    /// On standard error.
    pub stderr: String,
}

/// Splits a message off the transcript of a program in it.
pub fn transcript(message: &str) -> (String, Option<Transcript>) {
    let Some((said, transcript)) = message.split_once("\n--- its stdout:\n") else {
        return (message.to_owned(), None);
    };
    // The command that ended like this: it is shown elsewhere.
    let said =
        [", from \"", ": \""].iter().find_map(|mark| said.split_once(mark)).map_or(said, |it| it.0);
    let (stdout, stderr) = transcript.split_once("--- its stderr:\n").unwrap_or((transcript, ""));
    let stderr = stderr.rsplit_once("---").map_or(stderr, |it| it.0);
    (said.to_owned(), Some(Transcript { stdout: stdout.to_owned(), stderr: stderr.to_owned() }))
}

/// Puts the message of each error of the system for its dump,
/// `Os { code: 111, kind: ConnectionRefused, message: "Connection refused" }`.
pub fn system_errors(message: &str) -> String {
    let (mut result, mut rest) = (String::new(), message);
    while let Some((before, dump)) = rest.split_once("Os { code: ")
        && let Some((words, after)) = dump.split_once("message: ").and_then(|it| string(it.1))
        && let Some(after) = after.strip_prefix(" }")
    {
        result.push_str(before);
        result.push_str(&words);
        rest = after;
    }
    result + rest
}

/// The words of a command: `"get" "--out" "a b"`.
pub fn words(dump: &str) -> Vec<String> {
    let (mut words, mut rest) = (Vec::new(), dump.trim_start());
    while !rest.is_empty() {
        match string(rest) {
            Some((word, after)) => {
                words.push(word);
                rest = after.trim_start();
            }
            None => {
                let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
                words.push(word.to_owned());
                rest = after.trim_start();
            }
        }
    }
    words
}

/// A string in quotes at the start of `dump`, and what follows it.
fn string(dump: &str) -> Option<(String, &str)> {
    let inner = dump.strip_prefix('"')?;
    let (mut text, mut chars) = (String::new(), inner.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((text, &inner[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                '0' => text.push('\0'),
                'u' => {
                    let code: String =
                        chars.by_ref().map(|it| it.1).skip(1).take_while(|&c| c != '}').collect();
                    text.extend(u32::from_str_radix(&code, 16).ok().and_then(char::from_u32));
                }
                other => text.push(other),
            },
            c => text.push(c),
        }
    }
    None
}
