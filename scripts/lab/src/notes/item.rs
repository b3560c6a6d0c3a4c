//! Finds an item in a Rust source: a function, a method, a type, a constant.
//!
//! Interface: [`find`].
//! Rules: no parser, for code that rustfmt has formatted: an item begins on a line of its own. What
//! is in comments, strings and characters is masked, so that its braces don't count. Items in
//! modules of the file, its tests among them, are not found.

use std::ops::RangeInclusive;

use anyhow::{Result, bail};

/// What may stand before the keyword of an item.
const QUALIFIERS: [&str; 9] =
    ["pub", "crate", "super", "self", "in", "unsafe", "async", "extern", "default"];

const KINDS: [&str; 10] =
    ["fn", "struct", "enum", "union", "trait", "type", "const", "static", "mod", "macro_rules"];

/// The lines, from 1, of the item with its comment and its attributes. `name` is `send_fd`, or
/// `Pool::bury` for what stands in an `impl` or a trait.
pub fn find(source: &str, name: &str) -> Result<RangeInclusive<usize>> {
    let (owner, name) = name.rsplit_once("::").map_or((None, name), |(o, n)| (Some(o), n));
    let masked = mask(source);
    let lines: Vec<&str> = masked.lines().collect();
    let (mut depth, mut inside, mut found) = (0, None, Vec::new());
    for (index, &line) in lines.iter().enumerate() {
        let wanted = match owner {
            None => depth == 0,
            Some(_) => depth == 1 && inside.as_deref() == owner,
        };
        if wanted
            && let Some((kind, it)) = item(line)
            && it == name
        {
            found.push(first(source, index)..=last(&lines, index, kind));
        }
        if depth == 0 && !line.trim().is_empty() {
            inside = owner_of(&lines[index..]);
        }
        depth += line.matches('{').count();
        depth = depth.saturating_sub(line.matches('}').count());
    }
    match found.as_slice() {
        [lines] => Ok(lines.clone()),
        [] => bail!("has no item {}", whole(owner, name)),
        [a, b, ..] => {
            bail!("has {} twice, in lines {} and {}", whole(owner, name), a.start(), b.start())
        }
    }
}

fn whole(owner: Option<&str>, name: &str) -> String {
    owner.map_or(name.to_owned(), |owner| format!("{owner}::{name}"))
}

/// Kind and name of the item that begins in a line.
fn item(line: &str) -> Option<(&str, &str)> {
    let mut words = words(line).skip_while(|word| QUALIFIERS.contains(word));
    let kind = words.next().filter(|kind| KINDS.contains(kind))?;
    match (kind, words.next()?) {
        ("const", "fn" | "unsafe" | "async" | "extern") => {
            let mut words = words.skip_while(|&word| word != "fn" && QUALIFIERS.contains(&word));
            let next = words.next()?;
            Some(("fn", if next == "fn" { words.next()? } else { next }))
        }
        ("static", "mut") => Some((kind, words.next()?)),
        (kind, name) => Some((kind, name)),
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|it| !it.is_empty())
}

/// The type, or the trait, whose items begin behind this line.
fn owner_of(lines: &[&str]) -> Option<String> {
    let first = lines.first()?.trim_start_matches("unsafe ");
    if let Some(("trait", name)) = item(first) {
        return Some(name.to_owned());
    }
    let header = lines.join(" ").split('{').next()?.to_owned();
    let header = header.strip_prefix("unsafe ").unwrap_or(&header).strip_prefix("impl")?.to_owned();
    let of = match header.split_once(" for ") {
        Some((_, of)) => of,
        None => behind_generics(&header),
    };
    let path = of.trim().split(['<', ' ']).next()?;
    Some(path.rsplit("::").next()?.to_owned())
}

/// `Pool<'a>` of `<'a> Pool<'a>`.
fn behind_generics(header: &str) -> &str {
    if !header.starts_with('<') {
        return header;
    }
    let mut depth = 0;
    let end = header.find(|letter| {
        depth += i32::from(letter == '<') - i32::from(letter == '>');
        depth == 0
    });
    end.map_or(header, |end| &header[end + 1..])
}

/// Back from the item to its comment and attributes. Returns the line, from 1.
fn first(source: &str, index: usize) -> usize {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let mut first = index;
    while let Some(above) = first.checked_sub(1) {
        let line = lines[above];
        if line.starts_with("///") || line.starts_with("#[") {
            first = above;
        } else if line == ")]" {
            first = lines[..above].iter().rposition(|it| it.starts_with("#[")).unwrap_or(above);
        } else {
            break;
        }
    }
    first + 1
}

/// The line, from 1, in which the item ends: with a semicolon, or when its braces are closed.
fn last(lines: &[&str], index: usize, kind: &str) -> usize {
    let by_semicolon = ["const", "static", "type"].contains(&kind);
    let mut depth = 0;
    for (at, line) in lines.iter().enumerate().skip(index) {
        for letter in line.chars() {
            depth += i32::from("({[".contains(letter)) - i32::from(")}]".contains(letter));
            let ends = letter == ';' || (letter == '}' && !by_semicolon);
            if ends && depth == 0 {
                return at + 1;
            }
        }
    }
    lines.len()
}

/// The source with blanks in place of comments, strings and characters; the lines stay.
fn mask(source: &str) -> String {
    let letters: Vec<char> = source.chars().collect();
    let (mut masked, mut at) = (String::new(), 0);
    while at < letters.len() {
        let length = opaque(&letters[at..]);
        let blank = |&letter: &char| if letter == '\n' { '\n' } else { ' ' };
        if length == 0 {
            masked.push(letters[at]);
        } else {
            let end = (at + length).min(letters.len());
            masked.extend(letters[at..end].iter().map(blank));
        }
        at += length.max(1);
    }
    masked
}

/// How long the comment, string or character is that begins here; 0 if none does.
fn opaque(letters: &[char]) -> usize {
    let next = |at: usize| letters.get(at).copied().unwrap_or(' ');
    match (next(0), next(1)) {
        ('/', '/') => until(letters, 2, |rest| rest[0] == '\n'),
        ('/', '*') => 2 + until(letters, 2, |rest| rest.starts_with(&['*', '/'])),
        ('"', _) => string(letters, 1),
        ('r', '"' | '#') => raw_string(letters),
        ('\'', '\\') => 1 + until(letters, 3, |rest| rest[0] == '\''),
        ('\'', _) if next(2) == '\'' => 3,
        _ => 0, // a lifetime, or plain code
    }
}

fn until(letters: &[char], from: usize, is_end: impl Fn(&[char]) -> bool) -> usize {
    (from..letters.len()).find(|&at| is_end(&letters[at..])).unwrap_or(letters.len())
}

fn string(letters: &[char], mut at: usize) -> usize {
    while let Some(&letter) = letters.get(at) {
        match letter {
            '"' => return at + 1,
            '\\' => at += 2,
            _ => at += 1,
        }
    }
    letters.len()
}

/// 0 if it is none, as in `r#type`.
fn raw_string(letters: &[char]) -> usize {
    let hashes = letters[1..].iter().take_while(|&&letter| letter == '#').count();
    if letters.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let close = until(letters, 2 + hashes, |rest| rest.starts_with(&end));
    (close + end.len()).min(letters.len())
}

#[cfg(test)]
mod tests {
    use super::find;

    const SOURCE: &str = r##"//! A file.

/// What to type: } { " '
const TRY: &str = "Try it: {
  and more };
";

/// The table.
#[derive(Debug)]
#[expect(
    clippy::all,
    reason = "as an example"
)]
pub struct Pool<'a> {
    body: &'a str, // {
}

struct Unit;

type Body<'a> = dyn Fn(&Unit) -> u8 + 'a;

impl<'a, T: Into<Vec<u8>>> Pool<'a> {
    /// Buries.
    pub const fn bury(&mut self) -> char {
        let c = '{';
        let d = '\'';
        let e = r#"}"}}"#;
        c
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {}
}

pub(crate) unsafe fn bury(
    number: usize,
) -> usize {
    // LAB 01.bury: do }
    number
    // END 01.bury
}

pub trait Ends {
    /// Which.
    fn end(&self);
}

#[cfg(test)]
mod tests {
    fn hidden() {}
}
"##;

    fn lines(name: &str) -> String {
        match find(SOURCE, name) {
            Ok(lines) => format!("{}-{}", lines.start(), lines.end()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn items_are_found_with_their_comments_and_attributes() {
        assert_eq!(lines("TRY"), "3-6");
        assert_eq!(lines("Pool"), "8-16");
        assert_eq!(lines("Unit"), "18-18");
        assert_eq!(lines("Body"), "20-20");
        assert_eq!(lines("bury"), "36-42");
        assert_eq!(lines("Ends"), "44-47");
        assert_eq!(lines("tests"), "49-52");
    }

    #[test]
    fn methods_are_found_by_their_type() {
        assert_eq!(lines("Pool::bury"), "23-29");
        assert_eq!(lines("Pool::drop"), "33-33");
        assert_eq!(lines("Ends::end"), "45-46");
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        assert_eq!(lines("hidden"), "has no item hidden");
        assert_eq!(lines("Pool::start"), "has no item Pool::start");
        assert_eq!(
            find("fn a() {}\n#[cfg(x)]\nfn a() {}\n", "a").unwrap_err().to_string(),
            "has a twice, in lines 1 and 2"
        );
    }

    /// Every function of the lab can be found, and ends where rustfmt ends it.
    #[test]
    fn functions_of_the_lab_end_with_a_brace_of_their_own() {
        let repo = crate::repo::Repo::here().unwrap();
        let mut functions = 0;
        for entry in repo.path("shared/src").read_dir().unwrap() {
            let source = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let lines: Vec<&str> = source.lines().collect();
            for name in lines.iter().filter_map(|line| line.strip_prefix("pub fn ")) {
                let name = name.split(['(', '<']).next().unwrap();
                let item = find(&source, name).unwrap();
                assert!(lines[item.end() - 1].ends_with('}'), "{name}: {item:?}");
                assert!(lines[item.start() - 1].starts_with("///"), "{name}: {item:?}");
                functions += 1;
            }
        }
        assert!(functions > 30, "{functions}");
    }
}
