//! The lab tool: `cargo lab …`.
//!
//! For students: `list`, `check`, `watch`, `hint`, `diff`. For teachers: `export`, `reveal`,
//! `catchup`, `grade`, `gradescope-zip`, `calibrate`, `gallery`. For everybody: `trace`, and `bench`,
//! which is in `measure`. For who writes: `notes`. Each but `bench` has a file of its name.

mod calibrate;
mod catchup;
mod check;
mod check_command;
mod child;
mod clock;
mod compile;
mod diff;
mod dump;
mod export;
mod family;
mod gallery;
mod grade;
mod gradescope_zip;
mod hint;
mod list;
mod measure;
mod needs;
mod notes;
mod outcome;
mod paths;
mod pipe;
mod progress;
mod region;
mod repo;
mod report;
mod result;
mod reveal;
mod rubric;
mod rustc;
mod sandbox;
mod saves;
mod schedule;
mod screen;
mod slot;
mod submission;
mod supervise;
mod table;
mod text;
mod trace;
mod variant;
mod watch;
mod workbench;

use std::process::ExitCode;

use clap::Parser;

use crate::schedule::Interrupted;

/// The process-pool lab: exercises, checks, hints
#[derive(Parser)]
#[command(name = "cargo lab", bin_name = "cargo lab", version)]
enum Command {
    /// Show the stages, what is written and what is scored
    List(list::Args),
    Check(check_command::Args),
    Watch(watch::Args),
    Hint(hint::Args),
    Diff(diff::Args),
    Export(export::Args),
    Reveal(reveal::Args),
    Trace(trace::Args),
    Catchup(catchup::Args),
    Grade(grade::Args),
    GradescopeZip(gradescope_zip::Args),
    /// Measure how long the reference takes on this machine
    Calibrate(calibrate::Args),
    /// Check the checks: programs whose score is known
    Gallery(gallery::Args),
    Bench(measure::Args),
    #[command(subcommand)]
    Notes(notes::Action),
    #[command(hide = true, subcommand)]
    BenchPart(measure::part::Part),
    #[command(hide = true)]
    Rustc(rustc::Args),
    #[command(hide = true)]
    Supervise(supervise::Args),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::List(args) => list::run(&args),
        Command::Check(args) => check_command::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Hint(args) => hint::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Reveal(args) => reveal::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Catchup(args) => catchup::run(&args),
        Command::Grade(args) => grade::run(&args),
        Command::GradescopeZip(args) => gradescope_zip::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Gallery(args) => gallery::run(&args),
        Command::Bench(args) => measure::run(&args),
        Command::Notes(action) => notes::run(&action),
        Command::BenchPart(part) => measure::part::run(&part),
        Command::Rustc(args) => rustc::run(&args),
        Command::Supervise(args) => supervise::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) if error.is::<Interrupted>() => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
