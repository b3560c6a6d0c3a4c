//! Does the output match what the page says?
//!
//! Interface: [`Expected`] lines; [`look`] whether what has come matches them.
//! Rules: several processes write to one terminal, and nobody knows who is first. So the lines of
//! one speaker (`[worker 2`, `[parent`, or everybody without such a mark) have to come in the order
//! of the page, and the speakers may mix.

/// What stands for anything.
pub const ELISION: &str = "…";

/// A line of output on a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub line: usize,
    pub text: String,
}

/// How the output stands to what is expected.
#[derive(Debug, PartialEq, Eq)]
pub enum Match {
    /// All is there. These lines of the output belong to it, by index.
    Whole(Vec<usize>),
    /// Not yet, for this line of the page is missing.
    Missing(Expected),
    /// It can't become right any more: this line of the output, by index, is one too many.
    TooMuch(usize),
}

/// What may precede the first expected line, and what may follow the last one.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Lines that the page doesn't show may have come before.
    pub open_before: bool,
    /// The command goes on: more may come, which is for later.
    pub open_behind: bool,
}

impl Expected {
    pub fn new(line: usize, text: &str) -> Self {
        Self { line, text: text.trim_end().to_owned() }
    }

    fn is_gap(&self) -> bool {
        self.text == ELISION
    }

    fn fits(&self, seen: &str) -> bool {
        glob(&self.text, seen.trim_end())
    }
}

/// Compares the output with what is expected of it.
pub fn look(expected: &[Expected], seen: &[&str], ends: Ends) -> Match {
    let has_gap = ends.open_before || expected.iter().any(Expected::is_gap);
    let names = Names::of(expected);
    let mut speakers: Vec<String> = Vec::new();
    let of_page = expected.iter().filter(|it| !it.is_gap()).map(|it| it.text.as_str());
    for name in of_page.chain(seen.iter().copied()).map(|text| names.speaker(text)) {
        if !speakers.contains(&name) {
            speakers.push(name);
        }
    }
    let mut taken = Vec::new();
    let mut missing: Option<&Expected> = None;
    for speaker in speakers {
        let said = |text: &str| names.speaker(text) == speaker;
        let lines: Vec<usize> = (0..seen.len()).filter(|&at| said(seen[at])).collect();
        let mut pattern: Vec<Option<&Expected>> = Vec::new();
        if ends.open_before {
            pattern.push(None);
        }
        pattern.extend(expected.iter().filter_map(|it| match it.is_gap() {
            true => Some(None),
            false => said(&it.text).then_some(Some(it)),
        }));
        match along(&pattern, &lines, seen, ends.open_behind) {
            Along::Whole(count) => taken.extend(&lines[..count]),
            Along::Missing(line) => {
                missing = missing.into_iter().chain([line]).min_by_key(|it| it.line);
            }
            Along::TooMuch(at) if missing.is_none() => return Match::TooMuch(at),
            Along::TooMuch(_) => {}
        }
    }
    if let Some(line) = missing {
        return Match::Missing(line.clone());
    }
    taken.sort_unstable();
    // What came before the last of them, and isn't expected, is no matter of later.
    let last = taken.last().copied().unwrap_or(0);
    let stranger = (0..last).find(|at| taken.binary_search(at).is_err());
    match stranger.filter(|_| !has_gap) {
        Some(at) => Match::TooMuch(at),
        None => Match::Whole(taken),
    }
}

/// How one speaker's lines stand to what is expected of them.
enum Along<'a> {
    /// So many of them belong to it.
    Whole(usize),
    Missing(&'a Expected),
    TooMuch(usize),
}

/// `reached[at]`: the pattern so far matches the first `at` lines. `None` in a pattern is a gap.
fn along<'a>(
    pattern: &[Option<&'a Expected>],
    lines: &[usize],
    seen: &[&str],
    open: bool,
) -> Along<'a> {
    let mut reached = vec![false; lines.len() + 1];
    reached[0] = true;
    for part in pattern {
        let before = reached.clone();
        match part {
            None => {
                let first = before.iter().position(|&it| it).unwrap_or(lines.len());
                reached.iter_mut().skip(first).for_each(|it| *it = true);
            }
            Some(expected) => {
                reached[0] = false;
                for (at, &line) in lines.iter().enumerate() {
                    reached[at + 1] = before[at] && expected.fits(seen[line]);
                }
                if !reached.contains(&true) {
                    // Whether more lines would help: only if the pattern fits all there are.
                    let stuck = before.iter().position(|&it| it).map(|at| lines.get(at));
                    return match (before[lines.len()], stuck) {
                        (false, Some(Some(&line))) if !open => Along::TooMuch(line),
                        _ => Along::Missing(expected),
                    };
                }
            }
        }
    }
    if open {
        // A gap at the end takes nothing: what comes is for later, too.
        return match reached.iter().position(|&it| it) {
            Some(count) => Along::Whole(count),
            None => Along::Whole(0),
        };
    }
    match (reached[lines.len()], reached.iter().position(|&it| it)) {
        (false, Some(count)) => Along::TooMuch(lines[count]),
        _ => Along::Whole(lines.len()),
    }
}

/// Who speaks, also where the page elides the number.
struct Names(Vec<String>);

impl Names {
    fn of(expected: &[Expected]) -> Self {
        let names = expected.iter().map(|it| name(&it.text));
        Self(
            names
                .filter_map(|it| it.split_once(ELISION).map(|(stem, _)| stem.to_owned()))
                .collect(),
        )
    }

    /// `[worker 2` of `[worker 2 pid 123] waiting`; nothing of a line without such a mark.
    fn speaker(&self, text: &str) -> String {
        let name = name(text);
        self.0
            .iter()
            .find(|stem| name.starts_with(*stem))
            .cloned()
            .unwrap_or_else(|| name.to_owned())
    }
}

fn name(text: &str) -> &str {
    if !text.starts_with('[') {
        return "";
    }
    let end = text.find(" pid ").or(text.find(']'));
    &text[..end.unwrap_or(0)]
}

/// Does the text fit the pattern, in which `…` stands for anything?
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split(ELISION);
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or("")) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::{Ends, Expected, Match, glob, look};

    fn lines(text: &[&str]) -> Vec<Expected> {
        (1..).zip(text).map(|(line, text)| Expected::new(line, text)).collect()
    }

    const ENDED: Ends = Ends { open_before: false, open_behind: false };
    const RUNNING: Ends = Ends { open_before: false, open_behind: true };

    fn whole(count: usize) -> Match {
        Match::Whole((0..count).collect())
    }

    #[test]
    fn an_elision_stands_for_anything() {
        assert!(glob("pid …: …!", "pid 12: hello!"));
        assert!(glob("…", ""));
        assert!(!glob("pid …", "pip 12"));
        assert!(!glob("a…b…c", "acb"));
        assert!(!glob("same", "same "));
    }

    #[test]
    fn output_of_one_speaker_has_to_be_in_order() {
        let expected = lines(&["a", "b …"]);
        assert_eq!(look(&expected, &["a", "b 1"], ENDED), whole(2));
        assert_eq!(look(&expected, &["b 1", "a"], ENDED), Match::TooMuch(0));
        assert_eq!(look(&expected, &["a"], ENDED), Match::Missing(expected[1].clone()));
        assert_eq!(look(&expected, &["a", "b 1", "c"], ENDED), Match::TooMuch(2));
        assert_eq!(look(&expected, &["a", "b 1", "c"], RUNNING), whole(2));
        assert_eq!(
            look(&expected, &["a", "x", "b 1"], RUNNING),
            Match::Missing(expected[1].clone())
        );
        assert_eq!(look(&[], &["a"], ENDED), Match::TooMuch(0));
    }

    #[test]
    fn speakers_may_mix() {
        let expected =
            lines(&["[worker 0 pid …] a", "[worker 0 pid …] b", "[parent pid …] c", "d"]);
        let seen = ["d", "[parent pid 1] c", "[worker 0 pid 2] a", "[worker 0 pid 2] b"];
        assert_eq!(look(&expected, &seen, ENDED), whole(4));
        let swapped = ["d", "[parent pid 1] c", "[worker 0 pid 2] b", "[worker 0 pid 2] a"];
        assert_eq!(look(&expected, &swapped, ENDED), Match::TooMuch(2));
        let stranger = ["d", "[worker 1 pid 3] a", seen[1], seen[2], seen[3]];
        assert_eq!(look(&expected, &stranger, ENDED), Match::TooMuch(1));
        assert_eq!(look(&expected, &stranger, RUNNING), Match::TooMuch(1));
    }

    #[test]
    fn a_speaker_may_be_elided() {
        let expected = lines(&["[worker … pid …] a", "[worker … pid …] a"]);
        assert_eq!(look(&expected, &["[worker 3 pid 9] a", "[worker 1 pid 7] a"], ENDED), whole(2));
    }

    #[test]
    fn lines_are_elided() {
        let expected = lines(&["a", "…", "z"]);
        assert_eq!(look(&expected, &["a", "z"], ENDED), whole(2));
        assert_eq!(look(&expected, &["a", "z", "[parent pid 1] x", "z"], ENDED), whole(4));
        assert_eq!(look(&expected, &["a", "z", "y"], ENDED), Match::TooMuch(2));
        assert_eq!(look(&lines(&["…"]), &["x", "y"], ENDED), whole(2));
        let later = Ends { open_before: true, open_behind: true };
        assert_eq!(look(&lines(&["b"]), &["a", "b", "c"], later), Match::Whole(vec![0, 1]));
    }
}
