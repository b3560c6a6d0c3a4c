//! What `strace -ff -ttt -T -yy` writes about a process, line by line.
//!
//! Interface: [`Record::parse`]. Times are microseconds since 1970, as `strace` saw them: a call
//! lasts from its entry to its return.

use super::descriptor::Descriptor;

/// A line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub pid: i32,
    pub begin: u64,
    pub end: u64,
    pub what: What,
}

/// What the line tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Call(Call),
    /// A signal was delivered, or stopped the process.
    Signal(String),
    /// The process has ended: `exited with 0`, `killed by SIGKILL`.
    End(String),
    /// Somebody outside the picture sent a signal: no line of `strace`, but what we did ourselves.
    Poke(String),
}

/// A system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    pub args: Vec<String>,
    /// What stands after the equals sign; empty if the call never returned.
    pub returned: String,
    /// The call as one line, without the times.
    pub line: String,
}

impl Record {
    /// A line such as `1795269851.961398 close(3</etc/passwd>) = 0 <0.000109>`.
    pub fn parse(pid: i32, line: &str) -> Option<Self> {
        let (time, rest) = line.split_once(' ')?;
        let begin = microseconds(time)?;
        let marked = |mark: &str| rest.strip_prefix(mark)?.strip_suffix(mark);
        if let Some(text) = marked("+++") {
            let end = What::End(text.trim().to_owned());
            return Some(Self { pid, begin, end: begin, what: end });
        }
        if let Some(text) = marked("---") {
            let name = text.split(' ').find(|word| word.starts_with("SIG"))?;
            let what = What::Signal(name.to_owned());
            return Some(Self { pid, begin, end: begin, what });
        }
        let (call, took) = match rest.rsplit_once(" <") {
            Some((call, took)) => (call, took.strip_suffix('>').and_then(microseconds)),
            None => (rest, None),
        };
        let call = Call::parse(if took.is_some() { call } else { rest })?;
        let end = begin + took.unwrap_or(if call.returned.is_empty() { u64::MAX / 2 } else { 0 });
        Some(Self { pid, begin, end, what: What::Call(call) })
    }

    /// Makes it what it was at this time: a call that hadn't returned yet.
    pub fn cut(&mut self, time: u64) {
        if let What::Call(call) = &mut self.what
            && self.end >= time
        {
            self.end = u64::MAX / 2;
            call.returned.clear();
            call.line = format!("{}({}, …", call.name, call.arg(0));
        }
    }

    /// The system call, if it is one.
    pub fn call(&self) -> Option<&Call> {
        match &self.what {
            What::Call(call) => Some(call),
            _ => None,
        }
    }
}

/// `1795269851.961398` in microseconds.
fn microseconds(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.')?;
    if fraction.len() != 6 {
        return None;
    }
    Some(seconds.parse::<u64>().ok()? * 1_000_000 + fraction.parse::<u64>().ok()?)
}

impl Call {
    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('(')?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            return None;
        }
        let (args, returned) = rest.rsplit_once(" = ")?;
        let args = args.trim_end().strip_suffix(')')?.trim_end();
        let args = args.strip_suffix("<unfinished ...>").unwrap_or(args);
        let args = args.trim_end().trim_end_matches(',');
        let returned = returned.trim();
        let returned = if returned.starts_with('?') { "" } else { returned };
        let line = match returned {
            "" => format!("{name}({args}) …"),
            _ => format!("{name}({args}) = {returned}"),
        };
        let args = split(args);
        Some(Self { name: name.to_owned(), args, returned: returned.to_owned(), line })
    }

    /// An argument; empty if there is none.
    pub fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }

    /// The descriptor that this argument is.
    pub fn descriptor(&self, index: usize) -> Option<Descriptor> {
        Descriptor::parse(self.arg(index))
    }

    /// The number it returned; `None` if it is none or the call never returned.
    pub fn result(&self) -> Option<i64> {
        let end = self.returned.find([' ', '<']).unwrap_or(self.returned.len());
        let number = &self.returned[..end];
        match number.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok().map(u64::cast_signed),
            None => number.parse().ok(),
        }
    }

    /// What it returned as a number of bytes; 0 for an error.
    pub fn bytes(&self) -> u64 {
        self.result().and_then(|result| u64::try_from(result).ok()).unwrap_or(0)
    }

    /// The error, such as `EPIPE`.
    pub fn error(&self) -> Option<&str> {
        self.returned.strip_prefix("-1 ")?.split(' ').next()
    }
}

/// The arguments of a call, which may hold brackets with commas of their own.
pub fn split(args: &str) -> Vec<String> {
    let (mut parts, mut part, mut depth) = (Vec::new(), String::new(), 0_i32);
    let (mut quoted, mut escaped, mut before) = (false, false, ' ');
    for char in args.chars() {
        let is_text = quoted;
        match char {
            '"' if !escaped => quoted = !quoted,
            _ if is_text => {}
            '(' | '[' | '{' => depth += 1,
            '<' if before.is_ascii_alphanumeric() => depth += 1,
            '>' if before == '-' => {} // the arrow in `TCP:[here->there]`
            ')' | ']' | '}' | '>' => depth -= 1,
            _ => {}
        }
        escaped = quoted && char == '\\' && !escaped;
        before = char;
        if char == ',' && depth == 0 && !quoted {
            parts.push(std::mem::take(&mut part).trim().to_owned());
        } else {
            part.push(char);
        }
    }
    if !part.trim().is_empty() {
        parts.push(part.trim().to_owned());
    }
    parts
}
