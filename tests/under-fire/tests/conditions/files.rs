//! The served file changes: between two transfers, and during one.
//!
//! A client gets exactly the old file, or exactly the new one, or it fails and leaves nothing:
//! never a part or a mix that passes for a whole file.
//!
//! Two things are beyond a server's reach. A file that is written over in place, with its size
//! kept, has no version that could be had. And stages 07 and 08 send the pages of the file, not a
//! copy: what is cut off within a page when all of the file is under way arrives as zeros
//! (`sendfile(2)` warns of the same).

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::stat::Mode;
use support::files::{Landing, same_bytes, sample_bytes};
use support::not_checked;
use support::receiving::assert_failed;
use support::relay::relay;
use support::server::ServerCommand;
use support::serving::{MORE_THAN_BUFFERS, assert_same_workers};
use support::wire::{Format, broken_off};
use under_fire::scene::{Scene, at_once, holes};
use under_fire::{Sample, Stage};

use crate::{FILES, TWO};

/// What happens to a file, and what clients see then.
struct Change {
    what: &'static str,
    make: fn(&Path),
    /// Who is in the middle of it.
    during: Outcome,
    /// Who comes later.
    later: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The file as it was.
    Old,
    /// The file as it is now.
    New,
    /// No file, and an error.
    Failure,
}
use Outcome::{Failure, New, Old};

#[rustfmt::skip]
static CHANGES: [Change; 9] = [
    Change { what: "shrunk to a half", make: |file| resize(file, |size| size / 2), during: Failure, later: New },
    Change { what: "cut by 10 bytes", make: |file| resize(file, |size| size - 10), during: Failure, later: New },
    Change { what: "truncated to nothing", make: |file| resize(file, |_| 0), during: Failure, later: New },
    Change { what: "grown", make: grow, during: Old, later: New },
    Change { what: "replaced by another", make: replace, during: Old, later: New },
    Change { what: "removed", make: |file| fs::remove_file(file).unwrap(), during: Old, later: Failure },
    Change { what: "made unreadable", make: forbid, during: Old, later: Failure },
    Change { what: "made a directory", make: |file| instead(file, |it| fs::create_dir(it).unwrap()), during: Old, later: Failure },
    Change { what: "made a FIFO", make: |file| instead(file, |it| nix::unistd::mkfifo(it, Mode::S_IRWXU).unwrap()), during: Old, later: Failure },
];

fn resize(file: &Path, new: fn(u64) -> u64) {
    let file = File::options().write(true).open(file).unwrap();
    file.set_len(new(file.metadata().unwrap().len())).unwrap();
}

fn grow(file: &Path) {
    resize(file, |size| size + 1_000_000);
}

fn replace(file: &Path) {
    let other = file.with_extension("new");
    fs::write(&other, sample_bytes(300_000)).unwrap();
    fs::rename(other, file).unwrap();
}

fn forbid(file: &Path) {
    fs::set_permissions(file, Permissions::from_mode(0o000)).unwrap();
}

fn instead(file: &Path, make: fn(&Path)) {
    fs::remove_file(file).unwrap();
    make(file);
}

/// Takes away from a program what lets root read every file.
const WITHOUT_RIGHTS: [&str; 2] = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];

/// Can it be taken away here? Whoever isn't root can't, and needn't.
fn rights_can_be_dropped() -> bool {
    let [setpriv, without] = WITHOUT_RIGHTS;
    let attempt = Command::new(setpriv).args([without, "true"]).output();
    attempt.is_ok_and(|output| output.status.success())
}

/// All of [`CHANGES`] that make a difference here.
fn changes() -> impl Iterator<Item = &'static Change> {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let can_forbid = !is_root || rights_can_be_dropped();
    if !can_forbid {
        not_checked("an unreadable file, for root may read every file");
    }
    CHANGES.iter().filter(move |change| can_forbid || change.what != "made unreadable")
}

/// The client is at 1 MiB when the file changes, and the server is far from done.
#[test]
fn file_that_changes_during_a_transfer_is_the_old_one_or_an_error() {
    at_once(FILES, |stage| {
        let scene = scene(stage, MORE_THAN_BUFFERS as usize);
        let old = keep(scene.file());
        for change in changes() {
            restore(&old, scene.file());
            let path = scene.file().to_owned();
            let make = change.make;
            let relay = relay(scene.server.addr(), 1 << 20, move || make(&path));
            // Stage 04 announces no size and sends what is there.
            let grows = change.what == "grown" && scene.transfer().format == Format::Chunks;
            let outcome = if grows { New } else { change.during };
            assert_outcome(&scene, relay.port(), &old, outcome, change.what);
        }
        restore(&old, scene.file());
        scene.assert_unharmed();
    });
}

#[test]
fn file_that_changes_between_two_transfers_is_the_new_one_or_an_error() {
    at_once(FILES, |stage| {
        let scene = scene(stage, 200_000);
        let old = keep(scene.file());
        for change in changes() {
            restore(&old, scene.file());
            assert_outcome(&scene, scene.server.port(), &old, Old, "as it was");
            (change.make)(scene.file());
            for _ in 0..3 {
                assert_outcome(&scene, scene.server.port(), &old, change.later, change.what);
            }
        }
        restore(&old, scene.file());
        scene.assert_unharmed();
    });
}

/// More than 32 bits can count was announced, and a fortieth of it is left.
#[test]
fn file_of_5_gib_that_is_truncated_while_it_is_sent_never_comes_whole() {
    const LEFT: u64 = 128 << 20;
    for stage in FILES {
        let sample = holes(5 << 30)();
        let server = stage.serve(sample.file(), &["--workers", "1"]);
        let workers = server.workers();
        let file = File::options().write(true).open(sample.file()).unwrap();
        let mut client = stage.of_files().unwrap().connect(server.addr());
        let (header, mut came) = (client.header(), 0);
        let outcome = client.rest(header, |piece| {
            came += piece.len() as u64;
            if came > LEFT / 2 {
                file.set_len(LEFT).unwrap();
            }
        });
        broken_off(outcome, "of 5 GiB 128 MiB were left");
        stage.assert_serves(&server, sample.file());
        assert_same_workers(&server, &workers);
    }
}

/// A scene in which a file without permissions can't be read.
fn scene(stage: Stage, size: usize) -> Scene {
    let sample = Sample::of(size);
    let command = ServerCommand::new(stage.bin()).args(&stage.serve_args(sample.file(), TWO));
    let command = if rights_can_be_dropped() { command.under(&WITHOUT_RIGHTS) } else { command };
    Scene::of(stage, sample, command)
}

/// A copy of the file beside it.
fn keep(file: &Path) -> PathBuf {
    let old = file.with_extension("old");
    fs::copy(file, &old).unwrap();
    old
}

/// The file is as it was, whatever has become of it.
fn restore(old: &Path, file: &Path) {
    let _ = fs::remove_dir(file);
    let _ = fs::remove_file(file);
    fs::copy(old, file).unwrap();
}

/// `get` ends as it has to: with a whole file or with an error.
#[track_caller]
fn assert_outcome(scene: &Scene, port: u16, old: &Path, outcome: Outcome, what: &str) {
    let landing = Landing::with_old(scene.file().file_name().unwrap().to_str().unwrap());
    let finished = scene.transfer().get(port, landing.path(), &["--quiet"]);
    let expected = match outcome {
        Old => old,
        New => scene.file(),
        Failure => {
            assert!(!finished.status.success(), "{what}, and get is content: {finished:?}");
            assert_failed(&finished);
            return landing.assert_untouched();
        }
    };
    assert!(finished.status.success(), "{what}, and get failed: {finished:?}");
    same_bytes(expected, &landing.path().join(scene.file().file_name().unwrap()));
}
