//! What the server of every stage must do alike.
//!
//! Each stage's tests call these under a name of their own: a habit is learned in stage 01 and
//! must not be lost later.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use crate::grading::report;
use crate::line::LineClient;
use crate::proc;
use crate::server::{Finished, LAST_BREATH, Server, ServerCommand, Signal, run};
use crate::tcp::{self, DEFAULT_PORT, DefaultPort, State};
use crate::trace::Trace;
use crate::wait::{limit, poll_until, wait_for};

/// A demo takes no longer than this.
const DEMO: Duration = Duration::from_secs(10);

/// `demo` succeeds within ten seconds and leaves nobody.
#[track_caller]
pub fn demo_succeeds(bin: &str) {
    let play = || {
        let start = Instant::now();
        let demo = run(bin, &["demo"]);
        assert_eq!(demo.status.code(), Some(0), "`demo` ended with {demo:?}");
        assert_eq!(demo.left_running, [], "`demo` left processes behind: {demo:?}");
        start.elapsed()
    };
    // The clock also counts what others do on this machine: one quick demo of three is enough.
    let quickest = (0..3).map(|_| play()).find(|&took| took < DEMO || machine_is_overloaded());
    assert!(quickest.is_some(), "`demo` took more than {DEMO:?}, three times");
}

/// Do more programs want to run than there are processors, on the average of the last minute?
fn machine_is_overloaded() -> bool {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    load > thread::available_parallelism().map_or(1.0, |count| count.get() as f64)
}

/// `--help` exits with 0 and mentions all of these `words`.
#[track_caller]
pub fn help_mentions(bin: &str, words: &[&str]) {
    let help = run(bin, &["--help"]);
    assert_eq!(help.status.code(), Some(0), "`--help` ended with {help:?}");
    for word in words {
        assert!(help.stdout.contains(word), "--help doesn't mention {word:?}:\n{}", help.stdout);
    }
}

/// Arguments that make no sense: exit status 2, and an explanation on standard error.
#[track_caller]
pub fn refuses_usage(bin: &str, args: &[&str]) {
    let refused = run(bin, args);
    let words = args.join(" ");
    assert_eq!(refused.status.code(), Some(2), "`{words}` ended with {refused:?}");
    assert_eq!(refused.stdout, "", "standard output is for machines");
    assert!(!refused.stderr.is_empty(), "`{words}` is refused without a word");
}

/// Refuses all the numbers of workers and ports that make no sense.
#[track_caller]
pub fn refuses_nonsense(bin: &str) {
    for count in ["0", "1025", "5000", "-1", "x", ""] {
        refuses_usage(bin, &["--port", "0", "--workers", count]);
    }
    refuses_usage(bin, &["--port", "65536"]);
    refuses_usage(bin, &["--no-such-option"]);
    refuses_usage(bin, &["no-such-command"]);
}

/// A failure at run time: exit status 1, the one line `error: …` on standard error, nothing on
/// standard output, nobody left. Returns what follows `error: `.
#[track_caller]
pub fn fails_with_one_line(bin: &str, args: &[&str]) -> String {
    let failed = run(bin, args);
    let words = args.join(" ");
    assert_eq!(failed.status.code(), Some(1), "`{words}` ended with {failed:?}");
    assert_eq!(failed.left_running, [], "it left processes behind: {failed:?}");
    assert_eq!(failed.stdout, "", "standard output is for machines");
    match the_error(&failed) {
        Some(message) => message,
        None => panic!("not one line `error: …` on standard error: {failed:?}"),
    }
}

fn the_error(failed: &Finished) -> Option<String> {
    let mut errors = failed.stderr.lines().filter_map(|line| line.strip_prefix("error: "));
    let error = errors.next()?.to_owned();
    errors.next().is_none().then_some(error)
}

/// A second server on the same port fails, says why, and leaves nobody; the first one stays.
#[track_caller]
pub fn reports_port_in_use(bin: &str) {
    let first = Server::start(bin, &["--workers", "2", "--quiet"]);
    let port = first.port().to_string();
    let error = fails_with_one_line(bin, &["--port", &port, "--workers", "8"]);
    assert_eq!(error, format!("bind 127.0.0.1:{port}: address already in use"));
    first.wait_workers(2);
}

/// A host that can't be resolved is an error that names it.
#[track_caller]
pub fn reports_unknown_host(bin: &str) {
    let host = "no such host"; // blanks: refused without asking the network
    let error = fails_with_one_line(bin, &["--host", host, "--port", "0"]);
    assert!(error.contains(host), "the error doesn't name the host: {error}");
}

/// `--host ::1` listens on IPv6. `None` where the machine has none.
#[track_caller]
#[must_use]
pub fn start_on_ipv6(bin: &str, args: &[&str]) -> Option<Server> {
    if !tcp::ipv6_is_here() {
        return None;
    }
    let server = Server::start(bin, &[args, &["--host", "::1"]].concat());
    let expected = format!("listening on [::1]:{} ", server.port());
    assert!(server.first_line().starts_with(&expected), "got {:?}", server.first_line());
    Some(server)
}

/// Without arguments: 127.0.0.1, port 8080, 5 workers. `None`, not checked, where another
/// program has that port. The caller marks its test `#[serial]`.
#[track_caller]
#[must_use]
pub fn start_with_defaults(bin: &str) -> Option<(DefaultPort, Server)> {
    let claim = DefaultPort::claim()?;
    let server = ServerCommand::new(bin).start_as_is();
    assert_eq!(server.first_line(), "listening on 127.0.0.1:8080 with 5 workers");
    assert_eq!(server.port(), DEFAULT_PORT);
    server.wait_workers(5);
    Some((claim, server))
}

/// A server that was killed while it had clients can be started again on the same port at once
/// (`SO_REUSEADDR`). Returns the second one.
#[track_caller]
#[must_use]
pub fn restarts_on_the_same_port(bin: &str, args: &[&str]) -> Server {
    let first = Server::start(bin, args);
    let port = first.port();
    let mut client = LineClient::connect(first.addr());
    let closing = |socket: &tcp::Socket| socket.state == State::Closing;
    let is_served = || !tcp::accepted(port).is_empty() || tcp::sockets(port).iter().any(closing);
    wait_for("the client to be served", limit(), is_served);
    first.stop();
    client.wait_closed();
    drop(client);
    // The side that closed first now rests in TIME_WAIT and occupies the port.
    let rests = || tcp::sockets(port).iter().any(|socket| socket.state == State::TimeWait);
    let _ = poll_until(Duration::from_secs(2), || rests().then_some(()));
    Server::start(bin, &[args, &["--port", &port.to_string()]].concat())
}

/// With nothing to do, the parent and its workers sleep: hardly any CPU time, hardly a wake-up.
///
/// What was asked of them before may still take a moment, so a window of a second in which they
/// sleep is waited for. In a busy loop it never comes.
#[track_caller]
pub fn sleeps_when_idle(server: &Server) {
    all_sleep(|| [vec![server.pid()], server.workers()].concat());
}

/// The same for any processes that wait for somebody.
#[track_caller]
pub fn all_sleep(family: impl Fn() -> Vec<i32>) {
    const WINDOWS: usize = 8;
    let mut restless = Vec::new();
    for _ in 0..WINDOWS {
        let before: Vec<Activity> = family().into_iter().map(Activity::so_far).collect();
        // The window itself: not a wait for anything. In parts, for the whole machine may stand
        // still: then nobody wakes up, and only one of them is over.
        for _ in 0..4 {
            thread::sleep(Duration::from_millis(250));
        }
        restless = before.iter().map(Activity::since).collect();
        restless.retain(|activity: &Activity| !activity.is_sleep());
        if restless.is_empty() {
            return;
        }
    }
    let restless: Vec<String> = restless.iter().map(Activity::to_string).collect();
    panic!("with nothing to do, within a second, {}", restless.join("; "));
}

/// What a process has done.
struct Activity {
    pid: i32,
    /// CPU time in units of 10 ms.
    ticks: u64,
    wake_ups: u64,
    /// A thread of it works, or would if a busy machine let it: a starved loop hardly uses any time.
    running: bool,
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, ticks, wake_ups, running } = self;
        let state = if *running { " and didn't sleep" } else { "" };
        let ms = ticks * 10;
        write!(f, "process {pid} used {ms} ms of CPU time, woke up {wake_ups} times{state}")
    }
}

impl Activity {
    fn so_far(pid: i32) -> Self {
        let running = proc::runs(pid);
        Self { pid, ticks: proc::cpu_ticks(pid), wake_ups: proc::ctxt_switches(pid), running }
    }

    fn since(before: &Self) -> Self {
        let now = Self::so_far(before.pid);
        let ticks = now.ticks.saturating_sub(before.ticks);
        let wake_ups = now.wake_ups.saturating_sub(before.wake_ups);
        let running = before.running || now.running;
        Self { pid: before.pid, ticks, wake_ups, running }
    }

    /// An occasional look around is sleep, too; a poll every few milliseconds is not.
    fn is_sleep(&self) -> bool {
        self.ticks <= 3 && self.wake_ups <= 25 && !self.running
    }
}

/// Every descriptor of parent and workers but the standard three is close-on-exec.
#[track_caller]
pub fn closes_on_exec(server: &Server) {
    for pid in [vec![server.pid()], server.workers()].concat() {
        for (fd, target) in proc::fds(pid).into_iter().filter(|&(fd, _)| fd > 2) {
            let flags = proc::fd_flags(pid, fd).unwrap_or(libc::O_CLOEXEC);
            let closes = flags & libc::O_CLOEXEC != 0;
            let who = if pid == server.pid() { "the parent" } else { "a worker" };
            assert!(closes, "descriptor {fd} of {who}, {target}, is not close-on-exec");
        }
    }
}

/// The parent and its workers: nobody else belongs to the server. A worker that falls out of its
/// code into the parent's would fork workers of its own.
#[track_caller]
pub fn is_parent_and_workers(server: &Server, workers: usize) {
    let workers = server.wait_workers(workers);
    let asleep = || workers.iter().all(|&pid| proc::state(pid) == Some('S'));
    wait_for("every worker to sleep", limit(), asleep); // whoever falls has fallen by then
    let mut expected = [vec![server.pid()], workers.clone()].concat();
    expected.sort_unstable();
    let session = proc::stat(server.pid()).map_or(0, |stat| stat.session);
    assert_eq!(proc::session(session), expected, "all processes of the server");
}

/// The parent ends by `signal`: soon nobody is left.
#[track_caller]
pub fn takes_workers_along(mut server: Server, signal: Signal) {
    server.signal(server.pid(), signal);
    server.wait_exit(limit());
    server.wait_nobody_left(LAST_BREATH);
    wait_for("all to close their standard streams", limit(), || server.streams_closed());
}

/// The parent holds as many descriptors as `before`: what its clients cost is given back.
#[track_caller]
pub fn gives_back_descriptors(pid: i32, before: usize) {
    let open = || proc::fds(pid);
    if poll_until(limit(), || (open().len() <= before).then_some(())).is_none() {
        report("timeout", &limit().as_secs().to_string());
        let fds = open();
        let more: Vec<String> =
            fds.iter().skip(before).map(|(fd, to)| format!("{fd} {to}")).collect();
        let (count, some) = (fds.len(), more[..more.len().min(3)].join(", "));
        panic!("process {pid} had {before} descriptors open; it has {count} now, like {some}");
    }
}

/// Everything in square brackets on standard error names the parent or one of `workers` rightly.
#[track_caller]
pub fn narrates_who_speaks(server: &Server, workers: &[i32]) {
    server.wait_narration(&format!("[parent pid {}] ", server.pid()));
    for line in server.narration().lines().filter(|line| line.starts_with('[')) {
        let speaker = line.split(']').next().unwrap_or_default();
        let is_parent = speaker == format!("[parent pid {}", server.pid());
        let is_worker = |pid: &i32| {
            let number = speaker.strip_suffix(&format!(" pid {pid}"));
            let number = number.and_then(|rest| rest.strip_prefix("[worker "));
            number.is_some_and(|number| number.parse::<usize>().is_ok_and(|n| n < workers.len()))
        };
        let known = is_parent || workers.iter().any(is_worker);
        assert!(known, "names neither the parent nor a worker with its pid: {line:?}");
    }
}

/// Every line of narration leaves with one system call of its own, so that the lines of several
/// processes never mix. `trace` holds all writes of the server.
#[track_caller]
pub fn narrates_in_whole_lines(server: &Server, trace: &Trace) {
    let narration = server.narration();
    wait_for("everybody to sleep, with all writes on record", limit(), || {
        let family = [vec![server.pid()], server.workers()].concat();
        family.into_iter().all(|pid| proc::state(pid) == Some('S'))
    });
    let mut writes = trace.calls("write,writev");
    writes.retain(|call| call.arg(0).starts_with("2<"));
    for line in narration.lines().filter(|line| line.starts_with('[')) {
        let length = line.len() + 1; // the newline
        let whole = writes.iter().position(|call| {
            let speaker = format!(" pid {}] ", call.pid);
            call.bytes() == length as u64 && line.contains(&speaker)
        });
        let Some(whole) = whole else {
            panic!("no single write of {length} bytes for {line:?}: {writes:#?}");
        };
        writes.remove(whole);
    }
}

/// Right after the start, standard error says what to type in the second terminal.
#[track_caller]
pub fn says_what_to_type(server: &Server, command: &str) {
    wait_for("a line with the client's command and the port", limit(), || {
        let narration = server.narration();
        let port = server.port().to_string();
        narration.lines().any(|line| line.contains(command) && line.contains(&port))
    });
}

/// So far the server has said nothing but its first line.
#[track_caller]
pub fn has_been_quiet(server: &Server) {
    assert_eq!(server.narration(), "", "standard error, with --quiet");
    assert_eq!(server.output(), format!("{}\n", server.first_line()), "standard output");
}
