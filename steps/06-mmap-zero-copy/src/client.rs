//! The client: receives a file from a server that it doesn't trust.

use std::io;

use shared::cli::{GetArgs, received};
use shared::download::Download;
use shared::mapped;
use shared::progress::Progress;
use shared::protocol::Header;
use shared::tcp;
use shared::transfer::Connection;

/// Downloads the file. After a failure, the directory is as it was before.
pub fn get(args: &GetArgs) -> io::Result<()> {
    let stall_timeout = args.stall.duration();
    let socket = tcp::connect(&args.address.host, args.address.port, stall_timeout)?;
    let mut server = Connection::new(socket, stall_timeout)?;
    let Header { size, name } = Header::recv(&mut server)?;
    let download = Download::create(&args.out, &name)?;
    let mut progress = Progress::new(size, args.quiet);
    // LAB 06.get: reserve the room, then receive into mappings, showing the progress
    mapped::reserve(download.file(), size)?;
    mapped::recv_file(&mut server, download.file(), size, |received| progress.show(received))?;
    // END 06.get
    progress.finish();
    received(&name, size, &download.land()?)
}
