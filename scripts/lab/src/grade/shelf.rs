//! The folder of a submission's results, and whether they can be used again.
//!
//! `key` is written last and removed first: where it is and fits, `result.json` is whole.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::repo::Stage;
use crate::report::{Format, html};
use crate::result::{SCHEMA, StageResult};
use crate::submission::{HandedOut, Taken};

/// The results of a submission.
pub struct Shelf {
    dir: PathBuf,
}

impl Shelf {
    /// In this folder, made if it isn't there.
    pub fn at(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("{}", dir.display()))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The result, if it is of this key.
    pub fn result(&self, key: &str) -> Option<StageResult> {
        let kept = fs::read_to_string(self.dir.join("key")).ok()?;
        (kept == key).then(|| self.any_result()).flatten()
    }

    /// The result, of whatever key.
    pub fn any_result(&self) -> Option<StageResult> {
        let text = fs::read_to_string(self.dir.join(Format::Json.file())).ok()?;
        let result: StageResult = serde_json::from_str(&text).ok()?;
        (result.schema == SCHEMA).then_some(result)
    }

    /// Removes what an earlier run has left: a result that is there is one of this run.
    pub fn clear(&self) -> Result<()> {
        let formats = [Format::Json, Format::Gradescope, Format::Classroom50, Format::Junit];
        let files = formats.map(Format::file);
        for file in ["key", "report.html"].into_iter().chain(files) {
            let path = self.dir.join(file);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("{}", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Puts a result there, its page, and the other forms wanted.
    pub fn put(&self, key: &str, result: &StageResult, formats: &[Format]) -> Result<()> {
        for format in [Format::Json].iter().chain(formats) {
            write(&self.dir.join(format.file()), &format.render(result)?)?;
        }
        write(&self.dir.join("report.html"), &html::submission(result))?;
        write(&self.dir.join("key"), key)
    }
}

/// What a result depends on: what was handed out, checks and rubric included, and what was handed
/// in. `taken` is `Err` when there was nothing to take.
pub fn key(stage: &Stage, handed_out: &HandedOut, taken: &Result<Taken>) -> String {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(SCHEMA.as_bytes());
    add(stage.number.as_bytes());
    for (path, bytes) in handed_out.files() {
        add(path.as_bytes());
        add(bytes);
    }
    add(b"taken");
    match taken {
        Ok(Taken { files, remarks }) => {
            files.iter().for_each(|(path, text)| {
                add(path.as_bytes());
                add(text.as_bytes());
            });
            add(b"not taken");
            remarks.iter().for_each(|remark| add(remark.as_bytes()));
        }
        Err(why) => add(format!("{why:#}").as_bytes()),
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file whole or not at all.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let new = PathBuf::from(format!("{}.new", path.display()));
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("{}", path.display()))
}
