//! What a chat costs: `chat_load PROGRAM [USERS…]`, with the program of stage 10 or of stage 11.
//!
//! For each number of users: how long it takes from `connect` until a newcomer is heard by
//! another user; how many lines a second reach all others while everybody talks as fast as it
//! can; the processor time of all processes of the server for each line that is delivered; and
//! the memory of all of them together (PSS, see `proc(5)`: what is shared counts once).
//!
//! ```console
//! $ cargo build --release -p step10-chat-poll -p step11-chat-shared-memory
//! $ cargo run --release -p support --example chat_load -- target/release/step10-chat-poll
//! ```

use std::env;
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use support::chat::{Part, speech, talk};
use support::line::LineClient;
use support::proc;
use support::server::Server;

/// The length of a line, newline included.
const LINE: usize = 40;

/// So many lines are delivered in each measurement, whatever the number of users.
const DELIVERIES: usize = 2_000_000;

/// Each is made so often; the median is shown.
const ROUNDS: usize = 5;

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let Some(program) = args.next() else {
        eprintln!("usage: chat_load PROGRAM [USERS…]");
        return ExitCode::FAILURE;
    };
    let mut users: Vec<usize> = args.filter_map(|users| users.parse().ok()).collect();
    if users.is_empty() {
        users = vec![2, 5, 20, 50];
    }
    println!("users  join (ms)  lines/s to all  deliveries/s  CPU (us/delivery)  PSS (KiB)");
    for users in users {
        let runs: Vec<Run> = (0..ROUNDS).map(|_| Run::of(&program, users)).collect();
        let median = |value: fn(&Run) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values[ROUNDS / 2]
        };
        println!(
            "{users:5}  {:9.2}  {:14.0}  {:12.0}  {:17.2}  {:9.0}",
            median(|run| run.join.as_secs_f64() * 1e3),
            median(|run| run.said / run.took),
            median(|run| run.delivered / run.took),
            median(|run| run.cpu / run.delivered * 1e6),
            median(|run| run.pss),
        );
    }
    ExitCode::SUCCESS
}

struct Run {
    /// From connecting to being heard, on average.
    join: Duration,
    /// How many lines were said, and how many times one was delivered.
    said: f64,
    delivered: f64,
    /// Seconds.
    took: f64,
    cpu: f64,
    /// KiB.
    pss: f64,
}

impl Run {
    fn of(program: &str, count: usize) -> Self {
        let seats = (count + 1).to_string();
        let server = Server::start(program, &["--quiet", "--max-users", &seats]);
        let mut users = vec![LineClient::connect(server.addr())];
        let mut join = Duration::ZERO;
        while users.len() < count {
            let start = Instant::now();
            let mut newcomer = LineClient::connect(server.addr());
            newcomer.send("here\n");
            for user in &mut users {
                user.read_line();
            }
            join += start.elapsed();
            users.push(newcomer);
        }
        let lines = DELIVERIES / (count * (count - 1));
        let said = speech("x", lines, LINE);
        let to_hear = (count - 1) * said.len();
        let before = cpu(&server);
        let start = Instant::now();
        let _ = talk(users.iter().map(|user| Part::new(user, &said, to_hear)).collect());
        let took = start.elapsed().as_secs_f64();
        let said = (lines * count) as f64;
        Self {
            join: join / (count - 1) as u32,
            said,
            delivered: said * (count - 1) as f64,
            took,
            cpu: cpu(&server) - before,
            pss: pss(&server),
        }
    }
}

fn family(server: &Server) -> Vec<i32> {
    [vec![server.pid()], server.workers()].concat()
}

/// Seconds of processor time of all processes so far.
fn cpu(server: &Server) -> f64 {
    family(server).into_iter().map(|pid| proc::cpu_ticks(pid) as f64 / 100.0).sum()
}

/// Their memory, in KiB.
fn pss(server: &Server) -> f64 {
    let of = |pid: i32| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line =
            rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB"));
        line.and_then(|kib| kib.trim().parse::<f64>().ok()).unwrap_or(0.0)
    };
    family(server).into_iter().map(of).sum()
}
