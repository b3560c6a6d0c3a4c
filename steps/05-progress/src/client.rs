//! The client: receives a file from a server that it doesn't trust.

use std::io::{self, IoSlice};

use shared::chunks::Chunks;
use shared::cli::{GetArgs, received};
use shared::download::Download;
use shared::error::Context;
use shared::progress::Progress;
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
    let size = protocol::recv_size(&mut server)?;
    let download = Download::create(&args.out, &name)?;
    let mut progress = Progress::new(size, args.quiet);
    recv_chunks(&mut server, &download, size, &mut progress)?;
    progress.finish();
    received(&name, size, &download.land()?)
}

/// Receives chunks until the end mark, `size` bytes of the file in all.
fn recv_chunks(
    server: &mut Connection,
    download: &Download,
    size: u64,
    progress: &mut Progress,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut chunks = Chunks::default();
    let mut received = 0;
    while !chunks.ended() {
        let length = server.recv_some(&mut buffer)?;
        if length == 0 {
            return Err(ProtocolError::Closed(received, size).into());
        }
        let mut input = &buffer[..length];
        let mut pieces = Vec::new();
        while let Some(piece) = chunks.next(&mut input)? {
            received += piece.len() as u64;
            pieces.push(IoSlice::new(piece));
        }
        // LAB 05.total: refuse more bytes than announced, and the end mark before all of them
        if received > size || (chunks.ended() && received < size) {
            return Err(ProtocolError::WrongSize(received, size).into());
        }
        // END 05.total
        write_all_vectored(download.file(), &mut pieces).context("write the file")?;
        progress.show(received);
    }
    Ok(())
}
