//! Where the client puts the file and says so: directories and streams that fail.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::thread;
use std::time::Duration;

use support::files::{Landing, entries, same_bytes};
use support::not_checked;
use support::receiving::assert_failed;
use support::relay::relay;
use support::server::{Finished, run};
use support::serving::MORE_THAN_BUFFERS;
use support::stage::{assert_received, text};
use support::wait::{limit, wait_for};
use under_fire::STAGES;
use under_fire::scene::{Scene, plain, put_to};

use crate::{FILES, TWO};

/// The name of a sample of [`SIZE`] bytes.
const NAME: &str = "sample-300000.bin";
const SIZE: usize = 300_000;

/// Runs `script` with `$1`, the directory to receive in, and then the command of `get`.
fn get_in_shell(scene: &Scene, script: &str, out: &Path) -> Finished {
    let (bin, port) = (scene.stage.bin(), scene.server.port().to_string());
    let get = [bin, "get", "--quiet", "--port", &port, "--out", text(out)];
    run("sh", &[&["-c", script, "sh", text(out)][..], &get].concat())
}

#[test]
fn directory_that_is_removed_during_a_transfer_is_an_error() {
    put_to(FILES, plain(4 << 20), TWO, |scene| {
        let out = scene.sample.out("removed");
        let gone = out.clone();
        let relay = relay(scene.server.addr(), 100_000, move || fs::remove_dir_all(&gone).unwrap());
        let error = assert_failed(&scene.transfer().get(relay.port(), &out, &["--quiet"]));
        assert!(error.contains(text(&out)) && error.contains("no such file"), "got {error:?}");
        assert!(!out.exists());
    });
}

/// What has the file's name, in the middle of a transfer or before it.
#[test]
fn directory_in_the_place_of_the_file_is_an_error_and_a_link_is_replaced() {
    put_to(FILES, plain(SIZE), TWO, |scene| {
        let out = scene.sample.out("occupied");
        let place = out.join(NAME);
        let relay = relay(scene.server.addr(), 100_000, move || fs::create_dir(&place).unwrap());
        let error = assert_failed(&scene.transfer().get(relay.port(), &out, &["--quiet"]));
        assert!(error.contains(NAME), "got {error:?}");
        assert_eq!(entries(&out), [NAME], "what is left");

        for target in ["/dev/full", "missing/file", NAME] {
            let out = scene.sample.out("linked");
            symlink(target, out.join(NAME)).unwrap();
            let finished = scene.transfer().get(scene.server.port(), &out, &["--quiet"]);
            assert_received(&finished, scene.file(), &out);
            assert!(!fs::symlink_metadata(out.join(NAME)).unwrap().is_symlink());
            fs::remove_file(out.join(NAME)).unwrap();
        }
    });
}

/// An immutable file (`chattr +i`) is one that even root can't replace.
#[test]
fn file_that_can_not_be_replaced_is_an_error_and_stays() {
    const SCRIPT: &str = r#"out=$1; shift
        chattr +i "$out"/* 2>/dev/null || exit 77
        "$@"; status=$?; chattr -i "$out"/*; exit $status"#;
    put_to(FILES, plain(SIZE), TWO, |scene| {
        let landing = Landing::with_old(NAME);
        let finished = get_in_shell(scene, SCRIPT, landing.path());
        if finished.status.code() == Some(77) {
            return not_checked("an immutable file, for chattr doesn't work here");
        }
        let error = assert_failed(&finished);
        assert!(error.contains(NAME) && error.contains("not permitted"), "got {error:?}");
        landing.assert_untouched();
    });
}

/// A mount makes the directory read-only for root, too.
#[test]
fn read_only_directory_is_an_error() {
    const SCRIPT: &str = r#"out=$1; shift
        mount --bind "$out" "$out" && mount -o remount,ro,bind "$out" || exit 77
        "$@""#;
    put_to(FILES, plain(SIZE), TWO, |scene| {
        let landing = Landing::with_old(NAME);
        let finished = in_namespace(scene, SCRIPT, landing.path());
        if not_mounted(&finished, "a read-only directory") {
            return;
        }
        let error = assert_failed(&finished);
        assert!(error.contains("read-only file system"), "got {error:?}");
        landing.assert_untouched();
    });
}

/// A disk of 1 MiB with room for the file, until in the middle of it somebody else takes the
/// room. Stages 06 and later may have reserved theirs; then they don't mind.
#[test]
fn disk_that_fills_up_during_a_transfer_is_an_error_unless_the_room_was_reserved() {
    const SCRIPT: &str = r#"out=$1; shift
        mount -t tmpfs -o size=1m tmpfs "$out" || exit 77
        printf old > "$out"/sample-300000.bin
        "$@" & get=$!
        until find /proc/$get/fd -lname "$out/*" 2>/dev/null | grep -q .; do kill -0 $get || break; done
        cat /dev/zero > "$out"/other 2>/dev/null
        : > "$out.go"
        wait $get; status=$?
        rm "$out"/other; ls -A "$out"; cmp -s "$out"/sample-300000.bin "$out.file"; echo $?
        head -c 3 "$out"/sample-300000.bin
        exit $status"#;
    put_to(FILES, plain(SIZE), TWO, |scene| {
        let out = scene.sample.out("disk");
        let go = out.with_extension("go");
        fs::copy(scene.file(), out.with_extension("file")).unwrap();
        let full = move || wait_for("the disk to be full", limit(), || go.exists());
        let relay = relay(scene.server.addr(), 100_000, full);
        let finished = in_namespace_from(scene, SCRIPT, &out, relay.port());
        if not_mounted(&finished, "a disk that fills up") {
            return;
        }
        if finished.status.success() {
            assert!(finished.stdout.contains(&format!("\n{NAME}\n0\n")), "{finished:?}");
        } else {
            assert!(finished.stderr.contains("no space left on device"), "{finished:?}");
            assert_eq!(finished.stdout, format!("{NAME}\n1\nold"));
        }
    });
}

/// Runs `script` in a mount namespace of its own.
fn in_namespace(scene: &Scene, script: &str, out: &Path) -> Finished {
    in_namespace_from(scene, script, out, scene.server.port())
}

fn in_namespace_from(scene: &Scene, script: &str, out: &Path, port: u16) -> Finished {
    let (bin, port) = (scene.stage.bin(), port.to_string());
    let get = [bin, "get", "--quiet", "--port", &port, "--out", text(out)];
    let shell = ["--mount", "--map-root-user", "sh", "-c", script, "sh", text(out)];
    run("unshare", &[&shell[..], &get].concat())
}

/// Says so if nothing could be mounted.
fn not_mounted(finished: &Finished, what: &str) -> bool {
    let denied = finished.stderr.contains("unshare:") || finished.status.code() == Some(77);
    if denied {
        not_checked(&format!("{what}, for nothing can be mounted: {}", finished.stderr));
    }
    denied
}

/// Whoever can't be told is told nothing; the file is there all the same.
#[test]
fn streams_that_fail_cost_the_client_its_words_and_not_its_file() {
    #[rustfmt::skip]
    let cases = [
        ("standard output closed", r#"shift; exec "$@" >&-"#, Some(0)),
        ("standard output full", r#"shift; exec "$@" >/dev/full"#, Some(1)),
        ("standard error closed", r#"shift; exec "$@" 2>&-"#, Some(0)),
        ("standard error full", r#"shift; exec "$@" 2>/dev/full"#, Some(0)),
        ("all three closed", r#"shift; exec "$@" <&- >&- 2>&-"#, Some(0)),
    ];
    put_to(FILES, plain(SIZE), TWO, |scene| {
        for (what, script, status) in cases {
            let out = scene.sample.out("streams");
            let finished = get_in_shell(scene, script, &out);
            assert_eq!(finished.status.code(), status, "{what}: {finished:?}");
            assert_eq!(entries(&out), [NAME], "{what}");
            same_bytes(scene.file(), &out.join(NAME));
            if status == Some(1) {
                let error = "error: write standard output: no space left on device\n";
                assert_eq!(finished.stderr, error, "{what}");
            }
            fs::remove_file(out.join(NAME)).unwrap();
        }
    });
}

/// What a client of lines prints is its service: where it can't be printed, that is an error. A
/// stream that is closed is another thing: whoever closed it wants to hear nothing.
#[test]
fn client_of_lines_that_can_not_print_says_so() {
    put_to(STAGES[..3].iter().copied(), plain(0), TWO, |scene| {
        let port = scene.server.port().to_string();
        let client = scene.stage.client_args(&port, Path::new(""));
        for (stream, status) in [(">/dev/full", 1), (">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0)] {
            let script = format!(r#"exec "$@" {stream}"#);
            let shell = ["-c", &script, "sh", scene.stage.bin()];
            let finished = run("sh", &[&shell[..], &client].concat());
            assert_eq!(finished.status.code(), Some(status), "{stream}: {finished:?}");
            let said = finished.stderr == "error: write standard output: no space left on device\n";
            assert_eq!(said, status == 1, "{stream}: {finished:?}");
        }
    });
}

/// Progress that nobody reads doesn't stop the transfer.
#[test]
fn standard_error_that_is_a_full_pipe_does_not_stop_the_client() {
    const SCRIPT: &str = r#"exec "$@" 2>"$0.fifo""#;
    put_to(FILES, plain(MORE_THAN_BUFFERS as usize), TWO, |scene| {
        let out = scene.sample.out("fifo");
        let _full = crate::starts::full_fifo(&out.with_extension("fifo"));
        let slow = || thread::sleep(Duration::from_millis(1100)); // progress is due
        let relay = relay(scene.server.addr(), 100_000, slow);
        let (bin, port) = (scene.stage.bin(), relay.port().to_string());
        let get = [bin, "get", "--port", &port, "--out", text(&out)];
        let finished = run("sh", &[&["-c", SCRIPT, text(&out)][..], &get].concat());
        assert_received(&finished, scene.file(), &out);
    });
}

#[test]
fn two_clients_that_download_into_one_directory_at_once_both_succeed() {
    put_to(FILES, plain(4 << 20), TWO, |scene| {
        let out = scene.sample.out("both");
        for _ in 0..5 {
            let get = || scene.transfer().start_get(scene.server.port(), &out, &["--quiet"]);
            for client in [get(), get(), get()] {
                assert_received(&client.finish(), scene.file(), &out);
            }
            assert_eq!(entries(&out).len(), 1, "{:?}", entries(&out));
        }
    });
}

/// `umask 077` is the owner's wish: nobody else may read the file.
#[test]
fn mode_of_the_file_follows_the_umask() {
    put_to(FILES, plain(SIZE), TWO, |scene| {
        for (umask, mode) in [("077", 0o600), ("022", 0o644), ("0", 0o666)] {
            let out = scene.sample.out("umask");
            let script = format!(r#"umask {umask}; shift; exec "$@""#);
            let finished = get_in_shell(scene, &script, &out);
            assert_received(&finished, scene.file(), &out);
            let permissions = fs::metadata(out.join(NAME)).unwrap().permissions();
            assert_eq!(permissions.mode() & 0o777, mode, "with umask {umask}");
        }
    });
}

/// The directory that the client is in is gone: it can't save there, and elsewhere it can.
#[test]
fn current_directory_that_is_gone_is_an_error_only_for_who_saves_there() {
    const SCRIPT: &str = r#"mkdir "$1/here" && cd "$1/here" && rmdir "$1/here"; shift; exec "$@""#;
    put_to(FILES, plain(SIZE), TWO, |scene| {
        let out = scene.sample.out("elsewhere");
        assert_received(&get_in_shell(scene, SCRIPT, &out), scene.file(), &out);
        let port = scene.server.port().to_string();
        let get = [scene.stage.bin(), "get", "--quiet", "--port", &port];
        let finished = run("sh", &[&["-c", SCRIPT, "sh", text(&out)][..], &get].concat());
        let error = assert_failed(&finished);
        assert!(error.ends_with(" .: no such file or directory"), "got {error:?}");
    });
}
