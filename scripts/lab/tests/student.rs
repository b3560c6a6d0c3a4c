//! The commands of somebody who works on a stage: `list`, `hint`, `reveal`, `diff`.

mod small_lab;

use small_lab::SmallLab;
use support::terminal::run_on_terminal;

/// What a check has left behind.
fn checked(lab: &SmallLab, stage: &str, score: u32, failing: &[&str]) {
    let score = format!("{{\"score\": {score}, \"date\": \"2026-11-21T10:24:17Z\"}}");
    let known = format!("{{\"last\": {score}, \"best\": {score}, \"failing\": {failing:?}}}");
    let schema = "process-pool-lab/progress/v1";
    lab.write(
        ".lab/progress.json",
        &format!("{{\"schema\": \"{schema}\", \"stages\": {{\"{stage}\": {known}}}}}"),
    );
}

fn write(lab: &SmallLab, file: &str, id: &str) {
    for path in ["crate", "shared"] {
        let stub = format!("{path}::exercise::missing(\"{id}\");");
        if lab.read(file).contains(&stub) {
            return lab.edit(file, &stub, "todo();");
        }
    }
    unreachable!("{id} isn't blank in {file}");
}

const SERVER: &str = "steps/01-first-words/src/server.rs";
const GREET: &str = "shared/src/greet.rs";
const COUNT: &str = "shared/src/count.rs";

#[test]
fn list_says_what_is_written_and_what_to_do_next() {
    let lab = SmallLab::export();
    let table = "\
stage                  written   last   best
01 first-words             0/2      -      -   blank: hello, serve
02 head-count              0/2      -      -   blank: count, goodbye

next: write 01.hello (shared/src/greet.rs:7), then scripts/check-step.sh 01; a hint: cargo lab hint 01.hello
";
    assert_eq!(lab.says(&["list"]), table);
    assert!(!lab.path(".lab").exists(), "to look at it changes nothing");

    write(&lab, GREET, "01.hello");
    checked(&lab, "01", 40, &["greets"]);
    let table = lab.says(&["list"]);
    let row = "\n01 first-words             1/2     40     40   blank: serve\n";
    assert!(table.contains(row), "{table}");
    let next = "\nnext: write 01.serve (steps/01-first-words/src/server.rs:4), then";
    assert!(table.contains(next), "{table}");
}

#[test]
fn list_goes_on_when_all_of_a_stage_is_written() {
    let lab = SmallLab::export();
    let next = |lab: &SmallLab| lab.says(&["list"]).lines().last().map(ToOwned::to_owned);
    write(&lab, SERVER, "01.serve");
    write(&lab, GREET, "01.hello");
    checked(&lab, "01", 60, &["polite"]);
    let not_yet = "next: 60/100 at stage 01: scripts/check-step.sh 01; a hint: cargo lab hint 01";
    assert_eq!(next(&lab).as_deref(), Some(not_yet));
    checked(&lab, "01", 100, &[]);
    assert!(next(&lab).is_some_and(|line| line.starts_with("next: write 02.count ")));
    write(&lab, GREET, "02.goodbye");
    write(&lab, COUNT, "02.count");
    assert_eq!(next(&lab).as_deref(), Some("next: scripts/check-step.sh 02"));
}

#[test]
fn list_in_the_teachers_checkout_says_that_nothing_is_blank() {
    let said = SmallLab::reference().says(&["list"]);
    assert!(said.contains("01 first-words             2/2      -      -\n"), "{said}");
    assert!(said.contains("\nnothing is blank: this checkout has the answers"), "{said}");
}

#[test]
fn list_lives_with_a_damaged_memory() {
    let lab = SmallLab::export();
    lab.write(".lab/progress.json", "{\"sta");
    let finished = lab.run(&["list"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stderr.starts_with("note: scores and hints begin anew, as "), "{finished:?}");
    assert!(finished.stderr.contains("is damaged"), "{finished:?}");
    assert_eq!(lab.read(".lab/progress-1.json"), "{\"sta");
    lab.says(&["list"]); // and says it once
}

#[test]
fn list_shows_where_a_marker_is_broken() {
    let lab = SmallLab::export();
    lab.edit(GREET, "    // END 01.hello\n", "");
    let error = lab.fails(&["list"]);
    assert!(error.starts_with("error: shared/src/greet.rs:"), "{error}");
}

#[test]
fn hints_go_a_step_further_with_each_call() {
    let lab = SmallLab::export();
    let first = "\
01.hello: greet whoever it is by name
  write  shared/src/greet.rs:7
  read   notes/src/01-first-words.md#names

hint 1 of 3
  Whom do you greet?

one step further: cargo lab hint 01.hello
";
    assert_eq!(lab.says(&["hint", "1", "hello"]), first);
    assert_eq!(lab.says(&["hint", "01", "hello", "--again"]), first);
    assert!(lab.says(&["hint", "01.hello"]).contains("\nhint 2 of 3\n  A format string holds"));
    let third = "
hint 3 of 3
  Nearly all of it:
      format!(\"hello, {…}\")

This was the last hint for 01.hello. Its answer, in the teacher's checkout: cargo lab reveal 01.hello
";
    let said = lab.says(&["hint", "1", "01.hello"]);
    assert!(said.ends_with(third), "{said}");
    let repeated = third.replace("This was the last hint", "There are no more hints");
    let said = lab.says(&["hint", "1", "hello"]);
    assert!(said.ends_with(&repeated), "{said}");
    let said = lab.says(&["hint", "1", "hello", "--again"]);
    assert!(said.ends_with(third), "{said}");
    // By region.
    assert!(lab.says(&["hint", "1", "serve"]).contains("\nhint 1 of 3\n  Who is there?\n"));
}

#[test]
fn again_gives_the_first_hint_where_none_was_given() {
    let lab = SmallLab::export();
    assert!(lab.says(&["hint", "1", "hello", "--again"]).contains("hint 1 of 3"));
    assert!(lab.says(&["hint", "1", "hello"]).contains("hint 2 of 3"));
}

#[test]
fn reset_begins_anew() {
    let lab = SmallLab::export();
    for region in ["hello", "hello", "serve"] {
        lab.says(&["hint", "1", region]);
    }
    lab.says(&["hint", "2", "count"]);
    assert_eq!(lab.says(&["hint", "1", "hello", "--reset"]), "the hints for 01.hello begin anew\n");
    assert!(lab.says(&["hint", "1", "hello"]).contains("hint 1 of 3"));
    assert!(lab.says(&["hint", "1", "serve"]).contains("hint 2 of 3"));
    assert_eq!(lab.says(&["hint", "1", "--reset"]), "the hints for stage 01 begin anew\n");
    assert!(lab.says(&["hint", "1", "serve"]).contains("hint 1 of 3"));
    assert!(lab.says(&["hint", "2", "count"]).contains("hint 2 of 3"));
}

#[test]
fn failing_check_picks_the_region() {
    let lab = SmallLab::export();
    checked(&lab, "01", 60, &["polite"]);
    let said = lab.says(&["hint", "1"]);
    let heading = "\
01.hello: greet whoever it is by name
  write  shared/src/greet.rs:7
  read   notes/src/01-first-words.md#names
  why    this failed in the last check: a name is never forgotten
";
    assert!(said.starts_with(heading), "{said}");
    // The blank that the check came to.
    checked(&lab, "01", 0, &["polite"]);
    lab.edit(".lab/progress.json", "\"failing\"", "\"blank\": \"01.serve\", \"failing\"");
    assert!(lab.says(&["hint", "1"]).starts_with("01.serve: "));
    // Of two that could be to blame, the one that isn't written.
    checked(&lab, "01", 0, &["greets", "polite"]);
    write(&lab, SERVER, "01.serve");
    assert!(lab.says(&["hint", "1"]).starts_with("01.hello: "));
    // Of two that are written, the one without which most fails and least works.
    write(&lab, GREET, "01.hello");
    assert!(lab.says(&["hint", "1"]).starts_with("01.hello: "));
    checked(&lab, "01", 60, &["greets"]);
    assert!(lab.says(&["hint", "1"]).starts_with("01.serve: "));
}

#[test]
fn last_hint_of_a_failing_check_names_the_other_suspects() {
    let lab = SmallLab::export();
    checked(&lab, "01", 0, &["greets"]);
    let said = ["", "", ""].map(|_| lab.says(&["hint", "1"]));
    let other = "\nIt may also be this one: cargo lab hint 01.hello\n";
    assert!(!said[1].contains(other) && said[2].ends_with(other), "{said:?}");
    // Once it is written, it may just as well be the other one.
    lab.says(&["hint", "1", "--reset"]);
    write(&lab, SERVER, "01.serve");
    write(&lab, GREET, "01.hello");
    let first = lab.says(&["hint", "1"]);
    assert!(first.contains("hint 1 of 3") && first.ends_with(other), "{first}");
}

#[test]
fn first_blank_region_is_next_where_nothing_was_checked() {
    let lab = SmallLab::export();
    assert!(lab.says(&["hint", "1"]).starts_with("01.hello: greet whoever it is by name\n"));
    let said = lab.says(&["hint", "2"]);
    assert!(said.starts_with("02.count: count the names, each once\n"), "{said}");
    let first =
        "  first  01.hello, which this stage needs, is not written: cargo lab hint 01.hello\n";
    assert!(said.contains(first), "{said}");
}

#[test]
fn hint_leads_to_the_earlier_stage_that_fails() {
    let lab = SmallLab::export();
    for (file, id) in [(GREET, "01.hello"), (GREET, "02.goodbye"), (COUNT, "02.count")] {
        write(&lab, file, id);
    }
    checked(&lab, "02", 0, &[]);
    lab.edit(".lab/progress.json", "\"failing\"", "\"needs\": \"01.hello\", \"failing\"");
    let error = "\
error: no hint for stage 02: nothing of this stage failed in the last check. It needs 01.hello, which fails: cargo lab hint 01.hello
";
    assert_eq!(lab.fails(&["hint", "2"]), error);
    let said = lab.says(&["hint", "2", "count"]);
    let first = "  first  01.hello, which this stage needs, fails: cargo lab hint 01.hello\n";
    assert!(said.contains(first), "{said}");
}

#[test]
fn hint_says_why_there_is_none() {
    let lab = SmallLab::export();
    write(&lab, SERVER, "01.serve");
    write(&lab, GREET, "01.hello");
    let unchecked = "\
error: no hint for stage 01: all is written, and it wasn't checked yet
  check it:  scripts/check-step.sh 01
  a hint all the same:  cargo lab hint 01 REGION, one of hello, serve
";
    assert_eq!(lab.fails(&["hint", "1"]), unchecked);
    checked(&lab, "01", 100, &[]);
    assert!(lab.fails(&["hint", "1"]).contains("stage 01: it has 100 points\n"));
    checked(&lab, "01", 60, &["a_check_that_is_no_more"]);
    let error = lab.fails(&["hint", "1"]);
    assert!(error.contains("nothing of this stage failed in the last check"), "{error}");
    let error = lab.fails(&["hint", "1", "hallo"]);
    assert_eq!(error, "error: stage 01 has no region hallo; it has hello, serve\n");
    let error = lab.fails(&["hint", "7"]);
    assert_eq!(error, "error: there is no stage 7; the stages are 01, 02\n");
}

#[test]
fn long_hint_is_set_in_lines() {
    let lab = SmallLab::export();
    lab.edit("tests/rubric.toml", "Whom do you greet?", &"lorem ".repeat(60));
    let said = lab.says(&["hint", "1", "hello"]);
    assert!(said.lines().all(|line| line.len() < 100), "{said}");
    assert_eq!(said.matches("lorem").count(), 60, "{said}");
}

#[test]
fn reveal_shows_the_answer_of_one_region() {
    let lab = SmallLab::reference();
    let answer = "\
02.count: count the names, each once
  shared/src/count.rs:8

let mut names = names.to_vec();
names.dedup();
names.len()
";
    assert_eq!(lab.says(&["reveal", "02.count"]), answer);
    assert_eq!(lab.says(&["reveal", "count"]), answer);
    let unknown = "\
error: there is no region 02.counts; there are
  01.hello 01.serve
  02.count 02.goodbye
";
    assert_eq!(lab.fails(&["reveal", "02.counts"]), unknown);
}

#[test]
fn reveal_in_an_export_says_where_the_answers_are() {
    let error = SmallLab::export().fails(&["reveal", "count"]);
    let text = "\
error: the answers are in the teacher's checkout, not in this one; for a hint: cargo lab hint 02.count
";
    assert_eq!(error, text);
}

#[test]
fn diff_shows_what_changed_and_not_the_names() {
    let lab = SmallLab::reference();
    let text = "\
--- /dev/null
+++ steps/02-head-count/src/client.rs
@@ -0,0 +1,1 @@
+//! The client.

--- steps/01-first-words/src/server.rs
+++ steps/02-head-count/src/server.rs
@@ -2,4 +2,5 @@

 fn serve() {
     shared::greet::hello(\"world\");
+    shared::count::count(&[]);
 }

01 first-words → 02 head-count
  client.rs    +1 -0, new
  main.rs      the same
  server.rs    +1 -0

new in shared
  shared/src/count.rs: Counting who is there, one by one.
";
    assert_eq!(lab.says(&["diff", "1", "2"]), text);
}

#[test]
fn diff_shows_lines_as_they_are_with_their_numbers() {
    let lab = SmallLab::reference();
    lab.edit(
        SERVER,
        "hello(\"world\");\n    // END 01.serve\n",
        "hello(\"step01-first-words\");\n    // END 01.serve\n    leave();\n",
    );
    let said = lab.says(&["diff", "01", "02", "--file", "server"]);
    let hunk = "\
@@ -1,6 +1,6 @@
 //! The server.

 fn serve() {
-    shared::greet::hello(\"step01-first-words\");
-    leave();
+    shared::greet::hello(\"world\");
+    shared::count::count(&[]);
 }
";
    assert!(said.contains(hunk), "{said}");
    assert!(!said.contains("client.rs"), "{said}");
    let error = lab.fails(&["diff", "1", "2", "--file", "servant.rs"]);
    let known =
        "error: neither stage has a file servant.rs; there are client.rs, main.rs, server.rs\n";
    assert_eq!(error, known);
}

#[test]
fn diff_in_an_export_holds_no_answer() {
    let lab = SmallLab::export();
    let said = lab.says(&["diff", "1", "2", "--file", "server.rs"]);
    assert!(said.contains("-    shared::exercise::missing(\"01.serve\");\n"), "{said}");
}

#[test]
fn diff_is_coloured_on_a_terminal_only() {
    let lab = SmallLab::reference();
    let (_, seen) = run_on_terminal(&mut lab.command(&["diff", "1", "2"]));
    assert!(seen.contains("\x1b[32m+    shared::count::count(&[]);\x1b[0m"), "{seen}");
    let (_, seen) = run_on_terminal(lab.command(&["diff", "1", "2"]).env("NO_COLOR", "1"));
    assert!(!seen.contains('\x1b'), "{seen}");
}
