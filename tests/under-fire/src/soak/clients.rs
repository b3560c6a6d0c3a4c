//! The clients: good ones, whose every byte is compared, and all the others.

use std::fs;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use support::echo_habits::{PIECE, letters};
use support::files::entries;
use support::line::{Answer, LineClient};
use support::server::{Finished, Server, Signal, pipe_with, run, run_with_stdin};
use support::wire::{Format, RawClient};

use super::chance::Chance;
use super::requests::Offer;
use super::tally::{Ledger, Tally};
use super::versions::{NAME, Reading, Versions};
use crate::{Service, Stage};

/// What a client is like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Takes all as fast as it comes.
    Hasty,
    /// The stage's own client: `status`, `echo`, `get`, `run`, `join`.
    Own,
    /// Rests after every piece.
    Slow,
    /// Stands still for a while.
    Stalling,
    /// Says at once that it sends nothing more, or doesn't wait for answers (02, 03, 10 and 11).
    HalfClosed,
    /// Resets, closes or is killed at any point.
    Resetting,
    /// Sends what no client should.
    Hostile,
    /// Connects and leaves, many times.
    Scan,
}

/// How often each manner is drawn.
const MIX: [Manner; 16] = {
    use Manner::{HalfClosed, Hasty, Hostile, Own, Resetting, Scan, Slow, Stalling};
    [
        Hasty, Hasty, Hasty, Hasty, Own, Own, Own, Slow, Stalling, HalfClosed, HalfClosed,
        Resetting, Resetting, Resetting, Hostile, Scan,
    ]
};

/// Visits a server again and again.
pub struct Visitor<'a> {
    pub stage: Stage,
    pub server: &'a Server,
    pub versions: &'a Versions,
    /// The programs that are there to be run (09).
    pub offer: &'a Offer,
    pub ledger: &'a Ledger,
    /// The workers that were killed and not replaced (01, 02 and 09).
    pub killed: &'a Mutex<Vec<i32>>,
    /// The workers at the start.
    pub workers: &'a [i32],
    /// An own directory to receive into.
    pub out: PathBuf,
    pub chance: Chance,
}

/// What a good client has got.
#[derive(Default)]
pub struct Got {
    pub lines: u64,
    pub bytes: u64,
}

/// Does something that may panic; its message is the error.
pub fn attempt<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(what)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
    })
}

impl Visitor<'_> {
    /// One client, drawn at random.
    pub fn visit(&mut self) {
        let manner = self.chance.pick(&MIX);
        let from = Instant::now();
        let outcome = attempt(|| match manner {
            Manner::Resetting => self.break_off(),
            Manner::Hostile => self.attack(),
            Manner::Scan => self.scan(),
            _ => Some(self.be_good(manner)),
        });
        match outcome {
            Ok(None) => {}
            Ok(Some(got)) => self.ledger.note(|tally| count(tally, manner, from.elapsed(), &got)),
            Err(_) if matches!(manner, Manner::Resetting | Manner::Hostile | Manner::Scan) => {}
            Err(error) => self.ledger.judge(self.stage.name, from, &error),
        }
        self.ledger.note(|tally| match manner {
            Manner::Slow | Manner::Stalling => tally.slow += 1,
            Manner::Resetting => tally.resetting += 1,
            Manner::Hostile | Manner::Scan => tally.hostile += 1,
            _ => {}
        });
    }

    fn be_good(&mut self, manner: Manner) -> Got {
        match (self.stage.service, manner) {
            (Service::Table, Manner::Own) => self.own_status(),
            (Service::Table, _) => self.read_table(manner),
            (Service::Echo, Manner::Own) => self.own_echo(),
            (Service::Echo, _) => self.talk(manner),
            (Service::File(_), Manner::Own) => self.own_get(),
            (Service::File(format), _) => self.receive(format, manner),
            (Service::Programs, Manner::Own) => self.own_run(),
            (Service::Programs, _) => self.ask(manner),
            (Service::Chat, _) => self.chat(manner),
        }
    }

    fn read_table(&mut self, manner: Manner) -> Got {
        let gone = self.killed.lock().unwrap().clone();
        let mut client = LineClient::connect(self.server.addr());
        match manner {
            Manner::HalfClosed => client.half_close(),
            Manner::Slow | Manner::Stalling => thread::sleep(self.chance.millis(1000)),
            _ => {}
        }
        let table = client.read_to_end();
        self.check_table(&String::from_utf8_lossy(&table), &gone)
    }

    fn own_status(&mut self) -> Got {
        let gone = self.killed.lock().unwrap().clone();
        let finished = run(self.stage.bin(), &["status", "--port", &self.port()]);
        succeeded(&finished);
        self.check_table(&finished.stdout, &gone)
    }

    /// A row for each worker: who was gone before the client came is, whoever lives still isn't.
    fn check_table(&self, table: &str, gone: &[i32]) -> Got {
        let gone_by_now = self.killed.lock().unwrap().clone();
        let rows: Vec<&str> = table.lines().collect();
        assert!(rows.len() == self.workers.len(), "a wrong table: {table:?}");
        for (number, row) in rows.iter().enumerate() {
            let state = self.workers.iter().find_map(|&worker| {
                let state = row.strip_prefix(&format!("worker {number} pid {worker} "))?;
                Some((worker, state))
            });
            let right = match state {
                Some((worker, "idle")) => !gone.contains(&worker),
                Some((worker, "ended: signal 9")) => gone_by_now.contains(&worker),
                _ => false,
            };
            assert!(right, "a wrong row: {row:?}; killed so far: {gone_by_now:?}");
        }
        Got { lines: rows.len() as u64, bytes: table.len() as u64 }
    }

    /// Sends lines; every answer has to be right, and in order.
    fn talk(&mut self, manner: Manner) -> Got {
        let mut client = LineClient::connect(self.server.addr());
        let lines: Vec<Vec<u8>> = (0..1 + self.chance.below(40)).map(|_| self.line()).collect();
        match manner {
            Manner::HalfClosed => {
                client.send(joined(&lines));
                client.half_close();
                for line in &lines {
                    client.expect(line.to_ascii_uppercase());
                }
            }
            Manner::Hasty => lines.iter().for_each(|line| say(&mut client, line)),
            _ => {
                let pause = self.chance.millis(if manner == Manner::Slow { 60 } else { 2500 });
                for (number, line) in lines.iter().enumerate() {
                    let (start, end) = line.split_at(self.chance.below(line.len() + 1));
                    client.send(start);
                    if manner == Manner::Slow || number == 0 {
                        thread::sleep(pause);
                    }
                    client.send([end, b"\n"].concat());
                    client.expect(line.to_ascii_uppercase());
                }
            }
        }
        if manner != Manner::HalfClosed {
            client.half_close();
        }
        client.expect_end();
        conversation(&lines)
    }

    fn own_echo(&mut self) -> Got {
        let lines: Vec<Vec<u8>> = (0..1 + self.chance.below(40)).map(|_| self.line()).collect();
        let args = ["echo", "--port", &self.port()];
        let finished = run_with_stdin(self.stage.bin(), &args, pipe_with(joined(&lines)));
        succeeded(&finished);
        let answers: Vec<&str> = finished.stdout.lines().collect();
        assert!(answers.len() == lines.len(), "{} answers to {}", answers.len(), lines.len());
        for (answer, line) in answers.into_iter().zip(&lines) {
            let text = Answer::parse(answer.as_bytes()).map(|answer| answer.text);
            assert!(text == Some(line.to_ascii_uppercase()), "a wrong answer: {answer:?}");
        }
        conversation(&lines)
    }

    /// Up to 2,000 letters, often very few.
    fn line(&mut self) -> Vec<u8> {
        let longest = self.chance.pick(&[1, 20, 20, 200, 2000]);
        let from = self.chance.below(100);
        letters(from + self.chance.below(longest + 1)).split_off(from)
    }

    fn receive(&mut self, format: Format, manner: Manner) -> Got {
        let mut client = RawClient::connect(self.server.addr(), format);
        if manner == Manner::HalfClosed {
            client.half_close();
        }
        let header = client.header();
        assert!(header.name == NAME.as_bytes(), "a wrong name: {}", header.name.escape_ascii());
        let rest_every = match manner {
            Manner::Slow => 500_000,
            Manner::Stalling => 10_000_000,
            _ => usize::MAX,
        };
        let rest = self.chance.millis(if manner == Manner::Slow { 60 } else { 2500 });
        let mut next_rest = 0;
        let mut reading = self.versions.reading();
        let transfer = client.rest(header, |piece| {
            if reading.offset >= next_rest && rest_every < usize::MAX {
                next_rest = reading.offset + rest_every;
                thread::sleep(rest);
            }
            reading.piece(piece);
        });
        if let Err(error) = transfer {
            panic!("{error}");
        }
        reading.end();
        Got { lines: 0, bytes: reading.offset as u64 }
    }

    fn own_get(&mut self) -> Got {
        let port = self.port();
        let finished = run(self.stage.bin(), &self.stage.client_args(&port, &self.out));
        if !finished.status.success() {
            let left = entries(&self.out);
            assert!(left.is_empty(), "a failed get has left files: {left:?}");
        }
        succeeded(&finished);
        let path = self.out.join(NAME);
        let mut reading = self.versions.reading();
        read_in_pieces(&path, &mut reading);
        fs::remove_file(&path).expect("remove the received file");
        let expected =
            format!("received {NAME} ({} bytes) -> {}\n", reading.offset, path.display());
        assert!(finished.stdout == expected, "get said {:?}", finished.stdout);
        Got { lines: 0, bytes: reading.offset as u64 }
    }

    /// Stops in the middle of it all.
    fn break_off(&mut self) -> Option<Got> {
        if self.chance.below(4) == 0 && self.stage.of_files().is_some() {
            self.kill_get();
            return None;
        }
        let mut client = LineClient::connect(self.server.addr());
        if self.stage.service == Service::Programs {
            client.send(self.offer.request(&mut self.chance));
        }
        if matches!(self.stage.service, Service::Echo | Service::Chat) {
            for _ in 0..self.chance.below(20) {
                client.send([&self.line()[..], b"\n"].concat());
            }
            client.send(self.line());
        }
        let most = self.chance.pick(&[1, 30, 300, 10_000, 3_000_000]);
        let limit = self.chance.below(most);
        let wait = Some(Duration::from_millis(50)); // 02 and 03 may have answered all by then
        client.stream().set_read_timeout(wait).expect("setsockopt SO_RCVTIMEO");
        let _ = client.stream().take(limit as u64).read_to_end(&mut Vec::new());
        if self.chance.below(3) > 0 {
            client.reset();
        }
        None
    }

    /// The stage's own client is killed in the middle of a transfer, and what it leaves removed.
    fn kill_get(&mut self) {
        let stage = self.stage.of_files().expect("a stage with files");
        let client = stage.start_get(self.server.port(), &self.out, &["--quiet"]);
        thread::sleep(self.chance.millis(40));
        client.signal(Signal::SIGKILL);
        let _ = client.finish();
        for left in entries(&self.out) {
            fs::remove_file(self.out.join(left)).expect("remove what a killed get left");
        }
    }

    /// Sends what no client should.
    fn attack(&mut self) -> Option<Got> {
        let mut client = LineClient::connect(self.server.addr());
        if self.stage.service == Service::Echo && self.chance.below(2) == 0 {
            return Some(endless_line(client, 1 + self.chance.below(4)));
        }
        if self.stage.service == Service::Programs && self.chance.below(2) == 0 {
            client.send(self.offer.forbidden(&mut self.chance));
            let _ = client.read_to_end();
            return None;
        }
        if self.stage.service == Service::Chat && self.chance.below(2) == 0 {
            thread::sleep(self.chance.millis(3000)); // without reading
            client.reset();
            return None;
        }
        let noise = self.chance.bytes(200_000);
        client.send_what_fits(&noise, self.chance.millis(200));
        if self.chance.below(2) == 0 {
            client.reset();
        }
        None
    }

    fn scan(&mut self) -> Option<Got> {
        for _ in 0..self.chance.below(20) {
            let client = LineClient::connect(self.server.addr());
            if self.chance.below(2) == 0 {
                client.reset();
            }
        }
        None
    }

    pub(super) fn port(&self) -> String {
        self.server.port().to_string()
    }
}

/// A line of so many times 128 KiB without a newline is answered in pieces.
fn endless_line(mut client: LineClient, blocks: usize) -> Got {
    let block = letters(16 * PIECE);
    for _ in 0..blocks {
        client.send(&block);
        for piece in block.chunks(PIECE) {
            client.expect(piece.to_ascii_uppercase());
        }
    }
    client.half_close();
    client.expect_end();
    Got { lines: (16 * blocks) as u64, bytes: (blocks * block.len()) as u64 }
}

fn say(client: &mut LineClient, line: &[u8]) {
    client.send([line, b"\n"].concat());
    client.expect(line.to_ascii_uppercase());
}

fn joined(lines: &[Vec<u8>]) -> Vec<u8> {
    lines.iter().flat_map(|line| [&line[..], b"\n"].concat()).collect()
}

fn conversation(lines: &[Vec<u8>]) -> Got {
    Got { lines: lines.len() as u64, bytes: joined(lines).len() as u64 }
}

fn read_in_pieces(path: &Path, reading: &mut Reading<'_>) {
    let mut file = fs::File::open(path).expect("open the received file");
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).expect("read the received file") {
            0 => break reading.end(),
            count => reading.piece(&buffer[..count]),
        }
    }
}

/// A client of the stage that failed says why in one line, which is the error of this one.
#[track_caller]
pub(super) fn succeeded(finished: &Finished) {
    let error = finished.stderr.lines().last().unwrap_or_default();
    let well_behaved = finished.left_running.is_empty()
        && (finished.status.success()
            || finished.status.code() == Some(1) && error.starts_with("error: "));
    assert!(well_behaved, "a client of the stage misbehaves: {finished:?}");
    assert!(finished.status.success(), "{error}");
}

fn count(tally: &mut Tally, manner: Manner, took: Duration, got: &Got) {
    tally.compared += 1;
    tally.own += u64::from(manner == Manner::Own);
    tally.lines += got.lines;
    tally.bytes += got.bytes;
    if matches!(manner, Manner::Hasty | Manner::Own | Manner::HalfClosed) {
        tally.worst_wait = tally.worst_wait.max(took);
    }
}
