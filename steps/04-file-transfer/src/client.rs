//! The client: receives a file from a server that it doesn't trust.

use std::io::{self, IoSlice};

use shared::chunks::Chunks;
use shared::cli::{GetArgs, received};
use shared::download::Download;
use shared::error::Context;
use shared::protocol::{self, ProtocolError};
use shared::tcp;
use shared::transfer::{Connection, write_all_vectored};

/// How much is received at once, in bytes: some thirty chunks, and the rest of one.
const BUFFER: usize = 256 << 10;

/// Downloads the file. After a failure, the directory is as it was before.
pub fn get(args: &GetArgs) -> io::Result<()> {
    let stall_timeout = args.stall.duration();
    let socket = tcp::connect(&args.address.host, args.address.port, stall_timeout)?;
    let mut server = Connection::new(socket, stall_timeout)?;
    let name = protocol::recv_name(&mut server)?;
    let download = Download::create(&args.out, &name)?;
    let size = recv_chunks(&mut server, &download)?;
    received(&name, size, &download.land()?)
}

/// Receives chunks until the end mark. Returns how many bytes of the file there were.
fn recv_chunks(server: &mut Connection, download: &Download) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut chunks = Chunks::default();
    let mut size = 0;
    while !chunks.ended() {
        let length = server.recv_some(&mut buffer)?;
        if length == 0 {
            return Err(ProtocolError::NoEnd(size).into());
        }
        let mut input = &buffer[..length];
        let mut pieces = Vec::new();
        while let Some(piece) = chunks.next(&mut input)? {
            size += piece.len() as u64;
            pieces.push(IoSlice::new(piece));
        }
        write_all_vectored(download.file(), &mut pieces).context("write the file")?;
    }
    Ok(size)
}
