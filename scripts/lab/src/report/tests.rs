//! Each format has exactly the fields it should, and nothing that a submission says breaks out.

use serde_json::{Value, json};

use super::classroom50::Origin;
use super::*;
use crate::repo::Stage;
use crate::result::SCHEMA;
use crate::rubric::Check;

const EVIL: &str = "<script>alert(1)</script> \u{1b}[31m]]>&\u{0}\u{202e}\"'";

fn check(id: &str, status: Status, score: u32) -> CheckResult {
    let failure = (status != Status::Ok).then(|| Failure {
        test: "a_test".to_owned(),
        tried: format!("to do {id}"),
        expected: "exit status 0".to_owned(),
        saw: format!("{EVIL}\nsecond line"),
        ran: vec!["step06 serve".to_owned()],
        output: EVIL.to_owned(),
        again: format!("scripts/check-step.sh 06 --only {id}"),
        read: "notes/src/06-mmap-zero-copy.md#empty-file".to_owned(),
        hint: "cargo lab hint 06".to_owned(),
    });
    let title = format!("the title of {id}");
    CheckResult { id: id.to_owned(), title, status, score, max_score: 20, seconds: 0.25, failure }
}

fn result() -> StageResult {
    StageResult {
        schema: SCHEMA.to_owned(),
        stage: "06".to_owned(),
        name: "mmap-zero-copy".to_owned(),
        submission: "anna & ben".to_owned(),
        score: 20,
        max_score: 100,
        seconds: 12.6,
        datetime: "2026-11-21T10:24:17Z".to_owned(),
        build_error: None,
        ignored: vec!["build.rs: not part of the lab, not used".to_owned()],
        checks: vec![
            check("bytes", Status::Ok, 20),
            check("empty_file", Status::Fail, 0),
            check("idle", Status::Timeout, 0),
            check("mapped", Status::NotChecked, 0),
            check("needs", Status::Needs, 0),
        ],
    }
}

fn rubric() -> Vec<Check> {
    let of = |check: &CheckResult| Check {
        id: check.id.clone(),
        title: check.title.clone(),
        points: check.max_score,
        tests: Vec::new(),
        notes: String::new(),
        regions: Vec::new(),
    };
    result().checks.iter().map(of).collect()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn gradescope_has_its_fields_and_no_others() {
    let results: Value = serde_json::from_str(&gradescope::render(&result()).unwrap()).unwrap();
    let top =
        "execution_time extra_data output output_format score stdout_visibility tests visibility";
    assert_eq!(keys(&results), top.split(' ').collect::<Vec<_>>());
    assert_eq!(results["score"], json!(20));
    assert_eq!(results["execution_time"], json!(13));
    assert_eq!(results["output_format"], "text");
    assert_eq!(results["visibility"], "visible");
    assert_eq!(results["stdout_visibility"], "hidden");
    assert!(results["extra_data"].is_object());
    assert!(results["output"].as_str().unwrap().contains("build.rs: not part of the lab"));

    let tests = results["tests"].as_array().unwrap();
    let fields = "max_score name number output output_format score status tags visibility";
    for test in tests {
        assert_eq!(keys(test), fields.split(' ').collect::<Vec<_>>());
        assert!(test["score"].is_u64() && test["max_score"].is_u64());
        assert_eq!(test["output_format"], "text");
        assert!(test["tags"].as_array().unwrap().iter().all(Value::is_string));
    }
    let statuses: Vec<_> = tests.iter().map(|test| test["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["passed", "failed", "failed", "failed", "failed"]);
    assert_eq!(tests[1]["number"], "2");
    let output = tests[1]["output"].as_str().unwrap();
    for line in ["tried     to do empty_file\n", "expected  exit status 0\n", "again     scripts/"]
    {
        assert!(output.contains(line), "{output}");
    }
    assert!(!output.contains(['\u{1b}', '\u{0}', '\u{202e}']), "{output}");
}

fn origin() -> Origin {
    let var = |name: &str| match name {
        "REVIEW_URL" | "MODE" | "GITHUB_ACTOR" => None,
        name => Some(format!("submit/{name}")),
    };
    Origin::of_environment(&var).unwrap()
}

#[test]
fn classroom50_has_its_fields_and_no_others() {
    let text = classroom50::render(&result(), &origin()).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let expected = json!({
        "schema": "classroom50/result/v1",
        "classroom": "submit/CLASSROOM",
        "assignment": "submit/ASSIGNMENT",
        "assignment_type": "individual",
        "owner": "submit/USERNAME",
        "submission": "submit/SUBMISSION_TAG",
        "commit": "submit/COMMIT_URL",
        "release": "submit/RELEASE_URL",
        "review": "submit/COMMIT_URL",
        "datetime": "2026-11-21T10:24:17Z",
        "score": 20,
        "max-score": 100,
        "tests": [
            { "test-name": "the title of bytes", "passed": true, "score": 20, "max-score": 20 },
            { "test-name": "the title of empty_file", "passed": false, "score": 0, "max-score": 20 },
            { "test-name": "the title of idle", "passed": false, "score": 0, "max-score": 20 },
            { "test-name": "the title of mapped", "passed": false, "score": 0, "max-score": 20 },
            { "test-name": "the title of needs", "passed": false, "score": 0, "max-score": 20 },
        ],
    });
    assert_eq!(report, expected); // json! numbers are integers: 20.0 would differ
}

#[test]
fn classroom50_names_every_variable_that_is_missing() {
    let error = Origin::of_environment(&|name| (name == "CLASSROOM").then(|| "c".to_owned()));
    let error = error.unwrap_err().to_string();
    assert_eq!(
        error,
        "--format classroom50: not in the environment: \
         COMMIT_URL, ASSIGNMENT, USERNAME or GITHUB_ACTOR, SUBMISSION_TAG, RELEASE_URL"
    );
}

#[test]
fn junit_counts_what_it_holds() {
    let xml = junit::render(&result()).unwrap();
    let totals =
        r#"name="06 mmap-zero-copy" tests="5" failures="3" errors="0" skipped="1" time="12.600""#;
    assert!(xml.contains(&format!("<testsuites {totals}>")), "{xml}");
    assert!(
        xml.contains(&format!("<testsuite {totals} timestamp=\"2026-11-21T10:24:17\">")),
        "{xml}"
    );
    let case =
        r#"<testcase name="the title of bytes" classname="step06-mmap-zero-copy" time="0.250"/>"#;
    assert!(xml.contains(case), "{xml}");
    for element in ["<failure ", "type=\"FAIL\"", "type=\"TIMEOUT\"", "type=\"NEEDS\"", "<skipped "]
    {
        assert!(xml.contains(element), "{element}: {xml}");
    }
    assert!(!xml.contains("<script>") && !xml.contains(['\u{1b}', '\u{0}']), "{xml}");
}

#[test]
fn junit_is_xml_that_reads_back() {
    let mut result = result();
    result.build_error = Some(EVIL.to_owned());
    result.checks[0].status = Status::Build;
    let xml = junit::render(&result).unwrap();
    let mut reader = quick_xml::Reader::from_str(&xml);
    let mut cases = 0;
    loop {
        match reader.read_event().unwrap() {
            quick_xml::events::Event::Eof => break,
            quick_xml::events::Event::Start(tag) if tag.name().as_ref() == "testcase" => cases += 1,
            _ => {}
        }
    }
    assert_eq!(cases, 5, "{xml}");
    assert!(xml.contains("errors=\"1\"") && xml.contains("<system-err>"), "{xml}");
}

#[test]
fn pages_escape_what_a_submission_says() {
    let mut result = result();
    result.submission = EVIL.to_owned();
    result.build_error = Some(EVIL.to_owned());
    result.ignored = vec![EVIL.to_owned()];
    let rows = [
        Row { name: EVIL.to_owned(), outcome: Outcome::Graded(result.clone()) },
        Row { name: EVIL.to_owned(), outcome: Outcome::Error(EVIL.to_owned()) },
    ];
    let stage = Stage { number: "06".to_owned(), name: "mmap-zero-copy".to_owned() };
    for page in [html::submission(&result), html::class(&stage, &rubric(), &rows)] {
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains(['\u{1b}', '\u{0}', '\u{202e}']), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; \\u{1b}[31m"), "{page}");
        assert!(!page.contains("http://") && !page.contains("src="), "not self-contained: {page}");
    }
}

#[test]
fn page_of_the_class_shows_what_most_have_missed_first() {
    let mut other = result();
    other.checks[1] = check("empty_file", Status::Ok, 20);
    let row = |result, name: &str| Row { name: name.to_owned(), outcome: Outcome::Graded(result) };
    let rows = [row(result(), "anna"), row(other, "ben/../x y")];
    let stage = Stage { number: "06".to_owned(), name: "mmap-zero-copy".to_owned() };
    let page = html::class(&stage, &rubric(), &rows);
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is not in {page}"));
    assert!(place("the title of idle") < place("the title of empty_file"));
    assert!(place("the title of empty_file") < place("the title of bytes"));
    assert!(page.contains(">1 of 2<"), "{page}");
    assert!(page.contains("href=\"ben%2F..%2Fx%20y/report.html\""), "{page}");
}

#[test]
fn table_of_the_class_has_a_column_a_check_and_no_formulas() {
    let mut graded = result();
    graded.ignored = vec!["=HYPERLINK(\"x\")\nb".to_owned(), "c,d".to_owned()];
    let rows = [
        Row { name: "@SUM(A1)".to_owned(), outcome: Outcome::Graded(graded) },
        Row { name: "ben".to_owned(), outcome: Outcome::Error("the disk is full".to_owned()) },
    ];
    let table = csv::class(&rubric(), &rows).unwrap();
    let expected = "submission,score,max,bytes,empty_file,idle,mapped,needs,status,seconds,remarks\n\
        '@SUM(A1),20,100,20,0,0,0,0,\"graded, but not all was checked\",12.6,\"'=HYPERLINK(\"\"x\"\") b; c,d\"\n\
        ben,,,,,,,,error,,the disk is full\n";
    assert_eq!(table, expected);
}

#[test]
fn our_own_form_reads_back() {
    let text = Format::Json.render(&result()).unwrap();
    let back: StageResult = serde_json::from_str(&text).unwrap();
    assert_eq!(back.schema, SCHEMA);
    assert_eq!(back.checks.len(), 5);
}
