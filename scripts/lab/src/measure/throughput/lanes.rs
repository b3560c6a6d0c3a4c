//! Who sends a large file to whom.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::measure::discard::discard;
use crate::measure::part;
use crate::measure::peers::{self, Peer};
use crate::measure::place::Destination;
use crate::measure::process::{Server, Usage, run};
use crate::measure::setting::Setting;

const WORKERS: u16 = 5;

/// How the bench receives what goes to the sink.
const DROPPED: &str = "recv MSG_TRUNC";

/// The name of the large file.
pub const FILE: &str = "large.bin";

/// Who sends, who receives, and where to.
pub struct Lane<'a> {
    pub sender: String,
    pub is_stage: bool,
    pub receiver: String,
    pub to: Destination,
    pub server: &'a Server,
    pub receive: Box<dyn Fn() -> Result<Usage> + 'a>,
    /// Nobody looks at the bytes twice.
    pub checked: Cell<bool>,
}

/// A server, and what makes lanes of it.
pub struct Sender {
    pub name: String,
    pub server: Server,
    pub kind: Kind,
}

/// What kind of server it is.
pub enum Kind {
    /// By its place among the programs.
    Stage(usize),
    Http,
    Splice,
    Iperf,
}

/// Starts all servers. They stay: one that nobody talks to costs nothing. One that doesn't start
/// is left out.
pub fn senders(
    file: &Path,
    curl: bool,
    iperf: Option<&Peer>,
    setting: &mut Setting,
) -> Result<Vec<Sender>> {
    let mut started = Vec::new();
    for (at, program) in setting.programs.iter().enumerate() {
        started.push((program.name(), Kind::Stage(at), program.serve(file, WORKERS)));
    }
    let dir = setting.place.disk().to_owned();
    if let (Some(peer), true) = (Peer::find("nginx", "-v", setting), curl) {
        let server = peers::nginx(&peer, &dir, setting);
        started.push((peer.name, Kind::Http, server));
    }
    if let (Some(peer), true) = (Peer::find("python3", "--version", setting), curl) {
        let server = peers::python(&peer, &dir);
        started.push((format!("{} http.server", peer.name), Kind::Http, server));
    }
    if let Some(peer) = iperf {
        started.push((peer.name.clone(), Kind::Iperf, peers::iperf3(peer)));
    }
    let splice = Server::that_announces(&mut part::command([Path::new("splice"), file]))?;
    started.push(("the limit: splice alone".to_owned(), Kind::Splice, Ok(splice)));
    let mut senders = Vec::new();
    for (name, kind, server) in started {
        match server {
            Ok(server) => senders.push(Sender { name, server, kind }),
            Err(error) => setting.leave_out(format!("{name}: {error:#}")),
        }
    }
    Ok(senders)
}

/// Who can send to this destination, and who receives there.
pub fn lanes<'a>(
    senders: &'a [Sender],
    to: Destination,
    curl: Option<&'a Peer>,
    iperf: Option<&'a Peer>,
    setting: &'a Setting,
) -> Vec<Lane<'a>> {
    let bytes = setting.plan.bytes;
    let out = setting.place.out(to);
    let mut lanes = Vec::new();
    for Sender { name, server, kind } in senders {
        let port = server.port();
        let mut lane =
            |name: &str, receiver: &str, receive: Box<dyn Fn() -> Result<Usage> + 'a>| {
                let (sender, receiver) = (name.to_owned(), receiver.to_owned());
                let is_stage = matches!(kind, Kind::Stage(_));
                let checked = Cell::new(false);
                lanes.push(Lane { sender, is_stage, receiver, to, server, receive, checked });
            };
        let client = |command: Box<dyn Fn() -> Command + 'a>| Box::new(move || run(&mut command()));
        match (kind, out.clone()) {
            (Kind::Stage(_) | Kind::Splice, None) => {
                lane(name, DROPPED, Box::new(move || discard(port, None, bytes)));
            }
            (Kind::Stage(at), Some(out)) => {
                let program = &setting.programs[*at];
                lane(name, "its get", client(Box::new(move || program.get(port, &out))));
            }
            (Kind::Http, out) => {
                let Some(peer) = curl else { continue };
                let file = out.clone().map_or(PathBuf::from("/dev/null"), |it| it.join(FILE));
                let get = move || peers::curl(peer, port, FILE, &file);
                lane(name, &peer.name, client(Box::new(get)));
                if out.is_none() && name.starts_with("nginx") {
                    let get = move || discard(port, Some(&peers::request(FILE)), bytes);
                    lane(name, DROPPED, Box::new(get));
                }
            }
            (Kind::Iperf, None) => {
                let Some(peer) = iperf else { continue };
                for (name, zero_copy) in [(name.clone(), false), (format!("{name} -Z"), true)] {
                    let get = move || peers::iperf3_client(peer, port, bytes, zero_copy);
                    lane(&name, "iperf3", Box::new(get));
                }
            }
            (Kind::Iperf | Kind::Splice, Some(_)) => {} // nothing that makes a file
        }
    }
    lanes
}
