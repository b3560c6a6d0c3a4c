//! `cargo lab notes`: what the pages say is what is there, and what comes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper that fails must fail the test that called it"
)]

mod small_lab;

use std::io::Write;
use std::process::{Command, Stdio};

use small_lab::SmallLab;
use support::not_checked;

/// `cargo lab notes ARGS` for the lab itself, which must succeed.
fn of_the_lab(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_lab")).arg("notes").args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {}\n{said}{complained}", output.status);
    said
}

#[test]
fn includes_links_anchors_and_all_that_is_made_are_right() {
    assert!(of_the_lab(&["check"]).ends_with("pages are as they should be\n"));
}

#[test]
fn commands_of_the_notes_print_what_the_notes_say() {
    let said = of_the_lab(&["run"]);
    if said.starts_with("NOT CHECKED") {
        not_checked(said.trim());
    }
}

/// Are there namespaces here? Without them nothing is run.
fn nothing_is_run() -> bool {
    let lab = lab_with_page("```console\n$ false && true\n```\n");
    let said = lab.run(&["notes", "run", "01"]).stdout;
    if said.starts_with("NOT CHECKED") {
        not_checked(said.trim());
    }
    said.starts_with("NOT CHECKED")
}

/// A lab whose notes are as they should be, but perhaps for the first chapter, which ends so.
fn lab_with_page(text: &str) -> SmallLab {
    let lab = SmallLab::reference();
    lab.write(".gitignore", "/target\n");
    lab.write("README.md", "# A lab\n\n[the notes](notes/src/SUMMARY.md)\n");
    lab.write("notes/src/SUMMARY.md", SUMMARY);
    lab.edit(
        "steps/01-first-words/src/main.rs",
        "Usage",
        "See `notes/src/01-first-words.md`. Usage",
    );
    lab.edit("steps/02-head-count/src/main.rs", "Usage", "See `notes/src/02-head-count.md`. Usage");
    lab.write("notes/src/01-first-words.md", &format!("{FIRST}\n{text}"));
    lab.write("notes/src/02-head-count.md", SECOND);
    lab.says(&["notes", "fix"]);
    lab
}

const SUMMARY: &str =
    "# Summary\n\n- [1](01-first-words.md)\n- [2](02-head-count.md)\n- [1 to 2](diffs/01-02.md)\n";
const FIRST: &str =
    "# One\n\n[it](../../steps/01-first-words/src/main.rs)\n\n## Hello\n\n## Names\n";
const SECOND: &str =
    "# Two\n\n[it](../../steps/02-head-count/src/main.rs)\n\n## Leave\n\n## Count\n";

/// The complaint about a page that ends with this text.
#[track_caller]
fn complaint(text: &str) -> String {
    let lab = lab_with_page("");
    lab.write("notes/src/01-first-words.md", &format!("{FIRST}\n{text}"));
    let finished = lab.run(&["notes", "check"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(1), ""), "{finished:?}");
    finished.stdout
}

#[test]
fn what_is_right_is_found_right() {
    let lab = lab_with_page("```rust\n{{#include ../../shared/src/greet.rs:hello}}\n```\n");
    assert_eq!(lab.says(&["notes", "check"]), "5 pages are as they should be\n");
    let page = lab.read("notes/src/01-first-words.md");
    let link = "[shared/src/greet.rs, lines 5–10](../../shared/src/greet.rs#L5-L10)\n\n```rust\n";
    assert!(page.contains(link), "{page}");
    assert_eq!(lab.says(&["notes", "fix"]), "");
}

#[test]
fn what_leads_nowhere_is_named_with_file_and_line() {
    const PAGE: &str = "notes/src/01-first-words.md";
    let include = |what: &str| format!("```rust\n{{{{#include ../../shared/src/{what}}}}}\n```\n");
    for (text, said) in [
        (include("greet.rs:bye"), ":10: shared/src/greet.rs has no item bye"),
        (include("greet.rs:09.x"), ":10: shared/src/greet.rs has no region 09.x"),
        (include("nobody.rs:x"), ":10: shared/src/nobody.rs: No such file or directory"),
        ("[x](nowhere.md)\n".to_owned(), ":9: nowhere.md: there is no notes/src/nowhere.md"),
        ("[x](02-head-count.md#x)\n".to_owned(), ":9: 02-head-count.md#x: notes/src/02-head"),
        ("```sh\nls\n```\n".to_owned(), ":9: commands stand in a block `console`, which is run"),
        ("```\nls\n```\n".to_owned(), ":9: a block without a language"),
    ] {
        let complaint = complaint(&text);
        assert!(complaint.starts_with(&format!("{PAGE}{said}")), "{text}: {complaint}");
    }
}

#[test]
fn an_include_that_can_not_be_taken_in_is_an_error() {
    let lab = lab_with_page("```rust\n{{#include ../../shared/src/greet.rs:hello}}\n```\n");
    lab.edit("shared/src/greet.rs", "    // END 01.hello", &"    // more\n".repeat(40));
    let complaint = lab.run(&["notes", "check"]).stdout;
    assert!(complaint.contains("lines; at most 40 can be taken in"), "{complaint}");
}

#[test]
fn what_is_stale_is_named_with_file_and_line() {
    let lab = lab_with_page("```rust\n{{#include ../../shared/src/greet.rs:goodbye}}\n```\n");
    lab.edit("shared/src/greet.rs", "//! First used", "//! More.\n//! First used");
    lab.edit("steps/02-head-count/src/client.rs", "client", "other client");
    let finished = lab.run(&["notes", "check"]);
    assert_eq!(
        finished.stdout,
        "notes/src/01-first-words.md:9: stale: cargo lab notes fix\n\
         notes/src/diffs/01-02.md:24: stale: cargo lab notes fix\n"
    );
    lab.says(&["notes", "fix"]);
    assert_eq!(lab.run(&["notes", "check"]).code, Some(0));
}

#[test]
fn who_speaks_of_a_page_from_outside_is_held_to_it() {
    let lab = lab_with_page("");
    lab.edit("tests/rubric.toml", "01-first-words.md#names", "01-first-words.md#name");
    lab.edit("steps/02-head-count/src/main.rs", "notes/src/02-head", "notes/src/02-heads");
    let said = lab.run(&["notes", "check"]).stdout;
    assert!(said.contains("tests/rubric.toml:15: notes/src/01-first-words.md#name: "), "{said}");
    assert!(said.contains("steps/02-head-count/src/main.rs:2: notes/src/02-heads-"), "{said}");
    assert!(said.contains("main.rs:1: doesn't name notes/src/02-head-count.md"), "{said}");
}

#[test]
fn commands_that_print_something_else_are_told() {
    if nothing_is_run() {
        return;
    }
    for (block, said) in [
        ("$ echo hello\nhullo", ":10: $ echo hello\n  came too much: hello\n"),
        ("$ echo hello", ":10: $ echo hello\n  came too much: hello\n"),
        ("$ true\nhello", ":10: $ true\n  didn't come: hello (line 11)\n"),
        ("$ cat\n$ true", ":10: $ cat\n  doesn't end, and another command follows"),
        ("$ nosuch", ":10: $ nosuch\n  came too much: bash: nosuch: command not found\n"),
    ] {
        let lab = lab_with_page(&format!("```console\n{block}\n```\n"));
        // Only in vain is a wait short: a shell may take its time to start.
        let patience = if said.contains("doesn't end") { "1" } else { "30" };
        let finished = lab.run(&["notes", "run", "01", "--patience", patience]);
        assert_eq!(finished.code, Some(1), "{block}: {finished:?}");
        let expected = format!("notes/src/01-first-words.md{said}");
        assert!(finished.stdout.starts_with(&expected), "{block}: {}", finished.stdout);
    }
}

#[test]
fn a_page_is_worked_through_as_by_a_reader_with_several_terminals() {
    if nothing_is_run() {
        return;
    }
    let lab = lab_with_page(STORY);
    let finished = lab.run(&["notes", "run"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.stdout, "notes/src/01-first-words.md: 6 blocks, 8 commands\n");
}

/// A server that says what it hears, a client, Ctrl-C; nobody outside is seen or touched.
const STORY: &str = "\
```console
$ trap 'echo bye; exit 3' INT; mkfifo /tmp/door; while read -r line; do \\
>     echo \"[server pid $$] heard $line\"; done <>/tmp/door
…
```

```console
$ ls -d /tmp/d*
/tmp/door
$ echo status $?
status 0
$ for word in one two; do echo $word; done > /tmp/door
```

```console
[server pid …] heard one
```

> ```console
> ^Cbye
> ```

```console
$ (exit 4)
$ echo status $?
status 4
$ ss -tln
…Local Address…
```

```console
$ nc -l 127.0.0.1 8080 | head -c 2
…
```
";

#[test]
fn what_mdbook_gets_has_the_code_in_it() {
    let page = "# X\n```rust\n{{#include ../../shared/src/greet.rs:01.hello}}\n```\n\
                ```mermaid\nA --> B\n```\n";
    let book = serde_json::json!({"items": [{"Chapter": {"path": "x.md", "content": page}}]});
    let lab = lab_with_page("");
    let mut child = lab
        .command(&["notes", "preprocess"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = serde_json::json!([{"root": "/"}, book]).to_string();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let book: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        book["items"][0]["Chapter"]["content"],
        "# X\n```rust\nformat!(\"hello, {name}\")\n```\n<pre class=\"mermaid\">A --&gt; B</pre>\n\n\n\
         <script src=\"mermaid.min.js\"></script>\n"
    );
    assert_eq!(lab.run(&["notes", "preprocess", "supports", "html"]).code, Some(0));
}
