//! `cargo lab watch 06`: check a stage again whenever a source file is saved.
//!
//! The check is a process of its own, so that nothing it does ends the watch. One loop waits for
//! a signal, a save, the end of the check, and for the end of a burst of saves.
//! Rule: a save stops the check that runs, for that judges what is no longer there.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::child::Child;
use crate::repo::{Repo, Stage};
use crate::saves::{Burst, FOLDERS, Saves};
use crate::screen::{Paint, Style, show};

/// Check a stage again whenever a source file is saved
///
/// Watches `steps/` and `shared/`. Ctrl-C ends it.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The stage: 1 to 11
    #[arg(value_name = "NN")]
    stage: String,
    /// Watch and check this tree instead, with the checks of this checkout
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Run only this check of the stage
    #[arg(long, value_name = "CHECK")]
    only: Option<String>,
    /// Look at the files once a second instead of being told by the kernel
    #[arg(long)]
    poll: bool,
    /// For tests: a program to run instead of `cargo lab`
    #[arg(long, hide = true, value_name = "PROGRAM")]
    checker: Option<PathBuf>,
}

/// Runs until a signal.
pub fn run(args: &Args) -> Result<ExitCode> {
    let here = Repo::here()?;
    let stage = here.stage(&args.stage)?;
    let tree = match &args.dir {
        Some(dir) => Repo::at(dir)?,
        None => here,
    };
    // Before the watcher's thread exists: it inherits the mask.
    let signals = signals()?;
    let saves = Saves::watch(&tree, args.poll)?;
    let command = check_command(args, &stage)?;
    let mut watch = Watch { tree, stage, command, signals, saves, check: None, saved: None };
    watch.start(&BTreeSet::new())?;
    watch.until_signal()?;
    show("\nwatch ended\n")?;
    Ok(ExitCode::SUCCESS)
}

/// A running watch.
struct Watch {
    tree: Repo,
    stage: Stage,
    command: Command,
    signals: SignalFd,
    saves: Saves,
    check: Option<Child>,
    saved: Option<Burst>,
}

/// What the loop woke up for.
#[derive(Clone, Copy)]
enum Event {
    /// A signal: Ctrl-C, or the like.
    Leave,
    /// A file was saved.
    Save,
    /// The check has ended.
    End,
    /// The burst of saves is over.
    Quiet,
}

impl Watch {
    fn until_signal(&mut self) -> Result<()> {
        loop {
            match self.wait()? {
                Event::Leave => {
                    // Whoever asks a second time is in a hurry.
                    self.signals.read_signal().context("read the signals")?;
                    return self.stop();
                }
                Event::Save => self.saved.get_or_insert_default().take(&mut self.saves)?,
                Event::End => self.end_of_check()?,
                Event::Quiet => {
                    self.stop()?;
                    let saved = self.saved.take();
                    self.start(saved.unwrap_or_default().files())?;
                }
            }
        }
    }

    /// Sleeps until there is something to do.
    fn wait(&self) -> Result<Event> {
        let end = self.saved.as_ref().map(Burst::end);
        let mut sources = vec![(self.signals.as_fd(), Event::Leave)];
        sources.push((self.saves.as_fd(), Event::Save));
        sources.extend(self.check.as_ref().map(|check| (check.as_fd(), Event::End)));
        loop {
            let rest = end.map(|end| end.saturating_duration_since(Instant::now()));
            let timeout = match rest {
                Some(Duration::ZERO) => return Ok(Event::Quiet),
                // A millisecond more, as poll(2) knows no fractions of it.
                Some(rest) => PollTimeout::try_from(rest + Duration::from_millis(1))?,
                None => PollTimeout::NONE,
            };
            let ask = |source: &(_, _)| PollFd::new(source.0, PollFlags::POLLIN);
            let mut asked: Vec<PollFd<'_>> = sources.iter().map(ask).collect();
            match poll(&mut asked, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("poll"),
            }
            if let Some(first) = asked.iter().position(|it| it.any() == Some(true)) {
                return Ok(sources[first].1);
            }
        }
    }

    fn start(&mut self, saved: &BTreeSet<PathBuf>) -> Result<()> {
        if io::stdout().is_terminal() {
            show("\x1b[2J\x1b[H")?; // clear, and begin at the top
        }
        if let Some(first) = saved.first() {
            let first = first.strip_prefix(self.tree.root()).unwrap_or(first).display();
            let more = match saved.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            self.say(&format!("saved: {first}{more}"))?;
        }
        self.check = Some(Child::start(&mut self.command)?);
        Ok(())
    }

    /// Says, after a check, that there will be another one.
    fn end_of_check(&mut self) -> Result<()> {
        let Some(check) = &mut self.check else { return Ok(()) };
        let Some(status) = check.ended()? else { return Ok(()) };
        self.stop()?;
        if status.code().is_none() {
            show(&format!("\nthe check was ended by {status}\n"))?;
        }
        let folders = FOLDERS.map(|folder| format!("{folder}/")).join(" and ");
        let (how, number) = (&self.saves.note, &self.stage.number);
        self.say(&format!("\nwatching {folders}{how}"))?;
        self.say(&format!("save a file to check {number} again, Ctrl-C to end"))
    }

    fn stop(&mut self) -> Result<()> {
        self.check.take().map_or(Ok(()), |check| check.stop(self.signals.as_fd()))
    }

    /// A line that isn't the check's.
    fn say(&self, text: &str) -> Result<()> {
        show(&format!("{}\n", Paint::stdout().with(Style::Dim, text)))
    }
}

/// `cargo lab check NN` with the options given.
fn check_command(args: &Args, stage: &Stage) -> Result<Command> {
    // This very program, also when another has been built in its place meanwhile.
    let program = args.checker.as_deref().unwrap_or(Path::new("/proc/self/exe"));
    let mut command = Command::new(program);
    command.arg("check").arg(&stage.number);
    if let Some(dir) = &args.dir {
        command.arg("--dir").arg(dir);
    }
    if let Some(check) = &args.only {
        command.arg("--only").arg(check);
    }
    Child::prepare(&mut command);
    Ok(command)
}

/// From now on these signals don't end this process; they are read when it suits.
fn signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        set.add(signal);
    }
    set.thread_block().context("block signals")?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context("signalfd")
}
