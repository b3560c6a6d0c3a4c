//! `get` of stages 04 to 07, in this process, against a server that sends the input. (That of 08
//! is the same as that of 07.)
//!
//! The first byte of an input names the stage, the second how many bytes go into a packet; the
//! rest is what the server sends.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use clap::Parser;
use nix::sys::resource::{Resource, setrlimit};
use shared::cli::GetArgs;
use support::files::directory_in_memory;
use support::wire::Format;
use tempfile::TempDir;
use under_fire::oracle::{self, Sent};

#[path = "../../../steps/04-file-transfer/src/client.rs"]
mod client04;
#[path = "../../../steps/05-progress/src/client.rs"]
mod client05;
#[path = "../../../steps/06-mmap-zero-copy/src/client.rs"]
mod client06;
#[path = "../../../steps/07-splice/src/client.rs"]
mod client07;

type Get = fn(&GetArgs) -> std::io::Result<()>;

const CLIENTS: [(Get, Format); 4] = [
    (client04::get, Format::Chunks),
    (client05::get, Format::SizeAndChunks),
    (client06::get, Format::Header),
    (client07::get, Format::Header),
];

/// The arguments as they come from a command line.
#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    get: GetArgs,
}

/// What is the same for all inputs.
struct Stand {
    /// What the next client is sent, and in packets of which length.
    next: Sender<(Vec<u8>, usize)>,
    args: GetArgs,
    base: TempDir,
}

/// Downloads what the input says, and compares with what had to come.
pub fn get(input: &[u8]) {
    let [stage, cut, stream @ ..] = input else { return };
    let (get, format) = CLIENTS[usize::from(*stage) % CLIENTS.len()];
    let cut = if *cut == 0 { stream.len().max(1) } else { usize::from(*cut) };
    let stand = stand();
    stand.next.send((stream.to_vec(), cut)).unwrap();
    let result = get(&stand.args);
    match (result, oracle::file_in(format, stream)) {
        (Ok(()), Some(Sent { name, contents })) => {
            assert_eq!(entries(&stand.args.out), [name]);
            let file = fs::read_dir(&stand.args.out).unwrap().next().unwrap().unwrap().path();
            assert_eq!(fs::read(&file).unwrap(), contents);
            fs::remove_file(file).unwrap();
        }
        (Err(error), None) => {
            let text = error.to_string();
            assert!(!text.contains(char::is_control), "{text:?}");
            assert!(entries(&stand.args.out).is_empty(), "left after {text}");
        }
        (result, expected) => panic!("{result:?}, and a right stream: {}", expected.is_some()),
    }
    assert_eq!(entries(stand.base.path()), [b"out"]);
}

fn entries(dir: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().as_bytes().to_vec()).collect()
}

#[expect(clippy::disallowed_methods, reason = "a test has to be client and server at once")]
fn stand() -> &'static Stand {
    static STAND: OnceLock<Stand> = OnceLock::new();
    STAND.get_or_init(|| {
        const MIB: u64 = 1 << 20;
        // What a stranger announces is to fail as on a small disk, not to fill this one.
        setrlimit(Resource::RLIMIT_FSIZE, 16 * MIB, 16 * MIB).unwrap();
        let base = directory_in_memory();
        let out = base.path().join("out");
        fs::create_dir(&out).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let (next, inputs) = channel::<(Vec<u8>, usize)>();
        thread::spawn(move || {
            for (stream, cut) in inputs {
                let (client, _) = listener.accept().unwrap();
                send(client, &stream, cut);
            }
        });
        let args = ["get", "--quiet", "--port", &port, "--out", out.to_str().unwrap()];
        Stand { next, args: Cli::parse_from(args).get, base }
    })
}

/// The client may leave as soon as it has heard enough.
fn send(mut client: TcpStream, stream: &[u8], cut: usize) {
    client.set_nodelay(true).unwrap();
    let _ = stream.chunks(cut).try_for_each(|piece| client.write_all(piece));
}
