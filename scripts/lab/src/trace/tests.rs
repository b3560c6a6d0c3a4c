//! The way from lines of `strace` to a picture, on samples.

use std::collections::BTreeSet;

use super::act::{Act, Message};
use super::columns;
use super::descriptor::{Descriptor, Object};
use super::join::Tie;
use super::play::Play;
use super::record::{Record, What, split};
use super::scene::Program;
use super::story::{Kind, Story};
use super::svg;
use crate::screen::Paint;

/// A worker of stage 03 gets a connection. Shortened, but not otherwise changed.
const PARENT: &str = r#"
1795269851.950000 execve("/x/step03", ["step03"], 0x7ffd /* 20 vars */) = 0 <0.000019>
1795269851.957620 socketpair(AF_UNIX, SOCK_SEQPACKET|SOCK_CLOEXEC, 0, [3<UNIX:[653->654]>, 4<UNIX:[654->653]>]) = 0 <0.000019>
1795269851.957793 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD, child_tidptr=0x7f3) = 20 <0.000089>
1795269851.958046 close(4<UNIX:[654->653]>) = 0 <0.000003>
1795269851.960950 epoll_ctl(7<anon_inode:[eventpoll]>, EPOLL_CTL_ADD, 6<TCP:[127.0.0.1:45489]>, {events=EPOLLIN, data={u32=6, u64=6}}) = 0 <0.000006>
1795269851.961037 epoll_ctl(7<anon_inode:[eventpoll]>, EPOLL_CTL_ADD, 3<UNIX:[653->654]>, {events=EPOLLIN, data={u32=3, u64=3}}) = 0 <0.000005>
1795269851.961211 epoll_wait(7<anon_inode:[eventpoll]>, [{events=EPOLLIN, data={u32=6, u64=6}}], 64, -1) = 1 <0.110882>
1795269852.072555 accept4(6<TCP:[127.0.0.1:45489]>, NULL, NULL, SOCK_CLOEXEC) = 8<TCP:[127.0.0.1:45489->127.0.0.1:49300]> <0.000018>
1795269852.072908 sendmsg(3<UNIX:[653->654]>, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="C", iov_len=1}], msg_iovlen=1, msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[8<TCP:[127.0.0.1:45489->127.0.0.1:49300]>]}], msg_controllen=24, msg_flags=0}, MSG_NOSIGNAL) = 1 <0.000100>
1795269852.073204 close(8<TCP:[127.0.0.1:45489->127.0.0.1:49300]>) = 0 <0.000002>
1795269852.073652 recvfrom(3<UNIX:[653->654]>, "D", 1, MSG_DONTWAIT, NULL, NULL) = 1 <0.000028>
1795269852.074197 epoll_wait(7<anon_inode:[eventpoll]>,  <unfinished ...>) = ?
1795269852.082646 +++ killed by SIGKILL +++
"#;
const WORKER: &str = r#"
1795269851.958309 prctl(PR_SET_PDEATHSIG, SIGKILL) = 0 <0.000038>
1795269851.981751 recvmsg(4<UNIX:[654->653]>, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="C", iov_len=1}], msg_iovlen=1, msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[3<TCP:[127.0.0.1:45489->127.0.0.1:49300]>]}], msg_controllen=24, msg_flags=MSG_CMSG_CLOEXEC}, MSG_CMSG_CLOEXEC) = 1 <0.091300>
1795269852.073294 recvfrom(3<TCP:[127.0.0.1:45489->127.0.0.1:49300]>, "red\n", 8193, 0, NULL, NULL) = 4 <0.000005>
1795269852.073400 splice(5</tmp/lab-trace-x/a>, NULL, 7<pipe:[1]>, NULL, 1048576, 0) = 1048576 <0.000005>
1795269852.073410 splice(6<pipe:[1]>, NULL, 3<TCP:[127.0.0.1:45489->127.0.0.1:49300]>, NULL, 1048576, 0) = 1048576 <0.000005>
1795269852.073420 splice(5</tmp/lab-trace-x/a>, NULL, 7<pipe:[1]>, NULL, 1048576, 0) = 1048576 <0.000005>
1795269852.073430 splice(6<pipe:[1]>, NULL, 3<TCP:[127.0.0.1:45489->127.0.0.1:49300]>, NULL, 1048576, 0) = 1048576 <0.000005>
1795269852.073479 close(3<TCP:[127.0.0.1:45489->127.0.0.1:49300]>) = 0 <0.000022>
1795269852.073581 sendto(4<UNIX:[654->653]>, "D", 1, MSG_NOSIGNAL, NULL, 0) = 1 <0.000044>
1795269852.073674 recvmsg(4<UNIX:[654->653]>, ) = ? <unavailable>
1795269852.082922 +++ killed by SIGKILL +++
"#;
const CLIENT: &str = r#"
1795269852.060000 execve("/x/step03", ["step03", "echo"], 0x7ffd /* 20 vars */) = 0 <0.000019>
1795269852.071567 connect(3<TCP:[4656700]>, {sa_family=AF_INET, sin_port=htons(45489), sin_addr=inet_addr("127.0.0.1")}, 16) = 0 <0.000131>
1795269852.073014 sendto(3<TCP:[127.0.0.1:49300->127.0.0.1:45489]>, "red\n", 4, MSG_DONTWAIT|MSG_NOSIGNAL, NULL, 0) = 4 <0.000024>
1795269852.073420 recvfrom(3<TCP:[127.0.0.1:49300->127.0.0.1:45489]>, ""..., 3000000, 0, NULL, NULL) = 2097152 <0.000050>
1795269852.073510 recvfrom(3<TCP:[127.0.0.1:49300->127.0.0.1:45489]>, "", 32768, 0, NULL, NULL) = 0 <0.000012>
1795269852.073681 exit_group(0)         = ?
1795269852.073903 +++ exited with 0 +++
"#;

fn record(line: &str) -> Record {
    Record::parse(1, line).unwrap_or_else(|| panic!("{line}"))
}

fn act(call: &str) -> Act {
    Act::of(record(&format!("1.000000 {call} <0.000001>")).call().unwrap())
}

fn sample() -> Story {
    story(PARENT, WORKER, CLIENT)
}

fn story(parent: &str, worker: &str, client: &str) -> Story {
    let of = |pid, text: &str| -> Vec<Record> {
        text.lines().filter_map(|line| Record::parse(pid, line)).collect()
    };
    let mut records = [of(10, parent), of(20, worker), of(30, client)].concat();
    records.sort_by_key(|it| it.begin);
    let program = |pid, verb: &str| Program { pid, verb: verb.to_owned() };
    Story::of(&Play {
        records,
        programs: vec![program(10, "serve"), program(30, "echo")],
        plot: "A sample.",
    })
}

#[test]
fn a_line_is_taken_apart() {
    let closed = record("1795269851.961398 close_range(3, 3, 0)  = 0 <0.000109>");
    assert_eq!((closed.begin, closed.end - closed.begin), (1_795_269_851_961_398, 109));
    let call = closed.call().unwrap();
    assert_eq!((call.name.as_str(), call.arg(1), call.result()), ("close_range", "3", Some(0)));
    assert_eq!(call.line, "close_range(3, 3, 0) = 0");

    let failed = record("1.000000 send(-1) = -1 EPIPE (Broken pipe) <0.000001>");
    let failed = failed.call().unwrap();
    assert_eq!((failed.error(), failed.bytes()), (Some("EPIPE"), 0));
    let mapped =
        record("1.000000 mmap(NULL, 1, PROT_READ, MAP_SHARED, 4</a>, 0) = 0x7f <0.000001>");
    assert_eq!(mapped.call().unwrap().result(), Some(0x7f));
}

#[test]
fn what_has_not_returned_is_still_going_on() {
    for line in [
        "1.000000 recvmsg(4<UNIX:[6->5]>,  <unfinished ...>) = ?",
        "1.000000 recvmsg(5<UNIX:[9->8]>, ) = ? <unavailable>",
    ] {
        let record = record(line);
        let call = record.call().unwrap();
        assert_eq!((call.returned.as_str(), call.args.len()), ("", 1), "{line}");
        assert!(record.end > 1 << 60, "{line}");
        assert_eq!(Act::of(call), Act::Nothing);
    }
}

#[test]
fn signals_and_ends_are_told_apart_from_calls() {
    let killed = record("1.000000 +++ killed by SIGKILL +++").what;
    assert_eq!(killed, What::End("killed by SIGKILL".to_owned()));
    let signal = record("1.000000 --- SIGCONT {si_signo=SIGCONT, si_code=SI_KERNEL} ---").what;
    assert_eq!(signal, What::Signal("SIGCONT".to_owned()));
    for line in ["", "rea", "1.000000 rea", "1.0 close(3) = 0", "strace: Process 7 attached"] {
        assert_eq!(Record::parse(1, line), None, "{line}");
    }
}

#[test]
fn commas_in_brackets_and_quotes_part_nothing() {
    let args = split(r#"3<TCP:[a:1->b:2]>, "a, \", b", [{x=1, y=f(2, 3)}], 4</tmp/a>(deleted)"#);
    let expected =
        ["3<TCP:[a:1->b:2]>", r#""a, \", b""#, "[{x=1, y=f(2, 3)}]", "4</tmp/a>(deleted)"];
    assert_eq!(args, expected);
}

#[test]
fn descriptors_are_known_by_what_is_behind_them() {
    let object = |text| Descriptor::parse(text).unwrap().object;
    assert_eq!(object("7<UNIX-SEQPACKET:[12->34]>"), Object::Channel(12));
    assert_eq!(object("7<socket:[12]>"), Object::Channel(12));
    let (here, there) = ("[::1]:80".to_owned(), "[::1]:9".to_owned());
    assert_eq!(object("5<TCPv6:[[::1]:80->[::1]:9]>"), Object::Tcp { here, there });
    assert_eq!(object("6<TCP:[127.0.0.1:80]>"), Object::Listener);
    assert_eq!(object("6<TCP:[4656]>"), Object::TcpAlone);
    assert_eq!(object("4</tmp/out/#10>(deleted)"), Object::File("/tmp/out/#10".to_owned()));
    assert_eq!(Descriptor::parse("-1"), None);
    assert_eq!(Descriptor::parse("AT_FDCWD</tmp>"), None);
}

#[test]
fn a_call_is_judged_by_what_it_works_on() {
    let message = |text: &str, passed| Message { text: text.to_owned(), passed, is_end: false };
    let passing = r#"sendmsg(3<UNIX:[1->2]>, {msg_iov=[{iov_base="C", iov_len=1}], msg_control=[{cmsg_type=SCM_RIGHTS, cmsg_data=[0<TCP:[a:1->b:2]>]}]}, 0) = 1"#;
    assert_eq!(act(passing), Act::Send(1, message("\"C\"", Some(0))));
    assert_eq!(
        act(r#"read(3<anon_inode:[signalfd]>, "\17\0\0\0"..., 128) = 128"#),
        Act::Note("read signalfd:", "SIGTERM".to_owned())
    );
    let answer = r#"sendto(3<TCP:[a:1->b:2]>, "PROCESS[PID 2000000]: GREEN\n", 28, 0) = 28"#;
    let Act::Move(moved) = act(answer) else { panic!("{answer}") };
    assert_eq!(moved.text.as_deref(), Some("\"PROCESS[PID 2000000]: GREEN…\""));
    assert_eq!(act("close(3</etc/ld.so.cache>) = 0"), Act::Minor);
    assert_eq!(act("openat(AT_FDCWD</>, \"/lib/libc.so\", 0) = 3</lib/libc.so>"), Act::Nothing);
    assert_eq!(
        act("recvfrom(3<TCP:[a:1->b:2]>, 0x7, 1, 0, NULL, NULL) = -1 EAGAIN (…)"),
        Act::Nothing
    );
    assert!(matches!(act("write(3<TCP:[a:1->b:2]>, \"\", 1) = -1 EPIPE (…)"), Act::Broken(_)));
}

#[test]
fn what_belongs_together_is_joined() {
    let story = sample();
    let name =
        |event: usize| story.cast.lanes[story.cast.lives[story.events[event].life].lane].as_str();
    let arrows: BTreeSet<(&str, &str, &str)> =
        story.arrows.iter().map(|it| (name(it.from), it.label.as_str(), name(it.to))).collect();
    let expected = BTreeSet::from([
        ("parent", "fork", "worker 0"),
        ("client", "connect", "parent"),
        ("parent", "\"C\" + fd 8 → fd 3", "worker 0"),
        ("client", "\"red\\n\"", "worker 0"),
        ("worker 0", "2 MiB", "client"),
        ("worker 0", "end", "client"),
        ("worker 0", "\"D\"", "parent"),
        ("parent", "SIGKILL (PDEATHSIG)", "worker 0"),
    ]);
    assert_eq!(arrows, expected);
    let passing = story.arrows.iter().filter(|it| it.kind == Tie::Descriptor).count();
    assert_eq!(passing, 1);
}

#[test]
fn what_repeats_is_folded() {
    let story = sample();
    let lines = |kind| -> Vec<&str> {
        let events = story.events.iter().filter(|it| it.kind == kind);
        events.flat_map(|it| it.lines.iter().map(String::as_str)).collect()
    };
    assert!(lines(Kind::Note).contains(&"epoll_ctl ADD 6, 3"), "{:?}", lines(Kind::Note));
    let flows =
        ["splice file→pipe ×2 = 2 MiB", "splice pipe→TCP ×2 = 2 MiB", "recvfrom TCP = 2 MiB"];
    assert_eq!(lines(Kind::Flow), flows);
}

#[test]
fn no_effect_is_told_before_its_cause() {
    let story = sample();
    for arrow in &story.arrows {
        let [from, to] = [arrow.from, arrow.to].map(|it| &story.events[it]);
        assert!(from.time <= to.time, "{arrow:?}");
    }
    let times: Vec<u64> = story.events.iter().map(|event| event.time).collect();
    assert!(times.is_sorted());
}

#[test]
fn an_end_that_is_reported_late_is_told_before_it_is_heard_of() {
    let waits = "epoll_wait(7<anon_inode:[eventpoll]>,  <unfinished ...>) = ?";
    let hears = "recvfrom(3<UNIX:[653->654]>, \"\", 1, MSG_DONTWAIT, NULL, NULL) = 0 <0.000028>";
    assert!(PARENT.contains(waits));
    let story = story(&PARENT.replace(waits, hears), WORKER, CLIENT);
    let heard = story.arrows.iter().find(|it| it.label == "end of the channel").unwrap();
    let [death, heard] = [heard.from, heard.to].map(|it| &story.events[it]);
    assert_eq!(death.kind, Kind::Death);
    assert!(death.time < heard.time, "{death:?}\n{heard:?}");
}

#[test]
fn the_picture_holds_nothing_that_could_do_harm() {
    let mut story = sample();
    story.events[0].lines = vec!["<script>\u{1b}[31m\u{202e}".to_owned()];
    let note = story.events.iter().position(|it| it.kind == Kind::Note).unwrap();
    story.events[note].calls = vec!["close(\u{7})".to_owned()];
    let svg = svg::draw(&story, "03 <sendfd>", "A & B");
    assert!(svg.contains("&lt;script&gt;\\u{1b}[31m\\u{202e}"), "{svg}");
    assert!(svg.contains("close(\\u{7})"));
    assert!(svg.contains("03 &lt;sendfd&gt;") && svg.contains("A &amp; B"));
    assert!(!svg.chars().any(|it| it.is_control() && it != '\n'));
}

#[test]
fn the_text_has_a_lane_for_each_and_no_colour() {
    let text = columns::draw(&sample(), "03 sendfd", "A sample.", Paint::none());
    assert!(text.contains("ms   client    parent    worker 0"), "{text}");
    let passing = text.lines().find(|line| line.contains("\"C\" + fd 8 → fd 3")).unwrap();
    assert!(passing.contains("●────────▶●") && passing.contains("sendmsg → recvmsg"), "{text}");
    assert!(!text.contains('\u{1b}'));
}
