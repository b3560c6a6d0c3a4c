//! A stage that transfers files (04 to 08): its server, its client, what can be said of both.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fake_server::FakeServer;
use crate::files::{Comparison, Landing, same_bytes};
use crate::grading::program;
use crate::habits::fails_with_one_line;
use crate::proc;
use crate::process::{Finished, Process};
use crate::receiving::assert_failed;
use crate::server::Server;
use crate::wait::{limit, poll_until, wait_for};
use crate::wire::{Format, RawClient, Transfer, whole};

/// The name that our fake servers send, where any will do.
pub const NAME: &str = "file.bin";

/// The binary of a stage and the language it speaks.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// `env!("CARGO_BIN_EXE_step04-file-transfer")`: what cargo built beside the test.
    pub built: &'static str,
    /// How it puts a file on the wire.
    pub format: Format,
}

impl Stage {
    /// The binary that is judged.
    #[must_use]
    pub fn bin(self) -> &'static str {
        program(self.built)
    }

    /// Starts the server, which is to send `file`.
    #[track_caller]
    #[must_use]
    pub fn serve(self, file: &Path, args: &[&str]) -> Server {
        Server::start(self.bin(), &[&["--file", text(file)], args].concat())
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
        assert_gets_the_rest(self.connect(server.addr()), file)
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
        let mut command = Command::new(self.bin());
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
        fails_with_one_line(self.bin(), &get_args(&port.to_string(), out, args))
    }

    /// The same for a server that can't be trusted: where an old file [`NAME`] is, it is still
    /// there, and nothing else.
    #[track_caller]
    #[must_use]
    pub fn refuses(self, server: &FakeServer, args: &[&str]) -> String {
        let landing = Landing::with_old(NAME);
        let error = assert_failed(&self.get(server.port(), landing.path(), args));
        landing.assert_untouched();
        error
    }
}

pub(crate) fn get_args<'a>(port: &'a str, out: &'a Path, args: &[&'a str]) -> Vec<&'a str> {
    [&["get", "--port", port, "--out", text(out)], args].concat()
}

/// A client, maybe in the middle of a transfer, gets the rest, which is what `file` holds.
#[track_caller]
pub fn assert_gets_the_rest(mut client: RawClient, file: &Path) -> Transfer {
    let mut comparison = Comparison::with(file);
    let header = client.header();
    let transfer = whole(client.rest(header, |piece| comparison.piece(piece)));
    comparison.end();
    transfer
}

/// `get` has put what `file` holds into `out`, and says so in one line.
#[track_caller]
pub fn assert_received(finished: &Finished, file: &Path, out: &Path) {
    let name = file.file_name().expect("the file has a name");
    let size = fs::metadata(file).expect("the file exists").len();
    let path = out.join(name);
    let name = name.display();
    assert!(finished.status.success(), "get of {name} failed: {finished:#?}");
    let expected = format!("received {name} ({size} bytes) -> {}\n", path.display());
    let said = &finished.stdout;
    assert!(*said == expected, "get said\n  {said}instead of\n  {expected}");
    assert!(finished.left_running.is_empty(), "get left somebody behind: {finished:#?}");
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
        wait_for("get to write the first bytes", limit(), || {
            assert!(proc::alive(self.pid()), "get ended before it had written a byte");
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
    pub fn finish(self) -> Finished {
        self.finish_within(limit())
    }

    /// Waits for its end, but not for long; says whether it has come.
    #[must_use]
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        poll_until(limit, || self.0.ended()).is_some()
    }

    /// The same as [`Client::finish`] for a transfer that takes its time.
    #[track_caller]
    #[must_use]
    pub fn finish_within(mut self, limit: Duration) -> Finished {
        self.0.finish_within(limit)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.kill_family();
    }
}
