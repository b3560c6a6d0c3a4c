//! The stage runs itself.
use std::io;
pub fn run() -> io::Result<()> {
    Ok(())
}
