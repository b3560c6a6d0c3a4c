//! What a chat costs: `chat_load PROGRAM [USERS…]`, with the program of stage 10 or of stage 11.
//!
//! For each number of users:
//!
//! - how long it takes from `connect` until a newcomer is heard by all others;
//! - everybody talks as fast as it can: how many lines a second reach somebody, and the processor
//!   time that all processes of the server together use for each;
//! - a line at a time, as people type: how long until all others have it, and the same time;
//! - the memory of all processes together (PSS, see `proc(5)`: what is shared counts once).
//!
//! ```console
//! $ cargo build --release -p step10-chat-poll -p step11-chat-shared-memory
//! $ cargo run --release -p support --example chat_load -- target/release/step10-chat-poll
//! ```

use std::env;
use std::fs;
use std::process::ExitCode;
use std::time::Instant;

use support::chat::{Part, speech, talk};
use support::line::LineClient;
use support::server::Server;

/// The length of a line, newline included.
const LINE: usize = 40;

/// So many times a line is delivered while everybody talks, whatever the number of users.
const DELIVERIES: usize = 10_000_000;

/// So many lines are said one at a time.
const TYPED: usize = 1000;

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
    println!("          a newcomer  everybody at once            a line at a time       memory");
    println!("users   heard (us)  lines/s  CPU (us/line)  reaches all (us)  CPU (us)  PSS (KiB)");
    for users in users {
        let runs: Vec<Run> = (0..ROUNDS).map(|_| Run::of(&program, users)).collect();
        let median = |value: fn(&Run) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values[ROUNDS / 2]
        };
        println!(
            "{users:5}  {:11.0}  {:7.0}  {:13.3}  {:16.0}  {:8.0}  {:9.0}",
            median(|run| run.join),
            median(|run| run.rate),
            median(|run| run.cpu),
            median(|run| run.typed),
            median(|run| run.typed_cpu),
            median(|run| run.pss),
        );
    }
    ExitCode::SUCCESS
}

/// All times in microseconds.
struct Run {
    /// From connecting to being heard.
    join: f64,
    /// Lines a second that reach somebody, and the processor time of each.
    rate: f64,
    cpu: f64,
    /// From saying a line to the last of those who hear it, and the processor time of that.
    typed: f64,
    typed_cpu: f64,
    /// KiB.
    pss: f64,
}

impl Run {
    fn of(program: &str, count: usize) -> Self {
        let seats = (count + 1).to_string();
        let server = Server::start(program, &["--quiet", "--max-users", &seats]);
        let mut users = vec![LineClient::connect(server.addr())];
        let start = Instant::now();
        while users.len() < count {
            let mut newcomer = LineClient::connect(server.addr());
            newcomer.send("here\n");
            users.iter_mut().for_each(|user| drop(user.read_line()));
            users.push(newcomer);
        }
        let join = micros(start) / (count - 1) as f64;

        let (start, before) = (Instant::now(), cpu(&server));
        for line in 0..TYPED {
            let speaker = line % count;
            users[speaker].send(".\n");
            for hearer in (0..count).filter(|&hearer| hearer != speaker) {
                users[hearer].read_line();
            }
        }
        let (typed, typed_cpu) = (micros(start), cpu(&server) - before);

        let said = speech("x", DELIVERIES / (count * (count - 1)), LINE);
        let deliveries = (said.len() / LINE * count * (count - 1)) as f64;
        let to_hear = (count - 1) * said.len();
        let (start, before) = (Instant::now(), cpu(&server));
        let _ = talk(users.iter().map(|user| Part::new(user, &said, to_hear)).collect());
        let (took, cpu) = (micros(start), cpu(&server) - before);
        Self {
            join,
            rate: deliveries / took * 1e6,
            cpu: cpu / deliveries,
            typed: typed / TYPED as f64,
            typed_cpu: typed_cpu / TYPED as f64,
            pss: pss(&server),
        }
    }
}

fn micros(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}

fn family(server: &Server) -> Vec<i32> {
    [vec![server.pid()], server.workers()].concat()
}

/// The processor time of all processes so far (`/proc/PID/schedstat` has nanoseconds).
fn cpu(server: &Server) -> f64 {
    let of = |pid: i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(0.0) / 1e3
    };
    family(server).into_iter().map(of).sum()
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
