//! Tests of the markers.

use super::*;

const FILE: &str = "shared/src/mapped.rs";
const TEXT: &str = r#"/// Sends.
fn send() -> i32 {
    // LAB 06.send: send it
    let sent = [
        1,

        2,
    ];
    sent.len()
    // END 06.send
}
    // LAB 06.last: and the last
    // END 06.last
"#;

fn regions(text: &str) -> Vec<Region> {
    parse(Path::new(FILE), text).unwrap()
}

#[track_caller]
fn refused(text: &str, why: &str) {
    let error = parse(Path::new(FILE), text).unwrap_err();
    assert_eq!(format!("{error:#}"), format!("{FILE}:{why}"), "of {text:?}");
}

/// A checkout of two stages with these files.
fn checkout(files: &[(&str, &str)]) -> (tempfile::TempDir, Repo) {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["shared/src", "steps/05-progress/src", "steps/06-mmap-zero-copy/src"] {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    for (name, text) in files.iter().chain(&[("Cargo.toml", "")]) {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let repo = Repo::at(dir.path()).unwrap();
    (dir, repo)
}

#[track_caller]
fn checkout_refused(files: &[(&str, &str)], why: &str) {
    let (_dir, repo) = checkout(files);
    assert_eq!(format!("{:#}", all(&repo).unwrap_err()), why);
}

#[test]
fn region_has_its_place_its_task_and_its_body() {
    let regions = regions(TEXT);
    assert_eq!(regions.len(), 2);
    assert_eq!(regions[0].id, "06.send");
    assert_eq!(regions[0].stage(), "06");
    assert_eq!(regions[0].task, "send it");
    assert_eq!(regions[0].place(), "shared/src/mapped.rs:3");
    assert_eq!(regions[0].body, "let sent = [\n    1,\n\n    2,\n];\nsent.len()\n");
    assert_eq!(regions[1].body, "");
}

#[test]
fn blank_takes_out_the_answer_and_leaves_the_markers() {
    let blanked = blank(Path::new(FILE), TEXT, &|_| false).unwrap();
    let expected = r#"/// Sends.
fn send() -> i32 {
    // LAB 06.send: send it
    crate::exercise::missing("06.send");
    // END 06.send
}
    // LAB 06.last: and the last
    crate::exercise::missing("06.last");
    // END 06.last
"#;
    assert_eq!(blanked, expected);
    assert!(regions(&blanked).iter().all(Region::is_blank));
    assert!(!regions(TEXT).iter().any(Region::is_blank));
}

#[test]
fn blank_keeps_what_it_is_told_to_keep() {
    let blanked = blank(Path::new(FILE), TEXT, &|id| id == "06.send").unwrap();
    let left: Vec<bool> = regions(&blanked).iter().map(Region::is_blank).collect();
    assert_eq!(left, [false, true]);
}

#[test]
fn stub_of_a_step_names_the_crate() {
    let blanked = blank(Path::new("steps/06-x/src/client.rs"), TEXT, &|_| false).unwrap();
    assert!(blanked.contains("    shared::exercise::missing(\"06.send\");\n"));
}

#[test]
fn call_in_a_comment_is_no_blank() {
    let text = "// LAB 06.send: it\n// crate::exercise::missing(\"06.send\");\n7\n// END 06.send\n";
    assert!(!regions(text)[0].is_blank());
}

#[test]
fn fill_undoes_blank() {
    let bodies: BTreeMap<_, _> = regions(TEXT).into_iter().map(|it| (it.id, it.body)).collect();
    let blanked = blank(Path::new(FILE), TEXT, &|_| false).unwrap();
    assert_eq!(fill(Path::new(FILE), &blanked, &bodies).unwrap(), TEXT);
}

#[test]
fn fill_goes_by_the_indentation_of_the_marker() {
    let bodies = BTreeMap::from([("06.send".to_owned(), "if x {\n    1\n}\n".to_owned())]);
    let text = "a\n\t// LAB 06.send: it\n  old\n\t// END 06.send\nb";
    let filled = fill(Path::new(FILE), text, &bodies).unwrap();
    assert_eq!(filled, "a\n\t// LAB 06.send: it\n\tif x {\n\t    1\n\t}\n\t// END 06.send\nb");
}

#[test]
fn malformed_markers_are_refused() {
    refused("\n  // LAB 06.a\n", "2: LAB 06.a has no task: write `// LAB 06.a: what to do`");
    refused("// LAB 06.a: \n", "1: LAB 06.a has no task: write `// LAB 06.a: what to do`");
    let shape = "1: a marker is `// LAB 06.name: task` or `// END 06.name`";
    refused("//LAB 06.a: it\n", shape);
    refused("// LAB: it\n", shape);
    refused("// END\n", shape);
    let alone = "1: a marker is a plain comment on a line of its own";
    refused("let a = 1; // LAB 06.a: it\n", alone);
    refused("/// END 06.a\n", alone);
    for id in ["6.a", "06a", "06.", "06.A", "06.1", "06.a-b", "a.06", "06.a b"] {
        let why = "is no id: it is two digits, a dot, and a name of small letters and `_`";
        refused(&format!("// LAB {id}: it\n"), &format!("1: `{id}` {why}"));
    }
}

#[test]
fn markers_that_do_not_pair_are_refused() {
    refused("// LAB 06.a: it\n7\n", "1: 06.a has no END");
    refused("7\n// END 06.a\n", "2: END 06.a without its LAB");
    refused("// LAB 06.a: it\n// END 06.b\n", "2: END 06.b, but 06.a began in line 1");
    let nested = "// LAB 06.a: it\n// LAB 06.b: it\n// END 06.b\n// END 06.a\n";
    refused(nested, "2: 06.b is inside 06.a, which begins in line 1");
}

#[test]
fn words_that_begin_alike_are_no_markers() {
    assert_eq!(regions("// LABEL\n// ENDS here\n// label\nlet url = \"http://LABS\";\n"), []);
}

#[test]
fn id_stands_once_in_a_checkout() {
    let text = "\n// LAB 06.a: it\n// END 06.a\n";
    let twice = [("shared/src/a.rs", text), ("shared/src/b.rs", text)];
    checkout_refused(&twice, "shared/src/b.rs:2: 06.a is already in shared/src/a.rs:2");
    let same = text.repeat(2);
    let why = "shared/src/a.rs:5: 06.a is already in shared/src/a.rs:2";
    checkout_refused(&[("shared/src/a.rs", &same)], why);
}

#[test]
fn id_names_a_stage_and_in_a_step_its_own() {
    let text = "// LAB 09.a: it\n// END 09.a\n";
    let why = "shared/src/a.rs:1: 09.a: there is no stage 09";
    checkout_refused(&[("shared/src/a.rs", text)], why);
    let text = "// LAB 05.a: it\n// END 05.a\n";
    let why = "steps/06-mmap-zero-copy/src/a.rs:1: 05.a is in the folder of another stage";
    checkout_refused(&[("steps/06-mmap-zero-copy/src/a.rs", text)], why);
}

#[test]
fn regions_come_by_id_and_their_files_by_path() {
    let (_dir, repo) = checkout(&[
        ("shared/src/z.rs", "// LAB 05.z: it\n// END 05.z\n// LAB 05.a: it\n// END 05.a\n"),
        ("steps/06-mmap-zero-copy/src/b.rs", "// LAB 06.b: it\n// END 06.b\n"),
        ("shared/src/plain.rs", "fn main() {}\n"),
        ("shared/src/notes.txt", "// LAB\n"),
    ]);
    let ids: Vec<String> = all(&repo).unwrap().into_iter().map(|region| region.id).collect();
    assert_eq!(ids, ["05.a", "05.z", "06.b"]);
    let expected = ["shared/src/z.rs", "steps/06-mmap-zero-copy/src/b.rs"];
    assert_eq!(files(&repo).unwrap(), expected.map(PathBuf::from));
}

/// What the exercise promises: 2 to 5 regions a stage, 10 to 60 lines of code together.
#[test]
fn every_stage_has_its_exercise() {
    let repo = Repo::here().unwrap();
    for stage in repo.stages().unwrap() {
        let mine: Vec<_> = all(&repo).unwrap();
        let mine: Vec<_> = mine.iter().filter(|it| it.stage() == stage.number).collect();
        assert!((2..=5).contains(&mine.len()), "{}: {} regions", stage.number, mine.len());
        for region in &mine {
            assert!(region.task.len() <= 100, "{}: its task is too long", region.id);
        }
        if repo.is_reference() {
            assert!(!mine.iter().any(|region| region.is_blank()), "a blank in {}", stage.number);
            let code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
            let lines: usize =
                mine.iter().map(|region| region.body.lines().filter(code).count()).sum();
            assert!((10..=60).contains(&lines), "{}: {lines} lines", stage.number);
        }
    }
}

#[test]
fn every_answer_can_be_taken_out_and_put_back() {
    let repo = Repo::here().unwrap();
    let regions = all(&repo).unwrap();
    let bodies: BTreeMap<_, _> =
        regions.iter().map(|it| (it.id.clone(), it.body.clone())).collect();
    for file in files(&repo).unwrap() {
        let text = read(&repo, &file).unwrap();
        let blanked = blank(&file, &text, &|_| false).unwrap();
        let left = parse(&file, &blanked).unwrap();
        assert!(left.iter().all(Region::is_blank), "{}", file.display());
        assert_eq!(fill(&file, &blanked, &bodies).unwrap(), text);
    }
}
