//! The circumstances of the start: odd ones, and another server in the same place.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::sys::stat::Mode;
use support::habits::fails_with_one_line;
use support::server::{Server, ServerCommand};
use support::stage::text;
use support::tcp::ipv6_is_here;
use under_fire::scene::{Scene, at_once, plain, put_to};
use under_fire::{STAGES, Sample, Stage};

use crate::TWO;

/// A pipe with a name that is full and never read, as long as what is returned is open.
pub fn full_fifo(path: &Path) -> File {
    nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap();
    let flags = nix::libc::O_NONBLOCK;
    let mut pipe =
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).unwrap();
    while pipe.write(&[b'.'; 4096]).is_ok() {}
    while pipe.write(b".").is_ok() {}
    pipe
}

/// Starts the server by `script`, which ends with `"$@"` and finds a directory in `$0`.
fn start_by(stage: Stage, script: &str) -> Scene {
    let sample = Sample::of(100_000);
    let dir = sample.out("circumstances");
    let wrapper = ["sh", "-c", script, text(&dir)];
    let command =
        ServerCommand::new(stage.bin()).args(&stage.serve_args(sample.file(), TWO)).under(&wrapper);
    Scene::of(stage, sample, command)
}

#[test]
fn odd_circumstances_at_the_start_harm_nobody() {
    #[rustfmt::skip]
    const SCRIPTS: [&str; 4] = [
        r#"trap "" CHLD PIPE HUP USR2 ALRM; exec "$@""#,   // ignored, as some shells leave them
        r#"exec "$@" <&- 2>&-"#,                           // new descriptors would be 0 and 2
        r#"cd "$0" && rmdir "$0" && exec "$@" 2>/dev/full"#,
        r#"umask 777; exec env -i LC_ALL=xx_YY.odd LANG=C TZ=nowhere "$@""#,
    ];
    at_once(STAGES, |stage| {
        for script in SCRIPTS {
            assert_replaces_a_worker(start_by(stage, script));
        }
    });
}

/// The end of a worker is noticed, and from 03 on there is a new one; the service goes on.
#[track_caller]
fn assert_replaces_a_worker(mut scene: Scene) {
    let killed = scene.server.workers()[0];
    scene.server.kill(killed);
    scene.server.wait_reaped(killed); // a client who got a dying worker would go with it
    scene.expect_workers(if scene.stage.number() < 3 { 1 } else { 2 });
    scene.assert_unharmed();
}

/// Nobody reads what the server tells, and the pipe is full: what is told is left out.
#[test]
fn standard_error_that_is_a_full_pipe_does_not_stop_the_server() {
    at_once(STAGES, |stage| {
        let sample = Sample::of(100_000);
        let fifo = sample.out("full").join("fifo");
        let _full = full_fifo(&fifo);
        let wrapper = ["sh", "-c", r#"exec "$@" 2>"$0""#, text(&fifo)];
        let args = stage.serve_args(sample.file(), TWO);
        let command = ServerCommand::new(stage.bin()).args(&args).under(&wrapper);
        assert_replaces_a_worker(Scene::of(stage, sample, command));
    });
}

/// Standard output closed as well: then there is no first line. A shell says it in the server's
/// place, once the server listens.
#[test]
fn server_without_any_standard_stream_serves() {
    const SCRIPT: &str = r#"
        "$@" <&- >&- 2>&- &
        until grep -qi ":$(printf %04x $0) 00000000:0000 0A" /proc/net/tcp; do
            kill -0 $! || exit; sleep 0.01
        done
        echo "listening on 127.0.0.1:$0 with 2 workers"
        wait"#;
    at_once(STAGES, |stage| {
        let sample = Sample::of(100_000);
        let port = port_below_the_ephemeral(stage).to_string();
        let args = [stage.serve_args(sample.file(), TWO), vec!["--port", &port]].concat();
        let wrapper = ["sh", "-c", SCRIPT, &port];
        let command = ServerCommand::new(stage.bin()).args(&args).under(&wrapper);
        Scene::of(stage, sample, command).assert_unharmed();
    });
}

/// A port that the kernel gives to nobody who doesn't name it.
fn port_below_the_ephemeral(stage: Stage) -> u16 {
    let first = 10_000 + (std::process::id() % 1000) as u16 * 10 + stage.number() as u16;
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (first..first + 1000).step_by(10).find(free).unwrap()
}

/// The second server on a port says why it can't be there and leaves nobody; on another address
/// the same port is another port; the first one doesn't notice.
#[test]
fn second_server_on_a_port_fails_and_one_beside_it_on_ipv6_does_not() {
    put_to(STAGES, plain(100_000), TWO, |scene| {
        let port = scene.server.port().to_string();
        for host in ["127.0.0.1", "0.0.0.0"] {
            let args = ["--workers", "8", "--port", &port, "--host", host];
            let args = scene.stage.serve_args(scene.file(), &args);
            let error = fails_with_one_line(scene.stage.bin(), &args);
            assert_eq!(error, format!("bind {host}:{port}: address already in use"));
        }
        if ipv6_is_here() {
            let args = ["--workers", "2", "--port", &port, "--host", "::1"];
            let beside =
                Server::start(scene.stage.bin(), &scene.stage.serve_args(scene.file(), &args));
            scene.stage.assert_serves(&beside, scene.file());
            scene.stage.assert_serves(&scene.server, scene.file());
            beside.stop();
        }
    });
}
