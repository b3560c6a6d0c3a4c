//! All servers for a long time, under clients and faults drawn at random: `scripts/soak.sh`.
#![allow(clippy::expect_used, reason = "a driver that can't go on may stop where it is")]

use std::panic;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use clap::Parser;
use nix::sys::signal::{SigSet, Signal};
use under_fire::soak::{Plan, failures, run, show};
use under_fire::{OTHERS, STAGES, Stage};

/// Drives the servers of all stages with good, slow, resetting and hostile clients and with
/// faults, and compares every byte that a good client gets; at the end the servers must hold
/// what they held at the start.
///
/// Progress comes on standard error, a line a stage and minute, the figures at the end on standard
/// output. Exit status: 0 if all is well, 1 if not, 2 for wrong usage. Ctrl-C ends it early, in order.
#[derive(Parser)]
struct Args {
    /// How long, in minutes
    #[arg(default_value_t = 1.0, value_parser = minutes)]
    minutes: f64,
    /// Which stages, such as 03 07 [default: all]
    #[arg(value_parser = stage)]
    stages: Vec<Stage>,
    /// What chance begins with; one that is printed draws the same again
    #[arg(long)]
    seed: Option<u64>,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok().filter(|minutes| (0.05..=10_000.0).contains(minutes));
    minutes.ok_or_else(|| "a number of minutes from 0.05 to 10000 is wanted".to_owned())
}

fn stage(text: &str) -> Result<Stage, String> {
    let number: Option<usize> = text.parse().ok();
    let stage = all().find(|stage| Some(stage.number()) == number);
    stage.ok_or_else(|| "a stage from 01 to 11 is wanted".to_owned())
}

fn all() -> impl Iterator<Item = Stage> {
    STAGES.into_iter().chain(OTHERS)
}

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    let args = Args::parse();
    stop_on_signals();
    // A client that fails panics; it is caught, and its message is judged.
    panic::set_hook(Box::new(|_| {}));
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let seed = args.seed.unwrap_or(now.as_micros() as u64 % 1_000_000);
    let stages = if args.stages.is_empty() { all().collect() } else { args.stages };
    let plan = Plan { stages, length: Duration::from_secs_f64(args.minutes * 60.0), seed };
    eprintln!("soak: {} stages for {} minutes, seed {seed}", plan.stages.len(), args.minutes);
    let reports = run(&plan, &STOP);
    print!("{}", show(&reports));
    let failures = failures(&reports);
    for failure in &failures {
        println!("FAILED: {failure}");
    }
    if failures.is_empty() {
        println!("\nall well, seed {seed}");
        ExitCode::SUCCESS
    } else {
        println!("\n{} failures, seed {seed}", failures.len());
        ExitCode::FAILURE
    }
}

/// From now on SIGINT, SIGTERM and SIGHUP end the soak in order.
#[allow(clippy::disallowed_methods, reason = "a driver has threads, programs under test don't")]
fn stop_on_signals() {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block().expect("pthread_sigmask");
    thread::spawn(move || {
        let _ = signals.wait();
        eprintln!("soak: stopping");
        STOP.store(true, Ordering::Relaxed);
    });
}
