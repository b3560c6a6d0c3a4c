//! The client: receives a file from a server that it doesn't trust.

use std::io;

use shared::cli::{GetArgs, received};
use shared::download::Download;
use shared::narrate::write_line;
use shared::progress::Progress;
use shared::protocol::Header;
use shared::splice::{COPIED, Pipe, Way};
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
    let show = |received| progress.show(received);
    let way = Pipe::new(size)?.recv_file(&mut server, download.file(), size, show)?;
    progress.finish();
    if way == Way::Copied && !args.quiet {
        write_line(COPIED);
    }
    received(&name, size, &download.land()?)
}
