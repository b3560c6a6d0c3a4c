//! Submissions: what a class has handed in, and what is taken of it.
//!
//! A submission is a folder, a `.tar.gz` or a `.zip` by a stranger. Nothing is unpacked: by its
//! exact path below the level that holds `steps` and `shared`, each file that holds regions is
//! read, up to [`FILE_LIMIT`], and nothing else is used. Links are not followed, in a folder
//! (`openat2(2)`, `RESOLVE_NO_SYMLINKS`) as little as in an archive. What differs from what was
//! handed out is told, so that tampering is seen. An archive is bounded in entries and in bytes.

mod compare;
mod folder;
mod tarball;
mod zipped;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A file that is taken has at most so many bytes.
pub const FILE_LIMIT: u64 = 1 << 20;
/// Of how many files, folders and links a submission may consist.
const ENTRY_LIMIT: usize = 50_000;
/// The longest path that is looked at.
const PATH_LIMIT: usize = 1024;
/// Folders that grow by themselves: what is in them is neither used nor told.
const GROWN: [&str; 6] = [".git", "target", ".lab", "__MACOSX", ".idea", ".vscode"];

/// Something handed in.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The name of the folder, or of the archive without its ending.
    pub name: String,
    path: PathBuf,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Folder,
    TarGz,
    Zip,
}

/// What was handed out to everybody: its files, and which of them hold regions.
#[derive(Debug)]
pub struct HandedOut {
    files: BTreeMap<String, Vec<u8>>,
    regions: BTreeSet<String>,
}

/// What is taken of a submission.
#[derive(Debug, Default)]
pub struct Taken {
    /// By path: files that hold regions.
    pub files: BTreeMap<String, String>,
    /// What wasn't taken, and why.
    pub remarks: Vec<String>,
}

/// A thing in a submission, by its path with single slashes and without `..`.
#[derive(Debug)]
struct Entry {
    path: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Link,
    Other,
}

/// All the things in a submission.
#[derive(Debug, Default)]
struct Listing {
    entries: Vec<Entry>,
    /// Names that can't be meant well, or that can't be read.
    odd: Vec<String>,
}

/// The bytes of a file, or why they can't be had.
type Content = Result<Vec<u8>, String>;

impl Submission {
    /// What is in `path`, if it is a submission.
    pub fn at(path: &Path) -> Result<Option<Self>> {
        let file_name = path.file_name().unwrap_or(path.as_os_str());
        let file_name = file_name.to_string_lossy().into_owned();
        let metadata = fs::metadata(path).with_context(|| format!("{}", path.display()))?;
        let (name, form) = if metadata.is_dir() {
            (file_name.as_str(), Form::Folder)
        } else if let Some((name, form)) = archive_name(&file_name) {
            (name, form)
        } else {
            return Ok(None);
        };
        Ok(Some(Self { name: name.to_owned(), path: path.to_owned(), form }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the files that hold regions. An error says that there is nothing to grade: it is the
    /// fault of the submission.
    pub fn take(&self, handed_out: &HandedOut) -> Result<Taken> {
        let listing = match self.form {
            Form::Folder => folder::list(&self.path)?,
            Form::TarGz => tarball::list(&self.path)?,
            Form::Zip => zipped::list(&self.path)?,
        };
        let level = compare::level(&listing, &handed_out.regions)?;
        let wanted = listing.entries.iter().filter(|entry| entry.kind == Kind::File);
        let wanted: BTreeSet<String> = wanted
            .filter(|entry| handed_out.files.contains_key(compare::below(&entry.path, &level)))
            .map(|entry| entry.path.clone())
            .collect();
        let contents = match self.form {
            Form::Folder => folder::read(&self.path, &wanted),
            Form::TarGz => tarball::read(&self.path, &wanted),
            Form::Zip => zipped::read(&self.path, &wanted),
        }?;
        Ok(compare::sort_out(handed_out, &listing, &level, contents))
    }
}

/// The submissions in a folder, by name, and what in it is none.
pub fn list(folder: &Path) -> Result<(Vec<Submission>, Vec<String>)> {
    let (mut submissions, mut others) = (Vec::<Submission>::new(), Vec::new());
    for entry in folder.read_dir().with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        match Submission::at(&path)? {
            Some(submission) => submissions.push(submission),
            None => others.push(name),
        }
    }
    submissions.sort_by(|a, b| a.name.cmp(&b.name));
    others.sort();
    if let Some(pair) = submissions.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let [a, b] = [&pair[0].path, &pair[1].path].map(|path| path.display().to_string());
        bail!("two submissions have the same name: {a} and {b}");
    }
    Ok((submissions, others))
}

fn archive_name(file_name: &str) -> Option<(&str, Form)> {
    let endings = [(".tar.gz", Form::TarGz), (".tgz", Form::TarGz), (".zip", Form::Zip)];
    endings.into_iter().find_map(|(ending, form)| {
        let length = file_name.len().checked_sub(ending.len()).filter(|length| *length > 0)?;
        let matches = file_name.get(length..)?.eq_ignore_ascii_case(ending);
        matches.then(|| (&file_name[..length], form))
    })
}

impl HandedOut {
    /// An export in `root`, with its files that hold regions.
    pub fn read(root: &Path, regions: &[PathBuf]) -> Result<Self> {
        let regions: BTreeSet<String> =
            regions.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        let listing = folder::list(root)?;
        let names = listing.entries.iter().filter(|entry| entry.kind == Kind::File);
        let names: BTreeSet<String> = names.map(|entry| entry.path.clone()).collect();
        let mut files = BTreeMap::new();
        for (path, content) in folder::read(root, &names)? {
            let content = content.map_err(anyhow::Error::msg).with_context(|| path.clone())?;
            files.insert(path, content);
        }
        if let Some(missing) = regions.iter().find(|path| !files.contains_key(*path)) {
            bail!("{missing} isn't in what is handed out");
        }
        Ok(Self { files, regions })
    }

    /// All of it, by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// Does this file hold regions?
    pub fn has_regions(&self, path: &str) -> bool {
        self.regions.contains(path)
    }
}

impl Listing {
    /// Adds a thing, by the path that the submission gives it.
    fn add(&mut self, path: &[u8], kind: Kind) -> Result<()> {
        if self.entries.len() + self.odd.len() >= ENTRY_LIMIT {
            bail!("it has more than {ENTRY_LIMIT} files: too many to look at");
        }
        match clean(path) {
            Some(path) => self.entries.push(Entry { path, kind }),
            None => self.odd.push(odd_name(path)),
        }
        Ok(())
    }
}

/// A path with single slashes and nothing to climb with, or `None`.
fn clean(path: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(path).ok()?;
    if text.len() > PATH_LIMIT || text.starts_with('/') || text.contains(['\0', '\\']) {
        return None;
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let climbs = parts.is_empty() || parts.contains(&"..");
    (!climbs).then(|| parts.join("/"))
}

fn odd_name(path: &[u8]) -> String {
    let name: String = String::from_utf8_lossy(path).chars().take(80).collect();
    format!("{name:?}: a path that leads out or can't be read, not used")
}

#[cfg(test)]
mod tests;
