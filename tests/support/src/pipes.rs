//! A system that grants no larger pipes.
//!
//! `F_SETPIPE_SZ` may be refused: the limit of the system, or of the user (`pipe(7)`). On most
//! machines it never is, least of all to root, and a program that counts on it seems to be right.
//! Here a filter of system calls (`seccomp(2)`) refuses it to the program under test.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use tempfile::TempDir;

use crate::fake_server::FakeServer;
use crate::files::{sample, sample_bytes};
use crate::not_checked;
use crate::process::Process;
use crate::server::ServerCommand;
use crate::stage::{Stage, assert_received, get_args, text};

/// Many times what a pipe holds that nobody made larger (64 KiB), and not a multiple of it.
const SIZE: usize = 5_000_001;

/// The server sends a whole file although its pipe stays small.
#[track_caller]
pub fn server_gets_by_with_small_ones(stage: Stage) {
    if !can_be_refused() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let file = sample(dir.path(), SIZE);
    let server = ServerCommand::new(stage.bin())
        .args(&["--workers", "1", "--file", text(&file)])
        .prepare(refuse_larger_pipes)
        .start();
    for _ in 0..2 {
        stage.assert_serves(&server, &file);
    }
}

/// `get` receives a whole file although its pipe stays small.
#[track_caller]
pub fn client_gets_by_with_small_ones(stage: Stage) {
    if !can_be_refused() {
        return;
    }
    let (original, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = sample(original.path(), SIZE);
    let name = file.file_name().unwrap().as_encoded_bytes();
    let server = FakeServer::that_sends(stage.format.stream(name, &sample_bytes(SIZE)));
    let port = server.port().to_string();
    let mut get = Command::new(stage.bin());
    get.args(get_args(&port, out.path(), &["--quiet"]));
    refuse_larger_pipes(&mut get);
    assert_received(&Process::start(&mut get).finish(), &file, out.path());
}

/// May a process filter its system calls here? Says so if not.
fn can_be_refused() -> bool {
    let mut attempt = Command::new("true");
    refuse_larger_pipes(&mut attempt);
    let possible = attempt.status().is_ok_and(|status| status.success());
    if !possible {
        not_checked("pipes that can't be made larger, for seccomp is not allowed here");
    }
    possible
}

/// From its start on, `command` gets EPERM when it asks for a larger pipe.
fn refuse_larger_pipes(command: &mut Command) {
    // What a filter sees is a `struct seccomp_data`: the number of the call is at offset 0, the
    // lower half of its second argument at 24.
    let load = |offset| operation(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let unless =
        |value, skip| operation(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, skip, value);
    let answer = |value| operation(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    let mut filter = [
        load(0),
        unless(libc::SYS_fcntl as u32, 3),
        load(24),
        unless(libc::F_SETPIPE_SZ.cast_unsigned(), 1),
        answer(libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned()),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the call takes numbers, and is async-signal-safe. A failure shows in the next one.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        // SAFETY: the call reads `program` and the operations it points to, which live until it
        // returns. It is async-signal-safe.
        let result = unsafe {
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed, and `install` makes
    // no others.
    unsafe { command.pre_exec(install) };
}

fn operation(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}
