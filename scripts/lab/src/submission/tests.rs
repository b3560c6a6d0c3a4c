//! Friendly and hostile submissions in every form.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;

use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

use super::compare::TOLD;
use super::*;

const REGION: &str = "steps/03-sendfd/src/worker.rs";
const SHARED: &str = "shared/src/fd_passing.rs";

fn handed_out() -> HandedOut {
    let files = [(REGION, "blank"), (SHARED, "blank"), ("Cargo.toml", "[workspace]\n")];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    let regions = [REGION, SHARED].map(str::to_owned);
    HandedOut { files: files.into(), regions: regions.into() }
}

/// A folder `name` with these files.
fn folder(name: &str, files: &[(&str, &[u8])]) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join(name);
    for (path, bytes) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    (dir, root)
}

fn take(path: &Path) -> Taken {
    Submission::at(path).unwrap().unwrap().take(&handed_out()).unwrap()
}

fn refused(path: &Path) -> String {
    format!("{:#}", Submission::at(path).unwrap().unwrap().take(&handed_out()).unwrap_err())
}

/// A `.tar.gz` into which `fill` has put something.
fn tarball(fill: impl FnOnce(&mut tar::Builder<GzEncoder<fs::File>>)) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("anna.tar.gz");
    let file = fs::File::create(&path).unwrap();
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
    fill(&mut tar);
    tar.into_inner().unwrap().finish().unwrap();
    (dir, path)
}

/// Adds an entry whose name `tar` itself would refuse to write.
fn add(
    tar: &mut tar::Builder<GzEncoder<fs::File>>,
    kind: tar::EntryType,
    name: &str,
    bytes: &[u8],
) {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    tar.append(&header, bytes).unwrap();
}

fn zip_of(files: &[(&str, &[u8])]) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("anna.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    for (name, bytes) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
    (dir, path)
}

#[test]
fn takes_only_files_with_regions_and_tells_the_rest() {
    let (_dir, root) = folder(
        "anna",
        &[
            (REGION, b"mine"),
            (SHARED, b"mine too"),
            ("Cargo.toml", b"[workspace]\r\n"), // the same lines
            ("build.rs", b"fn main() {}"),
            (".cargo/config.toml", b"[build]"),
            ("target/debug/x", b"grown"),
            (".git/config", b"grown"),
        ],
    );
    let taken = take(&root);
    assert_eq!(taken.files[REGION], "mine");
    assert_eq!(taken.files[SHARED], "mine too");
    assert_eq!(taken.files.len(), 2);
    let mut remarks = taken.remarks;
    remarks.sort();
    let expected = [
        ".cargo/config.toml: not part of the lab, not used",
        "build.rs: not part of the lab, not used",
    ];
    assert_eq!(remarks, expected);
}

#[test]
fn tells_a_changed_file_and_a_missing_one() {
    let (_dir, root) =
        folder("anna", &[(REGION, b"mine"), ("Cargo.toml", b"[workspace]\nx = 1\n")]);
    let expected = [
        "shared/src/fd_passing.rs: missing, graded as it was handed out",
        "Cargo.toml: changed, not used",
    ];
    assert_eq!(take(&root).remarks, expected);
}

#[test]
fn finds_the_lab_inside_one_more_folder() {
    let inside = format!("lab-main/{REGION}");
    let (_dir, path) = zip_of(&[(&inside, b"mine"), ("lab-main/build.rs", b""), ("note.txt", b"")]);
    let taken = take(&path);
    assert_eq!(taken.files[REGION], "mine");
    let extra = "build.rs: not part of the lab, not used";
    assert!(taken.remarks.iter().any(|line| line == extra), "{:?}", taken.remarks);
    let (_dir, path) = zip_of(&[("readme.txt", b"sorry")]);
    assert!(refused(&path).starts_with("nothing of the lab is in it"), "{}", refused(&path));
}

#[test]
fn follows_no_link_in_a_folder() {
    let (_other, secret) =
        folder("secret", &[("worker.rs", b"secret"), ("src/fd_passing.rs", b"secret")]);
    let (_dir, root) = folder("anna", &[("Cargo.toml", b"[workspace]\n"), (SHARED, b"mine")]);
    fs::create_dir_all(root.join("steps/03-sendfd/src")).unwrap();
    symlink(secret.join("worker.rs"), root.join(REGION)).unwrap();
    let taken = take(&root);
    assert!(!taken.files.contains_key(REGION));
    assert_eq!(taken.remarks, [format!("{REGION}: a link, not followed")]);

    // Nor a link that is put in the place of a folder after the look at the listing.
    fs::remove_dir_all(root.join("shared")).unwrap();
    symlink(&secret, root.join("shared")).unwrap();
    let contents = folder::read(&root, &[SHARED.to_owned()].into()).unwrap();
    assert!(contents[SHARED].is_err(), "{contents:?}");
}

#[test]
fn does_not_wait_at_a_pipe() {
    let (_dir, root) = folder("anna", &[(SHARED, b"mine")]);
    fs::create_dir_all(root.join("steps/03-sendfd/src")).unwrap();
    let mode = nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR;
    nix::unistd::mkfifo(&root.join(REGION), mode).unwrap();
    assert_eq!(take(&root).remarks.len(), 2, "missing, and why: {:?}", take(&root).remarks);
    let contents = folder::read(&root, &[REGION.to_owned()].into()).unwrap();
    assert_eq!(contents[REGION], Err("not a file".to_owned()));
}

#[test]
fn takes_nothing_that_is_not_text_or_is_too_large() {
    let large = vec![b' '; usize::try_from(FILE_LIMIT).unwrap() + 1];
    let (_dir, path) = zip_of(&[(REGION, b"\xff\xfe"), (SHARED, &large)]);
    let taken = take(&path);
    assert!(taken.files.is_empty());
    let expected = [
        format!("{SHARED}: larger than 1024 KiB, not used"),
        format!("{REGION}: not UTF-8, not used"),
    ];
    assert_eq!(taken.remarks, expected);
}

#[test]
fn tarball_with_hostile_names_and_links_yields_nothing_else() {
    let (_dir, path) = tarball(|tar| {
        add(tar, tar::EntryType::Regular, &format!("./{REGION}"), b"mine");
        add(tar, tar::EntryType::Regular, "../../etc/passwd", b"evil");
        add(tar, tar::EntryType::Regular, "/etc/passwd", b"evil");
        add(tar, tar::EntryType::Char, "device", b"");
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Link);
        header.set_size(0);
        tar.append_link(&mut header, SHARED, "/etc/shadow").unwrap();
    });
    let taken = take(&path);
    assert_eq!(taken.files.len(), 1);
    assert_eq!(taken.files[REGION], "mine");
    let expected = [
        "shared/src/fd_passing.rs: a link, not followed",
        "device: neither a file nor a folder, not used",
        "\"../../etc/passwd\": a path that leads out or can't be read, not used",
        "\"/etc/passwd\": a path that leads out or can't be read, not used",
    ];
    assert_eq!(taken.remarks, expected);
}

#[test]
fn of_two_files_with_one_path_the_later_counts_as_for_tar() {
    let (_dir, path) = tarball(|tar| {
        add(tar, tar::EntryType::Regular, REGION, b"first");
        add(tar, tar::EntryType::Regular, REGION, b"second");
    });
    assert_eq!(take(&path).files[REGION], "second");
}

#[test]
fn bombs_are_refused() {
    // A name of 64 MiB, which the reader would keep in memory.
    let (_dir, path) = tarball(|tar| {
        add(tar, tar::EntryType::GNULongName, "././@LongLink", &vec![b'a'; 64 << 20]);
        add(tar, tar::EntryType::Regular, REGION, b"mine");
    });
    assert!(refused(&path).contains("too large"), "{}", refused(&path));
    // More files than anybody has.
    let (_dir, path) = tarball(|tar| {
        for number in 0..=ENTRY_LIMIT {
            add(tar, tar::EntryType::Regular, &format!("f{number}"), b"");
        }
    });
    assert!(refused(&path).contains("more than 50000 files"), "{}", refused(&path));
}

#[test]
fn what_is_no_archive_is_refused() {
    let dir = TempDir::new().unwrap();
    for name in ["anna.zip", "anna.tgz"] {
        let path = dir.path().join(name);
        fs::write(&path, b"these are no bytes of an archive").unwrap();
        assert!(refused(&path).contains("that can be read"), "{}", refused(&path));
    }
}

#[test]
fn zip_from_windows_is_read() {
    let (_dir, path) = zip_of(&[("steps\\03-sendfd\\src\\worker.rs", b"mine")]);
    assert_eq!(take(&path).files[REGION], "mine");
}

#[test]
fn submissions_are_listed_by_name() {
    let (dir, _) = folder("ben", &[(REGION, b"")]);
    fs::write(dir.path().join("Anna.tar.gz"), b"").unwrap();
    fs::write(dir.path().join("carl.ZIP"), b"").unwrap();
    fs::write(dir.path().join("grades.xlsx"), b"").unwrap();
    fs::write(dir.path().join(".hidden"), b"").unwrap();
    let (submissions, others) = list(dir.path()).unwrap();
    let names: Vec<&str> = submissions.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["Anna", "ben", "carl"]);
    assert_eq!(others, ["grades.xlsx"]);

    fs::write(dir.path().join("ben.zip"), b"").unwrap();
    let error = list(dir.path()).unwrap_err().to_string();
    assert!(error.starts_with("two submissions have the same name: "), "{error}");
}

#[test]
fn remarks_are_bounded() {
    let names: Vec<String> = (0..100).map(|number| format!("extra{number:02}")).collect();
    let mut files: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    files.extend([(REGION, &b"mine"[..]), (SHARED, b"mine")]);
    let (_dir, root) = folder("anna", &files);
    let remarks = take(&root).remarks;
    assert_eq!(remarks.len(), TOLD + 1);
    assert_eq!(remarks.last().unwrap(), "… and 80 more extra files");
}
