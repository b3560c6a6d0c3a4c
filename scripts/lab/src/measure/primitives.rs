//! What a single step costs that the stages are made of.
//!
//! Each is done again and again by two processes, or one, that do nothing else. So these are the
//! costs with everything warm: in a busy server they are higher.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use nix::fcntl::{SpliceFFlags, splice};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use nix::sys::wait::waitpid;
use nix::unistd::{close, pipe};
use serde::{Deserialize, Serialize};

use crate::measure::grid::Grid;
use crate::measure::part::{child, command};
use crate::measure::rounds::in_turn;
use crate::measure::setting::Setting;
use crate::measure::statistics::Spread;

/// One of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Primitive {
    PingPong,
    PassDescriptor,
    ForkWait,
    Splice,
}

/// What is spliced at once, in bytes: what fits into a pipe that nobody has enlarged.
const PIPE: usize = 64 << 10;

impl Primitive {
    fn describe(self) -> &'static str {
        match self {
            Self::PingPong => "a byte through a socketpair, and one back",
            Self::PassDescriptor => {
                "a descriptor through a socketpair (SCM_RIGHTS), and a byte back"
            }
            Self::ForkWait => "fork, _exit, wait",
            Self::Splice => "splice of 64 KiB, from a file into a pipe and on to /dev/null",
        }
    }
}

/// All of them.
#[derive(Deserialize, Serialize)]
pub struct Primitives(pub Vec<Cost>);

/// What one of them takes.
#[derive(Deserialize, Serialize)]
pub struct Cost {
    primitive: Primitive,
    pub what: String,
    pub microseconds: Spread,
    rounds: Vec<f64>,
}

/// Measures them in turn.
pub fn measure(setting: &Setting) -> Result<Primitives> {
    let all = Primitive::value_variants();
    let milliseconds = setting.plan.sample.as_millis().to_string();
    let samples = in_turn("primitives", setting.plan.rounds, all.len(), setting, |at| {
        let name = all[at].to_possible_value().context("a name")?;
        let output = command(["primitive", name.get_name(), &milliseconds]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim()
            .parse::<f64>()
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    })?;
    let cost = |(&primitive, rounds): (&Primitive, Result<Vec<f64>>)| {
        let rounds = rounds?;
        let microseconds = Spread::of(rounds.iter().copied());
        Ok(Cost { primitive, what: primitive.describe().to_owned(), microseconds, rounds })
    };
    all.iter().zip(samples.of).map(cost).collect::<Result<_>>().map(Primitives)
}

impl Primitives {
    /// A table.
    pub fn text(&self) -> String {
        let mut grid = Grid::new(["primitives", "µs"]);
        for cost in &self.0 {
            grid.row([cost.what.to_owned(), cost.microseconds.text(1)]);
        }
        format!("\n{}", grid.text())
    }
}

/// Does it for so long, and prints how many microseconds it takes once.
pub fn time(which: Primitive, milliseconds: u64) -> Result<()> {
    let limit = Duration::from_millis(milliseconds);
    let microseconds = match which {
        Primitive::PingPong => ping_pong(limit)?,
        Primitive::PassDescriptor => pass_descriptor(limit)?,
        Primitive::ForkWait => repeat(limit, || Ok(waitpid(child(|| Ok(()))?, None).map(drop)?))?,
        Primitive::Splice => splice_to_nowhere(limit)?,
    };
    println!("{microseconds}");
    Ok(())
}

/// The time of one, in microseconds. The clock is asked now and then only: it costs, too.
fn repeat(limit: Duration, mut once: impl FnMut() -> Result<()>) -> Result<f64> {
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < limit {
        for _ in 0..16 {
            once()?;
        }
        count += 16;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6 / f64::from(count))
}

fn ping_pong(limit: Duration) -> Result<f64> {
    let (mut here, mut there) = UnixStream::pair()?;
    let mut byte = [0];
    child(|| {
        loop {
            there.read_exact(&mut byte)?;
            there.write_all(&byte)?;
        }
    })?; // it dies with us
    repeat(limit, || {
        here.write_all(&byte)?;
        Ok(here.read_exact(&mut byte)?)
    })
}

fn pass_descriptor(limit: Duration) -> Result<f64> {
    // As the channel of the stages: a message arrives whole.
    let (here, there) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let passed = File::open("/dev/null")?;
    child(|| {
        loop {
            close(receive_descriptor(&there)?)?;
            nix::sys::socket::send(there.as_raw_fd(), b"D", MsgFlags::empty())?;
        }
    })?;
    let mut byte = [0];
    repeat(limit, || {
        let rights = [passed.as_raw_fd()];
        let message = [ControlMessage::ScmRights(&rights)];
        sendmsg::<()>(here.as_raw_fd(), &[IoSlice::new(b"C")], &message, MsgFlags::empty(), None)?;
        nix::sys::socket::recv(here.as_raw_fd(), &mut byte, MsgFlags::empty())?;
        Ok(())
    })
}

fn receive_descriptor(socket: &OwnedFd) -> Result<RawFd> {
    let mut control = nix::cmsg_space!(RawFd);
    let mut byte = [0];
    let mut room = [IoSliceMut::new(&mut byte)];
    let message =
        recvmsg::<()>(socket.as_raw_fd(), &mut room, Some(&mut control), MsgFlags::empty())?;
    match message.cmsgs()?.next() {
        Some(ControlMessageOwned::ScmRights(descriptors)) => Ok(descriptors[0]),
        _ => bail!("no descriptor came"),
    }
}

fn splice_to_nowhere(limit: Duration) -> Result<f64> {
    let mut file = tempfile::tempfile()?;
    file.write_all(&vec![1; PIPE])?;
    let nowhere = File::create("/dev/null")?;
    let (read, write) = pipe()?;
    repeat(limit, || {
        let mut offset = 0;
        let flags = SpliceFFlags::empty();
        let inside = splice(&file, Some(&mut offset), &write, None, PIPE, flags)?;
        splice(&read, None, &nowhere, None, inside, flags)?;
        Ok(())
    })
}
