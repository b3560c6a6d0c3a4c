//! A reader with several terminals, working through a page.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::family;
use crate::notes::console::expect::{ELISION, Ends, Expected, Match, look};
use crate::notes::console::script::{Action, Step};
use crate::notes::console::terminal::Terminal;
use crate::notes::console::world::Inner;
use crate::pipe::wait_readable;
use crate::repo::Repo;

/// A command that has shown all that is expected is given so long to end. It is no matter if it
/// doesn't: only what it prints too much wouldn't be seen.
const GRACE: Duration = Duration::from_millis(300);

/// All is quiet when nobody is at work in so many looks, one after the other, with such a time
/// between them: while we look at one process, another may pass its work on to it.
const LOOKS: u32 = 3;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

pub struct Session {
    environment: Vec<(&'static str, OsString)>,
    terminals: Vec<Terminal>,
    /// How long a step may take.
    patience: Duration,
    /// Where the last step was.
    current: usize,
    /// A child has ended. We are the first process here, and reap everybody's orphans.
    ended: SignalFd,
    /// What the last step has matched.
    shown: Vec<String>,
}

impl Session {
    pub fn new(repo: &Repo, inner: &Inner) -> Result<Self> {
        std::env::set_current_dir(repo.root()).context("cd")?;
        let mut watched = SigSet::empty();
        watched.add(Signal::SIGCHLD);
        watched.thread_block().context("block SIGCHLD")?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let ended = SignalFd::with_flags(&watched, flags).context("signalfd")?;
        let environment = inner.environment()?;
        let patience = Duration::from_secs(inner.patience);
        Ok(Self {
            environment,
            patience,
            terminals: Vec::new(),
            current: 0,
            ended,
            shown: Vec::new(),
        })
    }

    /// Does a step and waits for what is expected of it.
    pub fn play(&mut self, step: &Step) -> Result<()> {
        let mut anywhere = false;
        if step.action != Action::Watch {
            self.await_quiet()?;
        }
        match &step.action {
            Action::Type(command) => {
                if step.begins {
                    self.current = self.idle_terminal()?;
                }
                self.terminals[self.current].type_command(command)?;
            }
            Action::Interrupt => {
                if step.begins {
                    self.current = self.oldest_command()?;
                }
                self.terminals[self.current].interrupt()?;
            }
            Action::Watch => {
                self.oldest_command()?;
                anywhere = true;
            }
        }
        self.await_output(step, anywhere)
    }

    /// A reader types when all is quiet. Somebody may have shown all that is expected and still be
    /// on its way: to sleep, to the server, out of the way of `pgrep`.
    fn await_quiet(&mut self) -> Result<()> {
        let deadline = Instant::now() + self.patience;
        let mut looks = 0;
        while looks < LOOKS && Instant::now() < deadline {
            self.take_all();
            looks = if family::others_rest() { looks + 1 } else { 0 };
            self.wait(BETWEEN_LOOKS)?;
        }
        Ok(())
    }

    /// Where nothing runs; a new terminal if something runs in each.
    fn idle_terminal(&mut self) -> Result<usize> {
        self.take_all();
        if let Some(at) = self.terminals.iter().position(|it| !it.is_busy) {
            return Ok(at);
        }
        self.terminals.push(Terminal::open(&self.environment)?);
        Ok(self.terminals.len() - 1)
    }

    fn oldest_command(&self) -> Result<usize> {
        let busy = self.terminals.iter().position(|it| it.is_busy);
        busy.context("no command is running whose output or Ctrl-C this could be")
    }

    /// Waits for the expected lines; `anywhere`: in whatever terminal they come.
    fn await_output(&mut self, step: &Step, anywhere: bool) -> Result<()> {
        let deadline = Instant::now() + self.patience;
        let mut complete_since = None::<Instant>;
        loop {
            self.take_all();
            let candidates =
                if anywhere { 0..self.terminals.len() } else { self.current..self.current + 1 };
            let looks: Vec<(usize, Match)> =
                candidates.map(|at| (at, self.look(step, at))).collect();
            if let Some((at, Match::Whole(lines))) =
                looks.iter().find(|(_, it)| matches!(it, Match::Whole(_)))
            {
                let since = *complete_since.get_or_insert_with(Instant::now);
                if !self.terminals[*at].is_busy || (may_go_on(step) && since.elapsed() >= GRACE) {
                    self.current = *at;
                    self.account(*at, lines);
                    return Ok(());
                }
            }
            let too_much = looks.iter().find(|(_, it)| matches!(it, Match::TooMuch(_)));
            if let (Some((at, it)), false) = (too_much, anywhere) {
                return self.complain(step, *at, it);
            }
            let over = Instant::now() >= deadline;
            if let Some((at, it)) =
                looks.iter().find(|(at, _)| over || self.has_ended(*at, anywhere))
            {
                return self.complain(step, *at, it);
            }
            let limit = if complete_since.is_some() {
                GRACE / 3
            } else {
                deadline.saturating_duration_since(Instant::now())
            };
            self.wait(limit)?;
        }
    }

    /// A command that has ended shows nothing more.
    fn has_ended(&self, at: usize, anywhere: bool) -> bool {
        !anywhere && !self.terminals[at].is_busy
    }

    fn look(&self, step: &Step, at: usize) -> Match {
        let terminal = &self.terminals[at];
        let seen: Vec<&str> = terminal.lines.iter().map(String::as_str).collect();
        let open_before = !step.is_command();
        let goes_on = terminal.is_busy || step.action == Action::Watch;
        let open_behind = goes_on && !step.has_to_end || terminal.is_busy;
        look(&step.expected, &seen, Ends { open_before, open_behind })
    }

    /// Takes lines off the terminal: what comes after them is for later.
    fn account(&mut self, at: usize, taken: &[usize]) {
        let lines = std::mem::take(&mut self.terminals[at].lines);
        self.shown.clear();
        for (index, line) in lines.into_iter().enumerate() {
            match taken.binary_search(&index) {
                Ok(_) => self.shown.push(line),
                Err(_) => self.terminals[at].lines.push_back(line),
            }
        }
    }

    /// Prints the last step as it went.
    pub fn show(&self, step: &Step) {
        match &step.action {
            Action::Type(command) => println!("$ {command}"),
            Action::Interrupt => print!("^C"),
            Action::Watch => {}
        }
        self.shown.iter().for_each(|line| println!("{line}"));
    }

    fn complain(&self, step: &Step, at: usize, found: &Match) -> Result<()> {
        let seen: Vec<&str> = self.terminals[at].lines.iter().map(String::as_str).collect();
        let last: Vec<&str> = seen.iter().rev().take(40).rev().copied().collect();
        let what = match &step.action {
            Action::Type(command) => format!("$ {command}"),
            Action::Interrupt => "^C".to_owned(),
            Action::Watch => "(what runs already)".to_owned(),
        };
        let why = match found {
            Match::Missing(Expected { line, text }) => format!("didn't come: {text} (line {line})"),
            Match::TooMuch(index) => format!("came too much: {}", seen[*index]),
            Match::Whole(_) if !step.has_to_end => {
                format!("doesn't end; if it is meant to stay, put a line {ELISION} below it")
            }
            Match::Whole(_) => "doesn't end, and another command follows".to_owned(),
        };
        bail!("{what}\n  {why}\n  what came:\n    {}", last.join("\n    "))
    }

    fn take_all(&mut self) {
        while let Ok(Some(_)) = self.ended.read_signal() {}
        while !matches!(
            waitpid(None, Some(WaitPidFlag::WNOHANG)),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD)
        ) {}
        self.terminals.iter_mut().for_each(Terminal::take);
    }

    fn wait(&self, limit: Duration) -> Result<()> {
        let terminals = self.terminals.iter().flat_map(Terminal::sources);
        let sources: Vec<_> = terminals.chain([Some(self.ended.as_fd())]).collect();
        wait_readable(&sources, limit).map(drop)
    }
}

/// Need the command not end before the next step?
fn may_go_on(step: &Step) -> bool {
    !step.has_to_end && (!step.is_command() || !step.expected.is_empty())
}
