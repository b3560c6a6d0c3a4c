//! A client that talks in lines (stages 01 to 03).
//!
//! Every wait ends at the deadline with a message that says what was waited for, and what came
//! instead.

use std::fmt;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use crate::grading::report;
use crate::server::Server;
use crate::tcp::read_some;
use crate::wait::limit;

/// What a worker answers to a line: `PROCESS[PID 1234]: HELLO`.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The pid it names.
    pub pid: i32,
    /// What follows the blank after the colon, without the newline.
    pub text: Vec<u8>,
}

impl Answer {
    /// Reads a line in the form of an answer; `None` if it has another form.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"PROCESS[PID ")?;
        let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let pid = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        let text = rest[digits..].strip_prefix(b"]: ")?.to_vec();
        Some(Self { pid, text })
    }
}

impl fmt::Debug for Answer {
    /// As it was on the wire.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PROCESS[PID {}]: {}", self.pid, shown(&self.text))
    }
}

/// Bytes for a message: what isn't plain text is escaped, what is long is cut.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 120;
    let start = bytes[..bytes.len().min(LONGEST)].escape_ascii();
    match bytes.len() {
        0..=LONGEST => start.to_string(),
        length => format!("{start}… ({length} bytes)"),
    }
}

/// The same bytes? If not, the message shows both from where they differ.
///
/// # Panics
/// When they differ.
#[track_caller]
pub fn assert_bytes(what: &str, actual: &[u8], expected: &[u8]) {
    let same = actual.iter().zip(expected).take_while(|(a, b)| a == b).count();
    if actual != expected {
        // A few bytes that are right show where one is.
        let from = if same < 40 { 0 } else { same - 20 };
        let cut = if from == 0 { String::new() } else { format!(", from byte {from} on") };
        let (came, wanted) = (shown(&actual[from..]), shown(&expected[from..]));
        assert!(came == wanted, "{what}{cut}: \"{came}\" instead of \"{wanted}\"");
        panic!("{what}: {} bytes instead of {}", actual.len(), expected.len());
    }
}

/// A connection to a server.
pub struct LineClient {
    stream: TcpStream,
    received: Vec<u8>,
    /// How many lines were taken out of `received`.
    lines: usize,
}

impl LineClient {
    /// Connects to a server.
    ///
    /// # Panics
    /// When nobody takes the connection.
    #[track_caller]
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        match TcpStream::connect_timeout(&address, limit()) {
            Ok(stream) => Self::new(stream),
            Err(error) => panic!("a client can't connect to {address}: {error}"),
        }
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(limit())).unwrap();
        Self { stream, received: Vec::new(), lines: 0 }
    }

    /// The connection itself, for what this client can't do.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are, without adding a newline.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        if let Err(error) = self.stream.write_all(bytes) {
            panic!("{} while {} bytes were sent", in_words(&error), bytes.len());
        }
    }

    /// Sends bytes until all are sent, or nobody takes any more for `patience`. Returns how many
    /// were taken.
    #[track_caller]
    pub fn send_what_fits(&mut self, bytes: &[u8], patience: Duration) -> usize {
        self.stream.set_write_timeout(Some(patience)).unwrap();
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(length) => sent += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => break,
                Err(error) => panic!("{} after {sent} bytes were sent", in_words(&error)),
            }
        }
        self.stream.set_write_timeout(Some(limit())).unwrap();
        sent
    }

    /// Sends bytes until all are sent, or the buffers between here and `server` are full: nothing
    /// fits, and the server has nothing to do. One that a busy machine doesn't let run may take
    /// nothing for a while as well, and isn't full. Returns how many were taken.
    #[track_caller]
    pub fn send_until_full(&mut self, bytes: &[u8], server: &Server) -> usize {
        const MOMENT: Duration = Duration::from_millis(300);
        let mut sent = 0;
        let mut deadline = Instant::now() + limit();
        loop {
            let more = self.send_what_fits(&bytes[sent..], MOMENT);
            sent += more;
            if more > 0 {
                deadline = Instant::now() + limit();
            }
            if sent == bytes.len() || server.stands_still() || Instant::now() >= deadline {
                return sent;
            }
        }
    }

    /// The next line, without its newline.
    ///
    /// # Panics
    /// When the connection ends before it is complete, or at the deadline.
    #[track_caller]
    pub fn read_line(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + limit();
        let mut searched = 0;
        loop {
            let newline = self.received[searched..].iter().position(|&byte| byte == b'\n');
            if let Some(offset) = newline {
                let rest = self.received.split_off(searched + offset + 1);
                let mut line = std::mem::replace(&mut self.received, rest);
                line.pop();
                self.lines += 1;
                return line;
            }
            searched = self.received.len();
            match self.receive(deadline) {
                Ok(0) => panic!("the connection ended {}", self.instead_of("a line")),
                Ok(_) => {}
                Err(error) => self.give_up(&error, "a line"),
            }
        }
    }

    /// The next line, which has to be an answer: `PROCESS[PID 1234]: HELLO`.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let line = self.read_line();
        match Answer::parse(&line) {
            Some(answer) => answer,
            None => panic!("a line that is no answer `PROCESS[PID n]: …` came: {}", shown(&line)),
        }
    }

    /// The next line, which has to be an answer with this text. Returns the pid it names.
    #[track_caller]
    pub fn expect(&mut self, text: impl AsRef<[u8]>) -> i32 {
        let answer = self.answer();
        assert_bytes("the text of the answer", &answer.text, text.as_ref());
        answer.pid
    }

    /// Sends a line (the newline is added), whose answer has to be the line in capitals. Returns
    /// the pid that answered.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> i32 {
        self.send(format!("{line}\n"));
        self.expect(line.to_ascii_uppercase())
    }

    /// Says that nothing more will be sent. Answers can still be read.
    #[track_caller]
    pub fn half_close(&mut self) {
        match self.stream.shutdown(Shutdown::Write) {
            // A server that has left already: whoever reads will find out.
            Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                panic!("shutdown: {error}")
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Everything up to the end of the connection.
    ///
    /// # Panics
    /// When the end hasn't come by the deadline, or comes with a reset.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + limit();
        loop {
            match self.receive(deadline) {
                Ok(0) => return std::mem::take(&mut self.received),
                Ok(_) => {}
                Err(error) => self.give_up(&error, "the end of the connection"),
            }
        }
    }

    /// The connection ends here, in good order, and nothing comes before its end.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let rest = self.read_to_end();
        assert!(rest.is_empty(), "{} came before the end of the connection", shown(&rest));
    }

    /// The server's end of the connection goes, orderly or by a reset, and nothing comes before.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let rest = self.wait_closed();
        assert!(rest.is_empty(), "{} came before the end of the connection", shown(&rest));
    }

    /// Waits until the server's end of the connection is gone, orderly or by a reset. Returns
    /// what came before.
    #[track_caller]
    pub fn wait_closed(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + limit();
        loop {
            match self.receive(deadline) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => self.give_up(&error, "the end of the connection"),
            }
        }
        std::mem::take(&mut self.received)
    }

    /// Listens for `window` and panics if anything comes, the end included.
    #[track_caller]
    pub fn expect_silence(&mut self, window: Duration) {
        assert!(self.received.is_empty(), "something came {}", self.instead_of("silence"));
        match self.receive(Instant::now() + window) {
            Ok(0) => panic!("the connection ended instead of silence"),
            Ok(_) => panic!("something came {}", self.instead_of("silence")),
            Err(error) if is_timeout(&error) => {}
            Err(error) => panic!("{} instead of silence", in_words(&error)),
        }
    }

    /// Hangs up the hard way: the peer gets a reset (`SO_LINGER` of 0 seconds, `socket(7)`).
    #[track_caller]
    pub fn reset(self) {
        let at_once = linger { l_onoff: 1, l_linger: 0 };
        if let Err(error) = setsockopt(&self.stream, sockopt::Linger, &at_once) {
            panic!("setsockopt SO_LINGER: {error}");
        }
    }

    /// Receives once, at least a byte unless it returns 0 for the end.
    fn receive(&mut self, deadline: Instant) -> io::Result<usize> {
        let mut buffer = [0; 65536];
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        self.stream.set_read_timeout(Some(left))?;
        let length = read_some(&mut self.stream, &mut buffer)?;
        self.received.extend_from_slice(&buffer[..length]);
        Ok(length)
    }

    #[track_caller]
    fn give_up(&self, error: &io::Error, wanted: &str) -> ! {
        if is_timeout(error) {
            report("timeout", &limit().as_secs().to_string());
            let came = self.came();
            panic!("waited {:?} in vain for {wanted} from the server; {came}", limit());
        }
        panic!("{} {}", in_words(error), self.instead_of(wanted));
    }

    fn instead_of(&self, wanted: &str) -> String {
        format!("instead of {wanted}; {}", self.came())
    }

    fn came(&self) -> String {
        match (&self.received[..], self.lines) {
            ([], 0) => "nothing had come".to_owned(),
            ([], 1) => "nothing had come after the first line".to_owned(),
            ([], lines) => format!("nothing had come after {lines} lines"),
            (received, _) => format!("what had come: {}", shown(received)),
        }
    }
}

/// What became of the connection.
fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset => "the connection was reset".to_owned(),
        io::ErrorKind::BrokenPipe => "the server had closed the connection".to_owned(),
        _ if is_timeout(error) => format!("nobody took any more for {:?}", limit()),
        _ => error.to_string(),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::{Answer, assert_bytes, shown};

    #[test]
    fn an_answer_is_a_pid_and_a_text() {
        let answer = Answer::parse(b"PROCESS[PID 42]: A]: B").unwrap();
        assert_eq!((answer.pid, &answer.text[..]), (42, &b"A]: B"[..]));
        assert_eq!(Answer::parse(b"PROCESS[PID 42]: ").unwrap().text, b"");
    }

    #[test]
    fn what_only_looks_like_an_answer_is_none() {
        let lines = ["", "HELLO", "PROCESS[PID ]: A", "PROCESS[PID 42]:A", "process[pid 42]: A"];
        for line in lines {
            assert_eq!(Answer::parse(line.as_bytes()), None, "{line:?}");
        }
    }
    #[test]
    fn bytes_are_shown_as_text_and_not_at_any_length() {
        assert_eq!(shown(b"a\xffb\n"), "a\\xffb\\n");
        let long = shown(&[b'a'; 8192]);
        assert!(long.ends_with("a… (8192 bytes)") && long.len() < 200, "{long}");
    }

    #[test]
    #[should_panic(expected = "the line, from byte 80 on")]
    fn a_difference_is_shown_where_it_is() {
        let (right, mut wrong) = ([b'a'; 200], [b'a'; 200]);
        wrong[100] = b'b';
        assert_bytes("the line", &wrong, &right);
    }
}
