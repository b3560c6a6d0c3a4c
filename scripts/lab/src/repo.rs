//! Where things are: the checkout, its stages, and the folder for what the tool remembers.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A checkout of the lab: this repository, or a student's export of it.
#[derive(Clone, Debug)]
pub struct Repo {
    root: PathBuf,
}

/// A stage, by its folder `steps/06-mmap-zero-copy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// `06`
    pub number: String,
    /// `mmap-zero-copy`
    pub name: String,
}

impl Repo {
    /// The checkout that this tool was built from, or the one that the variable `LAB_ROOT` names
    /// (tests have small ones of their own).
    pub fn here() -> Result<Self> {
        match env::var_os("LAB_ROOT") {
            Some(root) => Self::at(Path::new(&root)),
            None => Self::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")),
        }
    }

    /// The checkout in `root`.
    pub fn at(root: &Path) -> Result<Self> {
        let root = root.canonicalize().with_context(|| format!("{}", root.display()))?;
        for part in ["Cargo.toml", "steps", "shared"] {
            if !root.join(part).exists() {
                bail!("{} is no checkout of the lab: it has no {part}", root.display());
            }
        }
        Ok(Self { root })
    }

    /// Its top level.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file in it.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Is it this repository with its answers, and not an export?
    pub fn is_reference(&self) -> bool {
        self.path("tests/gallery").is_dir()
    }

    /// What the tool remembers: scores, hints given, files kept. Not under version control.
    pub fn state(&self) -> PathBuf {
        self.path(".lab")
    }

    /// All stages, in order.
    pub fn stages(&self) -> Result<Vec<Stage>> {
        let mut stages = Vec::new();
        for entry in self.path("steps").read_dir().context("steps")? {
            let folder = entry?.file_name().to_string_lossy().into_owned();
            if let Some((number, name)) = folder.split_once('-')
                && number.len() == 2
                && number.bytes().all(|digit| digit.is_ascii_digit())
            {
                stages.push(Stage { number: number.to_owned(), name: name.to_owned() });
            }
        }
        stages.sort_by(|a, b| a.number.cmp(&b.number));
        Ok(stages)
    }

    /// One stage, by its number: `6` and `06` are the same.
    pub fn stage(&self, number: &str) -> Result<Stage> {
        let stages = self.stages()?;
        let wanted = format!("{number:0>2}");
        let known = || stages.iter().map(|it| it.number.as_str()).collect::<Vec<_>>().join(", ");
        match stages.iter().find(|stage| stage.number == wanted) {
            Some(stage) => Ok(stage.clone()),
            None => bail!("there is no stage {number}; the stages are {}", known()),
        }
    }
}

impl Stage {
    /// `step06-mmap-zero-copy`: the package, and its binary.
    pub fn package(&self) -> String {
        format!("step{}-{}", self.number, self.name)
    }

    /// `step06_mmap_zero_copy`: the file of its tests.
    pub fn test_target(&self) -> String {
        self.package().replace('-', "_")
    }

    /// `steps/06-mmap-zero-copy`
    pub fn folder(&self) -> PathBuf {
        Path::new("steps").join(format!("{}-{}", self.number, self.name))
    }

    /// `notes/src/06-mmap-zero-copy.md`
    pub fn chapter(&self) -> PathBuf {
        Path::new("notes/src").join(format!("{}-{}.md", self.number, self.name))
    }
}
