//! What a demo of a chat does: users come, talk, and leave in all the ways there are.
//!
//! Purpose: real clients in a real chat, with a look at what each of them prints.
//! Interface: [`Conversation`], whose methods are the scenes of the story.
//! Rule: who comes says hello until it is heard, before anything else is said. Until then it isn't
//! certain that the server has let both of them in. What counts is said after that.
//! First used by stage 10.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::chat::{TOO_MANY, TOO_SLOW};
use crate::demo::{Demo, check, tell};
use crate::error::Context;

/// How many lines of how many bytes are more than all buffers hold for who doesn't read.
const FLOOD: usize = 1000;
const LONG: usize = 8000;

/// What is said again and again, and overheard.
const HELLO: &str = "hello";

/// How long to listen for it, in milliseconds.
const MOMENT: u8 = 50;

/// A client, what is typed into it, what it prints.
struct Talker {
    name: &'static str,
    child: Child,
    typed: ChildStdin,
    printed: BufReader<ChildStdout>,
}

/// All who talk.
pub struct Conversation<'a> {
    demo: &'a Demo,
    talkers: Vec<Talker>,
}

impl<'a> Conversation<'a> {
    /// Has these users join, one after the other.
    ///
    /// # Errors
    /// One can't, or isn't heard.
    pub fn between(demo: &'a Demo, names: &[&'static str]) -> io::Result<Self> {
        let mut talk = Self { demo, talkers: Vec::new() };
        for name in names {
            let mut newcomer = Talker::join(demo, name)?;
            if let Some(first) = talk.talkers.first_mut() {
                newcomer.say(HELLO)?;
                while !first.hears_hello_of(name)? {
                    newcomer.say(HELLO)?;
                }
            }
            talk.talkers.push(newcomer);
        }
        check(true, &format!("{} hear each other", names.join(", ")))?;
        Ok(talk)
    }

    /// Everybody says something, and everybody else hears it.
    ///
    /// # Errors
    /// Somebody hears something else.
    pub fn everybody_talks(&mut self) -> io::Result<()> {
        for number in 1..=100 {
            for speaker in 0..self.talkers.len() {
                self.says(speaker, &format!("line {number}"))?;
            }
        }
        check(true, "each has heard 100 lines of each other, in order, and none of its own")
    }

    /// Somebody comes for whom there is no seat.
    ///
    /// # Errors
    /// It isn't told.
    pub fn one_too_many_is_told(&self) -> io::Result<()> {
        let mut user = TcpStream::connect(self.demo.address())?;
        let mut told = Vec::new();
        user.read_to_end(&mut told)?;
        check(told == TOO_MANY, "one user more than there are seats is told, and turned away")
    }

    /// The last of the users is killed. The others go on, and its seat is taken by somebody who
    /// doesn't read what they say.
    ///
    /// # Errors
    /// Somebody hears something else than is said.
    pub fn last_one_is_replaced_by_one_who_does_not_read(&mut self) -> io::Result<()> {
        if let Some(mut last) = self.talkers.pop() {
            tell(&format!("killing {}", last.name));
            last.child.kill().context("kill")?;
            last.child.wait().context("wait")?;
        }
        let mut deaf = self.stranger()?;
        check(true, "the others go on, and the seat is free again")?;
        tell("nobody reads what the one in that seat is sent, and ann talks a lot");
        for number in 0..FLOOD {
            self.says(0, &format!("{number:0LONG$}"))?;
        }
        check(true, "ben has heard every word")?;
        let mut heard = Vec::new();
        deaf.read_to_end(&mut heard)?;
        check(heard.ends_with(&[b"\n", TOO_SLOW].concat()), "who didn't read was told, and dropped")
    }

    /// Connects somebody who uses no client of ours, once there is a seat.
    fn stranger(&mut self) -> io::Result<TcpStream> {
        loop {
            let mut stranger = TcpStream::connect(self.demo.address())?;
            stranger.set_read_timeout(Some(Duration::from_millis(MOMENT.into())))?;
            // Everything ann says begins with her name.
            if self.ask_until_heard(&mut stranger)? == Some(b'a') {
                stranger.set_read_timeout(None)?;
                return Ok(stranger);
            }
        }
    }

    /// Has ann ask, until the stranger has heard something of the server. What is said while it is
    /// let in isn't for it.
    fn ask_until_heard(&mut self, stranger: &mut TcpStream) -> io::Result<Option<u8>> {
        let mut first = [0; 1];
        loop {
            self.says(0, "is somebody there?")?;
            match stranger.read(&mut first) {
                Ok(length) => return Ok(first.first().copied().filter(|_| length > 0)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Everybody presses Ctrl-D.
    ///
    /// # Errors
    /// A client fails.
    pub fn everybody_leaves(self) -> io::Result<()> {
        for talker in self.talkers {
            talker.leave()?;
        }
        Ok(())
    }

    fn says(&mut self, speaker: usize, line: &str) -> io::Result<()> {
        let name = self.talkers[speaker].name;
        self.talkers[speaker].say(line)?;
        for hearer in (0..self.talkers.len()).filter(|&hearer| hearer != speaker) {
            self.talkers[hearer].hear(&format!("{name}: {line}"))?;
        }
        Ok(())
    }
}

impl Talker {
    fn join(demo: &Demo, name: &'static str) -> io::Result<Self> {
        let mut child = demo.start_client_with("join", &["--name", name], Stdio::piped())?;
        let missing = || io::Error::other("a client without standard streams");
        let typed = child.stdin.take().ok_or_else(missing)?;
        let printed = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        Ok(Self { name, child, typed, printed })
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        self.typed.write_all(format!("{line}\n").as_bytes()).context("type")
    }

    fn hear(&mut self, line: &str) -> io::Result<()> {
        let heard = loop {
            let heard = self.next_line()?;
            if !heard.ends_with(HELLO) {
                break heard;
            }
        };
        if heard == line {
            return Ok(());
        }
        let name = self.name;
        check(false, &format!("{name} hears {line:.40?} and not {heard:.40?}"))
    }

    /// Has `name` said hello? Listens for a moment.
    fn hears_hello_of(&mut self, name: &str) -> io::Result<bool> {
        if self.printed.buffer().is_empty() {
            let mut fds = [PollFd::new(self.printed.get_ref().as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::from(MOMENT)).context("poll")? == 0 {
                return Ok(false);
            }
        }
        Ok(self.next_line()? == format!("{name}: {HELLO}"))
    }

    fn next_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.printed.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn leave(mut self) -> io::Result<()> {
        tell(&format!("{} presses Ctrl-D", self.name));
        drop(self.typed);
        let mut rest = String::new();
        self.printed.read_to_string(&mut rest)?;
        let status = self.child.wait().context("wait")?;
        check(status.success(), &format!("{} has left with exit status 0", self.name))
    }
}
