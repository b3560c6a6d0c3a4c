//! A directory of programs for a server to run (stage 09), and what must never be run.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::{NamedTempFile, TempDir};

/// The directory, and around it what a client must not reach.
pub struct Programs {
    outer: TempDir,
    inner: PathBuf,
}

impl Programs {
    /// A directory with one program, `hello`, that prints `hello`.
    #[must_use]
    pub fn new() -> Self {
        let outer = TempDir::new().expect("a directory for programs");
        let inner = outer.path().join("programs");
        fs::create_dir(&inner).expect("create a directory");
        let programs = Self { outer, inner };
        programs.add("hello", "echo hello");
        programs
    }

    /// Adds a program: a script of these shell commands.
    pub fn add(&self, name: &str, commands: &str) {
        script(&self.inner.join(name), commands);
    }

    /// Adds a program: a copy of the one at `path`.
    pub fn add_copy(&self, name: &str, path: &str) {
        copy(Path::new(path), &self.inner.join(name));
    }

    /// Adds what nobody may run, in the directory and around it: each would leave a trace. Returns
    /// the names to ask for.
    #[must_use]
    pub fn add_traps(&self) -> Vec<String> {
        let mark = self.mark();
        let touch = format!("touch '{}'", mark.display());
        let outside = self.outer.path().join("outside");
        script(&outside, &touch);
        fs::create_dir(self.inner.join("folder")).unwrap();
        script(&self.inner.join("folder/inside"), &touch);
        symlink(&outside, self.inner.join("link")).unwrap();
        mkfifo(&self.inner.join("fifo"), Mode::S_IRWXU).unwrap();
        self.add("data", &touch);
        fs::set_permissions(self.inner.join("data"), PermissionsExt::from_mode(0o644)).unwrap();
        let mut names: Vec<String> = [
            "",
            ".",
            "..",
            "../outside",
            "folder",
            "folder/inside",
            "./hello",
            "hello/",
            "link",
            "fifo",
            "data",
            "nosuch",
            "hello hello",
            " hello",
            "hello\n",
            "hello\t",
            "HELLO",
            "*",
            "hell?",
            "~",
            "$HOME",
            "\u{1b}[2J",
            "hello\0",
            "hello\0.txt",
            "-c",
            "%s%n",
        ]
        .map(str::to_owned)
        .into();
        names.extend([self.inner.join("hello"), outside].map(|it| it.display().to_string()));
        for around in ["hello;{}", "hello|{}", "hello&{}", "$({})", "`{}`", "hello\n{}", "{}"] {
            names.push(around.replace("{}", &touch));
        }
        names.push("/bin/sh".to_owned());
        names
    }

    /// Has one of the traps been run?
    #[must_use]
    pub fn is_trapped(&self) -> bool {
        self.mark().exists()
    }

    fn mark(&self) -> PathBuf {
        self.outer.path().join("mark")
    }

    /// A file that programs may write to.
    #[must_use]
    pub fn notes(&self) -> PathBuf {
        self.outer.path().join("notes")
    }

    /// The directory, as an argument.
    #[must_use]
    pub fn path(&self) -> &str {
        self.inner.to_str().expect("paths of tests are UTF-8")
    }
}

impl Default for Programs {
    fn default() -> Self {
        Self::new()
    }
}

fn script(path: &Path, commands: &str) {
    let draft = NamedTempFile::new().expect("a file for a draft");
    fs::write(&draft, format!("#!/bin/sh\n{commands}\n")).expect("write a program");
    copy(draft.path(), path);
}

/// Makes a program by another process, for what is open for writing can't be run (ETXTBSY), and
/// what this process has open is open in its children, too: another test may be starting one just
/// now, which then holds the file until it calls `exec`, however late that is.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status().expect("cp");
    assert!(copied.success(), "cp {} {}: {copied}", from.display(), to.display());
    fs::set_permissions(to, PermissionsExt::from_mode(0o755)).expect("chmod");
}
