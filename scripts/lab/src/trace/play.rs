//! What is played for the picture of a stage: a server, with three workers unless it is a chat's,
//! and real clients at fixed points of the story, so that every run tells the same.
//!
//! Interface: [`play`]. A stage is known by the subcommands of its program; a later stage that has
//! one of these needs nothing here.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::actor::Actor;
use super::record::Record;
use super::scene::{Program, Scene, wait_until};
use crate::repo::Stage;

/// What happened, as it is on record.
pub struct Play {
    /// The records of all processes, in order of time.
    pub records: Vec<Record>,
    /// The programs that were run, in order: the server is the first.
    pub programs: Vec<Program>,
    /// What was played.
    pub plot: &'static str,
}

/// Plays the scene of this stage with its program.
pub fn play(stage: &Stage, program: &Path) -> Result<Play> {
    let help = Command::new(program).arg("--help").output().context("run the program")?;
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let has = |verb: &str| help.lines().any(|line| line.trim_start().starts_with(verb));
    let mut scene = Scene::new(program)?;
    let server = scene.server(has("join "), has("get "))?;
    let (plot, ends_itself) = match stage.number.as_str() {
        "03" => (replace(&mut scene, &server)?, false),
        "05" => (lose_a_client(&mut scene, &server)?, false),
        "08" => (leave(&mut scene, &server)?, true),
        _ if has("join ") => (chat(&mut scene)?, false),
        _ if has("get ") => (download(&mut scene, &server)?, false),
        _ if has("run ") => (run(&mut scene, &server)?, true),
        _ if has("echo ") => (echo(&mut scene, &server)?, false),
        _ => (mortality(&mut scene, &server)?, true),
    };
    let (records, programs) = scene.finish(server, ends_itself)?;
    Ok(Play { records, programs, plot })
}

/// 01: one worker dies, then the parent.
fn mortality(scene: &mut Scene, server: &Actor) -> Result<&'static str> {
    scene.client(&["status"])?.succeed()?;
    scene.rest()?;
    scene.kill_worker(server, 1)?;
    scene.rest()?;
    scene.client(&["status"])?.succeed()?;
    scene.rest()?;
    scene.poke(server, Signal::SIGKILL)?;
    Ok(
        "A client asks for the table; worker 1 is killed; a client asks again; the parent is killed.",
    )
}

/// 02: two clients at the same time.
fn echo(scene: &mut Scene, _server: &Actor) -> Result<&'static str> {
    let mut red = scene.client(&["echo"])?;
    red.ask("red")?;
    scene.rest()?;
    let mut green = scene.client(&["echo"])?;
    green.ask("green")?;
    scene.rest()?;
    red.succeed()?;
    green.succeed()?;
    scene.rest()?;
    Ok("Two clients at the same time, a line each.")
}

/// 03: the same, and a worker dies.
fn replace(scene: &mut Scene, server: &Actor) -> Result<&'static str> {
    echo(scene, server)?;
    let before = server.children()?.len();
    scene.kill_worker(server, 0)?;
    wait_until("the dead worker is replaced", || Ok(server.children()?.len() == before))?;
    scene.rest()?;
    Ok("Two clients at the same time, a line each; then worker 0 is killed.")
}

/// 04, 06, 07: one download.
fn download(scene: &mut Scene, _server: &Actor) -> Result<&'static str> {
    scene.get(false)?.succeed()?;
    scene.rest()?;
    Ok("A client downloads 32 MiB.")
}

/// 05: a download, and another one whose client is killed in the middle.
fn lose_a_client(scene: &mut Scene, server: &Actor) -> Result<&'static str> {
    download(scene, server)?;
    let mut slow = scene.get(true)?;
    scene.wait_for_data(&slow)?;
    scene.poke(&slow, Signal::SIGKILL)?;
    slow.end()?;
    scene.rest()?;
    Ok("A client downloads 32 MiB; a second, slow one is killed in the middle.")
}

/// 09: two programs are run, a worker is killed, and the server is told to leave.
fn run(scene: &mut Scene, server: &Actor) -> Result<&'static str> {
    for _ in 0..2 {
        scene.client(&["run", "date"])?.succeed()?;
        scene.rest()?;
    }
    scene.kill_worker(server, 2)?;
    scene.rest()?;
    scene.poke(server, Signal::SIGTERM)?;
    Ok(
        "Two clients, one after the other, have `date` run; worker 2 is killed; the server is told to leave.",
    )
}

/// 08: the server is told to leave while a client is in the middle.
fn leave(scene: &mut Scene, server: &Actor) -> Result<&'static str> {
    let mut slow = scene.get(true)?;
    scene.wait_for_data(&slow)?;
    scene.poke(&slow, Signal::SIGSTOP)?;
    scene.rest()?;
    scene.poke(server, Signal::SIGTERM)?;
    wait_until("the idle workers leave", || Ok(server.children()?.len() == 1))?;
    scene.rest()?;
    scene.get(false)?.end()?; // refused, which is an error to it
    scene.poke(&slow, Signal::SIGCONT)?;
    slow.succeed()?;
    Ok(
        "The server is told to leave while a slow client is in the middle; a late client is refused.",
    )
}

/// 10 and 11: three users; each of two says a line; one is killed, one leaves.
fn chat(scene: &mut Scene) -> Result<&'static str> {
    let mut users = Vec::new();
    for name in ["ann", "ben", "cat"] {
        users.push(scene.client(&["join", "--name", name])?);
        scene.rest()?; // it is in
    }
    for speaker in [0, 1] {
        users[speaker].say("hello")?;
        for (hearer, user) in users.iter_mut().enumerate() {
            if hearer != speaker {
                user.line()?;
            }
        }
        scene.rest()?;
    }
    scene.poke(&users[2], Signal::SIGKILL)?;
    users[2].end()?;
    scene.rest()?;
    users[1].succeed()?;
    scene.rest()?;
    Ok("Three users; ann and ben say a line; cat is killed; ben leaves.")
}
