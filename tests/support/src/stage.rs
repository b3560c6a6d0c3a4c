//! A stage that transfers files (04 to 08): its server, its client, what can be said of both.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fake_server::FakeServer;
use crate::files::{Comparison, Landing, same_bytes};
use crate::habits::fails_with_one_line;
use crate::proc;
use crate::process::{Finished, Process};
use crate::server::Server;
use crate::wait::{LIMIT, wait_for};
use crate::wire::{Format, RawClient, Transfer};

/// The name that our fake servers send, where any will do.
pub const NAME: &str = "file.bin";

/// The binary of a stage and the language it speaks.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// `env!("CARGO_BIN_EXE_step04-file-transfer")`.
    pub bin: &'static str,
    /// How it puts a file on the wire.
    pub format: Format,
}

impl Stage {
    /// Starts the server, which is to send `file`.
    #[track_caller]
    #[must_use]
    pub fn serve(self, file: &Path, args: &[&str]) -> Server {
        Server::start(self.bin, &[&["--file", text(file)], args].concat())
    }

    /// Connects a client of ours to a server of this stage.
    #[track_caller]
    #[must_use]
    pub fn connect(self, address: SocketAddr) -> RawClient {
        RawClient::connect(address, self.format)
    }

    /// A client of ours gets exactly what `file` holds.
    #[track_caller]
    pub fn assert_serves(self, server: &Server, file: &Path) -> Transfer {
        let mut client = self.connect(server.addr());
        let header = client.header();
        let mut comparison = Comparison::with(file);
        let transfer = client.rest(header, |piece| comparison.piece(piece));
        comparison.end();
        transfer.expect("a whole transfer")
    }

    /// Runs `get` to its end.
    #[track_caller]
    #[must_use]
    pub fn get(self, port: u16, out: &Path, args: &[&str]) -> Finished {
        self.start_get(port, out, args).finish()
    }

    /// Starts `get`.
    #[track_caller]
    #[must_use]
    pub fn start_get(self, port: u16, out: &Path, args: &[&str]) -> Client {
        let mut command = Command::new(self.bin);
        command.args(get_args(&port.to_string(), out, args));
        Client(Process::start(&mut command))
    }

    /// `get` ends well: it has put what `file` holds into `out`, and says so.
    #[track_caller]
    pub fn assert_gets(self, port: u16, file: &Path, out: &Path) -> Finished {
        let finished = self.get(port, out, &[]);
        assert_received(&finished, file, out);
        finished
    }

    /// `get` fails, with exit status 1 and one line of error, which is returned without its
    /// `error: `.
    #[track_caller]
    #[must_use]
    pub fn get_fails(self, port: u16, out: &Path, args: &[&str]) -> String {
        fails_with_one_line(self.bin, &get_args(&port.to_string(), out, args))
    }

    /// The same for a server that can't be trusted: where an old file [`NAME`] is, it is still
    /// there, and nothing else.
    #[track_caller]
    #[must_use]
    pub fn refuses(self, server: &FakeServer, args: &[&str]) -> String {
        let landing = Landing::with_old(NAME);
        let error = self.get_fails(server.port(), landing.path(), args);
        landing.assert_untouched();
        error
    }
}

fn get_args<'a>(port: &'a str, out: &'a Path, args: &[&'a str]) -> Vec<&'a str> {
    [&["get", "--port", port, "--out", text(out)], args].concat()
}

/// `get` has put what `file` holds into `out`, and says so in one line.
#[track_caller]
pub fn assert_received(finished: &Finished, file: &Path, out: &Path) {
    let name = file.file_name().expect("the file has a name");
    let size = fs::metadata(file).expect("the file exists").len();
    let path = out.join(name);
    let name = name.display();
    let expected = format!("received {name} ({size} bytes) -> {}\n", path.display());
    assert_eq!(finished.status.code(), Some(0), "{finished:#?}");
    assert_eq!(finished.stdout, expected, "{finished:#?}");
    same_bytes(file, &path);
}

/// A path as an argument.
#[must_use]
pub fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// A running `get`. Nothing of it outlives this value.
pub struct Client(Process);

impl Client {
    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.0.pid()
    }

    /// Waits until it has put something into a file in `out`: it is in the middle of a transfer.
    #[track_caller]
    pub fn wait_writing(&self, out: &Path) {
        let out = out.canonicalize().expect("the directory exists");
        wait_for("get to write the first bytes", LIMIT, || {
            proc::fds(self.pid()).iter().any(|(fd, target)| {
                let file = fs::metadata(format!("/proc/{}/fd/{fd}", self.pid()));
                Path::new(target).starts_with(&out) && file.is_ok_and(|it| it.len() > 0)
            })
        });
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("kill");
    }

    /// Waits for its end.
    #[track_caller]
    #[must_use]
    pub fn finish(mut self) -> Finished {
        self.0.finish()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.kill_family();
    }
}
