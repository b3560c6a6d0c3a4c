//! A chat from outside (stages 10 and 11): a server, users, and much talk at once.
//!
//! A user who is just connecting gets nothing of what others say in that moment. So a [`Room`] has
//! each newcomer say a word, and waits until the others have heard it: from then on it is in.

use std::io::{self, Read, Write};
use std::ops::{Index, IndexMut};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use crate::grading::report;
use crate::line::{LineClient, assert_bytes, shown};
use crate::proc;
use crate::server::Server;
use crate::wait::{limit, wait_for, wait_until};

/// What a user hears for whom there is no seat.
pub const TOO_MANY: &[u8] = b"too many users\n";
/// What a user hears last who is too slow.
pub const TOO_SLOW: &[u8] = b"you read too slowly, goodbye\n";

/// A server with users in it.
pub struct Room {
    /// The server.
    pub server: Server,
    users: Vec<LineClient>,
}

impl Room {
    /// Starts a server with a seat more than there are users, and lets `users` join it.
    #[track_caller]
    #[must_use]
    pub fn of(bin: &str, users: usize) -> Self {
        Self::start(bin, users, &["--max-users", &(users + 1).to_string()])
    }

    /// The same with these arguments.
    #[track_caller]
    #[must_use]
    pub fn start(bin: &str, users: usize, args: &[&str]) -> Self {
        let mut room = Self { server: Server::start(bin, args), users: Vec::new() };
        for _ in 0..users {
            room.join();
        }
        room
    }

    /// Lets one more user join, the last by its number.
    #[track_caller]
    pub fn join(&mut self) {
        let newcomer = LineClient::connect(self.server.addr());
        self.enter(newcomer, "", "");
    }

    /// The same for a user with a name.
    #[track_caller]
    pub fn join_as(&mut self, name: &str) {
        let newcomer = LineClient::connect(self.server.addr());
        self.enter(newcomer, &format!("/name {name}\n"), &format!("{name}: "));
    }

    /// Lets one more user join as soon as it isn't turned away.
    #[track_caller]
    pub fn join_when_a_seat_is_free(&mut self) {
        let newcomer = wait_until("a seat to be free again", limit(), || {
            let mut newcomer = LineClient::connect(self.server.addr());
            newcomer.send("is a seat free?\n");
            let mut fds = [&newcomer, &self.users[0]]
                .map(|user| PollFd::new(user.stream().as_fd(), PollFlags::POLLIN));
            let _ = poll(&mut fds, PollTimeout::try_from(limit()).expect("it fits"));
            let turned_away = fds[0].any() == Some(true);
            (!turned_away).then_some(newcomer)
        });
        self.hear(usize::MAX, "is a seat free?");
        self.enter(newcomer, "", "");
    }

    /// Has a newcomer heard by everybody: now it is in.
    #[track_caller]
    fn enter(&mut self, mut newcomer: LineClient, first: &str, prefix: &str) {
        let word = format!("user {} is in", self.users.len());
        newcomer.send(format!("{first}{word}\n"));
        for user in &mut self.users {
            let heard = user.read_line();
            assert_bytes("a newcomer's first word", &heard, format!("{prefix}{word}").as_bytes());
        }
        if self.users.is_empty() {
            // Nobody hears the first one. But whoever comes next must not hear that word either.
            self.server.wait_all_read(1);
            let asleep = || self.server.workers().iter().all(|&pid| proc::state(pid) == Some('S'));
            wait_for("the server to be done with the first word", limit(), asleep);
        }
        self.users.push(newcomer);
    }

    /// How many users there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.users.len()
    }

    /// Takes a user out of the room, to do with it what one likes.
    #[must_use]
    pub fn take(&mut self, user: usize) -> LineClient {
        self.users.remove(user)
    }

    /// A user says something and all others hear exactly that.
    #[track_caller]
    pub fn says(&mut self, speaker: usize, line: impl AsRef<[u8]>) {
        self.says_and_is_heard(speaker, &line, &line);
    }

    /// The same, where the others hear something else.
    #[track_caller]
    pub fn says_and_is_heard(
        &mut self,
        speaker: usize,
        line: impl AsRef<[u8]>,
        heard: impl AsRef<[u8]>,
    ) {
        self.users[speaker].send([line.as_ref(), b"\n"].concat());
        self.hear(speaker, heard);
    }

    /// All others hear this line of a user next.
    #[track_caller]
    pub fn hear(&mut self, speaker: usize, line: impl AsRef<[u8]>) {
        for (number, user) in self.users.iter_mut().enumerate() {
            if number != speaker {
                let what = format!("what user {number} heard of user {speaker}");
                assert_bytes(&what, &user.read_line(), line.as_ref());
            }
        }
    }

    /// Two users, to be had at once.
    #[track_caller]
    #[must_use]
    pub fn pair(&mut self, a: usize, b: usize) -> (&mut LineClient, &mut LineClient) {
        let [a, b] = self.users.get_disjoint_mut([a, b]).expect("two different users");
        (a, b)
    }

    /// Everybody talks at the same time, as in [`talk`].
    #[track_caller]
    #[must_use]
    pub fn talk(&self, speeches: &[&[u8]], to_hear: &[usize]) -> Vec<Vec<u8>> {
        let parts = self.users.iter().zip(speeches.iter().zip(to_hear));
        talk(parts.map(|(user, (speech, to_hear))| Part::new(user, speech, *to_hear)).collect())
    }
}

impl Index<usize> for Room {
    type Output = LineClient;

    fn index(&self, user: usize) -> &LineClient {
        &self.users[user]
    }
}

impl IndexMut<usize> for Room {
    fn index_mut(&mut self, user: usize) -> &mut LineClient {
        &mut self.users[user]
    }
}

/// How much an unhurried user reads at once, in bytes.
const SIP: usize = 64 << 10;

/// A user's part in a talk.
pub struct Part<'a> {
    user: &'a LineClient,
    /// What is still to be said.
    speech: &'a [u8],
    heard: Vec<u8>,
    /// How many bytes are still to be heard.
    to_hear: usize,
    /// Only the last of what is heard is kept.
    forgetful: bool,
    /// A rest after each read, and until when it lasts.
    rest: Duration,
    rests_until: Instant,
}

impl<'a> Part<'a> {
    /// This user says `speech` as fast as it can, and reads until it has heard so many bytes.
    #[must_use]
    pub fn new(user: &'a LineClient, speech: &'a [u8], to_hear: usize) -> Self {
        let (heard, rest, rests_until) = (Vec::new(), Duration::ZERO, Instant::now());
        Self { user, speech, heard, to_hear, forgetful: false, rest, rests_until }
    }

    /// The same, and what is heard doesn't matter.
    #[must_use]
    pub fn forgetful(user: &'a LineClient, speech: &'a [u8], to_hear: usize) -> Self {
        Self { forgetful: true, ..Self::new(user, speech, to_hear) }
    }

    /// The same for a user who reads 64 KiB at once, and so often a second.
    #[must_use]
    pub fn unhurried(user: &'a LineClient, to_hear: usize, reads_a_second: u32) -> Self {
        // Otherwise the kernel would hurry in its place, and take megabytes.
        setsockopt(user.stream(), sockopt::RcvBuf, &(4 * SIP)).expect("setsockopt SO_RCVBUF");
        let rest = Duration::from_secs(1) / reads_a_second;
        Self { rest, ..Self::new(user, b"", to_hear) }
    }

    fn is_done(&self) -> bool {
        self.to_hear == 0 && self.speech.is_empty()
    }

    fn wants(&self) -> PollFlags {
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, self.to_hear > 0 && self.rests_until <= Instant::now());
        events.set(PollFlags::POLLOUT, !self.speech.is_empty());
        events
    }

    /// Says and hears what can be said and heard without waiting.
    #[track_caller]
    fn advance(&mut self, buffer: &mut [u8]) {
        let mut stream = self.user.stream();
        if !self.speech.is_empty() {
            match stream.write(self.speech) {
                Ok(said) => self.speech = &self.speech[said..],
                Err(error) => self.only_waits(&error),
            }
        }
        if self.to_hear > 0 && self.rests_until <= Instant::now() {
            let most = if self.rest.is_zero() { buffer.len() } else { SIP };
            match stream.read(&mut buffer[..most]) {
                Ok(0) => panic!("the connection ended {}", self.so_far()),
                Ok(length) => {
                    if self.forgetful {
                        self.heard.clear();
                    }
                    self.heard.extend_from_slice(&buffer[..length]);
                    self.rests_until = Instant::now() + self.rest;
                    self.to_hear = self.to_hear.saturating_sub(length);
                }
                Err(error) => self.only_waits(&error),
            }
        }
    }

    #[track_caller]
    fn only_waits(&self, error: &io::Error) {
        let waits = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
        assert!(waits, "{error} {}", self.so_far());
    }

    fn so_far(&self) -> String {
        let Self { speech, heard, to_hear, .. } = self;
        let last = shown(heard.rsplit(|&byte| byte == b'\n').next().unwrap_or_default());
        let left = speech.len();
        format!("with {to_hear} bytes to be heard (the last, \"{last}\") and {left} to be said")
    }
}

/// How long a talk may take: much is said.
fn talk_limit() -> Duration {
    limit() * 2
}

/// Everybody says and hears at the same time, as fast as they can. Returns what each has heard:
/// as many bytes as expected, or a few more.
///
/// # Panics
/// When a connection ends, or the talk isn't over by the deadline.
#[track_caller]
#[must_use]
pub fn talk(mut parts: Vec<Part<'_>>) -> Vec<Vec<u8>> {
    let deadline = Instant::now() + talk_limit();
    let mut buffer = vec![0; 1 << 16];
    for part in &parts {
        part.user.stream().set_nonblocking(true).expect("fcntl");
    }
    loop {
        let busy: Vec<usize> = (0..parts.len()).filter(|&it| !parts[it].is_done()).collect();
        let fd = |&it: &usize| PollFd::new(parts[it].user.stream().as_fd(), parts[it].wants());
        let mut fds: Vec<PollFd<'_>> = busy.iter().map(fd).collect();
        let Some(&first) = busy.first() else {
            break;
        };
        if Instant::now() > deadline {
            report("timeout", &talk_limit().as_secs().to_string());
            let (who, so_far) = (busy.len(), parts[first].so_far());
            panic!("waited {:?} in vain for {who} users, one of them {so_far}", talk_limit());
        }
        let _ = poll(&mut fds, PollTimeout::from(5u8)); // somebody may have rested enough by then
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        for (place, _) in busy.into_iter().zip(ready).filter(|(_, ready)| *ready) {
            parts[place].advance(&mut buffer);
        }
    }
    for part in &parts {
        part.user.stream().set_nonblocking(false).expect("fcntl");
    }
    parts.into_iter().map(|part| part.heard).collect()
}

/// `count` lines of `length` bytes each, newline included, which begin with `who` and a number.
#[must_use]
pub fn speech(who: &str, count: usize, length: usize) -> Vec<u8> {
    let line = |number| format!("{:.<width$}\n", format!("{who} {number} "), width = length - 1);
    (0..count).flat_map(|number| line(number).into_bytes()).collect()
}
