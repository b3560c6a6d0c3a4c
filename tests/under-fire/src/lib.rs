//! All stages, for tests that put the same trouble to each of them.
//!
//! The tests of a stage judge one program, also a student's. Here are the tests of what a whole
//! class does to our servers: system calls that fail, clients that misbehave, disks that are full.
//! What each stage has to give in any case is [`Stage::assert_serves`]: its service, in full.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that fails must fail the test that called it"
)]

pub mod fault;
pub mod halfway;
pub mod oracle;
pub mod scene;
pub mod soak;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use support::files;
use support::line::LineClient;
use support::server::{Finished, Server, run};
use support::stage;
use support::wire::Format;
use tempfile::TempDir;

/// What a stage does for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Sends the table of its workers and hangs up (01).
    Table,
    /// Answers lines (02 and 03).
    Echo,
    /// Sends a file (04 to 08).
    File(Format),
    /// Runs programs (09).
    Programs,
    /// Sends every line to everyone else (10 and 11).
    Chat,
}

/// A stage and its program.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// `step03-sendfd`, also the name of the program.
    pub name: &'static str,
    /// What it does for a client.
    pub service: Service,
}

/// The stages that are a pool under a parent which accepts, in order.
pub const STAGES: [Stage; 8] = [
    Stage { name: "step01-fork-sleep", service: Service::Table },
    Stage { name: "step02-socketpair-echo", service: Service::Echo },
    Stage { name: "step03-sendfd", service: Service::Echo },
    Stage { name: "step04-file-transfer", service: Service::File(Format::Chunks) },
    Stage { name: "step05-progress", service: Service::File(Format::SizeAndChunks) },
    Stage { name: "step06-mmap-zero-copy", service: Service::File(Format::Header) },
    Stage { name: "step07-splice", service: Service::File(Format::Header) },
    Stage { name: "step08-graceful-exit", service: Service::File(Format::Header) },
];

/// The stages that are built in another way, so that what is put to all of [`STAGES`] doesn't fit
/// them: they have tests of their own.
pub const OTHERS: [Stage; 3] = [
    Stage { name: "step09-accept-in-worker", service: Service::Programs },
    Stage { name: CHATS[0], service: Service::Chat },
    Stage { name: CHATS[1], service: Service::Chat },
];

/// The programs of the stages that are a chat.
pub const CHATS: [&str; 2] = ["step10-chat-poll", "step11-chat-shared-memory"];

impl Stage {
    /// Its number, from 1.
    #[must_use]
    pub fn number(self) -> usize {
        self.name["step".len()..][..2].parse().expect("a name begins with step and two digits")
    }

    /// Its program, built if need be, beside this test.
    #[must_use]
    pub fn bin(self) -> &'static str {
        program(self.name)
    }

    /// As the helpers for transfers want it; `None` for a stage that sends no file.
    #[must_use]
    pub fn of_files(self) -> Option<stage::Stage> {
        match self.service {
            Service::File(format) => Some(stage::Stage { built: self.bin(), format }),
            _ => None,
        }
    }

    /// Starts a server on a free port. Those that send a file send `file`; the one that runs
    /// programs has them in this directory.
    #[track_caller]
    #[must_use]
    pub fn serve(self, file: &Path, args: &[&str]) -> Server {
        Server::start(self.bin(), &self.serve_args(file, args))
    }

    /// The arguments of its server, with `--file` or `--cgi-dir` where there is one.
    #[must_use]
    pub fn serve_args<'a>(self, file: &'a Path, args: &[&'a str]) -> Vec<&'a str> {
        match self.service {
            Service::File(_) => [&["--file", stage::text(file)], args].concat(),
            Service::Programs => [&["--cgi-dir", stage::text(file)], args].concat(),
            Service::Table | Service::Echo | Service::Chat => args.to_vec(),
        }
    }

    /// The subcommand of its client, with arguments that make it say or fetch something.
    #[must_use]
    pub fn client_args<'a>(self, port: &'a str, out: &'a Path) -> Vec<&'a str> {
        match self.service {
            Service::Table => vec!["status", "--port", port],
            Service::Echo => vec!["echo", "--port", port, "hello"],
            Service::File(_) => vec!["get", "--port", port, "--out", stage::text(out)],
            Service::Programs => vec!["run", "--port", port, "hello"],
            Service::Chat => vec!["join", "--port", port],
        }
    }

    /// Runs its own client against `server` to its end.
    #[track_caller]
    #[must_use]
    pub fn run_client(self, server: &Server, out: &Path) -> Finished {
        run(self.bin(), &self.client_args(&server.port().to_string(), out))
    }

    /// A client of ours gets all that the stage has to give, right in every byte.
    #[track_caller]
    pub fn assert_serves(self, server: &Server, file: &Path) {
        match self.service {
            Service::Table => {
                let table = LineClient::connect(server.addr()).read_to_end();
                let table = String::from_utf8(table).expect("the table is text");
                assert!(
                    table.starts_with("worker 0 pid ") && table.ends_with('\n'),
                    "the table: {table:?}"
                );
            }
            Service::Echo => {
                let mut client = LineClient::connect(server.addr());
                client.ask("under fire");
                client.half_close();
                client.expect_end();
            }
            Service::File(format) => {
                let stage = stage::Stage { built: self.bin(), format };
                stage.assert_serves(server, file);
            }
            Service::Programs | Service::Chat => panic!("{} has tests of its own", self.name),
        }
    }
}

/// A file to serve, in a directory of its own, both gone afterwards.
#[derive(Debug)]
pub struct Sample {
    dir: TempDir,
    file: PathBuf,
}

impl Sample {
    /// A file of `size` bytes, no two parts of which are alike.
    #[must_use]
    pub fn of(size: usize) -> Self {
        Self::made_by(|dir| files::sample(dir, size))
    }

    /// A file that `make` makes in the directory it is given, in memory where there is plenty.
    #[must_use]
    pub fn made_by(make: impl FnOnce(&Path) -> PathBuf) -> Self {
        const PLENTY: u64 = 4 << 30; // all stages have their files at the same time
        let mut dir = files::directory_in_memory();
        if files::room(dir.path()) < PLENTY {
            dir = TempDir::new().expect("a temporary directory");
        }
        let file = make(dir.path());
        Self { dir, file }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// A new directory beside it, to receive something in.
    #[must_use]
    pub fn out(&self, name: &str) -> PathBuf {
        let out = self.dir.path().join(name);
        std::fs::create_dir_all(&out).expect("a directory");
        out
    }
}

/// The program of this name, built if need be, beside this test.
#[must_use]
pub fn program(name: &str) -> &'static str {
    let program = programs().join(name);
    let program = program.into_os_string().into_string().expect("a path in UTF-8");
    Box::leak(program.into_boxed_str())
}

/// Where cargo puts the programs. They are none of this package, so cargo need not have built them.
fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let test = env::current_exe().expect("this program"); // target/debug/deps/faults-0123
        let mut target = test.parent().expect("it is in a directory");
        if target.ends_with("deps") {
            target = target.parent().expect("deps is in a directory");
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--workspace", "--bins", "--manifest-path"]);
        cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"));
        if target.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo runs").success(), "the programs can't be built");
        target.to_owned()
    })
}
