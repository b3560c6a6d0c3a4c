//! The client: prints what the server sends until it hangs up.

use std::io::{self, Write};

use shared::cli::Address;
use shared::error::Context;
use shared::tcp;
use shared::transfer::Connection;

/// Prints the server's table of workers.
pub fn status(address: &Address) -> io::Result<()> {
    let socket = tcp::connect(&address.host, address.port, address.patience())?;
    let mut server = Connection::new(socket, address.patience())?;
    let mut buffer = [0; 4096];
    let mut last = None;
    let mut out = io::stdout().lock();
    loop {
        let length = server.recv_some(&mut buffer)?;
        if length == 0 {
            break;
        }
        last = Some(buffer[length - 1]);
        out.write_all(&buffer[..length]).context("write standard output")?;
    }
    out.flush().context("write standard output")?;
    if last != Some(b'\n') {
        let text = "connection closed before the end of the table";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
    }
    Ok(())
}
