//! `lab rustc`: the compiler, let loose on a stranger's source.
//!
//! What is compiled of a submission has no build script, no macro crate and no manifest of its
//! own, so it runs nothing while it is compiled. But it can make rustc read a file of the machine
//! (`include_str!`, `#[path]`, `.incbin`), read variables (`env!`), and take all there is of time
//! and memory (constants that are computed for ever). cargo, which reads nothing of a stranger's,
//! calls this in the place of rustc for the crates of the workspace (`RUSTC_WORKSPACE_WRAPPER`).
//!
//! | | where | against |
//! | --- | --- | --- |
//! | only the tree and the toolchain can be read, only the target written | landlock(7), Linux 5.13 | copying answers, leaking files |
//! | no file from outside may be among the sources ([`outsider`]) | everywhere | the same |
//! | only cargo's variables | everywhere | leaking secrets |
//! | limits: CPU time, memory, file size | everywhere | a bomb |
//!
//! Not prevented without landlock: an object that `.incbin` of the assembler copies.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    path_beneath_rules,
};
use nix::sys::resource::{Resource, setrlimit};

/// The limits of each process: rustc, and the linker it calls.
const LIMITS: [(Resource, u64); 4] = [
    (Resource::RLIMIT_DATA, 2 << 30),
    (Resource::RLIMIT_FSIZE, 1 << 30),
    (Resource::RLIMIT_CPU, 60),
    (Resource::RLIMIT_CORE, 0),
];

/// What the compiler and the linker are made of, beside the toolchain. Nobody's secrets are there.
const SYSTEM: [&str; 10] = [
    "/usr",
    "/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/dev/null",
    "/dev/urandom",
];

/// The variables that a source may see by `env!`, by name or by the beginning of a name.
const KEPT: [&str; 7] =
    ["PATH", "LANG", "LC_ALL", "OUT_DIR", "CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];

/// `rustc --sysroot DIR --tree DIR --target DIR -- RUSTC ARGUMENT…`
#[derive(clap::Args)]
pub struct Args {
    /// Where the toolchain is
    #[arg(long)]
    sysroot: PathBuf,
    /// What is compiled
    #[arg(long)]
    tree: PathBuf,
    /// Where it goes
    #[arg(long)]
    target: PathBuf,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes rustc, confined.
pub fn run(args: &Args) -> Result<ExitCode> {
    let temporary = args.target.join("tmp");
    fs::create_dir_all(&temporary).with_context(|| format!("{}", temporary.display()))?;
    let (rustc, rest) = args.command.split_first().context("there is no compiler")?;
    let mut command = Command::new(rustc);
    command.args(rest).env_clear().env("TMPDIR", &temporary);
    command.envs(env::vars_os().filter(|(name, _)| is_kept(name)));
    for (resource, most) in LIMITS {
        setrlimit(resource, most, most).with_context(|| format!("setrlimit {resource:?}"))?;
    }
    confine(args)?;
    Err(command.exec()).with_context(|| format!("start {}", rustc.display()))
}

fn is_kept(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    KEPT.iter().any(|kept| name == *kept || (kept.ends_with('_') && name.starts_with(kept)))
        || name == "CARGO_CRATE_NAME"
        || name == "CARGO_PRIMARY_PACKAGE"
}

/// Lets this process, and what it becomes, see only what it needs. Says whether the kernel can.
fn confine(args: &Args) -> Result<RulesetStatus> {
    let abi = ABI::V5;
    let read = AccessFs::from_read(abi);
    let null = AccessFs::ReadFile | AccessFs::WriteFile;
    let readable = SYSTEM.iter().map(Path::new).chain([args.sysroot.as_path(), &args.tree]);
    let rules = path_beneath_rules(readable, read);
    let rules = rules.chain(path_beneath_rules([&args.target], AccessFs::from_all(abi)));
    let rules = rules.chain(path_beneath_rules(["/dev/null"], null));
    let ruleset = Ruleset::default().handle_access(AccessFs::from_all(abi))?.create()?;
    Ok(ruleset.add_rules(rules)?.restrict_self()?.ruleset)
}

/// Why files can't be kept from the compiler here; `None` if they are.
pub fn missing() -> Option<&'static str> {
    // SAFETY: without a structure and with the flag for it, the call only returns a number.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) };
    (version < 1).then_some("this kernel has no landlock: a source can make rustc read any file")
}

/// What cargo needs in its environment to call the compiler by way of this, for the sources in
/// `tree`. The program that cargo calls is put into `dir`.
pub fn install(dir: &Path, tree: &Path, target: &Path) -> Result<Vec<(String, OsString)>> {
    let sysroot = sysroot()?;
    let lab = dir.join("lab"); // a copy: cargo may build another in the place of this one
    let new = dir.join("lab.new");
    fs::copy("/proc/self/exe", &new).with_context(|| format!("{}", new.display()))?;
    fs::rename(&new, &lab).with_context(|| format!("{}", lab.display()))?;
    let wrapper = dir.join("rustc");
    let [lab, dirs @ ..] = [&lab, &sysroot, tree, target].map(quoted);
    let [sysroot_quoted, tree, target] = dirs.map(|dir| dir);
    let script = format!(
        "#!/bin/sh\nexec {lab} rustc --sysroot {sysroot_quoted} --tree {tree} --target {target} -- \"$@\"\n"
    );
    fs::write(&wrapper, script).with_context(|| format!("{}", wrapper.display()))?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    Ok(vec![
        ("RUSTC".to_owned(), sysroot.join("bin/rustc").into()),
        ("RUSTC_WORKSPACE_WRAPPER".to_owned(), wrapper.into()),
        ("CARGO_NET_OFFLINE".to_owned(), "true".into()),
        ("CARGO_INCREMENTAL".to_owned(), "0".into()),
    ])
}

fn sysroot() -> Result<PathBuf> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "sysroot"]).output();
    let output = output.context("rustc --print sysroot")?;
    if !output.status.success() {
        bail!("rustc --print sysroot: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
}

/// For the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// A source of `program` that isn't below `tree`, as cargo's dep-info beside the program names it.
pub fn outsider(program: &Path, tree: &Path) -> Result<Option<PathBuf>> {
    let list = program.with_extension("d");
    let text = fs::read_to_string(&list).with_context(|| format!("{}", list.display()))?;
    let sources =
        text.lines().filter_map(|line| line.split_once(": ")).flat_map(|(_, it)| paths(it));
    for source in sources {
        let real = source.canonicalize().unwrap_or_else(|_| source.clone());
        if !real.starts_with(tree) {
            return Ok(Some(source));
        }
    }
    Ok(None)
}

/// The paths of a line of a makefile: blanks separate them, but not `\ `.
fn paths(line: &str) -> Vec<PathBuf> {
    let line = line.replace("\\ ", "\0");
    line.split(' ').filter(|it| !it.is_empty()).map(|it| it.replace('\0', " ").into()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn source_from_elsewhere_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().canonicalize().unwrap().join("a tree");
        fs::create_dir(&tree).unwrap();
        let inside = tree.join("main.rs");
        fs::write(&inside, "").unwrap();
        let program = dir.path().join("program");
        let list = |sources: &[&str]| {
            let sources: Vec<String> = sources.iter().map(|it| it.replace(' ', "\\ ")).collect();
            let text = format!("program: {}\n", sources.join(" "));
            fs::write(program.with_extension("d"), text).unwrap();
        };
        let inside = inside.to_str().unwrap();
        list(&[inside]);
        assert_eq!(outsider(&program, &tree).unwrap(), None);
        let climbing = format!("{}/../program.d", tree.display());
        list(&[inside, &climbing]);
        assert_eq!(outsider(&program, &tree).unwrap(), Some(climbing.into()));
    }
}
