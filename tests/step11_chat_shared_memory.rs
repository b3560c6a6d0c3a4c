//! Stage 11, chat-shared-memory, from outside: the chat of stage 10, by a process for each user.
//!
//! What is checked: who hears what, also when workers stand still or are killed; who is left;
//! `/proc`; system calls. What both stages must do alike stands in `support/src/chat_tests.rs`.
//!
//! "While something is still to be sent" is made certain by a worker that stands still (SIGSTOP).
//! It is one of a user who would read, so nobody but the server can keep its lines for it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a check that fails panics"
)]

use std::ops::Range;
use std::time::Duration;

use serial_test::serial;
use support::chat::{Part, Room, speech, talk};
use support::habits;
use support::line::{LineClient, assert_bytes, shown};
use support::proc;
use support::server::{Server, Signal};
use support::tcp;
use support::trace::{self, Call, Trace};
use support::wait::{limit, wait_for};

fn bin() -> &'static str {
    support::program(env!("CARGO_BIN_EXE_step11-chat-shared-memory"))
}

support::chat_tests!(bin());

/// The length of a line in a speech.
const LINE: usize = 1000;

/// How long somebody who can't send any more keeps trying.
const MOMENT: Duration = Duration::from_millis(300);

/// A room whose users' workers are known.
struct Scene {
    room: Room,
    workers: Vec<i32>,
}

impl Scene {
    #[track_caller]
    fn of(users: usize, seats: usize) -> Self {
        let room = Room::start(bin(), 0, &["--max-users", &seats.to_string()]);
        let mut scene = Self { room, workers: Vec::new() };
        for _ in 0..users {
            scene.room.join();
            let newcomer = scene.newest_worker(scene.workers.len() + 1);
            scene.workers.push(newcomer);
        }
        scene
    }

    fn server(&self) -> &Server {
        &self.room.server
    }

    /// The worker of somebody who has just come, when there are so many.
    #[track_caller]
    fn newest_worker(&self, count: usize) -> i32 {
        let workers = self.server().wait_workers(count);
        let newcomer = workers.into_iter().find(|pid| !self.workers.contains(pid));
        newcomer.expect("a user more has a worker more")
    }

    #[track_caller]
    fn freeze_worker_of(&self, user: usize) {
        self.server().freeze(self.workers[user]);
    }

    #[track_caller]
    fn thaw_worker_of(&self, user: usize) {
        self.server().signal(self.workers[user], Signal::SIGCONT);
    }

    #[track_caller]
    fn kill_worker_of(&self, user: usize) {
        self.server().kill(self.workers[user]);
    }

    /// A user says this, and another hears all of it.
    #[track_caller]
    fn is_heard(&self, speaker: usize, said: &[u8], hearer: usize) {
        let parts = vec![
            Part::new(&self.room[speaker], said, 0),
            Part::new(&self.room[hearer], b"", said.len()),
        ];
        let heard = talk(parts).pop().unwrap();
        assert_bytes(&format!("what user {hearer} heard"), &heard, said);
    }

    /// A user hears exactly this next.
    #[track_caller]
    fn hears(&self, hearer: usize, said: &[u8]) {
        let heard = talk(vec![Part::new(&self.room[hearer], b"", said.len())]).pop().unwrap();
        assert_bytes(&format!("what user {hearer} heard"), &heard, said);
    }

    /// The server ends by itself, with status 0, and by then has reaped all its workers.
    #[track_caller]
    fn ends_well(&mut self) {
        let pid = self.server().pid();
        let status = self.room.server.wait_exit(limit());
        let left = proc::session(pid);
        let said = self.server().narration();
        assert!(status.code() == Some(0), "the server ended with {status}; it said:\n{said}");
        assert!(left.is_empty(), "the server ended before its workers {left:?}; it said:\n{said}");
    }
}

// One memory, many processes.

#[test]
fn every_user_has_a_process_of_its_own() {
    let scene = Scene::of(4, 10);
    habits::is_parent_and_workers(scene.server(), 4);
    let connections = tcp::accepted(scene.server().port());
    assert_eq!(connections.len(), 4, "{connections:?}");
    let holds =
        |pid: i32| connections.iter().filter(|it| proc::holds_socket(pid, it.inode)).count();
    assert_eq!(holds(scene.server().pid()), 0, "connections that the parent has open");
    for &worker in &scene.workers {
        assert_eq!(holds(worker), 1, "connections that worker {worker} has open");
    }
}

#[test]
fn worker_has_its_user_and_its_channel_and_nothing_else() {
    let scene = Scene::of(4, 10);
    for &worker in &scene.workers {
        let mut fds = proc::fds(worker);
        fds.retain(|&(fd, _)| fd > 2);
        let sockets = fds.iter().filter(|(_, target)| target.starts_with("socket:")).count();
        assert!(sockets == 2 && fds.len() <= 4, "worker {worker} has {fds:?} open");
    }
}

#[test]
fn all_processes_share_one_mapping() {
    let scene = Scene::of(3, 10);
    let memory = shared_memory(scene.server().pid());
    assert!(!memory.is_empty(), "no shared mapping: {}", proc::maps(scene.server().pid()));
    for &worker in &scene.workers {
        assert_eq!(shared_memory(worker), memory, "the shared mappings of worker {worker}");
    }
}

/// Device and inode of all shared mappings that can be written.
fn shared_memory(pid: i32) -> Vec<String> {
    let maps = proc::maps(pid);
    let shared = maps.lines().filter(|line| line.contains(" rw-s "));
    shared
        .map(|line| line.split_whitespace().skip(3).take(2).collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn no_text_travels_through_a_channel() {
    let calls = "sendto,sendmsg,sendmmsg,write,writev,splice,sendfile";
    let Some((trace, text)) = trace_of_a_talk(calls) else { return };
    let mut sent = trace.calls(calls);
    sent.retain(|call| call.args.contains("<UNIX") || call.args.contains("<pipe:"));
    sent.retain(|call| !call.arg(0).starts_with("2<")); // the narration
    assert!(!sent.is_empty(), "no process told another anything");
    let bytes: u64 = sent.iter().map(Call::bytes).sum();
    let calls = sent.len();
    assert!(
        bytes < text / 20,
        "of a talk of {text} bytes, {bytes} bytes went through channels in {calls} messages"
    );
}

#[test]
fn text_is_received_into_shared_memory_and_sent_from_it() {
    let Some((trace, text)) =
        trace_of_a_talk("sendto*,recvfrom*,read*,write*,readv,writev,sendmsg,recvmsg,mmap")
    else {
        return;
    };
    let shared: Vec<Range<u64>> = trace.calls("mmap").iter().filter_map(mapped_shared).collect();
    assert!(!shared.is_empty(), "nothing was mapped with MAP_SHARED");
    for (names, hidden, whole, what) in [
        ("recvfrom,read", "readv,recvmsg", text, "received into"),
        ("sendto,write", "writev,sendmsg", 2 * text, "sent from"),
    ] {
        let within = |call: &&Call| {
            call.number(1).is_some_and(|at| shared.iter().any(|range| range.contains(&at)))
        };
        let plain: u64 = trace.calls(names).iter().filter(within).map(Call::bytes).sum();
        let mut hidden = trace.calls(hidden);
        hidden.retain(|call| call.args.contains("<TCP"));
        let moved = plain + hidden.iter().map(Call::bytes).sum::<u64>();
        assert!(moved >= whole / 20 * 19, "of {whole} bytes, {moved} were {what} shared memory");
    }
}

/// What a mapping that is shared covers.
fn mapped_shared(call: &Call) -> Option<Range<u64>> {
    let shared = call.arg(3).contains("MAP_SHARED") && call.result != -1;
    let start = call.result.cast_unsigned();
    shared.then_some(start..start + call.arg(1).parse::<u64>().ok()?)
}

/// One of three users talks while these calls are put on record. Returns how many bytes it said.
#[track_caller]
fn trace_of_a_talk(calls: &str) -> Option<(Trace, u64)> {
    let (server, trace) = trace::server(bin(), &["--max-users", "4"], calls)?;
    let mut users = vec![LineClient::connect(server.addr())];
    for number in 1..3 {
        server.wait_workers(number);
        let mut user = LineClient::connect(server.addr());
        user.send("here\n");
        for other in &mut users {
            assert_bytes("a newcomer's first word", &other.read_line(), b"here");
        }
        users.push(user);
    }
    let said = speech("zero", 300, 4000);
    let parts = vec![
        Part::new(&users[0], &said, 0),
        Part::new(&users[1], b"", said.len()),
        Part::new(&users[2], b"", said.len()),
    ];
    for heard in &talk(parts)[1..] {
        assert_bytes("what was heard", heard, &said);
    }
    Some((trace, said.len() as u64))
}

// Nothing is overwritten before all have sent it.

#[test]
fn writer_waits_for_the_slowest_worker() {
    let mut scene = Scene::of(3, 4);
    let said = speech("zero", 1500, LINE);
    scene.freeze_worker_of(2);
    let sent = scene.room[0].send_what_fits(&said, MOMENT);
    // It would say more, and there is no room: all sleep.
    wait_for("the worker of who talks to wait for the one that stands still", limit(), || {
        let unread = tcp::accepted(scene.server().port()).iter().any(|it| it.unread > 0);
        unread && proc::state(scene.workers[0]) == Some('S')
    });
    scene.thaw_worker_of(2);
    let heard = talk(vec![
        Part::new(&scene.room[0], &said[sent..], 0),
        Part::new(&scene.room[1], b"", said.len()),
        Part::new(&scene.room[2], b"", said.len()),
    ]);
    assert_bytes("what user 1 heard", &heard[1], &said);
    assert_bytes("what user 2 heard, whose worker stood still", &heard[2], &said);
}

#[test]
fn user_who_is_alone_never_has_to_wait() {
    let scene = Scene::of(1, 4);
    let said = speech("alone", 12_000, LINE); // far more than all buffers
    let _ = talk(vec![Part::new(&scene.room[0], &said, 0)]);
}

#[test]
fn writer_that_waits_sleeps() {
    let mut scene = Scene::of(3, 4);
    scene.freeze_worker_of(2);
    scene.room[0].send_what_fits(&speech("zero", 1500, LINE), MOMENT);
    habits::all_sleep(|| vec![scene.server().pid(), scene.workers[0], scene.workers[1]]);
    // Once that one has been given up, nobody waits any more, and whoever was busy sleeps, too.
    let still = proc::state(scene.workers[2]);
    assert_eq!(still, Some('T'), "nobody slept while the worker of user 2 stood still; its state");
}

#[test]
fn worker_that_stands_still_does_not_hold_up_the_others_for_ever() {
    let mut scene = Scene::of(3, 4);
    scene.freeze_worker_of(2);
    let said = speech("zero", 12_000, LINE);
    scene.is_heard(0, &said, 1);
    scene.server().wait_reaped(scene.workers[2]);
    scene.room.take(2).wait_closed();
    scene.room.says(1, "on we go");
}

#[test]
fn lines_of_all_users_wait_for_a_worker_that_stands_still() {
    const USERS: usize = 8;
    let scene = Scene::of(USERS, USERS);
    scene.freeze_worker_of(0);
    let mut speeches: Vec<Vec<u8>> =
        (0..USERS).map(|who| speech(&who.to_string(), 20, LINE)).collect();
    speeches[0].clear();
    let all: usize = speeches.iter().map(Vec::len).sum();
    let said: Vec<&[u8]> = speeches.iter().map(Vec::as_slice).collect();
    let to_hear: Vec<usize> =
        said.iter().map(|own| if own.is_empty() { 0 } else { all - own.len() }).collect();
    let _ = scene.room.talk(&said, &to_hear);
    scene.thaw_worker_of(0);
    let heard = talk(vec![Part::new(&scene.room[0], b"", all)]).pop().unwrap();
    for (who, said) in speeches.iter().enumerate().skip(1) {
        let digit = who.to_string().into_bytes()[0];
        let of_them: Vec<u8> =
            heard.chunks(LINE).filter(|line| line[0] == digit).flatten().copied().collect();
        assert_bytes(&format!("what user 0 heard of user {who}"), &of_them, said);
    }
}

// A worker dies.

#[test]
fn killed_worker_costs_only_its_own_user() {
    let mut scene = Scene::of(4, 4);
    scene.kill_worker_of(3);
    scene.server().wait_reaped(scene.workers[3]);
    scene.room.take(3).wait_closed();
    for speaker in 0..3 {
        scene.room.says(speaker, "without it");
    }
    scene.room.join_when_a_seat_is_free();
    scene.room.says(3, "in its place");
}

#[test]
fn lines_that_a_killed_worker_has_published_still_arrive() {
    let scene = Scene::of(3, 4);
    let said = speech("zero", 20, LINE);
    scene.freeze_worker_of(2);
    scene.is_heard(0, &said, 1);
    scene.kill_worker_of(0);
    scene.server().wait_reaped(scene.workers[0]);
    scene.thaw_worker_of(2);
    scene.hears(2, &said);
}

#[test]
fn seat_is_taken_over_while_lines_of_the_one_before_still_wait() {
    let scene = Scene::of(3, 3);
    let (old, new) = (speech("old", 40, LINE), speech("new", 100, LINE));
    scene.freeze_worker_of(2);
    scene.is_heard(0, &old, 1);
    scene.kill_worker_of(0);
    scene.server().wait_reaped(scene.workers[0]);
    // More than there is room for behind the lines that still wait.
    let mut newcomer = LineClient::connect(scene.server().addr());
    let sent = newcomer.send_what_fits(&new, MOMENT);
    scene.thaw_worker_of(2);
    let all = [&old[..], &new].concat();
    let heard = talk(vec![
        Part::new(&newcomer, &new[sent..], 0),
        Part::new(&scene.room[1], b"", new.len()),
        Part::new(&scene.room[2], b"", all.len()),
    ]);
    assert_bytes("what user 1 heard of the newcomer", &heard[1], &new);
    assert_bytes("what user 2 heard of both", &heard[2], &all);
    newcomer.expect_silence(MOMENT); // nothing of what was said before it came
}

#[test]
fn worker_killed_in_the_middle_of_a_line_publishes_nothing_of_it() {
    let mut scene = Scene::of(2, 3);
    for round in 0..5 {
        let mut talker = LineClient::connect(scene.server().addr());
        let worker = scene.newest_worker(3);
        talker.send("half a line, and then");
        scene.server().wait_all_read(3);
        scene.server().kill(worker);
        scene.server().wait_reaped(worker);
        let mut next = LineClient::connect(scene.server().addr());
        let worker = scene.newest_worker(3);
        next.send(format!("the line of round {round}\n"));
        for hearer in 0..2 {
            let heard = scene.room[hearer].read_line();
            assert_bytes("the next line", &heard, format!("the line of round {round}").as_bytes());
        }
        scene.server().kill(worker);
        scene.server().wait_reaped(worker);
    }
}

#[test]
fn worker_killed_in_a_flood_leaves_only_whole_lines() {
    let mut scene = Scene::of(1, 2);
    let said = speech("flood", 400, LINE);
    for round in 0..12 {
        let mut talker = LineClient::connect(scene.server().addr());
        let worker = scene.newest_worker(2);
        talker.send_what_fits(&said, MOMENT);
        let mut lines = said.chunks(LINE);
        // Not always at the same point.
        for line in lines.by_ref().take(7 * round) {
            assert_bytes("a line", &scene.room[0].read_line(), &line[..LINE - 1]);
        }
        scene.server().kill(worker);
        scene.server().wait_reaped(worker);
        let mut next = LineClient::connect(scene.server().addr());
        let worker = scene.newest_worker(2);
        next.send("the next one in that seat\n");
        loop {
            let heard = scene.room[0].read_line();
            if heard == b"the next one in that seat" {
                break;
            }
            let Some(line) = lines.next() else {
                panic!("a line that nobody has said: {}", shown(&heard));
            };
            assert_bytes("a line", &heard, &line[..LINE - 1]);
        }
        scene.server().kill(worker);
        scene.server().wait_reaped(worker);
    }
}

#[test]
fn all_workers_may_die_at_once() {
    let mut scene = Scene::of(20, 20);
    scene.server().kill_in_one_instant(&scene.workers);
    scene.server().wait_workers(0);
    for user in 0..20 {
        scene.room[user].wait_closed();
    }
    let mut users = Vec::new();
    for _ in 0..20 {
        users.push(LineClient::connect(scene.server().addr()));
    }
    scene.server().wait_workers(20);
    users[0].send("all seats are free again\n");
    let heard = users[19].read_line();
    assert_bytes("what the last one heard", &heard, b"all seats are free again");
}

#[test]
fn no_zombie_is_left_when_workers_die_while_others_are_forked() {
    // The parent rests between `socketpair` and `fork`: time for a worker to die there, and for us
    // to see it there, also where we have to wait for a processor.
    const REST: Duration = Duration::from_secs(3);
    let slow = trace::slow_server(bin(), &["--max-users", "5"], "socketpair", REST);
    let Some((server, _trace)) = slow else { return };
    let mut users = vec![LineClient::connect(server.addr())];
    let first = server.wait_workers(1);
    users.push(LineClient::connect(server.addr()));
    let workers = server.wait_workers(2);
    server.wait_asleep(); // so it has closed what only the worker needs
    let open = proc::fds(server.pid()).len();
    users.push(LineClient::connect(server.addr()));
    wait_for("the parent to be about to fork", limit(), || {
        proc::fds(server.pid()).len() == open + 3
    });
    let second = workers.into_iter().find(|pid| !first.contains(pid)).expect("it has one more");
    server.kill(second);
    // Nobody else dies who could remind the parent of this one.
    server.wait_reaped(second);
    server.wait_workers(2);
}

// The server leaves.

/// The signals that mean "leave".
const LEAVE: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1];

#[test]
fn server_leaves_well_on_every_signal() {
    for signal in LEAVE {
        let mut scene = Scene::of(3, 5);
        scene.room.says(0, "hello");
        scene.server().signal(scene.server().pid(), signal);
        for user in 0..3 {
            scene.room[user].expect_end();
        }
        scene.ends_well();
    }
}

#[test]
fn server_without_users_leaves_at_once() {
    for signal in LEAVE {
        let mut scene = Scene::of(0, 5);
        scene.server().signal(scene.server().pid(), signal);
        scene.ends_well();
    }
}

#[test]
fn what_was_published_is_delivered_before_the_server_leaves() {
    let mut scene = Scene::of(3, 5);
    let said = speech("zero", 20, LINE);
    scene.freeze_worker_of(2);
    scene.is_heard(0, &said, 1);
    scene.server().signal(scene.server().pid(), Signal::SIGTERM);
    tcp_refuses(scene.server());
    scene.thaw_worker_of(2);
    scene.hears(2, &said);
    for user in 0..3 {
        scene.room[user].expect_end();
    }
    scene.ends_well();
}

#[test]
fn begun_line_is_passed_on_before_the_server_leaves() {
    let mut scene = Scene::of(3, 5);
    scene.room[0].send("the last words, without a newline");
    scene.server().wait_all_read(3);
    scene.server().signal(scene.server().pid(), Signal::SIGTERM);
    scene.room.hear(0, "the last words, without a newline");
    for user in 0..3 {
        scene.room[user].expect_end();
    }
    scene.ends_well();
}

#[test]
#[serial]
fn ctrl_c_for_the_whole_group_ends_it_well() {
    let mut scene = Scene::of(3, 5);
    scene.room[0].send("the last words, without a newline");
    scene.server().wait_all_read(3);
    scene.server().wait_all_asleep(); // a newborn may still have its parent's handlers
    scene.server().signal(-scene.server().pid(), Signal::SIGINT);
    scene.room.hear(0, "the last words, without a newline");
    for user in 0..3 {
        scene.room[user].expect_end();
    }
    scene.ends_well();
}

#[test]
fn signals_to_workers_are_none_of_their_business() {
    let mut scene = Scene::of(3, 5);
    scene.server().wait_all_asleep();
    for signal in LEAVE {
        for &worker in &scene.workers {
            scene.server().signal(worker, signal);
        }
        scene.room.says(0, "nothing has happened");
        scene.room.says(2, "nothing at all");
    }
}

#[test]
fn user_who_does_not_read_does_not_keep_the_server() {
    let mut scene = Scene::of(3, 5);
    let said = speech("zero", 4000, LINE);
    scene.room[0].send_what_fits(&said, MOMENT); // nobody reads
    scene.server().signal(scene.server().pid(), Signal::SIGTERM);
    scene.ends_well();
}

#[test]
fn worker_that_stands_still_does_not_keep_the_server() {
    let mut scene = Scene::of(3, 5);
    scene.freeze_worker_of(1);
    scene.server().signal(scene.server().pid(), Signal::SIGTERM);
    scene.ends_well();
}

#[track_caller]
fn tcp_refuses(server: &Server) {
    wait_for("new connections to be refused", limit(), || {
        std::net::TcpStream::connect(server.addr()).is_err()
    });
}
