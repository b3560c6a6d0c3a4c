//! Much talk at once in a chat (stages 10 and 11): crowds, floods, and users who don't read.

use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use crate::chat::{Part, Room, TOO_SLOW, speech, talk};
use crate::line::{LineClient, assert_bytes, shown};
use crate::proc;
use crate::tcp::{self, read_some};
use crate::wait::{limit, wait_for};

/// More than the kernel holds for somebody who doesn't read, with its largest buffers.
const FLOOD: usize = 12 << 20;

/// The length of a line in a flood.
const LINE: usize = 1000;

fn flood(who: &str) -> Vec<u8> {
    speech(who, FLOOD / LINE, LINE)
}

/// Every one of `users` says `lines` lines, as fast as it can, while all read. Each hears all the
/// lines of every other, once and in order, and none of its own.
#[track_caller]
pub fn loses_nothing_in_a_crowd(bin: &str, users: usize, lines: usize) {
    const LENGTH: usize = 100; // so few lines that there is time for a call of send for each
    let room = Room::of(bin, users);
    let speeches: Vec<Vec<u8>> =
        (0..users).map(|who| speech(&who.to_string(), lines, LENGTH)).collect();
    let speeches: Vec<&[u8]> = speeches.iter().map(Vec::as_slice).collect();
    let heard = room.talk(&speeches, &vec![(users - 1) * lines * LENGTH; users]);
    for (user, heard) in heard.iter().enumerate() {
        let mut next = vec![0; users];
        for line in heard.split_inclusive(|&byte| byte == b'\n') {
            let who = line.split(|&byte| byte == b' ').next().and_then(number);
            let Some(who) = who.filter(|who| *who < users && *who != user) else {
                panic!("user {user} heard a line of nobody else's: {}", shown(line));
            };
            let at = next[who] * LENGTH;
            let expected = speeches[who].get(at..at + LENGTH).unwrap_or_default();
            let what = format!("what user {user} heard of user {who} as line {}", next[who]);
            assert_bytes(&what, line, expected);
            next[who] += 1;
        }
        next[user] = lines;
        assert_eq!(next, vec![lines; users], "how many lines of each user {user} heard");
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A user who reads nothing costs the others nothing: they hear all of a flood.
#[track_caller]
pub fn does_not_wait_for_the_deaf(bin: &str) {
    let room = Room::of(bin, 4); // 2 and 3 read nothing
    let (one, two) = (flood("zero"), flood("one"));
    let heard = room.talk(&[&one, &two], &[two.len(), one.len()]);
    assert_bytes("what user 0 heard", &heard[0], &two);
    assert_bytes("what user 1 heard", &heard[1], &one);
}

/// Users who are too slow are told, each after a line that is whole, and then their connections
/// end. They are three: what the kernel holds for one of them may end with a line by chance.
#[track_caller]
pub fn tells_the_slow(bin: &str) {
    // They have a few seconds to take the last words. On a busy machine the flood, which hides
    // the words from us, may last longer: one try of three is enough.
    let missed: Vec<_> = (0..3).map_while(|_| hear_the_last_words(bin).err()).collect();
    assert!(missed.len() < 3, "the last that a slow user heard, three times: {missed:#?}");
}

/// An error, the last that a user heard, when that isn't that it was too slow.
#[track_caller]
fn hear_the_last_words(bin: &str) -> Result<(), String> {
    // In long lines, which are the quickest to pass on.
    const LONG: usize = 8000;
    let mut room = Room::of(bin, 5);
    let said = speech("zero", FLOOD / LONG, LONG);
    let heard = room.talk(&[&said, b""], &[0, said.len()]);
    assert_bytes("what user 1 heard", &heard[1], &said);
    for _ in 2..5 {
        let mut slow = room.take(2);
        let heard = slow.wait_closed();
        let Some(lines) = heard.strip_suffix(TOO_SLOW) else {
            let from = heard.len().saturating_sub(100);
            return Err(shown(&heard[from..]).to_string());
        };
        let end = lines.len().saturating_sub(50);
        assert!(lines.ends_with(b"\n"), "the last line is cut: {}", shown(&lines[end..]));
        assert_bytes("what a slow user heard before", lines, &said[..lines.len()]);
    }
    room.says(0, "without them");
    Ok(())
}

/// A user who never reads again is gone after a while, and its seat is free.
#[track_caller]
pub fn drops_the_deaf(bin: &str) {
    let mut room = Room::start(bin, 3, &["--max-users", "3"]);
    let said = flood("zero");
    let _ = room.talk(&[&said, b""], &[0, said.len()]);
    let deaf = room.take(2);
    room.join_when_a_seat_is_free();
    wait_for("the server to close the connection of who doesn't read", limit(), || {
        tcp::accepted(room.server.port()).len() == 3
    });
    drop(deaf);
    room.says(2, "in its place");
}

/// So is a user who has something to hear, and takes none of it for the stall timeout; also when
/// nobody has to wait for it.
#[track_caller]
pub fn drops_who_stalls(bin: &str) {
    let mut room = Room::start(bin, 3, &["--max-users", "3", "--stall-timeout", "1"]);
    // Line by line: should we have to wait for a processor, no more than a line waits for user 1.
    for line in speech("zero", 250, LINE).chunks(LINE) {
        let _ = room.talk(&[line, b""], &[0, LINE]);
    }
    let deaf = room.take(2);
    room.join_when_a_seat_is_free();
    drop(deaf);
    room.says(2, "in its place");
}

/// A user who reads a trickle can't make the others as slow as it is.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test has to be several users at once")]
pub fn is_not_slowed_down_by_a_trickle(bin: &str) {
    let mut room = Room::of(bin, 3);
    let slow = room.take(2);
    let connection = slow.stream().try_clone().expect("dup");
    let trickle = thread::spawn(move || {
        // 20 KiB a second: at this pace the flood would take ten minutes.
        let mut buffer = [0; 1024];
        while matches!(read_some(&mut slow.stream(), &mut buffer), Ok(1..)) {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let said = flood("zero");
    let heard = room.talk(&[&said, b""], &[0, said.len()]);
    assert_bytes("what user 1 heard", &heard[1], &said);
    room.says(0, "that was quick");
    connection.shutdown(Shutdown::Both).expect("shutdown");
    trickle.join().expect("the slow user ends");
}

/// While many talk without end, others are heard.
#[track_caller]
pub fn hears_everybody_in_a_flood(bin: &str) {
    // So many that what one call takes from each of them is more than a queue holds: whoever
    // always began with the first would never come to the last.
    const FLOODS: usize = 24;
    let room = Room::of(bin, FLOODS + 2);
    let flood = speech("flood", 250, LINE);
    let words = speech("words", 20, LINE);
    let all = FLOODS * flood.len();
    let floods = (0..FLOODS)
        .map(|user| Part::forgetful(&room[user], &flood, all - flood.len() + words.len()));
    let mut parts: Vec<Part<'_>> = floods.collect();
    parts.push(Part::forgetful(&room[FLOODS], &words, all));
    // Reads 3 MB a second: soon enough for anybody, and later than what is said. So there is
    // room for some of it only.
    parts.push(Part::unhurried(&room[FLOODS + 1], all + words.len(), 50));
    let heard = talk(parts).pop().unwrap_or_default();
    let last_word = &words[words.len() - LINE..];
    let at = heard.chunks(LINE).position(|line| line == last_word);
    let (at, lines) = (at.expect("the last user hears all words"), heard.len() / LINE);
    assert!(at < lines / 2, "of {lines} lines, the last of a few words came only as line {at}");
}

/// Whoever floods and vanishes in the middle harms nobody.
#[track_caller]
pub fn survives_floods_that_vanish(bin: &str) {
    let mut room = Room::start(bin, 3, &["--max-users", "12"]);
    for round in 0..8 {
        let mut user = LineClient::connect(room.server.addr());
        let _ = user.send_what_fits(&speech("flood", 300, LINE), Duration::from_millis(50));
        if round % 2 == 0 {
            user.reset()
        } else {
            drop(user)
        }
        for speaker in [0, 1] {
            let word = format!("user {speaker} is here in round {round}");
            room[speaker].send(format!("{word}\n"));
            for hearer in (0..3).filter(|&hearer| hearer != speaker) {
                while room[hearer].read_line() != word.as_bytes() {}
            }
        }
    }
}

/// A user who leaves while much is waiting for it harms nobody.
#[track_caller]
pub fn survives_who_leaves_with_much_unread(bin: &str) {
    for reset in [false, true] {
        let mut room = Room::of(bin, 4);
        let said = speech("zero", 300, LINE);
        let heard = room.talk(&[&said, b"", b""], &[0, said.len(), said.len()]);
        assert_bytes("what user 1 heard", &heard[1], &said);
        let user = room.take(3);
        if reset {
            user.reset()
        } else {
            drop(user)
        }
        room.says(1, "it is gone");
        wait_for("the server to notice that a user left", limit(), || {
            tcp::accepted(room.server.port()).len() == 3
        });
    }
}

/// Memory doesn't grow with what is said, whoever reads or doesn't.
#[track_caller]
pub fn memory_is_bounded(bin: &str) {
    const MOST_KIB: u64 = 24 << 10;
    let room = Room::of(bin, 4); // 2 and 3 read nothing
    for _ in 0..4 {
        let said = flood("zero");
        let heard = room.talk(&[&said, b""], &[0, said.len()]);
        assert_bytes("what user 1 heard", &heard[1], &said);
        for pid in [vec![room.server.pid()], room.server.workers()].concat() {
            let peak = proc::peak_memory_kib(pid);
            assert!(peak < MOST_KIB, "process {pid} of the server had {peak} KiB in use");
        }
    }
}
