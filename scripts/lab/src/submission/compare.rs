//! Holds a submission beside what was handed out: what is taken, what isn't, and why.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};

use super::{Content, Entry, GROWN, HandedOut, Kind, Listing, Taken};

/// How many things of a kind are told one by one.
pub const TOLD: usize = 20;

/// The level that holds `steps` and `shared`: the outermost with files that hold regions, as a
/// prefix that is empty or ends with a slash.
pub fn level(listing: &Listing, regions: &BTreeSet<String>) -> Result<String> {
    let mut levels = BTreeMap::<(usize, &str), usize>::new();
    for entry in &listing.entries {
        for region in regions {
            let Some(level) = entry.path.strip_suffix(region.as_str()) else { continue };
            let depth = level.matches('/').count();
            if depth <= 2 && (level.is_empty() || level.ends_with('/')) {
                *levels.entry((depth, level)).or_default() += 1;
            }
        }
    }
    let outermost = levels.keys().next().map(|(depth, _)| *depth);
    let most = levels.iter().filter(|((depth, _), _)| Some(*depth) == outermost);
    match most.max_by_key(|(_, count)| **count) {
        Some(((_, level), _)) => Ok((*level).to_owned()),
        None => bail!("nothing of the lab is in it: no steps/ and shared/ at its top level"),
    }
}

/// A path as seen from the level; what is not below it stays as it is.
pub fn below<'a>(path: &'a str, level: &str) -> &'a str {
    path.strip_prefix(level).unwrap_or(path)
}

/// What is taken of the files that were read, and what there is to say of all the rest.
pub fn sort_out(
    handed_out: &HandedOut,
    listing: &Listing,
    level: &str,
    contents: BTreeMap<String, Content>,
) -> Taken {
    let mut taken = Taken::default();
    let mut changed = Vec::new();
    let mut kept = BTreeSet::new(); // the files with regions whose trouble has been told
    for (path, content) in contents {
        let path = below(&path, level);
        let is_region = handed_out.regions.contains(path);
        match content {
            Ok(bytes) if is_region => match String::from_utf8(bytes) {
                Ok(text) => drop(taken.files.insert(path.to_owned(), text)),
                Err(_) => drop(kept.insert(format!("{path}: not UTF-8, not used"))),
            },
            Ok(bytes) if same_text(&bytes, &handed_out.files[path]) => {}
            Ok(_) => changed.push(format!("{path}: changed, not used")),
            Err(why) => drop(kept.insert(format!("{path}: {why}, not used"))),
        }
    }
    let (links, extra) = others(handed_out, listing, level);
    let missing = handed_out.regions.iter().filter(|path| {
        let told = |line: &String| line.starts_with(&format!("{path}: "));
        !taken.files.contains_key(*path) && !kept.iter().any(told) && !links.iter().any(told)
    });
    let missing = missing.map(|path| format!("{path}: missing, graded as it was handed out"));
    let missing = missing.collect();
    taken.remarks = bounded(kept.into_iter().collect(), "files that can't be used");
    taken.remarks.extend(bounded(links, "links"));
    taken.remarks.extend(bounded(missing, "missing files"));
    taken.remarks.extend(bounded(changed, "changed files"));
    taken.remarks.extend(bounded(extra, "extra files"));
    taken.remarks.extend(bounded(listing.odd.clone(), "odd names"));
    taken
}

/// What is there beyond the files that were handed out: links in their place, and extra files.
fn others(handed_out: &HandedOut, listing: &Listing, level: &str) -> (Vec<String>, Vec<String>) {
    let (mut links, mut extra) = (Vec::new(), Vec::new());
    for Entry { path, kind } in &listing.entries {
        let path = below(path, level);
        let known = handed_out.files.contains_key(path);
        if is_grown(path) || (known && *kind == Kind::File) {
            continue;
        }
        match kind {
            Kind::Link => links.push(format!("{path}: a link, not followed")),
            Kind::File => extra.push(format!("{path}: not part of the lab, not used")),
            Kind::Other => extra.push(format!("{path}: neither a file nor a folder, not used")),
        }
    }
    (links, extra)
}

fn is_grown(path: &str) -> bool {
    path.split('/').any(|part| GROWN.contains(&part) || part == ".DS_Store")
}

/// The same lines, however they end.
fn same_text(a: &[u8], b: &[u8]) -> bool {
    let unix =
        |bytes: &[u8]| -> Vec<u8> { bytes.iter().copied().filter(|byte| *byte != b'\r').collect() };
    a == b || unix(a) == unix(b)
}

fn bounded(mut lines: Vec<String>, what: &str) -> Vec<String> {
    let more = lines.len().saturating_sub(TOLD);
    if more > 1 {
        lines.truncate(TOLD);
        lines.push(format!("… and {more} more {what}"));
    }
    lines
}
