//! The clients of stage 09, and the programs they ask for.

use std::path::Path;
use std::thread;

use support::line::{LineClient, shown};
use support::programs::Programs;
use support::server::run;

use super::chance::Chance;
use super::clients::{Got, Manner, Visitor, succeeded};
use super::versions::Versions;

/// The programs, and what each prints.
pub struct Offer {
    programs: Programs,
    outputs: Vec<(&'static str, Vec<u8>)>,
    /// What nobody may run.
    forbidden: Vec<String>,
}

/// So many of the outputs, the first ones, are text.
const TEXTS: usize = 2;

impl Offer {
    /// Makes them.
    pub fn new(versions: &Versions) -> Self {
        let programs = Programs::new(); // with one that prints `hello`
        programs.add("slow", "for line in one two three; do echo $line; sleep 0.05; done");
        programs.add("none", "exit 1");
        let (path, content) = versions.medium();
        programs.add("much", &format!("exec cat '{}'", path.display()));
        let outputs = vec![
            ("hello", b"hello\n".to_vec()),
            ("slow", b"one\ntwo\nthree\n".to_vec()),
            ("none", Vec::new()),
            ("much", content.to_vec()),
        ];
        let forbidden = programs.add_traps();
        Self { programs, outputs, forbidden }
    }

    /// The directory of the programs.
    pub fn dir(&self) -> &Path {
        Path::new(self.programs.path())
    }

    /// Has something been run that nobody may run?
    pub fn is_abused(&self) -> bool {
        self.programs.is_trapped()
    }

    /// A request for one of the programs.
    pub fn request(&self, chance: &mut Chance) -> String {
        format!("{}\r\n", self.outputs[chance.below(self.outputs.len())].0)
    }

    /// A request for what nobody may run.
    pub fn forbidden(&self, chance: &mut Chance) -> String {
        format!("{}\r\n", self.forbidden[chance.below(self.forbidden.len())])
    }
}

impl Visitor<'_> {
    /// Asks for a program; what it prints has to come, all of it and nothing else.
    pub(super) fn ask(&mut self, manner: Manner) -> Got {
        let (name, output) = &self.offer.outputs[self.chance.below(self.offer.outputs.len())];
        let pause = match manner {
            Manner::Slow => 60,
            Manner::Stalling => 2500,
            _ => 1,
        };
        let request = format!("{name}\r\n");
        let (start, end) = request.split_at(self.chance.below(request.len() + 1));
        let mut client = LineClient::connect(self.server.addr());
        client.send(start);
        thread::sleep(self.chance.millis(pause));
        client.send(end);
        if manner == Manner::HalfClosed {
            client.half_close();
        }
        thread::sleep(self.chance.millis(pause));
        compare(name, &client.read_to_end(), output)
    }

    pub(super) fn own_run(&mut self) -> Got {
        let (name, output) = &self.offer.outputs[self.chance.below(TEXTS)];
        let finished = run(self.stage.bin(), &["run", "--port", &self.port(), name]);
        succeeded(&finished);
        compare(name, finished.stdout.as_bytes(), output)
    }
}

#[track_caller]
fn compare(name: &str, answer: &[u8], output: &[u8]) -> Got {
    let (came, whole) = (answer.len(), output.len());
    assert!(
        came > 0 || whole == 0,
        "the connection was closed, and nothing had come of what {name} prints"
    );
    assert!(!answer.starts_with(b"error: "), "{name} wasn't run: {}", shown(answer));
    assert!(output.starts_with(answer), "wrong bytes came from {name}: {}", shown(answer));
    assert!(came == whole, "the connection ended after {came} of {whole} bytes of {name}");
    Got { lines: 0, bytes: whole as u64 }
}
