//! The client: asks for a program and prints what it prints.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;

use shared::cli::RunArgs;
use shared::error::Context;
use shared::tcp;

/// How the server's own word begins, where no program was run.
const REFUSAL: &[u8] = b"error: ";

/// Sends the name and copies the answer to standard output.
pub fn run(args: &RunArgs) -> io::Result<()> {
    let patience = args.stall.duration();
    let mut server =
        TcpStream::from(tcp::connect(&args.address.host, args.address.port, patience)?);
    server.set_read_timeout(Some(patience)).context("setsockopt timeout")?;
    server.write_all(&[args.name.as_bytes(), b"\r\n"].concat()).context("send")?;
    let mut buffer = [0; 8192];
    let mut out = io::stdout().lock();
    let (mut begin, mut lines) = (Vec::new(), 0);
    loop {
        let answer = match server.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => &buffer[..length],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let text = format!("no data for {} s", patience.as_secs());
                return Err(io::Error::new(ErrorKind::TimedOut, text));
            }
            Err(error) => return Err(error).context("recv"),
        };
        out.write_all(answer).and_then(|()| out.flush()).context("write standard output")?;
        begin.extend(answer.iter().take(REFUSAL.len() - begin.len().min(REFUSAL.len())));
        lines += answer.iter().filter(|&&byte| byte == b'\n').count();
    }
    match &begin[..] {
        [] => Err(io::Error::new(ErrorKind::UnexpectedEof, "connection closed without an answer")),
        REFUSAL if lines == 1 => Err(io::Error::other("the server ran no program")),
        _ => Ok(()),
    }
}
