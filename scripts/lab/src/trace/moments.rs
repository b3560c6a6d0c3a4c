//! When a call takes effect, and when a process slept.

use super::record::{Call, Record, What};

/// Does a call take effect when it returns? What is received, accepted or waited for does; what is
/// sent or asked for takes effect at once.
pub fn effect(record: &Record) -> u64 {
    let Some(call) = record.call() else { return record.begin };
    let waits = ["recv", "read", "accept", "wait", "pread"];
    let returns = waits.iter().any(|it| call.name.starts_with(it)) || is_receiving_splice(call);
    if returns { record.end } else { record.begin }
}

fn is_receiving_splice(call: &Call) -> bool {
    call.name == "splice" && call.arg(0).contains("<TCP")
}

/// The records by the time of their effect. Each process keeps its order.
pub fn in_order(records: &[Record]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..records.len()).collect();
    order.sort_by_key(|&index| effect(&records[index]));
    order
}

/// No work takes so long, in microseconds.
const LONG: u64 = 1000;
/// How the names of the calls begin in which one can sleep.
const WAITING: &str = "epoll poll ppoll select pselect recv read accept wait pause nanosleep \
    clock_nanosleep connect splice send write rt_sig";

/// When a process slept: in calls that last longer than any work would.
pub fn rests(pid: i32, records: &[Record]) -> Vec<(u64, u64, String)> {
    let is_waiting = |call: &Call| WAITING.split(' ').any(|it| call.name.starts_with(it));
    let of_process = records.iter().filter(|it| it.pid == pid);
    let long = of_process.filter(|it| it.end.saturating_sub(it.begin) >= LONG);
    let mut rests: Vec<_> = long
        .filter_map(|it| {
            let call = it.call().filter(|call| is_waiting(call))?;
            Some((it.begin, it.end, call.line.clone()))
        })
        .collect();
    let pokes = |name: &'static str| {
        let of_name = move |it: &&Record| it.pid == pid && it.what == What::Poke(name.to_owned());
        records.iter().filter(of_name).map(|it| it.begin)
    };
    // From the first signal to the second it didn't run, in whatever call it was.
    let stopped = pokes("SIGSTOP").zip(pokes("SIGCONT"));
    rests.extend(stopped.map(|(begin, end)| (begin, end, "stopped".to_owned())));
    rests
}
