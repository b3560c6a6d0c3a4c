//! JUnit's XML, as continuous integration reads it: a suite for the stage, a case for each check.
//!
//! A check that couldn't be made on this machine is `skipped`; one that has to wait for an earlier
//! region is a `failure`, for work is missing; a program that doesn't build is an `error`.

use anyhow::Result;
use quick_xml::Writer;
use quick_xml::events::{BytesText, Event};

use super::{explanation_text, plain, word};
use crate::result::{CheckResult, StageResult, Status};

/// The text of `junit.xml`.
pub fn render(result: &StageResult) -> Result<String> {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    xml.write_event(Event::Decl(quick_xml::events::BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let name = format!("{} {}", result.stage, result.name);
    let totals = [
        ("tests", result.checks.len().to_string()),
        ("failures", count(result, "failure")),
        ("errors", count(result, "error")),
        ("skipped", count(result, "skipped")),
        ("time", format!("{:.3}", result.seconds)),
    ];
    let totals = || totals.iter().map(|(key, value)| (*key, value.as_str()));
    let suites = xml.create_element("testsuites").with_attribute(("name", name.as_str()));
    suites.with_attributes(totals()).write_inner_content(|xml| {
        let suite = xml.create_element("testsuite").with_attribute(("name", name.as_str()));
        let suite = suite.with_attributes(totals());
        let timestamp = result.datetime.trim_end_matches('Z');
        suite.with_attribute(("timestamp", timestamp)).write_inner_content(|xml| {
            result.checks.iter().try_for_each(|check| case(xml, result, check))?;
            if let Some(error) = &result.build_error {
                let error = plain(error);
                xml.create_element("system-err").write_text_content(BytesText::new(&error))?;
            }
            Ok(())
        })?;
        Ok(())
    })?;
    Ok(String::from_utf8(xml.into_inner())? + "\n")
}

/// The element that says how a check ended, `None` if well.
fn element(status: Status) -> Option<&'static str> {
    match status {
        Status::Ok => None,
        Status::NotChecked => Some("skipped"),
        Status::Build => Some("error"),
        Status::Fail | Status::Timeout | Status::Crash | Status::Needs => Some("failure"),
    }
}

fn count(result: &StageResult, name: &str) -> String {
    let named = |check: &&CheckResult| element(check.status) == Some(name);
    result.checks.iter().filter(named).count().to_string()
}

fn case(
    xml: &mut Writer<Vec<u8>>,
    result: &StageResult,
    check: &CheckResult,
) -> std::io::Result<()> {
    let class = format!("step{}-{}", result.stage, result.name);
    let time = format!("{:.3}", check.seconds);
    let attributes = [("name", check.title.as_str()), ("classname", &class), ("time", &time)];
    let case = xml.create_element("testcase").with_attributes(attributes);
    let Some(element) = element(check.status) else { return case.write_empty().map(drop) };
    case.write_inner_content(|xml| {
        let saw = check.failure.as_ref().map(|failure| plain(&failure.saw)).unwrap_or_default();
        let message = saw.lines().next().unwrap_or_default();
        let ended = xml.create_element(element).with_attribute(("message", message));
        if element == "skipped" {
            return ended.write_empty().map(drop); // it has no type and no text in the schema
        }
        let ended = ended.with_attribute(("type", word(check.status)));
        ended.write_text_content(BytesText::new(&explanation_text(check))).map(drop)
    })
    .map(drop)
}
